use image::RgbImage;

/// Pixels from the side at which a stroke must stand.
const DEPTHS: [u32; 3] = [0, 1, 3];
/// A stroke differs from the paper around it by more than this in a channel.
const STROKE: u8 = 48;
/// What lies beside a stroke differs from the paper by less than this in every channel.
const FLAT: u8 = 16;

type Line = Vec<[u8; 3]>;

/// Text that was cut through runs into the side of the image as short strokes on plain paper. Returns the count of the side with
/// the most. The paper is the median of the neighbourhood along the side, so text on a bar counts; bars, full-bleed images and
/// their texture do not: they are long, or nothing plain lies beside them.
pub(super) fn strokes_at_border(image: &RgbImage) -> u32 {
    let (width, height) = image.dimensions();
    if width < 16 || height < 16 {
        return 0;
    }
    let row = |y: u32| -> Line { (0..width).map(|x| image.get_pixel(x, y).0).collect() };
    let column = |x: u32| -> Line { (0..height).map(|y| image.get_pixel(x, y).0).collect() };
    let longer = width.max(height) as usize;
    let sides = [
        DEPTHS.map(row),
        DEPTHS.map(|depth| row(height - 1 - depth)),
        DEPTHS.map(column),
        DEPTHS.map(|depth| column(width - 1 - depth)),
    ];
    sides.iter().map(|lines| strokes(lines, longer)).max().unwrap_or(0)
}

/// Counts the strokes that cross all lines, the first of which is the side itself.
fn strokes(lines: &[Line; 3], longer: usize) -> u32 {
    let length = lines[0].len();
    let reach = (longer / 32).max(4);
    let channel = |at: usize| lines[0].iter().map(|pixel| pixel[at]).collect::<Vec<_>>();
    let paper = [0, 1, 2].map(|at| running_median(&channel(at), reach));
    let distance = |pixel: [u8; 3], at: usize| -> u8 {
        pixel.iter().zip(&paper).map(|(value, paper)| value.abs_diff(paper[at])).max().unwrap_or(0)
    };
    let is_stroke = |at: usize| lines.iter().all(|line| distance(line[at], at) > STROKE);
    let is_plain = |at: usize, beside: usize| distance(lines[0][at], beside) < FLAT;
    let longest = (longer / 40).max(4);
    let (mut count, mut at) = (0, 0);
    while at < length {
        let start = at;
        while at < length && is_stroke(at) {
            at += 1;
        }
        // A smoothed edge takes a pixel; what touches a corner is a frame rather than a letter.
        if at > start && at - start <= longest && start >= 4 && at + 3 < length {
            let before = (start - 4..start - 1).any(|near| is_plain(near, start));
            let after = (at + 1..at + 4).any(|near| is_plain(near, at - 1));
            count += u32::from(before && after);
        }
        at = at.max(start + 1);
    }
    count
}

/// The median of each window of `2 · reach + 1` values; the first and the last value are repeated beyond the ends.
fn running_median(values: &[u8], reach: usize) -> Vec<u8> {
    let at = |index: isize| usize::from(values[index.clamp(0, values.len() as isize - 1) as usize]);
    let reach = reach as isize;
    let mut counts = [0isize; 256];
    (-reach..=reach).for_each(|index| counts[at(index)] += 1);
    let (mut median, mut below) = (0, 0);
    (0..values.len() as isize)
        .map(|centre| {
            while below > reach {
                median -= 1;
                below -= counts[median];
            }
            while below + counts[median] <= reach {
                below += counts[median];
                median += 1;
            }
            let found = median as u8;
            let (leaving, coming) = (at(centre - reach), at(centre + reach + 1));
            counts[leaving] -= 1;
            counts[coming] += 1;
            below += isize::from(coming < median) - isize::from(leaving < median);
            found
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgb, imageops};

    /// Four lines of strokes like letters on white, and a dark bar over the whole width with light strokes in it.
    fn page() -> RgbImage {
        RgbImage::from_fn(640, 360, |x, y| {
            let letter = (60..580).contains(&x) && x % 11 < 5;
            match y {
                0..40 if letter && (14..24).contains(&y) => Rgb([240, 240, 240]),
                0..40 => Rgb([20, 40, 90]),
                60..340 if letter && y % 70 < 10 => Rgb([30, 30, 30]),
                _ => Rgb([255; 3]),
            }
        })
    }

    #[test]
    fn a_whole_page_has_no_stroke_at_its_border() {
        assert_eq!(strokes_at_border(&page()), 0);
        assert_eq!(strokes_at_border(&RgbImage::new(9, 9)), 0);
    }

    #[test]
    fn a_cut_on_each_side_is_seen() {
        let cases = [
            ("left", [121, 0, 519, 360], 4),
            ("right", [0, 0, 500, 360], 4),
            ("top, through a line", [0, 75, 640, 285], 40),
            ("top, through light text on a bar", [0, 18, 640, 342], 40),
            ("bottom", [0, 0, 640, 147], 40),
        ];
        for (name, [x, y, width, height], at_least) in cases {
            let cut = imageops::crop_imm(&page(), x, y, width, height).to_image();
            assert!(strokes_at_border(&cut) >= at_least, "{name}: {}", strokes_at_border(&cut));
        }
    }

    #[test]
    fn texture_at_the_border_is_no_text() {
        let noise = |x: u32, y: u32| (x.wrapping_mul(73_856_093) ^ y.wrapping_mul(19_349_663)) >> 24;
        let photo = RgbImage::from_fn(640, 360, |x, y| Rgb([noise(x, y) as u8, noise(y, x) as u8, 90]));
        assert!(strokes_at_border(&photo) < 2, "{}", strokes_at_border(&photo));
    }

    #[test]
    fn the_running_median_is_that_of_sorted_windows() {
        let values: Vec<u8> = (0..97u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for reach in [1, 4, 60] {
            for (at, &found) in running_median(&values, reach).iter().enumerate() {
                let near = (0..=2 * reach).map(|k| (at + k).saturating_sub(reach).min(values.len() - 1));
                let mut window: Vec<u8> = near.map(|index| values[index]).collect();
                window.sort_unstable();
                assert_eq!(found, window[reach], "{reach}: {at}");
            }
        }
    }
}
