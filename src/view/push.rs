use schemars::JsonSchema;
use serde::Serialize;

use crate::clock::{Seconds, readable};
use crate::db::{self, PushId, PushKind};

/// A push to a branch.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Push<'a> {
    /// When it was acknowledged that the branch leads away from what was evaluated.
    pub acknowledged_at: Option<Seconds>,
    /// The commit after the push; `None` if the branch was deleted.
    pub after: Option<&'a str>,
    /// The commit before the push; `None` if the branch was created.
    pub before: Option<&'a str>,
    /// The branch.
    pub branch: &'a str,
    /// Its number.
    pub id: PushId,
    /// Its effect on the branch.
    pub kind: &'static str,
    /// When it was seen, as text.
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

/// The word for the effect of a push. It is "moved" until the commit has been fetched.
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
