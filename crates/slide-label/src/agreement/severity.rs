use super::RatingMatrix;
use super::equations::Equations;

/// The ridge picks the smallest solution where the data leave it open (raters in unconnected groups, the common shift).
const RIDGE: f64 = 1e-6;

/// How many points each rater scores below the others on the same slides (severity; negative for a lenient rater).
///
/// The least-squares solution of `score = slide + rater` over one criterion, or over all where `criterion` is `None`, with the
/// raters' effects summing to zero. Raters who share no slide with anybody have none. From few slides it is mostly noise:
/// [`shrunk_severity`] is what labels are corrected by.
pub fn severity(matrix: &RatingMatrix, criterion: Option<usize>) -> Vec<f64> {
    let criteria = criterion.map_or(0..matrix.criteria().len(), |index| index..index + 1);
    let solution = Equations::of_criteria(matrix, criteria).solve(RIDGE);
    solution.effects.iter().map(|leniency| -leniency).collect()
}

/// The raters' severities, criterion by criterion, each drawn towards zero by as much as it is likely to be chance.
///
/// A rater's effect is a normal draw that all criteria share, plus one for each criterion (random effects, Laird and Ware 1982);
/// its expectation given the ratings is the solution of the normal equations with the ridge `ρ = noise² / severity²`. Both
/// variances are those under which the ratings are most likely once the slides' own effects are eliminated (restricted maximum
/// likelihood, Patterson and Thompson 1971). Where raters do not differ, or too little is known, that is no correction at all.
///
/// Between groups of raters who share no slide ([`rater_groups`]) nothing is corrected, whatever the groups' means.
pub fn shrunk_severity(matrix: &RatingMatrix) -> Vec<Vec<f64>> {
    let criteria: Vec<Equations> =
        (0..matrix.criteria().len()).map(|index| Equations::of_criteria(matrix, index..index + 1)).collect();
    let means = Equations::of_means(matrix);
    let common = expected(&means, likeliest_ridge(std::slice::from_ref(&means)));
    // What a criterion has of its own is looked for in what the whole common effect leaves, not in what its shrinkage leaves.
    let whole = means.solve(RIDGE).effects;
    let scored = criteria.iter().filter(|equations| equations.freedom > 0.0).count();
    let freedom = whole.len().saturating_sub(1) as f64 / scored.max(1) as f64;
    let rest: Vec<Equations> = criteria.iter().map(|equations| equations.without(&whole, freedom)).collect();
    let ridge = if scored < 2 { None } else { likeliest_ridge(&rest) };
    let severity = |(equations, rest): (&Equations, &Equations)| {
        if equations.freedom > 0.0 {
            let own = expected(rest, ridge);
            common.iter().zip(own).map(|(common, own)| -common - own).collect()
        } else {
            vec![0.0; common.len()]
        }
    };
    criteria.iter().zip(&rest).map(severity).collect()
}

/// The effects to be expected; none without a ridge, which says that there are none.
fn expected(equations: &Equations, ridge: Option<f64>) -> Vec<f64> {
    ridge.map_or_else(|| vec![0.0; equations.right.len()], |ridge| equations.solve(ridge).effects)
}

/// The deviance of the scores of all these equations under a ridge.
fn deviance(known: &[&Equations], ridge: f64) -> f64 {
    let of = |equations: &&Equations| {
        let solution = equations.solve(ridge);
        solution.log_determinant - equations.right.len() as f64 * ridge.ln()
            + noise_deviance(equations, &solution.effects)
    };
    known.iter().map(of).sum()
}

/// The ridge under which the scores of all these equations are most likely, searched to a quarter of a power of ten; `None` where
/// they are most likely without any effect of raters.
fn likeliest_ridge(equations: &[Equations]) -> Option<f64> {
    let known: Vec<&Equations> = equations.iter().filter(|equations| equations.freedom > 0.0).collect();
    let none: f64 =
        known.iter().map(|equations| noise_deviance(equations, &vec![0.0; equations.right.len()])).sum();
    let mut best: (f64, Option<f64>) = (none, None);
    let mut consider = |powers: &[f64]| {
        for &power in powers {
            let found = deviance(&known, 10f64.powf(power));
            if found < best.0 {
                best = (found, Some(power));
            }
        }
        best.1
    };
    let mut power = consider(&[-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0])?;
    for step in [0.5, 0.25] {
        power = consider(&[power - step, power + step])?;
    }
    Some(10f64.powf(power))
}

/// Twice the negative log likelihood of the noise, its variance being the likeliest, but for constants. Scores are whole numbers:
/// a variance below this is rounding that happens to fit.
fn noise_deviance(equations: &Equations, effects: &[f64]) -> f64 {
    const LEAST_VARIANCE: f64 = 1e-4;
    let variance = equations.unexplained(effects) / equations.freedom;
    equations.freedom * variance.max(LEAST_VARIANCE).ln()
}

