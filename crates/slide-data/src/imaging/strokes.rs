//! Strokes: where an image differs from what lies beside it, and the connected parts of that.

use std::ops::Range;

use image::RgbImage;

/// Side of the squares whose strongest difference says what counts as one there.
const SQUARE: usize = 16;
/// A difference counts from this share of the strongest one nearby, one in so many: print of any contrast has strokes, and what blurs
/// or packs an image leaves none between its letters.
const SHARE: u8 = 4;
/// Weaker differences are noise, stronger ones always count.
const BOUNDS: (u8, u8) = (18, 36);

/// Which pixels of an image differ from the right or the lower neighbour. Reversed colours have the same strokes.
pub(super) struct Strokes {
    pub(super) width: usize,
    pub(super) height: usize,
    is_stroke: Vec<bool>,
    /// At row `y` and column `x` how many lie above and left of there; a row and a column longer than the image.
    sums: Vec<u32>,
}

/// What hangs together: the box around it, with what it is made of.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Part {
    pub(super) columns: Range<usize>,
    pub(super) rows: Range<usize>,
    pub(super) pixels: usize,
    /// Unbroken pieces of rows: divided by the height, how often a row crosses it.
    pub(super) runs: usize,
}

/// An unbroken piece of a row.
struct Run {
    row: usize,
    columns: Range<usize>,
}

/// For each run one that it hangs together with, itself where it is the first.
struct Forest(Vec<usize>);

impl Strokes {
    pub(super) fn of(image: &RgbImage) -> Self {
        let (width, height) = (image.width() as usize, image.height() as usize);
        let differences = differences(image);
        let thresholds = Squares::of(&differences, width).thresholds();
        let mut is_stroke = vec![false; width * height];
        let rows = is_stroke.chunks_exact_mut(width.max(1)).zip(differences.chunks_exact(width.max(1)));
        for (y, (to, from)) in rows.enumerate() {
            for (at, (to, from)) in to.chunks_mut(SQUARE).zip(from.chunks(SQUARE)).enumerate() {
                let threshold = thresholds[(y / SQUARE) * width.div_ceil(SQUARE) + at];
                to.iter_mut().zip(from).for_each(|(to, from)| *to = *from > threshold);
            }
        }
        let sums = sums(&is_stroke, width, height);
        Self { width, height, is_stroke, sums }
    }

    /// The share of stroke pixels in a rectangle; 0 where there is none.
    pub(super) fn share(&self, columns: &Range<usize>, rows: Range<usize>) -> f64 {
        let rows = rows.start.min(self.height)..rows.end.min(self.height);
        let at = |row: usize, column: usize| self.sums[row * (self.width + 1) + column];
        let left = at(rows.end, columns.start) - at(rows.start, columns.start);
        let count = at(rows.end, columns.end) - at(rows.start, columns.end) - left;
        f64::from(count) / ((rows.len() * columns.len()) as f64).max(1.0)
    }

    /// What hangs together, by sides or corners (A. Rosenfeld and J. Pfaltz, Sequential operations in digital picture processing, 1966).
    pub(super) fn parts(&self) -> Vec<Part> {
        let (mut runs, mut forest, mut above) = (Vec::new(), Forest(Vec::new()), 0..0);
        for (row, line) in self.is_stroke.chunks_exact(self.width.max(1)).enumerate() {
            let first = runs.len();
            push_runs(line, row, &mut runs);
            forest.0.extend(first..runs.len());
            forest.hang_together(&runs, above, first..runs.len());
            above = first..runs.len();
        }
        let mut place_of: Vec<Option<usize>> = vec![None; runs.len()];
        let mut parts: Vec<Part> = Vec::new();
        for (at, run) in runs.iter().enumerate() {
            let part = Part::of(run);
            match &mut place_of[forest.root(at)] {
                Some(place) => parts[*place].take(&part),
                place => {
                    *place = Some(parts.len());
                    parts.push(part);
                }
            }
        }
        parts
    }
}

impl Part {
    fn of(run: &Run) -> Self {
        let (columns, rows) = (run.columns.clone(), run.row..run.row + 1);
        Self { pixels: columns.len(), columns, rows, runs: 1 }
    }

