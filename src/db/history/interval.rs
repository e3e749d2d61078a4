//! Finds the intervals that contain an evaluation without reading others.
//!
//! The numbers of evaluations are the nodes of a binary tree. Odd numbers are its leaves, and a
//! number is higher in the tree the more often it can be halved. A closed interval is stored at the
//! highest of its numbers. Every interval that contains a number is stored on the path from that
//! number to the root, so few index lookups find it, however long the history is (Kriegel, Pötke,
//! Seidl: Managing Intervals Efficiently in Object-Relational Databases, 2000). The jobs of an old
//! evaluation are found as fast as those of the newest.

use serde_json::json;

use crate::db::{EvaluationId, Result, Tx, rows};

/// Levels of the tree. Numbers of evaluations stay below two to this power.
const LEVELS: u32 = 62;

/// The node of the interval from `first` to `last`. `first` is at least 1, and `last` is not less
/// than `first`.
pub(in crate::db) fn node(first: EvaluationId, last: EvaluationId) -> i64 {
    let differing = (first.0 - 1) ^ last.0;
    let level = i64::BITS - 1 - differing.leading_zeros();
    last.0 >> level << level
}

/// The nodes of all intervals that contain `id`: a JSON array, for `on_path` in SQL.
pub(in crate::db) fn path(id: EvaluationId) -> String {
    let nodes = (0..LEVELS).map(|level| id.0 >> (level + 1) << (level + 1) | 1 << level);
    rows(nodes.map(serde_json::Value::from))
}

/// An interval with its new bounds; `last` is the last evaluation in it.
pub(in crate::db) struct Ended {
    /// The row of `job_interval`.
    pub(in crate::db) id: i64,
    pub(in crate::db) first: EvaluationId,
    pub(in crate::db) last: EvaluationId,
}

/// Sets the bounds of intervals, open or closed, to `first` and `last`.
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