/// The raters in groups that share slides, directly or through others, each in order of their names: between two groups nobody can
/// say who is more severe. People who have rated nothing are in none.
pub fn rater_groups(matrix: &RatingMatrix) -> Vec<Vec<usize>> {
    let mut group_of: Vec<usize> = (0..matrix.raters().len()).collect();
    let mut has_rated = vec![false; group_of.len()];
    for slide in 0..matrix.slides().len() {
        let mut raters = matrix.ratings(slide).map(|rating| matrix.rater(rating));
        let Some(first) = raters.next() else { continue };
        has_rated[first] = true;
        for rater in raters {
            has_rated[rater] = true;
            let (from, to) = (group_of[rater], group_of[first]);
            if from != to {
                group_of.iter_mut().filter(|group| **group == from).for_each(|group| *group = to);
            }
        }
    }
    let mut groups: Vec<Vec<usize>> = vec![Vec::new(); group_of.len()];
    for (rater, group) in group_of.into_iter().enumerate().filter(|(rater, _)| has_rated[*rater]) {
        groups[group].push(rater);
    }
    groups.retain(|group| !group.is_empty());
    groups.sort();
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each slide with the raters' places and their scores on the criteria.
    fn matrix(raters: usize, criteria: usize, slides: &[&[(u32, &[u8])]]) -> RatingMatrix {
        let names = (0..raters).map(|rater| format!("r{rater}")).collect();
        let mut matrix = RatingMatrix::new((0..criteria).map(|c| format!("c{c}")).collect(), names);
        for (index, ratings) in slides.iter().enumerate() {
            matrix.push(&format!("s{index}"), index as u32, ratings.iter().copied());
        }
        matrix
    }

    #[test]
    fn severities_are_found_although_nobody_rated_everything() {
        // Leniency: Ana 1, Ben 0, Cleo -1; each slide is rated by two of the three.
        let names = ["Ana", "Ben", "Cleo"].map(str::to_owned).to_vec();
        let mut matrix = RatingMatrix::new(vec!["clarity".to_owned()], names);
        for slide in 0..9u32 {
            let (first, second) = [(0, 1), (1, 2), (0, 2)][slide as usize % 3];
            let give = |rater: u32| [2 + 1 - rater as u8 + slide as u8 % 2];
            let (a, b) = (give(first), give(second));
            matrix.push(&format!("s{slide}"), slide, [(first, &a[..]), (second, &b[..])].into_iter());
        }
        let (found, shrunk) = (severity(&matrix, None), shrunk_severity(&matrix).remove(0));
        for (rater, expected) in [-1.0, 0.0, 1.0].into_iter().enumerate() {
            assert!((found[rater] - expected).abs() < 1e-5, "{found:?}");
            assert!((shrunk[rater] - expected).abs() < 0.02, "nothing is in doubt: {shrunk:?}");
        }
    }

    #[test]
    fn a_rater_alone_has_no_severity() {
        let matrix = matrix(1, 1, &[&[(0, &[5])]]);
        assert_eq!((severity(&matrix, Some(0)), shrunk_severity(&matrix)), (vec![-0.0], vec![vec![0.0]]));
    }

    #[test]
    fn differences_that_chance_explains_are_not_corrected() {
        // Each is above the other as often; once more than that on the last slide.
        let slides: Vec<[(u32, [u8; 1]); 2]> =
            (0..9u8).map(|i| [(0, [3 + i % 2]), (1, [4 - i % 2])]).collect();
        let slides: Vec<Vec<(u32, &[u8])>> = slides
            .iter()
            .map(|slide| slide.iter().map(|(rater, codes)| (*rater, &codes[..])).collect())
            .collect();
        let slides: Vec<&[(u32, &[u8])]> = slides.iter().map(Vec::as_slice).collect();
        let matrix = matrix(2, 1, &slides);
        assert!(severity(&matrix, Some(0))[0].abs() > 0.05, "least squares takes it for severity");
        assert_eq!(shrunk_severity(&matrix), [[0.0, 0.0]]);
    }

    #[test]
    fn groups_that_share_no_slide_are_told_apart() {
        let all = matrix(5, 1, &[&[(0, &[1]), (1, &[1])], &[(2, &[1]), (3, &[1])], &[(4, &[1])]]);
        assert_eq!(rater_groups(&all), [vec![0, 1], vec![2, 3], vec![4]]);
        let joined =
            matrix(4, 1, &[&[(0, &[1]), (1, &[1])], &[(2, &[1]), (3, &[1])], &[(1, &[1]), (2, &[1])]]);
        assert_eq!(rater_groups(&joined), [vec![0, 1, 2, 3]]);
        assert!(rater_groups(&matrix(3, 1, &[])).is_empty());
    }
}
