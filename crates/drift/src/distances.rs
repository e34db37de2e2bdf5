use statistics::{quantile, sorted};

/// Cut points that put about equal shares of a reference sample into each bin.
#[derive(Debug, Clone, PartialEq)]
pub struct Bins {
    /// Value `v` falls into bin `number of edges below v`.
    edges: Vec<f64>,
}

impl Bins {
    /// Cuts at the quantiles `1/count … (count-1)/count` of `reference`; equal quantiles make one cut, so ties make fewer bins.
    ///
    /// Where much of the reference sits at its minimum, values below that get a bin of their own.
    pub fn quantiles(reference: &[f64], count: usize) -> Self {
        let sorted = sorted(reference);
        let mut edges: Vec<f64> =
            (1..count).filter_map(|i| quantile(&sorted, i as f64 / count as f64)).collect();
        edges.dedup();
        if let (Some(&edge), Some(&least)) = (edges.first(), sorted.first())
            && edge <= least
        {
            edges.insert(0, least.next_down());
        }
        Self { edges }
    }

    /// How many bins there are.
    pub fn count(&self) -> usize {
        self.edges.len() + 1
    }

    /// How many values fall into each bin.
    pub fn counts(&self, values: &[f64]) -> Vec<f64> {
        let mut counts = vec![0.0; self.count()];
        for value in values {
            counts[self.edges.partition_point(|edge| edge < value)] += 1.0;
        }
        counts
    }
}

/// Shares with half a count added to each bin, so that an empty bin does not make a statistic infinite.
fn smoothed(counts: &[f64]) -> Vec<f64> {
    let total: f64 = counts.iter().sum::<f64>() + 0.5 * counts.len() as f64;
    counts.iter().map(|count| (count + 0.5) / total).collect()
}

/// Population stability index of two histograms over the same bins, 0 or more: `Σ (q - p) ln(q / p)` of the shares, half a
/// count added to each bin. By custom 0.1 is a small and 0.25 a major change.
pub fn psi(reference: &[f64], recent: &[f64]) -> f64 {
    let (p, q) = (smoothed(reference), smoothed(recent));
    p.iter().zip(&q).map(|(p, q)| (q - p) * (q / p).ln()).sum()
}

/// Jensen–Shannon divergence in bits of two histograms over the same bins, 0 to 1; 0 where either is empty.
pub fn js_divergence(reference: &[f64], recent: &[f64]) -> f64 {
    let (n, m) = (reference.iter().sum::<f64>(), recent.iter().sum::<f64>());
    if n <= 0.0 || m <= 0.0 {
        return 0.0;
    }
    let against_middle = |p: f64, middle: f64| if p > 0.0 { p * (p / middle).log2() } else { 0.0 };
    let term = |(a, b): (&f64, &f64)| {
        let (p, q) = (a / n, b / m);
        let middle = f64::midpoint(p, q);
        against_middle(p, middle) + against_middle(q, middle)
    };
    (reference.iter().zip(recent).map(term).sum::<f64>() / 2.0).clamp(0.0, 1.0)
}

/// Two-sample Kolmogorov–Smirnov statistic, 0 to 1: the largest distance between the empirical distribution functions.
///
/// 0 where either sample is empty.
pub fn ks_statistic(reference: &[f64], recent: &[f64]) -> f64 {
    ks_of_sorted(&sorted(reference), &sorted(recent), 0.0)
}

/// First Wasserstein distance in the values' unit: the area between the empirical distribution functions; 0 where either is empty.
pub fn wasserstein(reference: &[f64], recent: &[f64]) -> f64 {
    let (a, b) = (sorted(reference), sorted(recent));
    let mut area = 0.0;
    let mut last = None;
    walk(&a, &b, 0.0, |value, below| {
        if let Some((from, distance)) = last {
            area += (value - from) * distance;
        }
        last = Some((value, below));
    });
    area
}

/// The statistic of sorted samples, `shift` added to the second.
pub(crate) fn ks_of_sorted(a: &[f64], b: &[f64], shift: f64) -> f64 {
    let mut largest = 0f64;
    walk(a, b, shift, |_, distance| largest = largest.max(distance));
    largest
}

/// Calls `visit(value, distance of the distribution functions from there on)` at each distinct value, in rising order.
fn walk(a: &[f64], b: &[f64], shift: f64, mut visit: impl FnMut(f64, f64)) {
    if a.is_empty() || b.is_empty() {
        return;
    }
    let (mut i, mut j) = (0, 0);
    while i < a.len() || j < b.len() {
        let next_a = a.get(i).copied().unwrap_or(f64::INFINITY);
        let next_b = b.get(j).map_or(f64::INFINITY, |value| value + shift);
        let value = next_a.min(next_b);
        while i < a.len() && a[i] <= value {
            i += 1;
        }
        while j < b.len() && b[j] + shift <= value {
            j += 1;
        }
        visit(value, (i as f64 / a.len() as f64 - j as f64 / b.len() as f64).abs());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_samples_are_at_distance_zero() {
        let values = [3.0, 1.0, 1.0, 2.0];
        let counts = Bins::quantiles(&values, 10).counts(&values);
        assert!(psi(&counts, &counts).abs() < 1e-15 && js_divergence(&counts, &counts).abs() < 1e-15);
        assert_eq!((ks_statistic(&values, &values), wasserstein(&values, &values)), (0.0, 0.0));
    }

    #[test]
    fn a_constant_reference_sees_values_on_both_sides() {
        let bins = Bins::quantiles(&[2.0; 20], 10);
        assert_eq!(bins.counts(&[1.0, 2.0, 2.0, 3.0]), [1.0, 2.0, 1.0]);
        assert!(psi(&bins.counts(&[2.0; 20]), &bins.counts(&[1.0; 20])) > 1.0);
    }

    #[test]
    fn empty_samples_are_no_distance_and_no_panic() {
        let bins = Bins::quantiles(&[], 10);
        assert_eq!(bins.count(), 1);
        let distances = [ks_statistic(&[], &[1.0]), wasserstein(&[1.0], &[]), js_divergence(&[0.0], &[1.0])];
        assert!(distances.iter().all(|distance| distance.abs() < 1e-15), "{distances:?}");
    }
}
