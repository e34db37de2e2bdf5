use crate::look::Look;
use crate::scene::{Kind, Rect, Scene, Step};
use crate::theme::{HeaderStyle, Theme};
use crate::{Color, Rng};

/// Draws what a careful author adds to every page: a panel, a mark, a line; returns the area that is left.
pub(crate) fn frame(scene: &mut Scene, theme: &Theme, polish: f64) -> Rect {
    let mut area = Rect::new(64.0, 44.0, 1152.0, 606.0);
    if polish < 0.4 {
        return area;
    }
    match theme.header {
        HeaderStyle::Side => {
            scene.rect(Rect::new(0.0, 0.0, 36.0, Scene::HEIGHT), theme.accent);
            scene.rect(Rect::new(36.0, 0.0, 10.0, Scene::HEIGHT), theme.second);
            area = Rect::new(92.0, 44.0, 1124.0, 606.0);
        }
        HeaderStyle::Bar => {
            scene.rect(Rect::new(0.0, 0.0, Scene::WIDTH, 22.0), theme.accent);
            scene.rect(Rect::new(0.0, 22.0, Scene::WIDTH, 6.0), theme.second);
        }
        HeaderStyle::Rule => {
            scene.rect(Rect::new(64.0, 34.0, 120.0, 8.0), theme.accent);
        }
        HeaderStyle::Plain => corner(scene, theme),
    }
    if polish > 0.6 {
        foot(scene, theme, area);
    }
    area
}

fn corner(scene: &mut Scene, theme: &Theme) {
    let corner = vec![
        Step::Move(Scene::WIDTH, 0.0),
        Step::Line(Scene::WIDTH, 130.0),
        Step::Curve(1230.0, 90.0, 1180.0, 60.0, 1130.0, 0.0),
        Step::Close,
    ];
    scene.fill(corner, theme.accent, 0.9);
}

/// A line and a mark below the page's content.
fn foot(scene: &mut Scene, theme: &Theme, area: Rect) {
    scene.rect(Rect::new(area.x, 668.0, area.w, 2.0), theme.background.mix(theme.accent, 0.5));
    scene.disc((1200.0, 690.0), 9.0, theme.accent, 1.0);
    scene.disc((1212.0, 690.0), 9.0, theme.second, 0.8);
}

/// Strews loud stickers over the page, mostly where nothing stands.
pub(crate) fn stickers(scene: &mut Scene, look: &Look, rng: &mut Rng) {
    for _ in 0..look.stickers {
        let size = rng.range(60.0, 120.0);
        let at = free_place(scene, size, rng);
        let area = Rect::new(at.0 - size / 2.0, at.1 - size / 2.0, size, size);
        sticker(scene, area, rng);
        scene.note(Kind::Sticker, area, 0.0, 0.0);
    }
}

/// The best of a few places: the one that covers least.
fn free_place(scene: &Scene, size: f64, rng: &mut Rng) -> (f64, f64) {
    let mut best = ((0.0, 0.0), f64::INFINITY);
    for _ in 0..14 {
        let at = (rng.range(40.0, 1240.0), rng.range(40.0, 680.0));
        let covered: f64 = scene
            .elements
            .iter()
            .map(|element| {
                let a = element.area;
                let w = (a.right().min(at.0 + size / 2.0) - a.x.max(at.0 - size / 2.0)).max(0.0);
                let h = (a.bottom().min(at.1 + size / 2.0) - a.y.max(at.1 - size / 2.0)).max(0.0);
                w * h * if element.kind == Kind::Sticker { 2.0 } else { 1.0 }
            })
            .sum();
        if covered < best.1 {
            best = (at, covered);
        }
    }
    best.0
}

fn sticker(scene: &mut Scene, area: Rect, rng: &mut Rng) {
    let (fill, edge) = (Color::loud(rng), Color::loud(rng));
    let center = (area.x + area.w / 2.0, area.y + area.h / 2.0);
    let tilt = rng.range(-0.4, 0.4);
    let turned = |x: f64, y: f64| {
        (
            center.0 + area.w * (x * tilt.cos() - y * tilt.sin()),
            center.1 + area.h * (x * tilt.sin() + y * tilt.cos()),
        )
    };
    match rng.below(5) {
        0 => {
            let points: Vec<(f64, f64)> = burst().map(|(x, y)| turned(x, y)).collect();
            scene.polygon(&points, fill, 1.0);
        }
        1 => scene.polygon(&ARROW.map(|(x, y)| turned(x, y)), fill, 1.0),
        2 => {
            let points = [(-0.5, -0.3), (0.5, -0.3), (0.5, 0.3), (-0.5, 0.3)].map(|(x, y)| turned(x, y));
            scene.polygon(&points, fill, 1.0);
            let inner = [(-0.4, -0.2), (0.4, -0.2), (0.4, 0.2), (-0.4, 0.2)].map(|(x, y)| turned(x, y));
            scene.polygon(&inner, edge, 1.0);
        }
        3 => {
            scene.disc(center, area.w * 0.46, fill, 1.0);
            scene.disc(center, area.w * 0.32, edge, 1.0);
            scene.disc(center, area.w * 0.16, fill, 1.0);
        }
        _ => scene.polygon(&STAR.map(|(x, y)| turned(x, y)), fill, 1.0),
    }
}

const ARROW: [(f64, f64); 7] =
    [(-0.5, -0.14), (0.1, -0.14), (0.1, -0.34), (0.5, 0.0), (0.1, 0.34), (0.1, 0.14), (-0.5, 0.14)];

const STAR: [(f64, f64); 10] = [
    (0.0, -0.5),
    (0.16, -0.15),
    (0.5, -0.12),
    (0.23, 0.12),
    (0.32, 0.48),
    (0.0, 0.27),
    (-0.32, 0.48),
    (-0.23, 0.12),
    (-0.5, -0.12),
    (-0.16, -0.15),
];

/// A star of ten points.
fn burst() -> impl Iterator<Item = (f64, f64)> {
    (0..20).map(|i| {
        let angle = std::f64::consts::TAU * f64::from(i) / 20.0;
        let radius = if i % 2 == 0 { 0.5 } else { 0.34 };
        (radius * angle.cos(), radius * angle.sin())
    })
}
