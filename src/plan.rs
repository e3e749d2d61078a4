//! What to submit, in which order: pure functions.

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

/// How far apart the coordinator's priorities of two neighbouring priorities of specs are.
const STEP: i64 = 100;

/// The coordinator's priority for a build of a spec with the priority `spec`: there, larger is
/// sooner; here, 0 is first.
pub fn coordinator_priority(spec: i64) -> i64 {
    (9 - spec.clamp(0, 9)) * STEP
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
    fn what_is_first_here_is_largest_there() {
        assert!(coordinator_priority(0) > coordinator_priority(9));
        assert_eq!(coordinator_priority(9), 0);
    }
}
