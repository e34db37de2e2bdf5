//! Whether a run learned, and what limits it.

use std::path::Path;

use project_files::{Gain, Interval, LearningLimit, LearningVerdict, Outlook};
use serde_json::Value;

/// An evaluation on the validation slides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Evaluation {
    pub(crate) step: usize,
    pub(crate) mae: f64,
    pub(crate) score_loss: f64,
}

/// The cross-entropy must fall by this share of what is left to learn, or the weights hardly moved.
const MOVED: f64 = 0.05;
/// A rise of the cross-entropy by this share of its least value counts as one; the three shares are chosen, not fitted.
const WORSE: f64 = 0.03;
/// An error within this share of the smallest that can be reached is as good as there.
const AT_CEILING: f64 = 1.15;

/// The evaluations of a run, also those before it was resumed, from its `metrics.jsonl`.
pub(crate) fn evaluations(metrics: &Path) -> Vec<Evaluation> {
    let text = std::fs::read_to_string(metrics).unwrap_or_default();
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).ok()?;
        let number = |key: &str| line.get(key).and_then(Value::as_f64);
        let step = line.get("step").and_then(Value::as_u64)? as usize;
        Some(Evaluation { step, mae: number("eval_mae")?, score_loss: number("eval_score_loss")? })
    };
    text.lines().filter_map(line).collect()
}

/// The verdict on a run, whose kept checkpoint errs less than the best constant by `gain`; `None` where nothing was evaluated.
pub(crate) fn verdict(
    outlook: &Outlook,
    course: &[Evaluation],
    gain: Option<Gain>,
) -> Option<LearningVerdict> {
    let best = course.iter().copied().min_by(|a, b| a.mae.total_cmp(&b.mae))?;
    let learned = best.mae < outlook.constant_mae;
    let limit = limit(outlook, course, best, learned)?;
    let head = head(outlook, course, best, gain.as_ref(), learned);
    let sentence = format!("{head}; {}", advice(limit, outlook.ceiling_mae));
    Some(LearningVerdict { learned, limit, gain, sentence })
}

/// The verdict on a head that stands alone, by its error on the validation slides.
pub(crate) fn of_head(mae: f64, constant_mae: f64, gain: Option<Gain>) -> LearningVerdict {
    let learned = mae < constant_mae;
    let reached = format!("error {mae:.2} on the validation slides, best constant {constant_mae:.2}");
    let sure = gain.and_then(|gain| gain.interval).is_some_and(|ends| ends.low > 0.0);
    let head = match (learned, sure) {
        (false, _) => "has not learned",
        (true, true) => "learned",
        (true, false) => "cannot tell whether it learned",
    };
    let limit = LearningLimit::Decks;
    let sentence =
        format!("{head}: {reached}; an adapter can learn what the frozen vision tower does not tell");
    LearningVerdict { learned, limit, gain, sentence }
}

fn limit(outlook: &Outlook, course: &[Evaluation], best: Evaluation, learned: bool) -> Option<LearningLimit> {
    let least = course.iter().copied().min_by(|a, b| a.score_loss.total_cmp(&b.score_loss))?;
    let (first, last) = (course.first()?, course.last()?);
    let to_learn = (outlook.start_score_loss - outlook.rater_entropy).max(0.0);
    let fell = outlook.start_score_loss - least.score_loss;
    if !learned {
        let is_thrown = last.score_loss > outlook.start_score_loss.max(least.score_loss * (1.0 + WORSE));
        return Some(if is_thrown {
            LearningLimit::LearningRateTooHigh
        } else if fell < MOVED * to_learn || last.score_loss < first.score_loss {
            LearningLimit::LearningRateTooLow
        } else {
            LearningLimit::Decks
        });
    }
    if outlook.ceiling_mae.is_some_and(|ceiling| best.mae <= ceiling * AT_CEILING) {
        return Some(LearningLimit::Raters);
    }
    if last.score_loss > least.score_loss * (1.0 + WORSE) && least.step < last.step {
        return Some(LearningLimit::Decks);
    }
    let before = course.iter().rev().find(|one| one.step * 3 <= last.step * 2)?;
    let is_falling = last.score_loss < before.score_loss * (1.0 - WORSE);
    Some(if is_falling { LearningLimit::Steps } else { LearningLimit::Decks })
}

