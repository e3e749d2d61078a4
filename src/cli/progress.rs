//! The progress bar of an evaluation, on a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar with rate and time left; nothing is shown when standard error is no terminal.
#[derive(Debug)]
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Shows that something goes on whose length is not known yet.
    pub(super) fn begin(what: String) -> Self {
        let bar = ProgressBar::new_spinner().with_message(what);
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    /// Says what goes on now.
    pub(super) fn now(&self, what: String) {
        self.0.set_message(what);
    }

    /// The length is known: shows a bar.
    pub(super) fn of(&self, total: usize) {
        const BAR: &str = "{msg} {bar:30} {pos}/{len} ({per_sec}, {eta} left)";
        self.0.set_length(total as u64);
        self.0.set_style(ProgressStyle::with_template(BAR).unwrap_or_else(|_| ProgressStyle::default_bar()));
    }

    /// So much more is done.
    pub(super) fn advance(&self, done: usize) {
        self.0.inc(done as u64);
    }

    /// Shows something above the bar.
    pub(super) fn above(&self, show: impl FnOnce()) {
        self.0.suspend(show);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
