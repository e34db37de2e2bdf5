//! Pages that show slides in small: handouts, and notes pages.

use image::{RgbImage, imageops};

/// Width and height within which the page is looked at.
const EDGE: u32 = 480;
/// What differs from the paper by more than this in a channel is drawn.
const DRAWN: u8 = 10;
/// Shares of the sides of a frame that must be drawn.
const CLOSED: f64 = 0.9;

/// A rectangle in pixels: left, top, width and height.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Frame {
    x: u32,
    y: u32,
    width: u32,
    height: u32,
}

/// How many slides a page shows in small: 0 where it is a slide itself.
///
/// Paper is told from slides by its shape: upright, or as wide as A4 or Letter. On upright paper one slide with something below it is
/// a notes page, two of one size are a handout; on wide paper, which some decks have, four are.
pub(super) fn small_slides(image: &RgbImage) -> u32 {
    let (width, height) = (f64::from(image.width()), f64::from(image.height()));
    let is_upright = height > 1.2 * width && height < 1.6 * width;
    let ratio = width / height;
    let is_wide_paper = [2.0_f64.sqrt(), 11.0 / 8.5].iter().any(|paper| (ratio - paper).abs() < 0.015);
    if !is_upright && !is_wide_paper {
        return 0;
    }
    let scale = f64::from(EDGE) / width.max(height);
    let page = if scale < 1.0 {
        let scaled = |edge: f64| ((edge * scale) as u32).max(1);
        imageops::resize(image, scaled(width), scaled(height), imageops::FilterType::Triangle)
    } else {
        image.clone()
    };
    let mask = Mask::of(&page);
    let frames = mask.frames();
    let Some(largest) = frames.iter().max_by_key(|frame| frame.width) else { return 0 };
    let alike = frames.iter().filter(|frame| {
        f64::from(frame.width.abs_diff(largest.width)) <= 0.04 * f64::from(largest.width)
            && f64::from(frame.height.abs_diff(largest.height)) <= 0.04 * f64::from(largest.height)
    });
    let count = alike.count() as u32;
    let is_notes = || {
        count == 1
            && f64::from(largest.width) >= 0.45 * f64::from(mask.width)
            && f64::from(largest.y + largest.height) < 0.65 * f64::from(mask.height)
            && mask.is_drawn_below(largest.y + largest.height + 4)
    };
    match () {
        () if is_upright && count >= 2 || count >= 4 => count,
        () if is_upright && is_notes() => 1,
        () => 0,
    }
}

/// What of a page is drawn.
struct Mask {
    width: u32,
    height: u32,
    drawn: Vec<bool>,
}

impl Mask {
    fn of(page: &RgbImage) -> Self {
        // Paper is what the corners show.
        let paper = page.get_pixel(1.min(page.width() - 1), 1.min(page.height() - 1)).0;
        let is_drawn =
            |pixel: &image::Rgb<u8>| pixel.0.iter().zip(paper).any(|(&a, b)| a.abs_diff(b) > DRAWN);
        Self { width: page.width(), height: page.height(), drawn: page.pixels().map(is_drawn).collect() }
    }

    fn at(&self, x: u32, y: u32) -> bool {
        self.drawn[(y * self.width + x) as usize]
    }

    /// Connected parts that are closed rectangles in the shape of a slide.
    fn frames(&self) -> Vec<Frame> {
        let mut seen = vec![false; self.drawn.len()];
        let mut frames = Vec::new();
        for start in 0..self.drawn.len() {
            if self.drawn[start] && !seen[start] {
                let frame = self.extent(start, &mut seen);
                let ratio = f64::from(frame.width) / f64::from(frame.height);
                let is_large = f64::from(frame.width) >= 0.15 * f64::from(self.width);
                if is_large && (1.2..1.9).contains(&ratio) && self.is_closed(frame) {
                    frames.push(frame);
                }
            }
        }
        frames
    }

