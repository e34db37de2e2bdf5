use crate::{Error, Result};

/// What a test of the maximum mean discrepancy found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mmd {
    /// The squared discrepancy without bias: about 0 where both sides are alike, below it by chance.
    pub squared: f64,
    /// Chance of one as large where nothing changed, decks re-labelled at random.
    pub p_value: f64,
    /// The width of the kernel, in the features' unit.
    pub bandwidth: f64,
}

/// Vectors of slides, with the deck of each.
#[derive(Debug, Clone, Copy)]
pub struct MmdInput<'a> {
    /// Slides × `width` numbers, row by row.
    pub features: &'a [f32],
    /// Numbers of a slide.
    pub width: usize,
    /// The deck of each slide, from 0; every deck has a slide.
    pub deck: &'a [usize],
    /// Whether each deck is recent.
    pub is_recent: &'a [bool],
}

/// Re-labellings that are drawn before they are computed, by two threads.
const ROUND: usize = 256;
/// Re-labellings that are computed at once: a row of the kernel is read once for all of them.
const BATCH: usize = 16;

/// Compares vectors of slides, such as pooled outputs of a vision tower, between two sides (Gretton et al. 2012, equation 3),
/// with whole decks as the things that were drawn: the kernel of two decks is the mean of their slides', so that a deck counts once,
/// and decks are re-labelled at random.
///
/// The kernel is `exp(-|x - y|² / (2 h²))` with the median distance between slides as `h`. Its matrix is computed once, in f32;
/// a re-labelling adds entries of the matrix of decks.
///
/// # Errors
/// When sizes do not fit together, a number is not finite, or a side has fewer than two decks.
pub fn mmd(input: &MmdInput<'_>, permutations: usize, seed: u64) -> Result<Mmd> {
    let kernel = Prepared::new(input)?;
    // The discrepancy is the same from both sides; the smaller one is cheaper.
    let recent = input.is_recent.iter().filter(|is_recent| **is_recent).count();
    let is_small = recent * 2 <= input.is_recent.len();
    let (mut order, others): (Vec<usize>, Vec<usize>) =
        (0..input.is_recent.len()).partition(|deck| input.is_recent[*deck] == is_small);
    let small = order.len();
    order.extend(others);
    let squared = kernel.squared(&order[..small]);
    let mut rng = fastrand::Rng::with_seed(seed);
    let (mut reached, mut left) = (0, permutations);
    while left > 0 {
        let sides: Vec<Vec<usize>> = (0..left.min(ROUND))
            .map(|_| {
                rng.shuffle(&mut order);
                order[..small].to_vec()
            })
            .collect();
        let found = kernel.discrepancies(&sides);
        reached += found.iter().filter(|found| **found >= squared - 1e-12).count();
        left -= sides.len();
    }
    let p_value = (1 + reached) as f64 / (1 + permutations) as f64;
    Ok(Mmd { squared, p_value, bandwidth: kernel.bandwidth })
}

/// The kernel of decks, with which any labelling of them is looked at.
pub(crate) struct Prepared {
    kernel: DeckKernel,
    bandwidth: f64,
}

impl Prepared {
    /// As [`mmd`], and refuses what it refuses.
    pub(crate) fn new(input: &MmdInput<'_>) -> Result<Self> {
        check(input)?;
        let distances = squared_distances(input.features, input.width);
        let bandwidth = median_distance(&distances, input.deck.len());
        let kernel = DeckKernel::new(deck_kernel(input, &distances, bandwidth), input.is_recent.len());
        Ok(Self { kernel, bandwidth: f64::from(bandwidth) })
    }

    /// The squared discrepancy between these decks and the others.
    pub(crate) fn squared(&self, side: &[usize]) -> f64 {
        self.discrepancies(&[side.to_vec()])[0]
    }

    /// The same of each of these sides.
    pub(crate) fn discrepancies(&self, sides: &[Vec<usize>]) -> Vec<f64> {
        self.kernel.discrepancies(sides)
    }
}

fn check(input: &MmdInput<'_>) -> Result<()> {
    let refuse = |expected: &'static str, actual: String| Err(Error::Input { expected, actual });
    let (slides, decks) = (input.deck.len(), input.is_recent.len());
    if input.width == 0 || input.features.len() != slides * input.width {
        return refuse("slides × width numbers", format!("{} for {slides} slides", input.features.len()));
    }
    if !input.features.iter().all(|value| value.is_finite()) {
        return refuse("finite numbers", "others".to_owned());
    }
    let mut sizes = vec![0usize; decks];
    for deck in input.deck {
        match sizes.get_mut(*deck) {
            Some(size) => *size += 1,
            None => return refuse("decks that are numbered from 0", format!("deck {deck} of {decks}")),
        }
    }
    let recent = input.is_recent.iter().filter(|is_recent| **is_recent).count();
    if sizes.contains(&0) || recent.min(decks - recent) < 2 {
        return refuse("two decks with slides on each side", format!("{recent} recent ones of {decks}"));
    }
    Ok(())
}