/// What was reached, and how sure it is that this is more than the best constant.
fn head(
    outlook: &Outlook,
    course: &[Evaluation],
    best: Evaluation,
    gain: Option<&Gain>,
    learned: bool,
) -> String {
    let Outlook { start_mae, constant_mae, .. } = outlook;
    let Evaluation { step, mae, .. } = best;
    let last = course.last().map_or(step, |last| last.step);
    if !learned {
        return format!(
            "has not learned: error {mae:.2} at best, and always saying the most usual score has {constant_mae:.2}"
        );
    }
    let reached = format!(
        "error {mae:.2} at step {step} of {last} ({start_mae:.2} before, best constant {constant_mae:.2})"
    );
    match gain {
        Some(Gain { value, interval: Some(Interval { low, high }) }) if *low > 0.0 => {
            format!("learned: {reached}, better than the constant by {value:.2} ({low:.2} to {high:.2})")
        }
        Some(Gain { value, interval: Some(Interval { low, high }) }) => format!(
            "cannot tell whether it learned: {reached}, better than the constant by {value:.2} ({low:.2} to {high:.2}); \
             more decks to validate on would tell"
        ),
        Some(Gain { value, interval: None }) => format!(
            "cannot tell whether it learned: {reached}, better than the constant by {value:.2} on the slides of one deck"
        ),
        None => format!("learned: {reached}"),
    }
}

fn advice(limit: LearningLimit, ceiling_mae: Option<f64>) -> String {
    match limit {
        LearningLimit::LearningRateTooHigh => "the loss rose: lower `training.learning_rate`".to_owned(),
        LearningLimit::LearningRateTooLow => {
            "the weights hardly moved: raise `training.learning_rate`, or give it more steps".to_owned()
        }
        LearningLimit::Steps => {
            "limited by steps: it was still falling at the end (`--resume` with a larger `training.max_steps` goes on)".to_owned()
        }
        LearningLimit::Decks => {
            "limited by decks: more steps no longer help on slides that it was not trained on, slides of more decks would".to_owned()
        }
        LearningLimit::Raters => format!(
            "limited by the raters: their disagreement leaves {:.2}",
            ceiling_mae.unwrap_or(f64::NAN)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTLOOK: Outlook = Outlook {
        start_mae: 1.4,
        constant_mae: 1.0,
        ceiling_mae: Some(0.3),
        start_score_loss: 1.9,
        rater_entropy: 0.5,
    };

    fn course(points: &[(usize, f64, f64)]) -> Vec<Evaluation> {
        points.iter().map(|&(step, mae, score_loss)| Evaluation { step, mae, score_loss }).collect()
    }

    #[test]
    fn each_planted_course_has_its_verdict() {
        use LearningLimit::{Decks, LearningRateTooHigh, LearningRateTooLow, Raters, Steps};
        for (points, learned, limit) in [
            (&[(10, 1.38, 1.89), (20, 1.36, 1.88), (30, 1.35, 1.87)][..], false, LearningRateTooLow),
            (&[(10, 1.2, 1.6), (20, 1.1, 1.5), (30, 1.05, 1.45)], false, LearningRateTooLow),
            (&[(10, 1.3, 4.0), (20, 1.6, 6.0), (30, 1.5, 5.0)], false, LearningRateTooHigh),
            (&[(10, 0.9, 1.4), (20, 0.7, 1.2), (30, 0.6, 1.0)], true, Steps),
            (&[(10, 0.7, 1.1), (20, 0.5, 0.9), (30, 0.52, 1.2)], true, Decks),
            (&[(10, 0.7, 1.1), (20, 0.5, 0.9), (30, 0.5, 0.9)], true, Decks),
            (&[(10, 0.7, 1.1), (20, 0.4, 0.7), (30, 0.32, 0.6)], true, Raters),
        ] {
            let verdict = verdict(&OUTLOOK, &course(points), None).unwrap();
            assert_eq!(
                (verdict.learned, verdict.limit),
                (learned, limit),
                "{points:?}: {}",
                verdict.sentence
            );
        }
        assert_eq!(verdict(&OUTLOOK, &[], None), None);
    }

    #[test]
    fn a_gain_whose_interval_holds_zero_tells_nothing() {
        let points = course(&[(10, 0.95, 1.4), (20, 0.9, 1.2)]);
        let said = |interval: Option<(f64, f64)>| {
            let interval = interval.map(|(low, high)| Interval { low, high });
            verdict(&OUTLOOK, &points, Some(Gain { value: 0.1, interval })).unwrap()
        };
        let sure = said(Some((0.04, 0.16)));
        assert!(
            sure.sentence.starts_with("learned: ") && sure.sentence.contains("by 0.10 (0.04 to 0.16)"),
            "{}",
            sure.sentence
        );
        for unsure in
            [said(Some((-0.05, 0.25))), said(Some((0.0, 0.2))), said(None), said(Some((f64::NAN, f64::NAN)))]
        {
            assert!(unsure.sentence.starts_with("cannot tell"), "{}", unsure.sentence);
            assert!(unsure.learned && unsure.gain.is_some(), "the numbers are there to be read");
        }
    }

    /// Nobody may read success out of numbers that are none.
    #[test]
    fn what_is_not_a_number_has_not_learned() {
        let verdict = verdict(&OUTLOOK, &course(&[(10, f64::NAN, f64::NAN)]), None).unwrap();
        assert!(!verdict.learned, "{}", verdict.sentence);
    }
}
