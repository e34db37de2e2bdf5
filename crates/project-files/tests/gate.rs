//! What passes, what fails, what stays undecided, and what the gate says of it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use project_files::{Check, Comparison, Gain, Gate, Interval, Outcome, Override, ValidationResults};

/// The sample after a change, judged.
fn judged(change: impl FnOnce(&mut ValidationResults)) -> ValidationResults {
    let mut results = ValidationResults::sample();
    change(&mut results);
    results.judge();
    results
}

fn outcome(change: impl FnOnce(&mut ValidationResults)) -> Outcome {
    judged(change).outcome
}

fn find<'a>(results: &'a ValidationResults, metric: &str, criterion: &str) -> &'a Check {
    let is_it = |check: &&Check| check.metric == metric && check.criterion == criterion;
    results.checks.iter().find(is_it).unwrap()
}

fn interval(low: f64, high: f64) -> Interval {
    Interval { low, high }
}

#[test]
fn the_bound_decides_and_not_the_point() {
    // Metric, its value, threshold, and whether larger is better.
    for (name, threshold, sign) in [("within_1", 0.85, 1.0), ("mae", 0.6, -1.0), ("qwk", 0.4, 1.0)] {
        let name = format!("overall_{name}");
        let at = |near: f64, far: f64| {
            let ends = [threshold + sign * near, threshold + sign * far];
            let interval = interval(ends[0].min(ends[1]), ends[0].max(ends[1]));
            outcome(|results| {
                results.metrics.insert(name.clone(), threshold + sign * f64::midpoint(near, far));
                results.intervals.insert(name.clone(), interval);
            })
        };
        assert_eq!(at(0.001, 0.1), Outcome::Pass, "{name}");
        assert_eq!(at(-0.001, 0.1), Outcome::Undecided, "{name}: the point is well beyond, the bound is not");
        assert_eq!(at(0.0, 0.1), Outcome::Undecided, "{name}: the threshold itself is not enough");
        assert_eq!(at(-0.1, 0.001), Outcome::Undecided, "{name}");
        assert_eq!(at(-0.1, 0.0), Outcome::Fail, "{name}");
        assert_eq!(at(-0.2, -0.1), Outcome::Fail, "{name}");
    }
}

#[test]
fn each_criterion_has_its_own_kappa_and_must_not_fail_anywhere() {
    let with = |name: &str, low: f64, high: f64| {
        let middle = f64::midpoint(low, high);
        outcome(|results| {
            results.metrics.insert(name.to_owned(), middle);
            results.intervals.insert(name.to_owned(), interval(low, high));
        })
    };
    assert_eq!(with("clarity_qwk", -0.2, 0.1), Outcome::Fail);
    assert_eq!(with("clarity_qwk", 0.39, 0.8), Outcome::Undecided);
    assert_eq!(with("clarity_mae", 0.61, 0.9), Outcome::Fail);
    assert_eq!(with("clarity_mae", 0.45, 0.75), Outcome::Pass, "few ratings of one criterion show little");
    assert_eq!(with("clarity_within_1", 0.6, 0.84), Outcome::Fail);
    let gain = |low: f64, high: f64| {
        outcome(|results| {
            let gain = Gain { value: f64::midpoint(low, high), interval: Some(interval(low, high)) };
            results.baseline.as_mut().unwrap().relative_gains.insert("overall".to_owned(), gain);
        })
    };
    assert_eq!(gain(0.26, 0.4), Outcome::Pass);
    assert_eq!(gain(0.20, 0.4), Outcome::Undecided);
    assert_eq!(gain(-0.1, 0.1), Outcome::Fail);
}

