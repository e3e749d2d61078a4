use schemars::JsonSchema;
use serde::Serialize;

use crate::clock::Seconds;
use crate::db::{self, TokenId};
use crate::domain::access::Role;

/// A token, without its secret.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Token<'a> {
    /// When it is no longer valid.
    pub expires_at: Option<Seconds>,
    /// Its number.
    pub id: TokenId,
    /// When it was created.
    pub made_at: Seconds,
    /// The author who created it.
    pub made_by: &'a str,
    /// The name that people know it by.
    pub name: &'a str,
    /// The role that it gives.
    pub role: Role,
    /// Patterns of the specs that may be changed with it; empty means all.
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

/// A change that somebody made or attempted, as the audit log has it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AuditEntry<'a> {
    /// The action, in a word.
    pub action: &'a str,
    /// When it happened.
    pub at: Seconds,
    /// The name of a token, or `cli:USER`.
    pub author: &'a str,
    /// Its number; later ones are larger.
    pub id: i64,
    /// The address of a client, or the name of a host.
    pub origin: &'a str,
    /// The role of the author.
    pub role: &'a str,
    /// The subject of the action.
    pub subject: &'a str,
}

impl<'a> AuditEntry<'a> {
    /// The view of a row.
    pub fn new(row: &'a db::AuditEntry) -> Self {
        let db::AuditEntry { id, at, author, role, origin, action, subject } = row;
        Self { action, at: *at, author, id: *id, origin, role, subject }
    }
}

/// Something that is paused.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Pause<'a> {
    /// Who paused it.
    pub author: &'a str,
    /// `spec`, `system`, `host` or `submission`.
    pub kind: &'a str,
    /// The name of the spec, system or host.
    pub name: &'a str,
    /// The reason that was given.
    pub reason: &'a str,
    /// When it was paused.
    pub since: Seconds,
}

impl<'a> Pause<'a> {
    /// The view of a row.
    pub fn new(row: &'a db::Pause) -> Self {
        let db::Pause { kind, name, since, author, reason } = row;
        Self { author, kind, name, reason, since: *since }
    }
}

/// A token that was just created.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CreatedToken {
    /// Its number.
    pub id: TokenId,
    /// Its secret, which is shown only now.
    pub token: String,
}
