//! The gate's checks, made from the numbers of validation results alone, so that they can be made again at any time.

use crate::{
    Baseline, Check, Comparison, Contract as _, Gain, Gate, HumanCeiling, Interval, Outcome, Sizes,
    ValidationResults, decimals, signed,
};

/// A criterion with fewer ratings is not measured.
const MIN_RATINGS: usize = 20;
/// Below this many decks the intervals have not been shown to hold what they promise.
const MIN_DECKS: usize = 5;
/// What must be named by its hash or fingerprint.
const BOUND: [&str; 10] = [
    "adapter_config.json",
    "adapter_model.safetensors",
    "base_model",
    "base_processor",
    "config.toml",
    "labels.json",
    "manifest.jsonl",
    "run.json",
    "splits.json",
    "test_predictions.jsonl",
];
/// The name under which a missing human ceiling is set aside.
const CEILING: &str = "human_ceiling";

impl ValidationResults {
    /// Results that pass, for tests and examples, which change what matters to them: one criterion, 120 slides of 12 decks,
    /// inputs by made-up hashes.
    pub fn sample() -> Self {
        let keys = [OVERALL, "clarity"];
        let of = |measure: &str, value: f64| keys.map(|key| (format!("{key}_{measure}"), value));
        let around =
            |(name, value): (String, f64)| (name, Interval { low: value - 0.05, high: value + 0.05 });
        let metrics = || [of("mae", 0.4), of("within_1", 0.92), of("qwk", 0.7)].into_iter().flatten();
        let gain =
            |value: f64| Gain { value, interval: Some(Interval { low: value - 0.1, high: value + 0.1 }) };
        let count = |count: usize| [("clarity".to_owned(), count)].into();
        let mut results = Self {
            schema_version: Self::VERSION,
            model_version: "run".to_owned(),
            human_agreement: 0.92,
            threshold: Gate::PUBLISHED.min_human_agreement,
            metrics: metrics().collect(),
            intervals: metrics().map(around).collect(),
            confidence: 0.95,
            sizes: Sizes {
                slides: 120,
                groups: 12,
                ratings: 120,
                criteria: count(120),
                criterion_groups: count(12),
                ..Sizes::default()
            },
            baseline: Some(Baseline {
                chosen_on: "train".to_owned(),
                metrics: of("mae", 1.0).into(),
                gains: of("mae", 0.6).into_iter().map(|(name, value)| (name, gain(value))).collect(),
                relative_gains: keys.map(|key| (key.to_owned(), gain(0.6))).into(),
                ..Baseline::default()
            }),
            human_ceiling: Some(HumanCeiling { ratings: 120, ..HumanCeiling::default() }),
            inputs: BOUND.map(|name| (name.to_owned(), "00".repeat(32))).into(),
            ..Self::default()
        };
        results.judge();
        results
    }

    /// Makes the gate's checks from the numbers, and the verdict with its reasons from them.
    pub fn judge(&mut self) {
        self.checks = self.checks_under(&self.gate);
        self.outcome = Outcome::of_all(self.checks.iter().map(|check| check.outcome));
        self.passes_threshold = self.outcome == Outcome::Pass;
        let is_told = |check: &&Check| match self.outcome {
            Outcome::Pass => check.criterion == OVERALL,
            _ => check.outcome != Outcome::Pass,
        };
        self.reasons = self.checks.iter().filter(is_told).map(|check| check.reason.clone()).collect();
    }

    /// Why the results must not be released, in words; empty when they may. Every check is made again from the numbers, under
    /// the stricter of `gate` and the gate that they were made with; what is missing is a refusal.
    pub fn refusals(&self, gate: &Gate) -> Vec<String> {
        let open = |checks: Vec<Check>| checks.into_iter().filter(|check| check.outcome != Outcome::Pass);
        let mut refusals: Vec<String> =
            open(self.checks_under(&stricter(gate, &self.gate))).map(|check| check.reason).collect();
        if refusals.is_empty() && !self.passes_threshold {
            refusals.push(format!("the validation is {}: {}", self.outcome.word(), self.reasons.join("; ")));
        }
        // Of a number that was written and read the last digit may differ, and with it a rounded one in the words.
        let numbers = |checks: &[Check]| -> Vec<Check> {
            checks.iter().map(|check| Check { reason: String::new(), ..check.clone() }).collect()
        };
        if numbers(&self.checks_under(&self.gate)) != numbers(&self.checks) {
            refusals.push("the checks do not follow from the numbers beside them".to_owned());
        }
        refusals
    }

    /// Whether a person set this condition aside.
    fn is_overridden(&self, name: &str) -> bool {
        self.overrides.iter().any(|given| given.name == name && !given.reason.trim().is_empty())
    }

    fn checks_under(&self, gate: &Gate) -> Vec<Check> {
        let mut checks = vec![self.inputs_check(), self.bounds_check(gate), self.ceiling_check()];
        checks.extend(self.size_checks());
        checks.extend(self.absolute_checks(gate));
        checks.extend(self.paired_checks(gate));
        checks
    }

