use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use slide_data::SlideRecord;
use slide_data::collect::{Progress, Quarantined};

/// A bar on a terminal, nothing in a pipe; what is set aside is logged either way.
pub(crate) struct Bar {
    bar: ProgressBar,
}

impl Bar {
    pub(crate) fn new() -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let target = if is_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        if let Ok(style) =
            ProgressStyle::with_template("{bar:32} {pos}/{len} slides · {per_sec} · {eta} left · {msg}")
        {
            bar.set_style(style);
        }
        Self { bar }
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Progress for Bar {
    fn inputs(&self, total: usize) {
        if total > 0 {
            self.bar.set_message(format!("{total} files"));
        }
    }

    fn slides_found(&self, count: usize) {
        self.bar.inc_length(count as u64);
    }

    fn slide(&self, _slide: &SlideRecord) {
        self.bar.inc(1);
    }

    fn input_done(&self, origin: &str) {
        self.bar.set_message(origin.to_owned());
    }

    fn set_aside(&self, item: &Quarantined) {
        self.bar.suspend(|| tracing::warn!("set aside `{}`: {}", item.origin, item.reason));
    }

    fn measuring(&self, total: usize) {
        self.bar.inc_length(total as u64);
        self.bar.set_message("the rules changed: measuring all slides again");
    }

    fn comparing(&self) {
        self.bar.set_message("looking for duplicates");
    }

    fn is_interrupted(&self) -> bool {
        pq_cli::interrupted()
    }
}
