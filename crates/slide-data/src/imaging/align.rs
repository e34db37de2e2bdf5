//! Comparing two grey copies of slides that may be cropped: alignment (B. Lucas and T. Kanade, 1981, on a pyramid), then the
//! block that differs most.

use super::plane::Plane;

/// A difference up to which nothing needs to be aligned.
const STILL: f32 = 0.15;
/// Mean difference, in grey levels, of the smallest copies at the best of the starts from which they show different slides.
const UNLIKE: f32 = 24.0;
/// A difference of the smallest copies, aligned, from which the larger ones need not be looked at: variants stay below 0.5, and
/// all but a few in a hundred pairs of different slides are above.
const FAR: f32 = 0.75;
/// Gauss-Newton steps on each level.
const STEPS: usize = 6;
/// How often the finest copies are blurred: what is finer than two cells depends on where the cells happen to fall, and a crop
/// moves them.
const BLURS: usize = 3;

/// The border of a placed copy that is left out, in its cells.
#[cfg(feature = "collect")]
const PLACED_MARGIN: usize = 2;

/// The copies at one size, blurred for comparing, with the block and the margin that fit the size.
struct Scene {
    blurred: [Plane; 2],
    block: usize,
    margin: usize,
}

impl Scene {
    fn new(a: &Plane, b: &Plane, blurs: usize, block: usize, margin: usize) -> Self {
        let blur = |plane: &Plane| (0..blurs).fold(plane.clone(), |plane, _| smooth(&plane));
        Self { blurred: [blur(a), blur(b)], block, margin }
    }

    fn worst_block(&self, warp: Warp) -> f32 {
        worst_block(&self.blurred[0], &self.blurred[1], warp, self.block, self.margin)
    }
}

/// How much two copies differ where they differ most, after alignment; what differs clearly at a quarter of the size is not
/// looked at more closely.
pub(super) fn difference(a: Plane, b: Plane) -> f32 {
    let (a, b) = (pyramid(a), pyramid(b));
    let (distance, starts) = best_starts(&a[2], &b[2]);
    if distance > UNLIKE {
        return distance / UNLIKE;
    }
    let small = Scene::new(&a[2], &b[2], BLURS - 1, 6, 1);
    let mut least: Option<f32> = None;
    let mut near = Vec::new();
    for mut warp in starts {
        if (0..STEPS).all(|_| align(&a[2], &b[2], &mut warp)) {
            let rough = small.worst_block(warp);
            least = Some(least.map_or(rough, |least| least.min(rough)));
            near.extend((rough <= FAR).then_some(warp));
        }
    }
    if near.is_empty() {
        return least.unwrap_or_else(|| small.worst_block(Warp::STILL)).max(FAR);
    }
    let fine = Scene::new(&a[0], &b[0], BLURS, 12, 3);
    let still = fine.worst_block(Warp::STILL);
    if still < STILL {
        return still;
    }
    let aligned = near.into_iter().filter_map(|mut warp| {
        let goes = [1, 0].iter().all(|&level| (0..STEPS).all(|_| align(&a[level], &b[level], &mut warp)));
        goes.then(|| fine.worst_block(warp))
    });
    aligned.fold(still, f32::min)
}

/// How `a` must be read to look like `b`: at `scale · x + shift`, with x and y from -1 to 1.
#[derive(Debug, Clone, Copy)]
struct Warp {
    scale: [f32; 2],
    shift: [f32; 2],
}

impl Warp {
    const STILL: Self = Self { scale: [1.0; 2], shift: [0.0; 2] };

    /// What a crop of these shares of the width (left, right) and height (top, bottom) does; negative shares undo a crop.
    fn crop([left, right, top, bottom]: [f32; 4]) -> Self {
        Self { scale: [1.0 - left - right, 1.0 - top - bottom], shift: [left - right, top - bottom] }
    }
}