    /// Everything that the numbers rest on is named by its hash.
    fn inputs_check(&self) -> Check {
        let missing: Vec<&str> = BOUND.into_iter().filter(|name| !self.inputs.contains_key(*name)).collect();
        let reason = if missing.is_empty() {
            "model, data and predictions are named by their hashes".to_owned()
        } else {
            format!("it is not known by a hash which {} was validated", missing.join(", "))
        };
        counted("inputs", OVERALL, BOUND.len() - missing.len(), BOUND.len(), reason)
    }

    /// A bound that is easier to meet than the published one needs a person's word.
    fn bounds_check(&self, gate: &Gate) -> Check {
        let eased = gate.eased();
        let open: Vec<String> = eased
            .iter()
            .filter(|(name, ..)| !self.is_overridden(name))
            .map(|(name, own, published)| format!("`{name}` is {own}, and {published} is published"))
            .collect();
        let reason = match (open.is_empty(), eased.is_empty()) {
            (true, true) => "the bounds are the published ones or stricter".to_owned(),
            (true, false) => {
                let names: Vec<&str> = eased.iter().map(|(name, ..)| *name).collect();
                format!("eased by a person: {}", names.join(", "))
            }
            (false, _) => format!("{}: an easier bound needs an override with a reason", open.join("; ")),
        };
        counted("bounds", OVERALL, eased.len() - open.len(), eased.len(), reason)
    }

    fn ceiling_check(&self) -> Check {
        let ratings = self.human_ceiling.as_ref().map_or(0, |ceiling| ceiling.ratings);
        let is_set_aside = self.is_overridden(CEILING);
        let reason = match (ratings, is_set_aside) {
            (0, false) => "no slide has two raters: what people themselves reach is unknown".to_owned(),
            (0, true) => "what people themselves reach is unknown, which a person set aside".to_owned(),
            _ => format!("{ratings} ratings have a second rater"),
        };
        counted(CEILING, OVERALL, if is_set_aside { 1 } else { ratings.min(1) }, 1, reason)
    }

    /// Every criterion is rated often enough, in decks enough.
    fn size_checks(&self) -> Vec<Check> {
        if self.sizes.criteria.is_empty() {
            let reason = "the results do not say how much was rated".to_owned();
            return vec![counted("enough_ratings", OVERALL, 0, MIN_RATINGS, reason)];
        }
        let mut checks = Vec::new();
        for (key, &ratings) in &self.sizes.criteria {
            let decks = self.sizes.criterion_groups.get(key).copied().unwrap_or(0);
            let words = |count, what, least| {
                let only = if count < least { "only " } else { "" };
                format!("{key}: {only}{count} {what}; at least {least} are asked")
            };
            let reason = words(ratings, "ratings", MIN_RATINGS);
            checks.push(counted("enough_ratings", key, ratings, MIN_RATINGS, reason));
            let reason = words(decks, "decks", MIN_DECKS);
            checks.push(counted("enough_decks", key, decks, MIN_DECKS, reason));
        }
        checks
    }

    /// Agreement, error, kappa and what is better than the best constant: overall and for each criterion.
    fn absolute_checks(&self, gate: &Gate) -> Vec<Check> {
        let gain = |key: &str| self.baseline.as_ref().and_then(|baseline| baseline.relative_gains.get(key));
        let mut checks = Vec::new();
        for key in self.keys() {
            let measured = |measure: &str| {
                let name = format!("{key}_{measure}");
                (self.metrics.get(&name).copied(), self.intervals.get(&name).copied())
            };
            // Of one criterion a small test set can hardly show as much as of all together; see docs/decisions/0015-gate.md.
            let asked = if key == OVERALL { Asked::Shown } else { Asked::NotContradicted };
            let clauses = [
                ("within_1", measured("within_1"), Side::Above, gate.min_human_agreement, asked),
                ("mae", measured("mae"), Side::Below, gate.max_mae, asked),
                ("qwk", measured("qwk"), Side::Above, gate.min_kappa, Asked::Shown),
                (
                    "gain_over_constant",
                    (gain(key).map(|gain| gain.value), gain(key).and_then(|gain| gain.interval)),
                    Side::Above,
                    gate.min_gain,
                    asked,
                ),
            ];
            checks.extend(clauses.map(|(metric, (value, interval), side, threshold, asked)| {
                Clause { metric, key, value, interval, side, threshold, asked }.check()
            }));
        }
        checks
    }

    /// What is compared slide by slide: cheap baselines and the champion.
    fn paired_checks(&self, gate: &Gate) -> Vec<Check> {
        let mut checks = Vec::new();
        let clause = |metric, key, threshold, asked, other: &Comparison| {
            let gain: Option<Gain> = other.gains.get(&format!("{key}_mae")).copied();
            let (value, interval) = (gain.map(|gain| gain.value), gain.and_then(|gain| gain.interval));
            let clause = Clause { metric, key, value, interval, side: Side::Above, threshold, asked };
            let check = clause.check();
            Check { reason: format!("{} ({})", check.reason, other.name), ..check }
        };
        for cheap in &self.cheap_baselines {
            checks.push(clause("gain_over_cheap_baseline", OVERALL, 0.0, Asked::NotContradicted, cheap));
        }
        if let Some(champion) = &self.champion {
            let metric = "gain_over_champion";
            for key in self.keys() {
                let (threshold, asked) = if key == OVERALL {
                    (0.0 - gate.champion_margin, Asked::Shown)
                } else {
                    (0.0, Asked::NotContradicted)
                };
                checks.push(clause(metric, key, threshold, asked, champion));
            }
        }
        checks
    }

