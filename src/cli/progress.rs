//! The progress bar of an evaluation, on a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A progress bar with rate and remaining time. Shows nothing when standard error is not a
/// terminal.
#[derive(Debug)]
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Shows a spinner, while the length of the work is unknown.
    pub(super) fn begin(what: String) -> Self {
        let bar = ProgressBar::new_spinner().with_message(what);
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    /// Sets the message.
    pub(super) fn now(&self, what: String) {
        self.0.set_message(what);
    }

    /// Shows a bar, now that the length is known.
    pub(super) fn of(&self, total: usize) {
        const BAR: &str = "{msg} {bar:30} {pos}/{len} ({per_sec}, {eta} left)";
        self.0.set_length(total as u64);
        self.0.set_style(ProgressStyle::with_template(BAR).unwrap_or_else(|_| ProgressStyle::default_bar()));
    }

    /// Advances the bar by `done`.
    pub(super) fn advance(&self, done: usize) {
        self.0.inc(done as u64);
    }

    /// Runs `show` with the bar hidden, so that its output appears above the bar.
    pub(super) fn above(&self, show: impl FnOnce()) {
        self.0.suspend(show);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
