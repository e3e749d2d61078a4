//! Permissions, and the actions that the audit log records.

/// The format of tokens' secrets.
pub mod secret;

use std::str::FromStr;

use schemars::JsonSchema;
use serde::Serialize;

use crate::domain::spec::matches_pattern;

/// What a token permits. Each role includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Read pages and the API.
    Read,
    /// Request polls of branches.
    Trigger,
    /// Approve, retry, pin, pause.
    Operate,
    /// Acknowledge pushes, reassign builds, make tokens.
    Admin,
}

impl Role {
    /// All roles, the weakest first.
    pub const ALL: [Self; 4] = [Self::Read, Self::Trigger, Self::Operate, Self::Admin];

    /// The role's word in configuration, JSON and messages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Trigger => "trigger",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let named = Self::ALL.into_iter().find(|role| role.word() == word);
        named.ok_or_else(|| format!("there is no role {word:?}\nhint: read, trigger, operate or admin"))
    }
}

/// The person or program that makes a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// The name of a token, `cli:USER` or `hook:NAME`.
    pub name: String,
    /// What the author may do.
    pub role: Role,
    /// Patterns of the specs that the author may change; empty for all.
    pub specs: Vec<String>,
    /// The address of a client, or the name of a host.
    pub origin: String,
}

impl Author {
    /// Whether the author may change a spec, or, without one, the farm as a whole.
    pub fn may_change(&self, spec: Option<&str>) -> bool {
        self.specs.is_empty()
            || spec.is_some_and(|name| self.specs.iter().any(|pattern| matches_pattern(pattern, name)))
    }
}

/// An action in the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Request a poll of branches.
    Poll,
    /// Queue builds that await approval.
    Approve,
    /// Evaluate a revision once more.
    Retry,
    /// Queue failed builds once more.
    RetryBuild,
    /// Keep an evaluation for ever.
    Pin,
    /// Keep an evaluation only as long as its spec says.
    Unpin,
    /// Allow a push that leads away from what was evaluated before.
    Acknowledge,
    /// Give the builds of a coordinator to others.
    Reassign,
    /// Pause a spec, a system, a host or submission.
    Pause,
    /// End a pause.
    Resume,
    /// Make a token.
    CreateToken,
    /// Revoke a token.
    RevokeToken,
    /// Answer for what a branch breaks.
    Waive,
    /// End a waiver early.
    EndWaiver,
    /// Begin a browser session.
    Login,
    /// An attempted action was not permitted.
    Refuse,
}

impl Action {
    /// The action's word in the audit log.
    pub fn word(self) -> &'static str {
        match self {
            Self::Poll => "poll",
            Self::Approve => "approve",
            Self::Retry => "retry",
            Self::RetryBuild => "retry-build",
            Self::Pin => "pin",
            Self::Unpin => "unpin",
            Self::Acknowledge => "acknowledge",
            Self::Reassign => "reassign",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::CreateToken => "create-token",
            Self::RevokeToken => "revoke-token",
            Self::Waive => "waive",
            Self::EndWaiver => "end-waiver",
            Self::Login => "login",
            Self::Refuse => "refuse",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_bound_to_specs_changes_nothing_else() {
        let author = |specs: &[&str]| Author {
            name: "ada".to_owned(),
            role: Role::Admin,
            specs: specs.iter().map(ToString::to_string).collect(),
            origin: "here".to_owned(),
        };
        assert!(author(&[]).may_change(None) && author(&[]).may_change(Some("master")));
        let bound = author(&["*-team", "edits/*"]);
        assert!(bound.may_change(Some("rust-team")) && bound.may_change(Some("edits/leaf")));
        assert!(!bound.may_change(Some("master")) && !bound.may_change(None));
    }
}
