//! What to submit, in which order: pure functions.

pub mod guard;
pub mod order;
pub mod route;

use crate::domain::spec::First;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_first_evaluation_can_be_recorded() {
        assert_eq!(fate(First::Record, false), Fate::Record);
        assert_eq!(fate(First::Record, true), Fate::Queue);
        assert_eq!(fate(First::Queue, false), Fate::Queue);
    }
}
