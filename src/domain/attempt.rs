//! What coordinators tell of their attempts at a build, and what follows for the build: pure
//! functions.

/// How far an attempt at a build is, as a coordinator tells it. What is further comes later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attempt {
    /// It waits for somebody to build it.
    Scheduled,
    /// Somebody builds it.
    Started,
    /// It was given up.
    Canceled,
    /// It came to nothing, and it may be that the build is not to blame: its machine, its time, what
    /// it was to be set up with.
    Disturbed,
    /// It came to nothing.
    Failed,
    /// It was built.
    Succeeded,
}

impl Attempt {
    /// The one that is meant by a word of the Guix Data Service for a build's state.
    pub fn of_word(word: &str) -> Option<Self> {
        Some(match word {
            "scheduled" => Self::Scheduled,
            "started" => Self::Started,
            "canceled" => Self::Canceled,
            "failed-other" => Self::Disturbed,
            "failed" | "failed-dependency" => Self::Failed,
            "succeeded" => Self::Succeeded,
            _ => return None,
        })
    }

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Started => "started",
            Self::Canceled => "canceled",
            Self::Disturbed => "failed-other",
            Self::Failed => "failed",
            Self::Succeeded => "succeeded",
        }
    }

    /// Whether nothing comes of it any more.
    pub fn is_over(self) -> bool {
        !matches!(self, Self::Scheduled | Self::Started)
    }

    /// How much is to be hoped for from a build when this is how far one of its attempts came.
    fn hope(self) -> u8 {
        match self {
            Self::Canceled => 0,
            Self::Disturbed => 1,
            Self::Failed => 2,
            Self::Scheduled => 3,
            Self::Started => 4,
            Self::Succeeded => 5,
        }
    }
}

/// How far each attempt came that told of these steps, the steps in any order. A name stands for an
/// attempt; the attempts are in the order in which their names appear first.
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

/// The attempt that says what the build is like: one that succeeded is enough; else what still goes
/// on counts more than what failed. Of two that are equal it is the later one.
pub fn standing<'a>(attempts: impl IntoIterator<Item = (&'a str, Attempt)>) -> Option<(&'a str, Attempt)> {
    attempts.into_iter().max_by_key(|(_, attempt)| attempt.hope())
}

/// How often a build whose attempts were disturbed is tried again.
const RETRIES: usize = 3;
/// Pauses before that, in seconds.
const PAUSES: [i64; RETRIES] = [300, 1800, 7200];

/// In how many seconds a build is to be tried again after so many of its attempts were disturbed,
/// the last one included; nothing when it has been tried often enough.
pub fn retry_after(disturbed: usize) -> Option<i64> {
    PAUSES.get(disturbed.checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_stands_where_its_most_hopeful_attempt_does() {
        use Attempt::{Canceled, Disturbed, Failed, Scheduled, Started, Succeeded};
        for (steps, expected) in [
            (&[("a", Succeeded), ("a", Started), ("a", Scheduled)][..], ("a", Succeeded)),
            (&[("a", Failed), ("a", Started)], ("a", Failed)),
            (&[("a", Succeeded), ("b", Failed)], ("a", Succeeded)),
            (&[("a", Failed), ("b", Scheduled)], ("b", Scheduled)),
            (&[("a", Failed), ("b", Scheduled), ("b", Canceled)], ("a", Failed)),
            (&[("a", Failed), ("b", Disturbed)], ("a", Failed)),
            (&[("a", Canceled), ("b", Started)], ("b", Started)),
        ] {
            let of = |steps: Vec<(&'static str, Attempt)>| standing(furthest(steps));
            assert_eq!(of(steps.to_vec()), Some(expected), "{steps:?}");
            assert_eq!(of(steps.iter().rev().copied().collect()), Some(expected), "{steps:?} backwards");
        }
        assert_eq!(standing([]), None);
        assert_eq!(standing([("b", Failed), ("a", Failed)]), Some(("a", Failed)), "the later one");
    }

    #[test]
    fn what_was_disturbed_is_tried_again_a_few_times() {
        let pauses: Vec<_> = (0..6).map(retry_after).collect();
        assert_eq!(pauses, [None, Some(300), Some(1800), Some(7200), None, None]);
    }
}