    /// The extent of what is connected with a place.
    fn extent(&self, start: usize, seen: &mut [bool]) -> Frame {
        let place = |at: usize| (at as u32 % self.width, at as u32 / self.width);
        let (mut left, mut top) = place(start);
        let (mut right, mut bottom) = (left, top);
        let mut open = vec![start];
        seen[start] = true;
        while let Some(at) = open.pop() {
            let (x, y) = place(at);
            (left, right, top, bottom) = (left.min(x), right.max(x), top.min(y), bottom.max(y));
            let mut visit = |x: u32, y: u32| {
                let next = (y * self.width + x) as usize;
                if self.drawn[next] && !seen[next] {
                    seen[next] = true;
                    open.push(next);
                }
            };
            for y in y.saturating_sub(1)..=(y + 1).min(self.height - 1) {
                for x in x.saturating_sub(1)..=(x + 1).min(self.width - 1) {
                    visit(x, y);
                }
            }
        }
        Frame { x: left, y: top, width: right - left + 1, height: bottom - top + 1 }
    }

    /// Whether the sides of a rectangle are drawn, within a pixel.
    fn is_closed(&self, frame: Frame) -> bool {
        let Frame { x, y, width, height } = frame;
        if width < 8 || height < 8 {
            return false;
        }
        let share = |count: usize, of: u32| count as f64 >= CLOSED * f64::from(of);
        let row = |near: [u32; 2]| {
            share((x..x + width).filter(|&x| near.iter().any(|&y| self.at(x, y))).count(), width)
        };
        let column = |near: [u32; 2]| {
            share((y..y + height).filter(|&y| near.iter().any(|&x| self.at(x, y))).count(), height)
        };
        row([y, y + 1])
            && row([y + height - 2, y + height - 1])
            && column([x, x + 1])
            && column([x + width - 2, x + width - 1])
    }

    fn is_drawn_below(&self, top: u32) -> bool {
        let drawn = (top.min(self.height)..self.height).flat_map(|y| (0..self.width).map(move |x| (x, y)));
        drawn.filter(|&(x, y)| self.at(x, y)).count() > 40
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    /// Paper of this size with framed slides, and strokes like text below `text`.
    fn paper(size: [u32; 2], slides: &[[u32; 4]], text: Option<u32>) -> RgbImage {
        let mut page = RgbImage::from_pixel(size[0], size[1], Rgb([255; 3]));
        for &[x, y, width, height] in slides {
            for at_y in y..y + height {
                for at_x in x..x + width {
                    let is_side =
                        at_x - x < 2 || x + width - at_x <= 2 || at_y - y < 2 || y + height - at_y <= 2;
                    let is_text = (at_y - y) % 30 < 8 && (at_x - x) % 9 < 4 && at_x - x < width / 2;
                    if is_side || is_text {
                        page.put_pixel(at_x, at_y, Rgb([20; 3]));
                    }
                }
            }
        }
        for y in text.into_iter().flat_map(|top| (top..size[1] - 60).filter(|y| y % 24 < 8)) {
            (80..size[0] - 80).filter(|x| x % 9 < 4).for_each(|x| page.put_pixel(x, y, Rgb([20; 3])));
        }
        page
    }

    fn grid(columns: u32, rows: u32, step: [u32; 2], size: [u32; 2]) -> Vec<[u32; 4]> {
        let place = |at: u32| [70 + at % columns * step[0], 90 + at / columns * step[1], size[0], size[1]];
        (0..columns * rows).map(place).collect()
    }

    #[test]
    fn handouts_and_notes_pages_are_told() {
        let six = grid(2, 3, [410, 380], [340, 191]);
        assert_eq!(small_slides(&paper([905, 1280], &six, None)), 6);
        let three = grid(1, 3, [0, 380], [340, 255]);
        assert_eq!(small_slides(&paper([905, 1280], &three, None)), 3);
        let four = grid(2, 2, [600, 400], [480, 270]);
        assert_eq!(small_slides(&paper([1280, 905], &four, None)), 4);
        assert_eq!(small_slides(&paper([905, 1280], &[[140, 100, 620, 349]], Some(560))), 1);
    }

    #[test]
    fn slides_and_documents_are_none() {
        assert_eq!(small_slides(&paper([1280, 720], &grid(2, 2, [600, 300], [480, 270]), None)), 0);
        assert_eq!(small_slides(&paper([905, 1280], &[], Some(100))), 0, "a page of text");
        assert_eq!(
            small_slides(&paper([1280, 905], &grid(2, 1, [600, 0], [480, 270]), None)),
            0,
            "two pictures"
        );
        assert_eq!(
            small_slides(&paper([905, 1280], &[[140, 100, 200, 120]], Some(300))),
            0,
            "a picture in a text"
        );
        assert_eq!(small_slides(&RgbImage::new(1, 1)), 0);
    }
}
