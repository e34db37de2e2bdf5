use crate::scene::{Kind, Rect, Scene, Step};
use crate::theme::Theme;
use crate::topic::Topic;
use crate::{Color, Rng};

/// Draws an illustration that belongs to the slide's topic.
pub(crate) fn illustrate(scene: &mut Scene, theme: &Theme, area: Rect, topic: Topic, rng: &mut Rng) {
    match topic {
        Topic::Team => people(scene, theme, area, rng),
        Topic::Market | Topic::Competition => circles(scene, theme, area),
        Topic::Solution | Topic::Product if rng.chance(0.5) => phone(scene, theme, area, rng),
        Topic::Solution | Topic::Product | Topic::Traction => screen(scene, theme, area, rng),
        Topic::Title | Topic::Ask => hills(scene, theme, area, rng),
        Topic::Problem | Topic::BusinessModel | Topic::Financials => city(scene, theme, area, rng),
    }
    scene.note(Kind::Image, area, 0.0, 0.0);
}

fn people(scene: &mut Scene, theme: &Theme, area: Rect, rng: &mut Rng) {
    let count = 2 + rng.below(2);
    let step = area.w / count as f64;
    let radius = (step * 0.36).min(area.h * 0.24);
    for i in 0..count {
        let center = (area.x + step * (i as f64 + 0.5), area.y + area.h * 0.36);
        let ground = theme.background.mix(if i % 2 == 0 { theme.accent } else { theme.second }, 0.35);
        let skin = Color::hsl(rng.range(18.0, 35.0), 0.45, rng.range(0.35, 0.75));
        scene.disc(center, radius, ground, 1.0);
        let body = Rect::new(center.0 - radius * 0.55, center.1 + radius * 0.22, radius * 1.1, radius * 0.72);
        scene.card(body, radius * 0.4, if i % 2 == 0 { theme.accent } else { theme.second });
        scene.disc((center.0, center.1 - radius * 0.15), radius * 0.36, skin, 1.0);
        let name = Rect::new(center.0 - radius * 0.7, center.1 + radius * 1.2, radius * 1.4, 12.0);
        scene.card(name, 6.0, theme.background.mix(theme.ink(), 0.5));
        scene.card(name.moved(radius * 0.2, 22.0).inset(1.0), 5.0, theme.background.mix(theme.ink(), 0.25));
    }
}

fn circles(scene: &mut Scene, theme: &Theme, area: Rect) {
    let radius = (area.w.min(area.h)) * 0.47;
    for (i, share) in [1.0, 0.66, 0.34].into_iter().enumerate() {
        let center = (area.x + area.w / 2.0, area.bottom() - radius * share - area.h * 0.03);
        let color = theme.background.mix(theme.accent, [0.22, 0.5, 0.95][i]);
        scene.disc(center, radius * share, color, 1.0);
    }
}

fn screen(scene: &mut Scene, theme: &Theme, area: Rect, rng: &mut Rng) {
    let w = area.w.min(area.h * 1.5) * 0.92;
    let frame = Rect::new(area.x + (area.w - w) / 2.0, area.y + (area.h - w * 0.66) / 2.0, w, w * 0.6);
    scene.card(frame, 14.0, theme.ink());
    let glass = frame.inset(10.0);
    scene.rect(glass, theme.background.mix(Color::WHITE, 0.7));
    scene.rect(Rect::new(glass.x, glass.y, glass.w, glass.h * 0.12), theme.accent);
    scene.rect(Rect::new(glass.x, glass.y + glass.h * 0.12, glass.w * 0.2, glass.h * 0.88), theme.surface());
    for i in 0..7 {
        let height = glass.h * rng.range(0.15, 0.6);
        let x = glass.x + glass.w * (0.27 + 0.1 * f64::from(i));
        scene.rect(Rect::new(x, glass.bottom() - height - 12.0, glass.w * 0.06, height), theme.second);
    }
    let foot = Rect::new(frame.x - w * 0.04, frame.bottom(), w * 1.08, w * 0.035);
    scene.card(foot, 8.0, theme.ink().mix(theme.background, 0.35));
}

fn phone(scene: &mut Scene, theme: &Theme, area: Rect, rng: &mut Rng) {
    let h = area.h * 0.96;
    let frame = Rect::new(area.x + area.w / 2.0 - h * 0.26, area.y + area.h * 0.02, h * 0.52, h);
    scene.card(frame, h * 0.07, theme.ink());
    let glass = frame.inset(h * 0.03);
    scene.card(glass, h * 0.045, theme.background.mix(Color::WHITE, 0.7));
    scene.card(Rect::new(glass.x, glass.y, glass.w, glass.h * 0.3), h * 0.045, theme.accent);
    for i in 0..4 {
        let y = glass.y + glass.h * (0.36 + 0.15 * f64::from(i));
        let row = Rect::new(glass.x + glass.w * 0.08, y, glass.w * rng.range(0.5, 0.84), glass.h * 0.09);
        scene.card(row, 8.0, theme.background.mix(theme.second, 0.4));
    }
}

