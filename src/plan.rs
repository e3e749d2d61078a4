//! What to submit, in which order: pure functions.

pub mod guard;
pub mod order;

use std::collections::BTreeMap;

use crate::spec::First;

/// What becomes of the builds that an evaluation is the first to want.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// They are queued.
    Queue,
    /// They are taken for known, and not queued.
    Record,
}

/// Decides it: `first` is the spec's choice, `has_previous` says whether an evaluation of the same
/// spec and system was complete before.
pub fn fate(first: First, has_previous: bool) -> Fate {
    match first {
        First::Record if !has_previous => Fate::Record,
        _ => Fate::Queue,
    }
}

/// How far an attempt at a build is, as a coordinator tells it. What is further comes later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attempt {
    /// It waits for somebody to build it.
    Scheduled,
    /// Somebody builds it.
    Started,
    /// It was given up.
    Canceled,
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
            "failed" | "failed-dependency" | "failed-other" => Self::Failed,
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
            Self::Failed => "failed",
            Self::Succeeded => "succeeded",
        }
    }

    /// How much is to be hoped for from a build when this is how far one of its attempts came.
    fn hope(self) -> u8 {
        match self {
            Self::Canceled => 0,
            Self::Failed => 1,
            Self::Scheduled => 2,
            Self::Started => 3,
            Self::Succeeded => 4,
        }
    }
}

/// What a build is like whose attempts told of these steps, in any order: one that succeeded is
/// enough; else what still goes on counts more than what failed. A name stands for an attempt.
pub fn standing<'a>(steps: impl IntoIterator<Item = (&'a str, Attempt)>) -> Option<Attempt> {
    let mut attempts: BTreeMap<&str, Attempt> = BTreeMap::new();
    for (name, step) in steps {
        let furthest = attempts.entry(name).or_insert(step);
        *furthest = step.max(*furthest);
    }
    attempts.into_values().max_by_key(|attempt| attempt.hope())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_first_evaluation_can_be_recorded() {
        assert_eq!(fate(First::Record, false), Fate::Record);
        assert_eq!(fate(First::Record, true), Fate::Queue);
        assert_eq!(fate(First::Queue, false), Fate::Queue);
    }

    #[test]
    fn a_build_stands_where_its_most_hopeful_attempt_does() {
        use Attempt::{Canceled, Failed, Scheduled, Started, Succeeded};
        for (steps, expected) in [
            (&[("a", Succeeded), ("a", Started), ("a", Scheduled)][..], Succeeded),
            (&[("a", Failed), ("a", Started)], Failed),
            (&[("a", Succeeded), ("b", Failed)], Succeeded),
            (&[("a", Failed), ("b", Scheduled)], Scheduled),
            (&[("a", Failed), ("b", Scheduled), ("b", Canceled)], Failed),
            (&[("a", Canceled), ("b", Started)], Started),
        ] {
            assert_eq!(standing(steps.iter().copied()), Some(expected), "{steps:?}");
            assert_eq!(standing(steps.iter().rev().copied()), Some(expected), "{steps:?} in another order");
        }
        assert_eq!(standing([]), None);
    }
}
