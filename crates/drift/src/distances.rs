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
        let cuts = (1..count).filter_map(|i| quantile(&sorted, i as f64 / count as f64)).collect();
        Self::at(cuts, sorted.first().copied())
    }

    /// Cuts at the deciles of a weighted sample; see [`quantiles`](Self::quantiles).
    pub(crate) fn deciles(reference: &Weighted) -> Self {
        let cuts = (1..10).filter_map(|tenth| reference.quantile(f64::from(tenth) / 10.0)).collect();
        Self::at(cuts, reference.pairs.first().map(|pair| pair.0))
    }

    fn at(mut edges: Vec<f64>, least: Option<f64>) -> Self {
        edges.dedup();
        if let (Some(&edge), Some(least)) = (edges.first(), least)
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
    Weighted::equal(reference).ks(&Weighted::equal(recent))
}

/// First Wasserstein distance in the values' unit: the area between the empirical distribution functions; 0 where either is empty.
pub fn wasserstein(reference: &[f64], recent: &[f64]) -> f64 {
    Weighted::equal(reference).wasserstein(&Weighted::equal(recent))
}

/// A sample whose values weigh differently, as slides do where each deck counts alike.
///
/// Its distances are those of scipy's `wasserstein_distance(…, u_weights, v_weights)` and of numpy's weighted quantiles
/// (`method="inverted_cdf"`).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Weighted {
    /// Values in rising order with their weights, which sum to 1.
    pairs: Vec<(f64, f64)>,
}

impl Weighted {
    /// Values with weights, which are scaled to sum to 1; values of no weight are left out.
    pub fn new(mut pairs: Vec<(f64, f64)>) -> Self {
        pairs.retain(|(_, weight)| *weight > 0.0);
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let total: f64 = pairs.iter().map(|(_, weight)| weight).sum();
        for (_, weight) in &mut pairs {
            *weight /= total;
        }
        Self { pairs }
    }

    /// Values that weigh alike.
    pub fn equal(values: &[f64]) -> Self {
        Self::new(values.iter().map(|value| (*value, 1.0)).collect())
    }

    /// The mean; `None` of no values.
    pub fn mean(&self) -> Option<f64> {
        (!self.pairs.is_empty()).then(|| self.pairs.iter().map(|(value, weight)| value * weight).sum())
    }

    /// The standard deviation of the distribution; `None` of no values.
    pub fn deviation(&self) -> Option<f64> {
        let mean = self.mean()?;
        let squares = self.pairs.iter().map(|(value, weight)| weight * (value - mean).powi(2));
        Some(squares.sum::<f64>().sqrt())
    }

    /// The least value up to which a share of at least `q` lies; `None` of no values.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let mut below = 0.0;
        let reaches = |(_, weight): &&(f64, f64)| {
            below += weight;
            below >= q - 1e-12
        };
        self.pairs.iter().find(reaches).or(self.pairs.last()).map(|(value, _)| *value)
    }

    /// How many values of equal weight would be as many (Kish 1965): `1 / Σ w²`.
    pub fn effective_size(&self) -> f64 {
        let squares: f64 = self.pairs.iter().map(|(_, weight)| weight * weight).sum();
        if squares > 0.0 { 1.0 / squares } else { 0.0 }
    }

    /// How many values fall into each bin, in values of equal weight.
    pub fn counts(&self, bins: &Bins) -> Vec<f64> {
        let mut counts = vec![0.0; bins.count()];
        for (value, weight) in &self.pairs {
            counts[bins.edges.partition_point(|edge| edge < value)] += weight;
        }
        let size = self.effective_size();
        counts.into_iter().map(|share| share * size).collect()
    }

    /// The largest distance of the distribution functions, 0 to 1; 0 where either sample is empty.
    pub fn ks(&self, other: &Self) -> f64 {
        let mut largest = 0f64;
        self.walk(other, |_, distance| largest = largest.max(distance));
        largest
    }

    /// The area between the distribution functions, in the values' unit; 0 where either sample is empty.
    pub fn wasserstein(&self, other: &Self) -> f64 {
        let mut area = 0.0;
        let mut last = None;
        self.walk(other, |value, below| {
            if let Some((from, distance)) = last {
                area += (value - from) * distance;
            }
            last = Some((value, below));
        });
        area
    }

    /// Calls `visit(value, distance of the distribution functions from there on)` at each distinct value, in rising order.
    fn walk(&self, other: &Self, mut visit: impl FnMut(f64, f64)) {
        let (a, b) = (&self.pairs, &other.pairs);
        if a.is_empty() || b.is_empty() {
            return;
        }
        let (mut i, mut j) = (0, 0);
        let (mut below_a, mut below_b) = (0.0, 0.0);
        let value_at = |pairs: &[(f64, f64)], at: usize| pairs.get(at).map_or(f64::INFINITY, |pair| pair.0);
        while i < a.len() || j < b.len() {
            let value = value_at(a, i).min(value_at(b, j));
            while value_at(a, i) <= value && i < a.len() {
                below_a += a[i].1;
                i += 1;
            }
            while value_at(b, j) <= value && j < b.len() {
                below_b += b[j].1;
                j += 1;
            }
            // The weights sum to 1 but for rounding.
            below_a = if i == a.len() { 1.0 } else { below_a };
            below_b = if j == b.len() { 1.0 } else { below_b };
            visit(value, (below_a - below_b).abs());
        }
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