#[test]
fn what_is_missing_is_undecided_and_never_passes() {
    assert_eq!(ValidationResults::sample().outcome, Outcome::Pass);
    for name in ValidationResults::sample().metrics.keys() {
        assert_eq!(outcome(|results| _ = results.metrics.remove(name)), Outcome::Undecided, "{name}");
        assert_eq!(outcome(|results| _ = results.intervals.remove(name)), Outcome::Undecided, "{name}");
        let nan = |results: &mut ValidationResults| _ = results.metrics.insert(name.clone(), f64::NAN);
        assert_eq!(outcome(nan), Outcome::Undecided, "{name}");
        for (low, high) in [(f64::NAN, 0.9), (0.1, f64::NAN), (f64::NEG_INFINITY, 0.9), (0.9, 0.8)] {
            let odd = |results: &mut ValidationResults| {
                _ = results.intervals.insert(name.clone(), interval(low, high));
            };
            assert_eq!(outcome(odd), Outcome::Undecided, "{name} {low} {high}");
        }
    }
    for name in ValidationResults::sample().inputs.keys() {
        let results = judged(|results| _ = results.inputs.remove(name));
        assert_eq!(results.outcome, Outcome::Undecided, "{name}");
        assert!(results.reasons.concat().contains(name), "{:?}", results.reasons);
    }
    assert_eq!(outcome(|results| results.human_ceiling = None), Outcome::Undecided);
    assert_eq!(outcome(|results| results.baseline = None), Outcome::Undecided);
    assert_eq!(outcome(|results| results.sizes.criteria.clear()), Outcome::Undecided);
    for (ratings, decks, expected) in
        [(20, 5, Outcome::Pass), (19, 5, Outcome::Undecided), (20, 4, Outcome::Undecided)]
    {
        let sized = |results: &mut ValidationResults| {
            results.sizes.criteria.insert("clarity".to_owned(), ratings);
            results.sizes.criterion_groups.insert("clarity".to_owned(), decks);
        };
        assert_eq!(outcome(sized), expected, "{ratings} ratings, {decks} decks");
    }
    let unmeasured =
        |results: &mut ValidationResults| _ = results.sizes.criteria.insert("design".to_owned(), 0);
    assert_eq!(outcome(unmeasured), Outcome::Undecided, "a criterion without a rating");
    assert_eq!(ValidationResults::default().refusals(&Gate::default()).len(), judged_empty());
}

/// How many reasons there are against results that say nothing: one for each check that does not pass, and the missing checks.
fn judged_empty() -> usize {
    let mut empty = ValidationResults::default();
    empty.judge();
    assert_eq!(empty.outcome, Outcome::Undecided);
    empty.reasons.len() + 1
}

#[test]
fn an_easier_bound_needs_a_name_and_a_reason() {
    let eased = Gate { max_mae: 9.0, ..Gate::PUBLISHED };
    let results = judged(|results| results.gate = eased);
    assert_eq!(results.outcome, Outcome::Undecided);
    assert!(results.reasons[0].contains("`max_mae` is 9, and 0.6 is published"), "{:?}", results.reasons);
    let given = |name: &str, reason: &str| Override { name: name.to_owned(), reason: reason.to_owned() };
    for (name, reason, expected) in [
        ("max_mae", "a first trial in one team", Outcome::Pass),
        ("max_mae", " ", Outcome::Undecided),
        ("min_kappa", "a first trial", Outcome::Undecided),
    ] {
        let with = |results: &mut ValidationResults| {
            results.gate = eased;
            results.overrides = vec![given(name, reason)];
        };
        assert_eq!(outcome(with), expected, "{name} {reason}");
    }
    let alone = |results: &mut ValidationResults| {
        results.human_ceiling = None;
        results.overrides = vec![given("human_ceiling", "there is one of us")];
    };
    assert_eq!(outcome(alone), Outcome::Pass);
    let kappa = |results: &mut ValidationResults| {
        _ = results.metrics.remove("clarity_qwk");
        results.overrides = vec![given("qwk", "never mind")];
    };
    assert_eq!(outcome(kappa), Outcome::Undecided, "not every condition can be set aside");
}

fn champion(gains: &[(&str, f64, f64)]) -> Comparison {
    let gain = |&(key, low, high): &(&str, f64, f64)| {
        let value = f64::midpoint(low, high);
        (format!("{key}_mae"), Gain { value, interval: Some(interval(low, high)) })
    };
    Comparison { name: "v1.0.0".to_owned(), gains: gains.iter().map(gain).collect(), ..Comparison::default() }
}

#[test]
fn a_challenger_is_better_or_not_worse_by_the_margin_that_was_given() {
    let against = |gains: &[(&str, f64, f64)], champion_margin: f64| {
        judged(|results| {
            results.champion = Some(champion(gains));
            results.gate.champion_margin = champion_margin;
            results.overrides =
                vec![Override { name: "champion_margin".to_owned(), reason: "new decks".to_owned() }];
        })
        .outcome
    };
    let (better, same, worse) = ((0.01, 0.1), (-0.03, 0.03), (-0.1, -0.01));
    let of = |overall: (f64, f64), clarity: (f64, f64)| {
        [("overall", overall.0, overall.1), ("clarity", clarity.0, clarity.1)]
    };
    assert_eq!(against(&of(better, same), 0.0), Outcome::Pass);
    assert_eq!(against(&of(same, same), 0.0), Outcome::Undecided);
    assert_eq!(against(&of(same, same), 0.04), Outcome::Pass);
    assert_eq!(against(&of(worse, same), 0.0), Outcome::Fail);
    assert_eq!(against(&of(better, worse), 0.04), Outcome::Fail, "one criterion pays for the others");
    assert_eq!(against(&[("overall", 0.01, 0.1)], 0.0), Outcome::Undecided, "a criterion was not compared");
    assert_eq!(against(&[], 0.0), Outcome::Undecided, "there is a champion that was not compared");
}

