//! Who may do what, and what was done by whom.

/// The form of the secrets that let somebody in.
pub mod secret;

use std::str::FromStr;

use serde::Serialize;

use crate::domain::spec::fits;

/// What somebody may do. Each role includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// See pages and the API.
    Read,
    /// Have branches polled.
    Trigger,
    /// Approve, retry, pin, pause.
    Operate,
    /// Acknowledge pushes, reassign builds, make tokens.
    Admin,
}

impl Role {
    /// All of them, the weakest first.
    pub const ALL: [Self; 4] = [Self::Read, Self::Trigger, Self::Operate, Self::Admin];

    /// The word for it.
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

/// Somebody who changes something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// The name of a token, or `cli:USER`.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// The specs that they may change, as patterns; none: all.
    pub specs: Vec<String>,
    /// The address of a client, or the name of a host.
    pub origin: String,
}

impl Author {
    /// Whether they may change something of a spec, or, without one, of the farm.
    pub fn may_change(&self, spec: Option<&str>) -> bool {
        self.specs.is_empty() || spec.is_some_and(|name| self.specs.iter().any(|pattern| fits(pattern, name)))
    }
}

/// What somebody changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Branches are polled now.
    Poll,
    /// Builds that await approval are queued.
    Approve,
    /// A revision is evaluated once more.
    Retry,
    /// Failed builds are queued once more.
    RetryBuild,
    /// An evaluation is kept for ever.
    Pin,
    /// An evaluation is kept as its spec says.
    Unpin,
    /// A push may lead away from what was evaluated before.
    Acknowledge,
    /// The builds of a coordinator go to others.
    Reassign,
    /// Something stops for a while.
    Pause,
    /// Something goes on.
    Resume,
    /// A token is made.
    CreateToken,
    /// A token is no longer valid.
    RevokeToken,
    /// A browser session begins.
    Login,
    /// Something was not permitted.
    Refuse,
}

impl Action {
    /// The word for it in the audit log.
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
