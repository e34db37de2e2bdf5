use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressStyle};
use vlm_lora::{EvaluationReport, IntegerCheck, LogReport, Observer, RunStart, StepReport};

use crate::preempt::Preemption;

/// Ends the run when Ctrl-C was pressed, or the machine is about to end it.
pub(crate) struct Interrupt(pub(crate) Preemption);

impl Observer for Interrupt {
    fn should_stop(&self) -> bool {
        self.0.is_wanted()
    }
}

/// A bar on a terminal; elsewhere one line says what begins.
pub(crate) fn bar(what: &str, len: usize) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        tracing::info!("{len} {what}");
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} ({eta} left)");
    let bar = ProgressBar::new(len as u64).with_message(what.to_owned());
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// A bar with loss, rate and time left on a terminal; lines otherwise.
pub(crate) struct Progress {
    bar: ProgressBar,
    is_terminal: bool,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { bar: ProgressBar::hidden(), is_terminal: std::io::stderr().is_terminal() }
    }

    fn say(&self, line: &str) {
        self.bar.suspend(|| tracing::info!("{line}"));
    }
}

impl Observer for Progress {
    fn on_start(&mut self, start: &RunStart) {
        let share = 100.0 * start.trainable_parameters as f64
            / (start.trainable_parameters + start.base_parameters).max(1) as f64;
        self.say(&format!(
            "{} steps over {} slides; {} of {} weights are trained ({share:.2} %)",
            start.total_steps, start.samples, start.trainable_parameters, start.base_parameters
        ));
        if self.is_terminal {
            let style =
                ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} {elapsed_precise} ({eta} left)");
            self.bar = ProgressBar::new(start.total_steps as u64);
            self.bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            self.bar.set_position(start.completed_steps as u64);
        }
    }

    fn on_integer_check(&mut self, check: &IntegerCheck) {
        let (deviation, bound) = (100.0 * check.deviation, 100.0 * check.bound);
        self.say(&if check.is_kept {
            format!("products in integers change the first image's features by {deviation:.2} % (bound {bound} %)")
        } else {
            format!(
                "products in integers change the first image's features by {deviation:.2} %, more than {bound} %: \
                 they are not used, which is slower"
            )
        });
    }

    fn on_step(&mut self, step: &StepReport) {
        let rate = step.tokens as f64 / step.elapsed.as_secs_f64().max(1e-9);
        self.bar.set_message(format!("loss {:.4}, {rate:.0} tokens/s,", step.loss));
        self.bar.set_position(step.step as u64);
    }

    fn on_log(&mut self, log: &LogReport) {
        if !self.is_terminal {
            let LogReport { step, loss, learning_rate, tokens_per_second, .. } = log;
            self.say(&format!("step {step}: loss {loss:.4}, learning rate {learning_rate:.2e}, {tokens_per_second:.0} tokens/s"));
        }
    }

    fn on_evaluate(&mut self, evaluation: &EvaluationReport<'_>) {
        let metrics: Vec<String> =
            evaluation.metrics.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
        let best = if evaluation.is_best { " (best)" } else { "" };
        self.say(&format!("step {}: {}{best}", evaluation.step, metrics.join(", ")));
    }

    fn on_end(&mut self, _outcome: &vlm_lora::TrainOutcome) {
        self.bar.finish_and_clear();
    }
}
