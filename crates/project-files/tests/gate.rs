//! What the gate says in words, and where its conditions turn.

use project_files::{Gate, GateInput, Interval};

fn input() -> GateInput {
    GateInput {
        agreement: 0.9,
        agreement_interval: None,
        mae: 0.5,
        mae_interval: None,
        constant_mae: 0.9,
        gain_interval: None,
    }
}

fn reasons(input: &GateInput) -> Vec<String> {
    Gate::default().check(input).into_iter().map(|check| check.reason).collect()
}

#[test]
fn each_check_names_what_it_compares() {
    let checks = Gate { min_human_agreement: 0.8, max_mae: 0.75 }.check(&input());
    let seen: Vec<_> = checks
        .iter()
        .map(|check| (check.metric.as_str(), check.value, check.threshold, check.passed))
        .collect();
    assert_eq!(
        seen,
        [
            ("human_agreement", 0.9, 0.8, true),
            ("overall_mae", 0.5, 0.75, true),
            ("better_than_constant", 0.5, 0.9, true)
        ]
    );
}

#[test]
fn what_passes_is_said_without_doubt() {
    assert_eq!(
        reasons(&input()),
        [
            "90.0 % of the scores are within one point of the people's; more than 85.0 % is asked",
            "the mean absolute error is 0.50; less than 0.60 is asked",
            "always giving the best constant score errs by 0.90; the model by 0.40 less",
        ]
    );
}

#[test]
fn a_model_that_gains_nothing_is_not_better() {
    for mae in [0.9, 1.0] {
        let checks = Gate::default().check(&GateInput { mae, ..input() });
        assert!(!checks[2].passed);
        assert!(checks[2].reason.ends_with("the model is not better"), "{}", checks[2].reason);
    }
}

#[test]
fn an_interval_is_shown_where_it_holds_the_threshold_ends_included() {
    let words = "holds both outcomes";
    for (low, high, is_shown) in
        [(0.80, 0.95, true), (0.85, 0.95, true), (0.80, 0.85, true), (0.86, 0.95, false), (0.70, 0.84, false)]
    {
        let interval = Some(Interval { low, high });
        let reasons = reasons(&GateInput { agreement_interval: interval, ..input() });
        assert_eq!(reasons[0].contains(words), is_shown, "{low} to {high}");
        assert!(!reasons[1].contains(words) && !reasons[2].contains(words));
    }
    let both = GateInput {
        mae_interval: Some(Interval { low: 0.45, high: 0.65 }),
        gain_interval: Some(Interval { low: -0.1, high: 0.5 }),
        ..input()
    };
    let reasons = reasons(&both);
    assert!(reasons[1].ends_with("(its interval 0.45 to 0.65 holds both outcomes)"), "{}", reasons[1]);
    assert!(reasons[2].ends_with("(its interval -0.10 to +0.50 holds both outcomes)"), "{}", reasons[2]);
}