fn hills(scene: &mut Scene, theme: &Theme, area: Rect, rng: &mut Rng) {
    scene.card(area, theme.corner, theme.background.mix(theme.accent, 0.22));
    let sun = (area.x + area.w * rng.range(0.3, 0.75), area.y + area.h * 0.34);
    scene.disc(sun, area.h * 0.13, theme.second.mix(Color::WHITE, 0.35), 1.0);
    for layer in 0..3 {
        let color = theme.accent.mix(theme.background, 0.55 - 0.25 * f64::from(layer));
        let y = area.y + area.h * (0.5 + 0.14 * f64::from(layer));
        let (left, right) = (y + area.h * rng.range(-0.08, 0.1), y + area.h * rng.range(-0.08, 0.1));
        let (a, b) = (area.x + area.w * 0.35, area.x + area.w * 0.65);
        let path = vec![
            Step::Move(area.x, left),
            Step::Curve(
                a,
                left - area.h * rng.range(0.0, 0.2),
                b,
                right + area.h * rng.range(0.0, 0.16),
                area.right(),
                right,
            ),
            Step::Line(area.right(), area.bottom()),
            Step::Line(area.x, area.bottom()),
            Step::Close,
        ];
        scene.fill(path, color, 1.0);
    }
}

fn city(scene: &mut Scene, theme: &Theme, area: Rect, rng: &mut Rng) {
    let count = 6;
    let step = area.w / f64::from(count);
    for i in 0..count {
        let height = area.h * rng.range(0.35, 0.92);
        let tower = Rect::new(area.x + step * f64::from(i) + 3.0, area.bottom() - height, step - 6.0, height);
        let color =
            theme.background.mix(if i % 2 == 0 { theme.accent } else { theme.second }, rng.range(0.4, 0.9));
        scene.rect(tower, color);
        let rows = (height / 34.0) as usize;
        for row in 0..rows {
            for column in 0..2 {
                let x = tower.x + tower.w * (0.2 + 0.38 * f64::from(column));
                let window = Rect::new(x, tower.y + 14.0 + 34.0 * row as f64, tower.w * 0.2, 15.0);
                scene.rect(window, theme.background.mix(color, 0.25));
            }
        }
    }
}

const GOLD: Color = Color(250, 196, 40);

/// Draws an image that could stand in any deck: a bulb, a rocket, a cup.
pub(crate) fn stock(scene: &mut Scene, theme: &Theme, area: Rect, rng: &mut Rng) {
    let size = area.w.min(area.h);
    let center = (area.x + area.w / 2.0, area.y + area.h / 2.0);
    match rng.below(3) {
        0 => bulb(scene, theme, center, size),
        1 => rocket(scene, center, size),
        _ => cup(scene, center, size),
    }
    scene.note(Kind::Ornament, area, 0.0, 0.0);
}

fn bulb(scene: &mut Scene, theme: &Theme, (cx, cy): (f64, f64), size: f64) {
    scene.disc((cx, cy - size * 0.08), size * 0.3, GOLD, 1.0);
    let neck = Rect::new(cx - size * 0.11, cy + size * 0.18, size * 0.22, size * 0.2);
    scene.card(neck, 8.0, theme.ink().mix(theme.background, 0.4));
    for i in 0..8 {
        let angle = std::f64::consts::TAU * f64::from(i) / 8.0;
        let at = |r: f64| (cx + size * r * angle.cos(), cy - size * 0.08 + size * r * angle.sin());
        scene.line(at(0.36), at(0.45), GOLD, 8.0);
    }
}

fn rocket(scene: &mut Scene, (cx, cy): (f64, f64), size: f64) {
    let hull = [(0.0, -0.45), (0.14, -0.2), (0.14, 0.2), (-0.14, 0.2), (-0.14, -0.2)];
    let at = |(x, y): (f64, f64)| (cx + size * x, cy + size * y);
    scene.polygon(&hull.map(at), Color(225, 228, 235), 1.0);
    for side in [-1.0, 1.0] {
        let fin = [(0.14 * side, 0.0), (0.28 * side, 0.26), (0.14 * side, 0.2)];
        scene.polygon(&fin.map(at), Color(220, 50, 50), 1.0);
    }
    scene.polygon(&[(-0.1, 0.2), (0.1, 0.2), (0.0, 0.45)].map(at), Color(255, 140, 30), 1.0);
    scene.disc(at((0.0, -0.12)), size * 0.07, Color(90, 160, 230), 1.0);
}

fn cup(scene: &mut Scene, (cx, cy): (f64, f64), size: f64) {
    let at = |(x, y): (f64, f64)| (cx + size * x, cy + size * y);
    let cup = [(-0.25, -0.38), (0.25, -0.38), (0.16, 0.08), (-0.16, 0.08)];
    scene.polygon(&cup.map(at), GOLD, 1.0);
    scene.rect(Rect::new(cx - size * 0.05, cy + size * 0.06, size * 0.1, size * 0.2), GOLD);
    let foot = Rect::new(cx - size * 0.2, cy + size * 0.26, size * 0.4, size * 0.1);
    scene.card(foot, 6.0, Color(150, 100, 40));
}
