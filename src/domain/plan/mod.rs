//! What to submit, and in which order: pure functions.

pub mod guard;
pub mod order;
pub mod route;

use crate::domain::spec::First;

/// What to do with builds that an evaluation is the first to want.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Queue them.
    Queue,
    /// Record them as known, without queueing them.
    Record,
}

/// Decides what to do with new builds. `first` is the spec's choice; `has_previous` says whether an
/// earlier evaluation of the same spec and system was complete.
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
