//! Steps of a build: a slide that is exported once for each click.

use image::RgbImage;

/// Pixels whose channels differ by more than this have changed.
const CHANGED: u8 = 40;
/// A pixel is plain where its neighbours differ from it by less than this.
const PLAIN: u8 = 24;
/// Share of what is drawn on the earlier page that may be changed on the later one: a page number, letters that new ones touch.
const LOST: f64 = 0.01;
/// Least share of the page that is drawn on the earlier page (a frame alone is no step), and that the later one adds.
const DRAWN: f64 = 0.003;
const ADDED: f64 = 0.001;

/// Every so many pixels of every so many rows are compared.
const STEP: usize = 2;

/// The share of the page that `later` adds, where it shows all that `earlier` shows and more: the next step of a build. None where it
/// is another slide, or the same.
pub(crate) fn added_share(earlier: &RgbImage, later: &RgbImage) -> Option<f64> {
    if earlier.dimensions() != later.dimensions() {
        return None;
    }
    let (width, height) = earlier.dimensions();
    let (mut drawn, mut changed, mut lost) = (0u64, 0u64, 0u64);
    for y in (1..height.saturating_sub(1)).step_by(STEP) {
        for x in (1..width.saturating_sub(1)).step_by(STEP) {
            let here = earlier.get_pixel(x, y).0;
            let is_drawn = [(x - 1, y), (x + 1, y), (x, y - 1), (x, y + 1)]
                .into_iter()
                .any(|(x, y)| distance(here, earlier.get_pixel(x, y).0) > PLAIN);
            let is_changed = distance(here, later.get_pixel(x, y).0) > CHANGED;
            drawn += u64::from(is_drawn);
            changed += u64::from(is_changed);
            lost += u64::from(is_drawn && is_changed);
        }
    }
    let pixels = f64::from(width) * f64::from(height) / (STEP * STEP) as f64;
    let (drawn, changed, lost) = (drawn as f64, changed as f64, lost as f64);
    let is_step = drawn >= DRAWN * pixels && changed - lost >= ADDED * pixels && lost <= LOST * drawn;
    is_step.then_some(changed / pixels)
}

fn distance(a: [u8; 3], b: [u8; 3]) -> u8 {
    a.iter().zip(b).map(|(&a, b)| a.abs_diff(b)).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    /// A page with a heading, and lines of strokes as wide as given.
    fn page(heading: u32, lines: &[u32]) -> RgbImage {
        RgbImage::from_fn(640, 360, |x, y| {
            let stroke = |seed: u32| (x * 7 + seed * 13) % 11 < 5 && y % 3 != 2;
            if (20..50).contains(&y) && x < 400 && stroke(heading) {
                return Rgb([20, 40, 90]);
            }
            let row = y.checked_sub(80).map(|y| (y / 40, y % 40));
            let is_text = row.is_some_and(|(row, within)| {
                within < 20 && lines.get(row as usize).is_some_and(|&width| x < width && stroke(width))
            });
            if is_text { Rgb([30; 3]) } else { Rgb([250, 250, 245]) }
        })
    }

    #[test]
    fn a_page_that_adds_lines_is_the_next_step() {
        let steps: Vec<_> = (1..=4).map(|count| page(1, &[300, 420, 350, 500][..count])).collect();
        for pair in steps.windows(2) {
            assert!(added_share(&pair[0], &pair[1]).is_some_and(|share| share > 0.005));
            assert_eq!(added_share(&pair[1], &pair[0]), None, "what vanishes is no step");
        }
    }

    #[test]
    fn other_slides_of_one_template_are_no_steps() {
        let cases = [
            (page(1, &[300, 420]), page(2, &[300, 420, 350])),
            (page(1, &[300, 420]), page(1, &[310, 415, 350])),
            (page(1, &[300]), page(1, &[300])),
            (RgbImage::from_pixel(640, 360, Rgb([250, 250, 245])), page(1, &[300])),
            (page(1, &[300]), RgbImage::from_pixel(320, 180, Rgb([0; 3]))),
        ];
        for (at, (earlier, later)) in cases.iter().enumerate() {
            assert_eq!(added_share(earlier, later), None, "case {at}");
        }
    }
}