/// The alignment only finds what is less than about a cell away: it starts at the three most promising of a grid of crops.
/// Returns also the mean absolute difference at the best of them.
fn best_starts(a: &Plane, b: &Plane) -> (f32, Vec<Warp>) {
    const CROPS: [f32; 3] = [0.0, -0.024, 0.024];
    let pairs = || CROPS.into_iter().flat_map(|first| CROPS.map(|second| [first, second]));
    let mut starts = Vec::with_capacity(81);
    for [left, right] in pairs() {
        let across = across(a, b.width, Warp::crop([left, right, 0.0, 0.0]));
        for [top, bottom] in pairs() {
            let warp = Warp::crop([left, right, top, bottom]);
            starts.push((distance(&across, b, warp), warp));
        }
    }
    starts.sort_by(|x, y| x.0.total_cmp(&y.0));
    (starts[0].0, starts.into_iter().take(3).map(|(_, warp)| warp).collect())
}

/// The columns of a plane as a warp reads them; those outside hold no number.
fn across(plane: &Plane, width: usize, warp: Warp) -> Plane {
    let columns = positions(width, warp.scale[0], warp.shift[0]);
    let mut values = Vec::with_capacity(width * plane.height);
    for row in plane.values.chunks_exact(plane.width) {
        values.extend(columns.iter().map(|&(_, x)| {
            between(x, plane.width).map_or(f32::NAN, |(at, part)| row[at] + (row[at + 1] - row[at]) * part)
        }));
    }
    Plane { width, height: plane.height, values }
}

/// Mean absolute difference of a plane whose columns are warped already, where both have values.
fn distance(across: &Plane, b: &Plane, warp: Warp) -> f32 {
    let (mut sum, mut count) = (0.0, 0.0f32);
    for (row, (_, y)) in positions(b.height, warp.scale[1], warp.shift[1]).into_iter().enumerate() {
        let Some((top, part)) = between(y, across.height) else { continue };
        let line = |at: usize| &across.values[at * across.width..][..across.width];
        for ((upper, lower), wanted) in line(top).iter().zip(line(top + 1)).zip(&b.values[row * b.width..]) {
            let difference = (wanted - (upper + (lower - upper) * part)).abs();
            let is_inside = !difference.is_nan();
            sum += if is_inside { difference } else { 0.0 };
            count += f32::from(u8::from(is_inside));
        }
    }
    sum / count.max(1.0)
}

/// The cell before a position and how far it is from there to the next; nothing outside.
fn between(at: f32, length: usize) -> Option<(usize, f32)> {
    let last = length - 1;
    if !(at >= -0.5 && at <= last as f32 + 0.5) {
        return None;
    }
    let at = at.clamp(0.0, last as f32);
    let before = (at as usize).min(last - 1);
    Some((before, at - before as f32))
}

/// The plane and its halves, the finest first.
fn pyramid(plane: Plane) -> Vec<Plane> {
    let mut levels = vec![plane];
    while levels.len() < 3 {
        let from = &levels[levels.len() - 1];
        let (width, height) = (from.width / 2, from.height / 2);
        let mut values = Vec::with_capacity(width * height);
        for y in 0..height {
            for x in 0..width {
                let sum = from.at(2 * x, 2 * y)
                    + from.at(2 * x + 1, 2 * y)
                    + from.at(2 * x, 2 * y + 1)
                    + from.at(2 * x + 1, 2 * y + 1);
                values.push(sum / 4.0);
            }
        }
        levels.push(Plane { width, height, values });
    }
    levels
}

/// Where the cells of a warped row or column lie, in cells of the plane that is read.
fn positions(length: usize, scale: f32, shift: f32) -> Vec<(f32, f32)> {
    let half = length as f32 / 2.0;
    (0..length)
        .map(|cell| {
            let x = (cell as f32 + 0.5) / half - 1.0;
            (x, (scale * x + shift + 1.0) * half - 0.5)
        })
        .collect()
}

/// Value and gradient of a plane between its cells; nothing outside.
fn sample(plane: &Plane, x: f32, y: f32) -> Option<(f32, f32, f32)> {
    let ((left, fx), (top, fy)) = (between(x, plane.width)?, between(y, plane.height)?);
    let (a, b) = (plane.at(left, top), plane.at(left + 1, top));
    let (c, d) = (plane.at(left, top + 1), plane.at(left + 1, top + 1));
    let (upper, lower) = (a + (b - a) * fx, c + (d - c) * fx);
    Some((upper + (lower - upper) * fy, (b - a) + ((d - c) - (b - a)) * fy, lower - upper))
}

