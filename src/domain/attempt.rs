//! Attempts at a build as coordinators report them, and what they mean for the build: pure
//! functions.

/// The progress of an attempt, as a coordinator reports it. The order is that of progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attempt {
    /// It waits to start.
    Scheduled,
    /// It runs.
    Started,
    /// It was canceled.
    Canceled,
    /// It failed, perhaps not because of the build: the machine, the time or the build's
    /// preparation may be the cause.
    FailedOther,
    /// It failed.
    Failed,
    /// It succeeded.
    Succeeded,
}

impl Attempt {
    /// Parses a word of the Guix Data Service for the state of a build.
    pub fn of_word(word: &str) -> Option<Self> {
        Some(match word {
            "scheduled" => Self::Scheduled,
            "started" => Self::Started,
            "canceled" => Self::Canceled,
            "failed-other" => Self::FailedOther,
            "failed" | "failed-dependency" => Self::Failed,
            "succeeded" => Self::Succeeded,
            _ => return None,
        })
    }

    /// The word of the Guix Data Service for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Started => "started",
            Self::Canceled => "canceled",
            Self::FailedOther => "failed-other",
            Self::Failed => "failed",
            Self::Succeeded => "succeeded",
        }
    }

    /// Whether the attempt has ended.
    pub fn is_over(self) -> bool {
        !matches!(self, Self::Scheduled | Self::Started)
    }

    /// Ranks attempts of one build: the attempt with the highest rank decides the state of the
    /// build.
    fn rank(self) -> u8 {
        match self {
            Self::Canceled => 0,
            Self::FailedOther => 1,
            Self::Failed => 2,
            Self::Scheduled => 3,
            Self::Started => 4,
            Self::Succeeded => 5,
        }
    }
}

/// The furthest progress of each attempt among these reports, which may come in any order. Each
/// attempt has a name. The attempts are in the order in which their names first appear.
pub fn furthest<'a>(steps: impl IntoIterator<Item = (&'a str, Attempt)>) -> Vec<(&'a str, Attempt)> {
    let mut attempts: Vec<(&str, Attempt)> = Vec::new();
    for (name, step) in steps {
        match attempts.iter_mut().find(|(known, _)| *known == name) {
            Some((_, furthest)) => *furthest = step.max(*furthest),
            None => attempts.push((name, step)),
        }
    }
    attempts
}

/// The attempt that decides the state of the build. One that succeeded is enough; otherwise a
/// waiting or running attempt counts more than a failed one. Of two equal ones the later counts.
pub fn deciding_attempt<'a>(
    attempts: impl IntoIterator<Item = (&'a str, Attempt)>,
) -> Option<(&'a str, Attempt)> {
    attempts.into_iter().max_by_key(|(_, attempt)| attempt.rank())
}

/// How often a build is retried whose attempts failed for other reasons than the build itself.
const RETRIES: usize = 3;
/// Pauses before those retries, in seconds.
const PAUSES: [i64; RETRIES] = [300, 1800, 7200];

/// Seconds until the retry of a build after this many such attempts, including the last one;
/// `None` when no retry is left.
pub fn retry_after(failures: usize) -> Option<i64> {
    PAUSES.get(failures.checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_stands_where_its_most_hopeful_attempt_does() {
        use Attempt::{Canceled, Failed, FailedOther, Scheduled, Started, Succeeded};
        for (steps, expected) in [
            (&[("a", Succeeded), ("a", Started), ("a", Scheduled)][..], ("a", Succeeded)),
            (&[("a", Failed), ("a", Started)], ("a", Failed)),
            (&[("a", Succeeded), ("b", Failed)], ("a", Succeeded)),
            (&[("a", Failed), ("b", Scheduled)], ("b", Scheduled)),
            (&[("a", Failed), ("b", Scheduled), ("b", Canceled)], ("a", Failed)),
            (&[("a", Failed), ("b", FailedOther)], ("a", Failed)),
            (&[("a", Canceled), ("b", Started)], ("b", Started)),
        ] {
            let of = |steps: Vec<(&'static str, Attempt)>| deciding_attempt(furthest(steps));
            assert_eq!(of(steps.to_vec()), Some(expected), "{steps:?}");
            assert_eq!(of(steps.iter().rev().copied().collect()), Some(expected), "{steps:?} backwards");
        }
        assert_eq!(deciding_attempt([]), None);
        assert_eq!(deciding_attempt([("b", Failed), ("a", Failed)]), Some(("a", Failed)), "the later one");
    }

    #[test]
    fn other_failures_are_retried_a_few_times() {
        let pauses: Vec<_> = (0..6).map(retry_after).collect();
        assert_eq!(pauses, [None, Some(300), Some(1800), Some(7200), None, None]);
    }
}
