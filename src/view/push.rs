use serde::Serialize;

use crate::clock::{Seconds, readable};
use crate::db::{self, PushId, PushKind};

/// A push to a branch.
#[derive(Debug, Serialize)]
pub struct Push<'a> {
    /// When somebody allowed it to lead away from what was evaluated.
    pub acknowledged_at: Option<Seconds>,
    /// The commit that the branch is at since; none if it was deleted.
    pub after: Option<&'a str>,
    /// The commit that the branch was at; none if it was created.
    pub before: Option<&'a str>,
    /// The branch.
    pub branch: &'a str,
    /// Its number.
    pub id: PushId,
    /// What it did to the branch.
    pub kind: &'static str,
    /// When it was seen, for people.
    pub seen: String,
    /// When it was seen.
    pub seen_at: Seconds,
    /// The repository.
    pub url: &'a str,
}

impl<'a> Push<'a> {
    /// The view of a row.
    pub fn new(row: &'a db::Push) -> Self {
        Self {
            acknowledged_at: row.acknowledged_at,
            after: row.after.as_deref(),
            before: row.before.as_deref(),
            branch: &row.branch,
            id: row.id,
            kind: kind(row.kind),
            seen: readable(row.seen_at),
            seen_at: row.seen_at,
            url: &row.url,
        }
    }
}

/// The word for what a push did; a commit has to be fetched before that is known.
fn kind(kind: Option<PushKind>) -> &'static str {
    match kind {
        Some(PushKind::Created) => "created",
        Some(PushKind::Forward) => "forward",
        Some(PushKind::Forced) => "force-pushed",
        Some(PushKind::Deleted) => "deleted",
        Some(PushKind::Returned) => "returned",
        None => "moved",
    }
}