    pub(super) fn take(&mut self, other: &Self) {
        self.columns = self.columns.start.min(other.columns.start)..self.columns.end.max(other.columns.end);
        self.rows = self.rows.start.min(other.rows.start)..self.rows.end.max(other.rows.end);
        self.pixels += other.pixels;
        self.runs += other.runs;
    }

    pub(super) fn width(&self) -> usize {
        self.columns.len()
    }

    pub(super) fn height(&self) -> usize {
        self.rows.len()
    }
}

impl Forest {
    fn root(&mut self, mut at: usize) -> usize {
        while self.0[at] != at {
            self.0[at] = self.0[self.0[at]];
            at = self.0[at];
        }
        at
    }

    /// The runs of a row with those of the row above that they touch.
    fn hang_together(&mut self, runs: &[Run], above: Range<usize>, row: Range<usize>) {
        let mut first = above.start;
        for here in row {
            let columns = &runs[here].columns;
            while first < above.end && runs[first].columns.end < columns.start {
                first += 1;
            }
            let touching = (first..above.end).take_while(|at| runs[*at].columns.start <= columns.end);
            for at in touching {
                let (one, other) = (self.root(at), self.root(here));
                self.0[one.max(other)] = one.min(other);
            }
        }
    }
}

fn push_runs(line: &[bool], row: usize, runs: &mut Vec<Run>) {
    let mut at = 0;
    while let Some(start) = line[at..].iter().position(|is| *is).map(|skipped| at + skipped) {
        let end = line[start..].iter().position(|is| !is).map_or(line.len(), |length| start + length);
        runs.push(Run { row, columns: start..end });
        at = end;
    }
}

/// How far each pixel is from its right or its lower neighbour, in the channel that differs most.
fn differences(image: &RgbImage) -> Vec<u8> {
    let width = image.width() as usize;
    let mut all = vec![0; width * image.height() as usize];
    let mut rows = image.as_raw().chunks_exact(3 * width.max(1)).peekable();
    for to in all.chunks_exact_mut(width.max(1)) {
        let Some(row) = rows.next() else { break };
        let pixels = row.chunks_exact(3);
        let below = rows.peek().map(|below| below.chunks_exact(3));
        for (to, pair) in to.iter_mut().zip(pixels.clone().zip(row[3..].chunks_exact(3))) {
            *to = distance(pair);
        }
        for (to, pair) in to.iter_mut().zip(pixels.zip(below.into_iter().flatten())) {
            *to = distance(pair).max(*to);
        }
    }
    all
}

fn distance((one, other): (&[u8], &[u8])) -> u8 {
    one[0].abs_diff(other[0]).max(one[1].abs_diff(other[1])).max(one[2].abs_diff(other[2]))
}

/// The strongest difference in each square.
struct Squares {
    columns: usize,
    strongest: Vec<u8>,
}

impl Squares {
    fn of(differences: &[u8], width: usize) -> Self {
        let columns = width.div_ceil(SQUARE);
        let rows = differences.len().div_ceil(width.max(1) * SQUARE);
        let mut strongest = vec![0; columns * rows];
        for (y, row) in differences.chunks_exact(width.max(1)).enumerate() {
            let squares = &mut strongest[(y / SQUARE) * columns..][..columns];
            for (square, values) in squares.iter_mut().zip(row.chunks(SQUARE)) {
                *square = values.iter().fold(*square, |most, value| most.max(*value));
            }
        }
        Self { columns, strongest }
    }

    /// From what on a difference counts in each square: by the strongest there and in the squares around it.
    fn thresholds(&self) -> Vec<u8> {
        let rows = self.strongest.len() / self.columns.max(1);
        let near = |at: usize, end: usize| at.saturating_sub(1)..(at + 2).min(end);
        let threshold = |place: usize| {
            let around = near(place / self.columns, rows).flat_map(|row| {
                near(place % self.columns, self.columns)
                    .map(move |column| self.strongest[row * self.columns + column])
            });
            (around.max().unwrap_or(0) / SHARE).clamp(BOUNDS.0, BOUNDS.1)
        };
        (0..self.strongest.len()).map(threshold).collect()
    }
}

