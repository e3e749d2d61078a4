//! How long a server takes to answer.

use std::time::Duration;

/// Answers arrive within this time. The machine has other tests to run, so one in twenty may be late.
const PROMPT: Duration = Duration::from_secs(1);
/// No answer takes longer than this.
pub const LATEST: Duration = Duration::from_secs(6);

#[derive(Debug, Default)]
pub struct Answers {
    all: usize,
    late: usize,
}

impl Answers {
    pub fn add(&mut self, what: &str, took: Duration) {
        assert!(took < LATEST, "the answer to the {what} took {took:?}");
        self.all += 1;
        self.late += usize::from(took >= PROMPT);
    }

    pub fn assert_prompt(&self) {
        let Self { all, late } = self;
        assert!(late * 20 <= *all, "{late} of {all} answers took longer than {PROMPT:?}");
    }
}