    fn keys(&self) -> impl Iterator<Item = &str> {
        std::iter::once(OVERALL).chain(self.sizes.criteria.keys().map(String::as_str))
    }
}

const OVERALL: &str = "overall";

/// On which side of its threshold a value must lie.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    Above,
    Below,
}

/// How sure a condition must be.
#[derive(Clone, Copy, PartialEq)]
enum Asked {
    /// The whole interval lies on the right side.
    Shown,
    /// The interval does not lie wholly on the wrong side, and there is one.
    NotContradicted,
}

/// A condition on a measured value.
struct Clause<'a> {
    metric: &'a str,
    key: &'a str,
    value: Option<f64>,
    interval: Option<Interval>,
    side: Side,
    threshold: f64,
    asked: Asked,
}

impl Clause<'_> {
    fn check(self) -> Check {
        let whole = |i: &Interval| i.low.is_finite() && i.high.is_finite() && i.low <= i.high;
        let interval = self.interval.filter(whole);
        let value = self.value.filter(|value| value.is_finite());
        // `near` is the end next to the wrong side, `far` the other one; larger means better.
        let sign = if self.side == Side::Above { 1.0 } else { -1.0 };
        let ends = interval.zip(value).map(|(interval, _)| match self.side {
            Side::Above => (interval.low, interval.high),
            Side::Below => (interval.high, interval.low),
        });
        let is_beyond = |end: f64| sign * (end - self.threshold) > 0.0;
        let outcome = match ends {
            Some((_, far)) if !is_beyond(far) => Outcome::Fail,
            Some((near, _)) if is_beyond(near) || self.asked == Asked::NotContradicted => Outcome::Pass,
            _ => Outcome::Undecided,
        };
        let bound = ends.map(|(near, far)| if self.asked == Asked::Shown { near } else { far });
        let reason = self.words(value, interval, outcome);
        Check {
            metric: self.metric.to_owned(),
            criterion: self.key.to_owned(),
            value,
            interval,
            bound,
            threshold: self.threshold,
            outcome,
            reason,
        }
    }

    fn words(&self, value: Option<f64>, interval: Option<Interval>, outcome: Outcome) -> String {
        let (what, is_share, is_signed) = match self.metric {
            "within_1" => ("share within one point of the people's scores", true, false),
            "mae" => ("mean absolute error", false, false),
            "qwk" => ("quadratic weighted kappa", false, false),
            "gain_over_constant" => ("share of the best constant's error that is saved", true, false),
            "gain_over_champion" => ("error saved against the champion", false, true),
            _ => ("error saved against a cheap model", false, true),
        };
        let show = |value: f64| match (is_share, is_signed) {
            (true, _) => format!("{} %", decimals(100.0 * value, 1)),
            (_, true) => signed(value, 3),
            _ => decimals(value, 3),
        };
        let key = self.key;
        let Some(value) = value else { return format!("{key}: the {what} is not known") };
        let Some(Interval { low, high }) = interval else {
            return format!("{key}: the {what} is {}, and how sure that is cannot be told", show(value));
        };
        let side = if self.side == Side::Above { "above" } else { "below" };
        let asked = match self.asked {
            Asked::Shown => format!("{side} {} is asked of all of it", show(self.threshold)),
            Asked::NotContradicted => format!("{side} {} must remain possible", show(self.threshold)),
        };
        let answer = match outcome {
            Outcome::Pass => "",
            Outcome::Fail => ": that is not reached",
            Outcome::Undecided => ": these slides do not tell",
        };
        format!("{key}: the {what} is {} [{}, {}]; {asked}{answer}", show(value), show(low), show(high))
    }
}

/// A condition on a count; what is not reached is undecided, because it says nothing of the model.
fn counted(metric: &str, key: &str, count: usize, least: usize, reason: String) -> Check {
    let value = Some(count as f64);
    Check {
        metric: metric.to_owned(),
        criterion: key.to_owned(),
        value,
        interval: None,
        bound: value,
        threshold: least as f64,
        outcome: if count >= least { Outcome::Pass } else { Outcome::Undecided },
        reason,
    }
}

/// Of two gates the harder bounds; a bound that is no number stays one, so that nothing meets it.
fn stricter(a: &Gate, b: &Gate) -> Gate {
    let high = |a: f64, b: f64| if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) };
    let low = |a: f64, b: f64| if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) };
    Gate {
        min_human_agreement: high(a.min_human_agreement, b.min_human_agreement),
        max_mae: low(a.max_mae, b.max_mae),
        min_kappa: high(a.min_kappa, b.min_kappa),
        min_gain: high(a.min_gain, b.min_gain),
        champion_margin: low(a.champion_margin, b.champion_margin),
    }
}