/// The matrix of squared distances, slides × slides; computed below the diagonal, by two threads.
fn squared_distances(features: &[f32], width: usize) -> Vec<f32> {
    let rows: Vec<&[f32]> = features.chunks_exact(width).collect();
    let count = rows.len();
    let mut matrix = vec![0f32; count * count];
    // Rows of equal work on both sides: the later half of a triangle's area begins at 1/√2 of its height.
    let cut = (count as f64 * std::f64::consts::FRAC_1_SQRT_2) as usize;
    let (first, second) = matrix.split_at_mut(cut * count);
    let fill = |from: usize, part: &mut [f32]| {
        for (row, line) in part.chunks_exact_mut(count).enumerate() {
            let own = rows[from + row];
            for (other, into) in rows[..from + row].iter().zip(line) {
                *into = squared_distance(own, other);
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| fill(0, first));
        fill(cut, second);
    });
    matrix
}

/// The sum in sixteen lanes, which the compiler turns into vector instructions.
fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0f32; 16];
    let (a_chunks, b_chunks) = (a.chunks_exact(16), b.chunks_exact(16));
    let rest: f32 =
        a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(a, b)| (a - b) * (a - b)).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for lane in 0..16 {
            let difference = a[lane] - b[lane];
            lanes[lane] += difference * difference;
        }
    }
    lanes.iter().sum::<f32>() + rest
}

/// The median distance between two slides; 1 where all are alike.
fn median_distance(distances: &[f32], count: usize) -> f32 {
    let below = (1..count).flat_map(|row| &distances[row * count..row * count + row]);
    let mut below: Vec<f32> = below.copied().collect();
    let middle = below.len() / 2;
    let (_, median, _) = below.select_nth_unstable_by(middle, f32::total_cmp);
    if *median > 0.0 { median.sqrt() } else { 1.0 }
}

/// The mean kernel of the slides of each two decks, decks × decks; 0 on the diagonal, which the discrepancy without bias leaves
/// out.
fn deck_kernel(input: &MmdInput<'_>, distances: &[f32], bandwidth: f32) -> Vec<f64> {
    let (slides, decks) = (input.deck.len(), input.is_recent.len());
    let mut sizes = vec![0f64; decks];
    for deck in input.deck {
        sizes[*deck] += 1.0;
    }
    let factor = -0.5 / (bandwidth * bandwidth);
    let mut kernel = vec![0f64; decks * decks];
    for row in 1..slides {
        let own = input.deck[row];
        for (other, distance) in input.deck[..row].iter().zip(&distances[row * slides..]) {
            if own != *other {
                let value = f64::from((factor * distance).exp()) / (sizes[own] * sizes[*other]);
                kernel[own * decks + other] += value;
                kernel[other * decks + own] += value;
            }
        }
    }
    kernel
}

/// The kernel of decks with the sums of its rows.
struct DeckKernel {
    matrix: Vec<f64>,
    rows: Vec<f64>,
}

impl DeckKernel {
    fn new(matrix: Vec<f64>, decks: usize) -> Self {
        let rows = matrix.chunks_exact(decks).map(|row| row.iter().sum()).collect();
        Self { matrix, rows }
    }

    /// The squared discrepancy between each of these sides and the other decks, by two threads.
    fn discrepancies(&self, sides: &[Vec<usize>]) -> Vec<f64> {
        let batch = |sides: &[Vec<usize>]| sides.chunks(BATCH).flat_map(|batch| self.batch(batch)).collect();
        let (first, second) = sides.split_at(sides.len() / 2);
        if first.len() < BATCH {
            return batch(sides);
        }
        std::thread::scope(|scope| {
            let other = scope.spawn(|| -> Vec<f64> { batch(second) });
            let mut found: Vec<f64> = batch(first);
            // A thread that panicked left nothing; it is computed here.
            found.extend(other.join().unwrap_or_else(|_| batch(second)));
            found
        })
    }

    /// Only entries of a side's decks among themselves are added, those below the diagonal, as it is symmetric.
    fn batch(&self, sides: &[Vec<usize>]) -> Vec<f64> {
        let decks = self.rows.len();
        let mut members = vec![0f64; sides.len() * decks];
        for (member, side) in members.chunks_exact_mut(decks).zip(sides) {
            for deck in side {
                member[*deck] = 1.0;
            }
        }
        let mut within = vec![0f64; sides.len()];
        for (deck, row) in self.matrix.chunks_exact(decks).enumerate() {
            for (member, within) in members.chunks_exact(decks).zip(&mut within) {
                if member[deck] > 0.0 {
                    *within += 2.0 * dot(&row[..deck], &member[..deck]);
                }
            }
        }
        let all = self.rows.iter().sum::<f64>();
        let of = |(side, within): (&Vec<usize>, f64)| {
            let between = side.iter().map(|deck| self.rows[*deck]).sum::<f64>() - within;
            let rest = all - within - 2.0 * between;
            let (m, n) = (side.len() as f64, (decks - side.len()) as f64);
            within / (m * (m - 1.0)) + rest / (n * (n - 1.0)) - 2.0 * between / (m * n)
        };
        sides.iter().zip(within).map(of).collect()
    }
}

/// The sum of products in eight lanes, which the compiler turns into vector instructions.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut lanes = [0f64; 8];
    let (a_chunks, b_chunks) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for lane in 0..8 {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    lanes.iter().sum::<f64>() + rest
}
