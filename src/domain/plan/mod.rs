//! What to submit, and in which order: pure functions.

pub mod guard;
pub mod order;
pub mod route;

use crate::domain::spec::FirstEvaluation;

/// What to do with builds that an evaluation is the first to want.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewBuilds {
    /// Queue them.
    Queue,
    /// Record them as known, without queueing them.
    Record,
}

/// Decides what to do with new builds. `first` is the spec's choice; `has_previous` says whether an
/// earlier evaluation of the same spec and system was complete.
pub fn new_builds(first: FirstEvaluation, has_previous: bool) -> NewBuilds {
    match first {
        FirstEvaluation::Record if !has_previous => NewBuilds::Record,
        _ => NewBuilds::Queue,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_first_evaluation_can_be_recorded() {
        assert_eq!(new_builds(FirstEvaluation::Record, false), NewBuilds::Record);
        assert_eq!(new_builds(FirstEvaluation::Record, true), NewBuilds::Queue);
        assert_eq!(new_builds(FirstEvaluation::Queue, false), NewBuilds::Queue);
    }
}
