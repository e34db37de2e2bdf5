use super::TrainingConfig;
use super::scheduler_type::LrSchedulerType;

/// The learning rate as a pure function of the optimizer step, so that resuming needs no state.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LrSchedule {
    kind: LrSchedulerType,
    learning_rate: f64,
    warmup: usize,
    total: usize,
}

impl LrSchedule {
    /// The schedule of a run of `total` optimizer steps.
    pub fn new(config: &TrainingConfig, total: usize) -> Self {
        let share = |share: f64| (total as f64 * share).ceil() as usize;
        let warmup = match config.warmup_steps {
            0.0 => share(config.warmup_ratio),
            steps if steps < 1.0 => share(steps),
            steps => steps as usize,
        };
        Self { kind: config.lr_scheduler_type, learning_rate: config.learning_rate, warmup, total }
    }

    /// Steps in which the learning rate rises.
    pub fn warmup_steps(&self) -> usize {
        self.warmup
    }

    /// The learning rate of the step that follows `completed` optimizer steps; with warm-up that of the first step is 0.
    pub fn learning_rate(&self, completed: usize) -> f64 {
        self.learning_rate * self.factor(completed)
    }

    fn factor(&self, completed: usize) -> f64 {
        if self.kind == LrSchedulerType::Constant {
            return 1.0;
        }
        if completed < self.warmup {
            return completed as f64 / self.warmup.max(1) as f64;
        }
        let span = self.total.saturating_sub(self.warmup).max(1) as f64;
        match self.kind {
            LrSchedulerType::Linear => self.total.saturating_sub(completed) as f64 / span,
            LrSchedulerType::Cosine => {
                let progress = (completed - self.warmup) as f64 / span;
                (0.5 * (1.0 + (std::f64::consts::PI * progress).cos())).max(0.0)
            }
            LrSchedulerType::Constant | LrSchedulerType::ConstantWithWarmup => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(kind: LrSchedulerType, warmup_steps: f64, total: usize) -> Vec<f64> {
        let config = TrainingConfig {
            lr_scheduler_type: kind,
            warmup_steps,
            warmup_ratio: 0.0,
            learning_rate: 1e-3,
            ..TrainingConfig::default()
        };
        let schedule = LrSchedule::new(&config, total);
        (0..total).map(|step| schedule.learning_rate(step)).collect()
    }

    fn assert_close(actual: &[f64], expected: &[f64]) {
        pq_testing::assert_close(actual, expected, 1e-12);
    }

    #[test]
    fn linear_equals_transformers() {
        let expected = [0.0, 5e-4, 1e-3, 7.5e-4, 5e-4, 2.5e-4];
        assert_close(&rates(LrSchedulerType::Linear, 2.0, 6), &expected);
        assert_close(&rates(LrSchedulerType::Linear, 0.3, 6), &expected); // ceil(6 · 0.3) = 2
    }

    #[test]
    fn cosine_equals_transformers() {
        let expected =
            [0.0, 5e-4, 1e-3, 9.330_127_018_922_194e-4, 7.5e-4, 5e-4, 2.5e-4, 6.698_729_810_778_06e-5];
        assert_close(&rates(LrSchedulerType::Cosine, 2.0, 8), &expected);
    }

    #[test]
    fn constant_schedules_stay() {
        assert_close(&rates(LrSchedulerType::Constant, 2.0, 3), &[1e-3; 3]);
        assert_close(&rates(LrSchedulerType::ConstantWithWarmup, 2.0, 4), &[0.0, 5e-4, 1e-3, 1e-3]);
    }

    #[test]
    fn a_schedule_is_defined_beyond_its_end_and_with_warm_up_throughout() {
        let config = TrainingConfig { warmup_steps: 9.0, ..TrainingConfig::default() };
        let schedule = LrSchedule::new(&config, 4);
        assert!((0..20).all(|step| schedule.learning_rate(step).is_finite()));
    }
}
