//! What happens to the builds of an evaluation that is removed.

use crate::db::{EvaluationId, Result, Tx};

/// Hands over the builds that an evaluation was the first to want to another evaluation that has
/// them, or deletes them.
pub(in crate::db) async fn hand_over_builds(tx: &mut Tx, id: EvaluationId) -> Result<()> {
    const MOVE: &str = "update build set evaluation_id = coalesce(
          (select min(j.first_evaluation) from derivation d join job_interval j on j.derivation_id = d.id
           where d.output_set_id = build.output_set_id), evaluation_id) where evaluation_id = $1";
    const EVENTS: &str =
        "delete from build_event where build_id in (select id from build where evaluation_id = $1)";
    const NEEDED_BY: &str = "update build set needed_by = null where needed_by in (select id from build where evaluation_id = $1)";
    execute!(tx, MOVE, id);
    execute!(tx, EVENTS, id);
    execute!(tx, NEEDED_BY, id);
    execute!(tx, "delete from build where evaluation_id = $1", id);
    Ok(())
}
