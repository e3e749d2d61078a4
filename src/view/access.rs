use serde::Serialize;

use crate::clock::Seconds;
use crate::db::{self, TokenId};
use crate::domain::access::Role;

/// A token, without its secret.
#[derive(Debug, Serialize)]
pub struct Token<'a> {
    /// When it is no longer valid.
    pub expires_at: Option<Seconds>,
    /// Its number.
    pub id: TokenId,
    /// When it was made.
    pub made_at: Seconds,
    /// Who made it.
    pub made_by: &'a str,
    /// What people call it.
    pub name: &'a str,
    /// What it permits.
    pub role: Role,
    /// The specs that may be changed with it, as patterns; none: all.
    pub specs: &'a [String],
    /// `valid`, `expired` or `revoked`.
    pub state: &'static str,
    /// When it was last used.
    pub used_at: Option<Seconds>,
}

impl<'a> Token<'a> {
    /// The view of a row.
    pub fn new(row: &'a db::Token, now: Seconds) -> Self {
        let db::Token { id, name, role, specs, made_by, made_at, expires_at, used_at, revoked_at, .. } = row;
        let state = match revoked_at {
            Some(_) => "revoked",
            None if row.is_valid(now) => "valid",
            None => "expired",
        };
        Self {
            expires_at: *expires_at,
            id: *id,
            made_at: *made_at,
            made_by,
            name,
            role: *role,
            specs,
            state,
            used_at: *used_at,
        }
    }
}

/// What somebody changed, or was not permitted to.
#[derive(Debug, Serialize)]
pub struct AuditEntry<'a> {
    /// What was done, in a word.
    pub action: &'a str,
    /// When.
    pub at: Seconds,
    /// The name of a token, or `cli:USER`.
    pub author: &'a str,
    /// Its number; later ones are larger.
    pub id: i64,
    /// The address of a client, or the name of a host.
    pub origin: &'a str,
    /// What the author may do.
    pub role: &'a str,
    /// To what it was done.
    pub subject: &'a str,
}

impl<'a> AuditEntry<'a> {
    /// The view of a row.
    pub fn new(row: &'a db::AuditEntry) -> Self {
        let db::AuditEntry { id, at, author, role, origin, action, subject } = row;
        Self { action, at: *at, author, id: *id, origin, role, subject }
    }
}

/// Something that somebody stopped for a while.
#[derive(Debug, Serialize)]
pub struct Pause<'a> {
    /// Who did that.
    pub author: &'a str,
    /// `spec`, `system`, `host` or `submission`.
    pub kind: &'a str,
    /// The name of the spec, system or host.
    pub name: &'a str,
    /// Why.
    pub reason: &'a str,
    /// Since when.
    pub since: Seconds,
}

impl<'a> Pause<'a> {
    /// The view of a row.
    pub fn new(row: &'a db::Pause) -> Self {
        let db::Pause { kind, name, since, author, reason } = row;
        Self { author, kind, name, reason, since: *since }
    }
}