fn sums(is_stroke: &[bool], width: usize, height: usize) -> Vec<u32> {
    let mut sums = vec![0; (width + 1) * (height + 1)];
    for (y, row) in is_stroke.chunks_exact(width.max(1)).enumerate() {
        let (above, here) = sums[y * (width + 1)..].split_at_mut(width + 1);
        let mut of_row = 0;
        for ((is, above), here) in row.iter().zip(&above[1..]).zip(&mut here[1..]) {
            of_row += u32::from(*is);
            *here = above + of_row;
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    fn noise(width: u32, height: u32) -> RgbImage {
        let mut rng = fastrand::Rng::with_seed(3);
        RgbImage::from_fn(width, height, |_, _| Rgb([rng.u8(..), rng.u8(..), rng.u8(..)]))
    }

    /// Fills from each pixel, the plain way.
    fn filled(strokes: &Strokes) -> Vec<(Range<usize>, Range<usize>, usize)> {
        let (width, mut left, mut found) = (strokes.width, strokes.is_stroke.clone(), Vec::new());
        while let Some(start) = left.iter().position(|is| *is) {
            let (mut todo, mut seen) = (vec![start], Vec::new());
            left[start] = false;
            while let Some(at) = todo.pop() {
                seen.push(at);
                let (x, y) = (at % width, at / width);
                for row in y.saturating_sub(1)..(y + 2).min(strokes.height) {
                    for column in x.saturating_sub(1)..(x + 2).min(width) {
                        if std::mem::take(&mut left[row * width + column]) {
                            todo.push(row * width + column);
                        }
                    }
                }
            }
            let span = |all: Vec<usize>| *all.iter().min().unwrap()..*all.iter().max().unwrap() + 1;
            let columns = span(seen.iter().map(|at| at % width).collect());
            found.push((columns, span(seen.iter().map(|at| at / width).collect()), seen.len()));
        }
        found
    }

    #[test]
    fn parts_are_those_that_filling_finds() {
        // A blurred noise, so that there are parts of all sizes.
        let image = image::imageops::blur(&noise(90, 70), 1.2);
        let strokes = Strokes::of(&image);
        let mut parts: Vec<_> =
            strokes.parts().into_iter().map(|part| (part.columns, part.rows, part.pixels)).collect();
        let mut wanted = filled(&strokes);
        assert!(wanted.len() > 20, "{}", wanted.len());
        for found in [&mut parts, &mut wanted] {
            found.sort_by_key(|(columns, rows, pixels)| (columns.start, rows.start, *pixels));
        }
        assert_eq!(parts, wanted);
    }

    #[test]
    fn a_share_is_that_of_counting() {
        let strokes = Strokes::of(&image::imageops::blur(&noise(50, 40), 1.0));
        for (columns, rows) in [(0..50, 0..40), (3..20, 7..9), (10..11, 0..40), (5..9, 30..90)] {
            let inside = |row: usize| {
                columns.clone().filter(|column| strokes.is_stroke[row * 50 + column]).count() as f64
            };
            let whole = rows.start..rows.end.min(40);
            let wanted = whole.clone().map(inside).sum::<f64>() / (whole.len() * columns.len()) as f64;
            assert!((strokes.share(&columns, rows) - wanted).abs() < 1e-12);
        }
        assert!(strokes.share(&(3..9), 40..44) < 1e-12, "below the image");
    }

    #[test]
    fn faint_strokes_count_unless_strong_ones_are_near() {
        let lines = |strong: bool| {
            RgbImage::from_fn(200, 40, |x, _| match x {
                20 => Rgb([220; 3]),
                30 if strong => Rgb([0; 3]),
                _ => Rgb([245; 3]),
            })
        };
        let columns = |strong: bool| {
            Strokes::of(&lines(strong)).parts().iter().map(|part| part.columns.start).collect::<Vec<_>>()
        };
        assert_eq!(columns(false), [19]);
        assert_eq!(columns(true), [29]);
    }
}
