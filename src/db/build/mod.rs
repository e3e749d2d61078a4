//! Builds: which are wanted, which coordinator makes them, and their results.
//!
//! Tables: `build`, `build_event`, `failed_derivation`, `plan`, `substitute_answer`, `substitute_server`.

/// SQL that restarts a build for the row `$new`, in the state $2 at the time $3. A build that waits
/// to be submitted or canceled is queued, whatever $2 is.
macro_rules! wanted_anew {
    ($new:literal) => {
        concat!(
            "derivation_id = ", $new, ".derivation_id, evaluation_id = ", $new, ".evaluation_id, name_id = ", $new,
            ".name_id, priority = ", $new, ".priority, urgency = ", $new, ".urgency, sent_urgency = null,
             state = case when build.state in {in_outbox} then 'queued' else $2 end,
             created_at = $3, answered_at = null, reference = null, answer = null, attempts = 0, next_attempt = 0,
             unwanted_at = null, inputs_queued = false, coordinator = case when build.sent then build.coordinator end"
        )
    };
}

#[macro_use]
pub(in crate::db) mod failed;
#[macro_use]
pub(in crate::db) mod builds;
pub(in crate::db) mod approval_input;
pub(in crate::db) mod blockers;
pub(in crate::db) mod count;
pub(in crate::db) mod derivation;
pub(in crate::db) mod event;
pub(in crate::db) mod explain;
pub(in crate::db) mod failures;
pub(in crate::db) mod gc_roots;
pub(in crate::db) mod graph;
pub(in crate::db) mod guard;
pub(in crate::db) mod inputs;
pub(in crate::db) mod leave;
pub(in crate::db) mod list;
pub(in crate::db) mod live;
pub(in crate::db) mod other_inputs;
pub(in crate::db) mod other_specs;
pub(in crate::db) mod outbox;
pub(in crate::db) mod retry;
pub(in crate::db) mod route;
pub(in crate::db) mod snapshot;
pub(in crate::db) mod substitutes;
pub(in crate::db) mod timed;
pub(in crate::db) mod timeouts;
pub(in crate::db) mod transition;
pub(in crate::db) mod wanted;