/// One Gauss-Newton step towards the warp that makes `a` look like `b`; false when it leaves the range of border crops.
fn align(a: &Plane, b: &Plane, warp: &mut Warp) -> bool {
    let xs = positions(b.width, warp.scale[0], warp.shift[0]);
    let ys = positions(b.height, warp.scale[1], warp.shift[1]);
    let mut normal = [[0.0f64; 5]; 4];
    for (row, &(y, at_y)) in ys.iter().enumerate() {
        for (column, &(x, at_x)) in xs.iter().enumerate() {
            let Some((value, gx, gy)) = sample(a, at_x, at_y) else { continue };
            let (gx, gy) = (gx * b.width as f32 / 2.0, gy * b.height as f32 / 2.0);
            let rest = b.at(column, row) - value;
            // Large residuals are content that differs; they must not pull the alignment (Huber weights).
            let weight = 12.0 / rest.abs().max(12.0);
            let slope = [gx * x, gx, gy * y, gy, rest].map(f64::from);
            for (i, line) in normal.iter_mut().enumerate() {
                for (j, sum) in line.iter_mut().enumerate() {
                    *sum += slope[i] * slope[j] * f64::from(weight);
                }
            }
        }
    }
    let trace: f64 = (0..4).map(|i| normal[i][i]).sum();
    (0..4).for_each(|i| normal[i][i] += 1e-4 * trace + 1e-6);
    let [dsx, dtx, dsy, dty] = solve(normal).map(|v| v as f32);
    warp.scale = [warp.scale[0] + dsx, warp.scale[1] + dsy];
    warp.shift = [warp.shift[0] + dtx, warp.shift[1] + dty];
    warp.scale.iter().all(|s| (0.88..=1.14).contains(s)) && warp.shift.iter().all(|t| t.abs() <= 0.1)
}

/// The warp after some steps, or as far as they stay within the range of border crops.
#[cfg(feature = "collect")]
fn refined(a: &Plane, b: &Plane, warp: Warp) -> Warp {
    let step = |(warp, goes): (Warp, bool)| {
        let mut next = warp;
        if goes && align(a, b, &mut next) { (next, true) } else { (warp, false) }
    };
    (0..STEPS).fold((warp, true), |state, _| step(state)).0
}

/// A copy at half the size as another one would have it, blurred, without a number where it has none.
#[cfg(feature = "collect")]
pub(super) fn placed(own: Plane, frame: Plane) -> Plane {
    let (own, frame) = (pyramid(own), pyramid(frame));
    let apart = |warp: Warp| distance(&across(&own[2], frame[2].width, warp), &frame[2], warp);
    let starts = best_starts(&own[2], &frame[2]).1.into_iter();
    let starts = starts.map(|warp| refined(&own[2], &frame[2], warp)).map(|warp| (apart(warp), warp));
    let best = starts.min_by(|x, y| x.0.total_cmp(&y.0)).map_or(Warp::STILL, |(_, warp)| warp);
    let warp = [1, 0].into_iter().fold(best, |warp, level| refined(&own[level], &frame[level], warp));
    let blurred = (1..BLURS).fold(own[1].clone(), |plane, _| smooth(&plane));
    let (width, height) = (frame[1].width, frame[1].height);
    Plane { width, height, values: warped(&blurred, &frame[1], warp, PLACED_MARGIN) }
}

/// Gaussian elimination of a positive definite system.
fn solve(mut rows: [[f64; 5]; 4]) -> [f64; 4] {
    for pivot in 0..4 {
        let lead = rows[pivot];
        for row in rows.iter_mut().skip(pivot + 1) {
            let factor = row[pivot] / lead[pivot];
            row.iter_mut().zip(lead).for_each(|(value, above)| *value -= factor * above);
        }
    }
    let mut solution = [0.0; 4];
    for at in (0..4).rev() {
        let known: f64 = (at + 1..4).map(|j| rows[at][j] * solution[j]).sum();
        solution[at] = (rows[at][4] - known) / rows[at][at];
    }
    solution
}

