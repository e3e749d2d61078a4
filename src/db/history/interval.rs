//! Which intervals contain an evaluation, found without looking at others.
//!
//! The numbers of evaluations are the nodes of a binary tree: odd numbers are its leaves, and the
//! more often a number can be halved, the higher it stands. A closed interval hangs at the highest
//! of its numbers. Every interval that contains a number hangs on the way from it to the top, so
//! few look-ups in an index find it, however long the history is (Kriegel, Pötke, Seidl: Managing
//! Intervals Efficiently in Object-Relational Databases, 2000). What an old evaluation had is
//! found as fast as what the newest has.

use serde_json::json;

use crate::db::{EvaluationId, Result, Tx, rows};

/// Levels of the tree: numbers of evaluations stay below two to this power.
const LEVELS: u32 = 62;

/// Where the interval from `first` to `last` hangs. Neither is less than 1, nor `last` than `first`.
pub(in crate::db) fn node(first: EvaluationId, last: EvaluationId) -> i64 {
    let differing = (first.0 - 1) ^ last.0;
    let level = i64::BITS - 1 - differing.leading_zeros();
    last.0 >> level << level
}

/// Where intervals hang that contain `id`: a JSON array, for `on_path` in SQL.
pub(in crate::db) fn path(id: EvaluationId) -> String {
    let nodes = (0..LEVELS).map(|level| id.0 >> (level + 1) << (level + 1) | 1 << level);
    rows(nodes.map(serde_json::Value::from))
}

/// An interval that contains `last` and goes no further.
pub(in crate::db) struct Ended {
    /// Which row of `job_interval`.
    pub(in crate::db) id: i64,
    pub(in crate::db) first: EvaluationId,
    pub(in crate::db) last: EvaluationId,
}

/// Lets intervals, open ones or not, be from `first` to `last`.
pub(in crate::db) async fn end_intervals(tx: &mut Tx, ended: &[Ended]) -> Result<()> {
    let lines = rows(ended.iter().map(|Ended { id, first, last }| {
        json!({ "id": id, "first": first, "last": last, "node": node(*first, *last) })
    }));
    let sql = sql!(
        "update job_interval set first_evaluation = ended.first, last_evaluation = ended.last, node = ended.node
         from records($1: id bigint, first bigint, last bigint, node bigint) as ended
         where job_interval.id = ended.id"
    );
    execute!(tx, sql, lines);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_contains_a_number_hangs_on_its_path() {
        for last in 1..=70 {
            for first in 1..=last {
                let node = node(EvaluationId(first), EvaluationId(last));
                assert!((first..=last).contains(&node));
                for id in first..=last {
                    let path: Vec<i64> = serde_json::from_str(&path(EvaluationId(id))).unwrap();
                    assert!(
                        path.contains(&node),
                        "{first} to {last} hangs at {node}, not on the path of {id}"
                    );
                }
            }
        }
    }
}
