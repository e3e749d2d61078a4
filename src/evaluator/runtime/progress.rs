//! The progress of compiling, for people who wait.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How many modules of a revision were compiled or failed, and of how many.
#[derive(Debug, Default)]
pub struct CompileProgress {
    done: AtomicUsize,
    total: AtomicUsize,
}

impl CompileProgress {
    /// Begins to count up to `total` modules.
    pub(super) fn begin(&self, total: usize) {
        self.done.store(0, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }

    /// Counts one more module as done.
    pub(super) fn advance(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if done.is_multiple_of(100) {
            tracing::info!(done, total = self.total.load(Ordering::Relaxed), "compiling modules");
        }
    }

    /// How many are done, and of how many; `None` when none is left to compile.
    pub fn counts(&self) -> Option<(usize, usize)> {
        let [done, total] = [&self.done, &self.total].map(|count| count.load(Ordering::Relaxed));
        (done < total).then_some((done, total))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_shown_before_and_after() {
        let progress = CompileProgress::default();
        assert_eq!(progress.counts(), None);
        progress.begin(2);
        progress.advance();
        assert_eq!(progress.counts(), Some((1, 2)));
        progress.advance();
        assert_eq!(progress.counts(), None);
    }
}