/// The plane blurred by the kernel (1, 2, 1) / 4 in both directions.
fn smooth(plane: &Plane) -> Plane {
    let near = |at: usize, length: usize| [at.saturating_sub(1), at, (at + 1).min(length - 1)];
    let blend = |[a, b, c]: [f32; 3]| (a + 2.0 * b + c) / 4.0;
    let mut across = plane.clone();
    for (at, value) in across.values.iter_mut().enumerate() {
        let (x, y) = (at % plane.width, at / plane.width);
        *value = blend(near(x, plane.width).map(|x| plane.at(x, y)));
    }
    let mut both = across.clone();
    for (at, value) in both.values.iter_mut().enumerate() {
        let (x, y) = (at % plane.width, at / plane.width);
        *value = blend(near(y, plane.height).map(|y| across.at(x, y)));
    }
    both
}

/// Grey levels that are added to a block's contrast, so that noise in flat areas does not count.
pub(super) const FLOOR: f32 = 6.0;

/// The largest ratio, over all blocks, of the difference to the contrast. The margin along the borders of both copies is left
/// out: a crop's edge may lie in it, and what was cut off shines in from outside.
fn worst_block(a: &Plane, b: &Plane, warp: Warp, block: usize, margin: usize) -> f32 {
    let warped = warped(a, b, warp, margin);
    let mut worst = 0.0f32;
    for top in (0..b.height).step_by(block / 2) {
        for left in (0..b.width).step_by(block / 2) {
            let (mut count, mut sums) = (0.0f32, [0.0f32; 5]);
            for row in top..(top + block).min(b.height) {
                let cells = row * b.width + left..row * b.width + (left + block).min(b.width);
                let values = warped[cells.clone()].iter().zip(&b.values[cells]);
                for (&value, &wanted) in values.filter(|(value, _)| !value.is_nan()) {
                    let terms = [value, wanted, value * value, wanted * wanted, (wanted - value).powi(2)];
                    sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term);
                    count += 1.0;
                }
            }
            if count < (block * block / 2) as f32 {
                continue;
            }
            let [ma, mb, qa, qb, difference] = sums.map(|sum| sum / count);
            let contrast = (qa - ma * ma).max(qb - mb * mb).max(0.0).sqrt();
            worst = worst.max(difference.sqrt() / (contrast + FLOOR));
        }
    }
    worst
}

/// `a` as `b` would have it, without a number where one of them has none or its margin.
fn warped(a: &Plane, b: &Plane, warp: Warp, margin: usize) -> Vec<f32> {
    let inner = |cell: f32, length: usize| (margin as f32..=(length - 1 - margin) as f32).contains(&cell);
    let line = |length: usize, other: usize, axis: usize| -> Vec<Option<f32>> {
        let cells = positions(length, warp.scale[axis], warp.shift[axis]).into_iter().enumerate();
        cells.map(|(cell, (_, at))| (inner(cell as f32, length) && inner(at, other)).then_some(at)).collect()
    };
    let (xs, ys) = (line(b.width, a.width, 0), line(b.height, a.height, 1));
    let mut values = Vec::with_capacity(b.values.len());
    for y in &ys {
        values.extend(xs.iter().map(|x| {
            let value = y.zip(*x).and_then(|(y, x)| sample(a, x, y));
            value.map_or(f32::NAN, |(value, ..)| value)
        }));
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_solver_solves() {
        let rows = [
            [4.0, 1.0, 0.0, 0.0, 6.0],
            [1.0, 3.0, 0.0, 0.0, 7.0],
            [0.0, 0.0, 2.0, 1.0, 10.0],
            [0.0, 0.0, 1.0, 5.0, 23.0],
        ];
        for (got, wanted) in solve(rows).into_iter().zip([1.0, 2.0, 3.0, 4.0]) {
            assert!((got - wanted).abs() < 1e-12);
        }
    }
}