#[test]
fn a_model_that_is_worse_than_a_cheap_one_fails() {
    let beside = |low: f64, high: f64| {
        outcome(|results| results.cheap_baselines.push(champion(&[("overall", low, high)])))
    };
    assert_eq!(beside(0.1, 0.2), Outcome::Pass);
    assert_eq!(beside(-0.05, 0.02), Outcome::Pass);
    assert_eq!(beside(-0.05, -0.01), Outcome::Fail);
}

#[test]
fn the_numbers_decide_and_not_the_verdict_that_stands_beside_them() {
    let gate = Gate::default();
    assert!(ValidationResults::sample().refusals(&gate).is_empty());
    let changed = |change: fn(&mut ValidationResults)| {
        let mut results = ValidationResults::sample();
        change(&mut results);
        results.refusals(&gate).len()
    };
    assert_eq!(
        changed(|r| _ = r.metrics.insert("overall_mae".to_owned(), 0.1)),
        1,
        "the check says otherwise"
    );
    assert_eq!(changed(|r| _ = r.intervals.remove("overall_mae")), 2);
    assert_eq!(changed(|r| r.outcome = Outcome::Undecided), 0, "`passes_threshold` is what is read");
    assert_eq!(changed(|r| r.passes_threshold = false), 1);
    assert_eq!(changed(|r| r.checks.clear()), 1);
    assert_eq!(changed(|r| r.checks[0].outcome = Outcome::Fail), 1);
    let failed = judged(|r| _ = r.intervals.insert("overall_mae".to_owned(), interval(0.7, 0.8)));
    assert_eq!(failed.refusals(&gate).len(), 1);
    let harder = Gate { max_mae: 0.42, ..gate };
    assert_eq!(ValidationResults::sample().refusals(&harder).len(), 1, "the bounds of today are asked too");
    let easier = Gate { max_mae: 5.0, ..gate };
    assert!(ValidationResults::sample().refusals(&easier).is_empty(), "and those of the validation");
    assert_eq!(ValidationResults::sample().refusals(&Gate { max_mae: f64::NAN, ..gate }).len(), 3);
}

#[test]
fn a_reason_gives_value_interval_and_threshold() {
    let results = ValidationResults::sample();
    assert_eq!(
        find(&results, "mae", "overall").reason,
        "overall: the mean absolute error is 0.400 [0.350, 0.450]; below 0.600 is asked of all of it"
    );
    assert_eq!(
        find(&results, "within_1", "clarity").reason,
        "clarity: the share within one point of the people's scores is 92.0 % [87.0 %, 97.0 %]; above 85.0 % must remain possible"
    );
    assert_eq!(find(&results, "mae", "overall").bound, Some(0.45));
    assert!(find(&results, "within_1", "clarity").bound.is_some_and(|bound| (bound - 0.97).abs() < 1e-12));
    let results = judged(|r| _ = r.intervals.insert("overall_qwk".to_owned(), interval(0.1, 0.3)));
    assert!(results.reasons[0].ends_with("above 0.400 is asked of all of it: that is not reached"));
    let results = judged(|r| _ = r.intervals.insert("overall_qwk".to_owned(), interval(0.1, 0.8)));
    assert!(results.reasons[0].ends_with("these slides do not tell"));
    let results = judged(|r| _ = r.metrics.remove("overall_qwk"));
    assert!(results.reasons[0].ends_with("is not known"));
}

#[test]
fn a_bound_of_zero_has_no_sign() {
    let results = judged(|results| {
        let gain = Gain { value: -0.0002, interval: Some(interval(-0.05, 0.06)) };
        let gains = [("overall_mae".to_owned(), gain)].into();
        results.champion = Some(Comparison { name: "v1.0.0".to_owned(), gains, ..Comparison::default() });
    });
    let check = find(&results, "gain_over_champion", "overall");
    assert!(check.threshold.is_sign_positive() && check.threshold == 0.0);
    let said = "overall: the error saved against the champion is 0.000 [-0.050, +0.060]; above 0.000 is asked of all of it";
    assert!(check.reason.starts_with(said), "{}", check.reason);
}
