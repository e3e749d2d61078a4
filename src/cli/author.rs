//! The user who runs a command, for the audit log.

use super::{open_db, user_error};
use crate::clock::Clock;
use crate::config::Config;
use crate::db::Db;
use crate::domain::access::{Author, Role};
use crate::farm::actions::{Actions, Refusal};

/// What a command that changes something needs.
pub(super) struct ActionContext {
    db: Db,
    author: Author,
}

impl ActionContext {
    pub(super) async fn open(config: &Config) -> anyhow::Result<Self> {
        Ok(Self { db: open_db::open(config).await?, author: author(config) })
    }

    pub(super) fn actions(&self) -> Actions<'_> {
        Actions { db: &self.db, author: &self.author, now: Clock::System.now() }
    }
}

/// The user on this machine. Anybody who can write to the database may do everything.
pub(super) fn author(config: &Config) -> Author {
    let user = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    let user = user.filter(|user| !user.is_empty() && !user.contains(char::is_control));
    let user = user.unwrap_or_else(|| rustix::process::getuid().as_raw().to_string());
    let name = format!("cli:{user}");
    Author { name, role: Role::Admin, specs: Vec::new(), origin: config.host.clone() }
}

/// Turns a refusal into a user error, unless something of ours failed.
pub(super) fn refused(refusal: Refusal) -> anyhow::Error {
    match refusal {
        Refusal::Missing(text)
        | Refusal::Conflict(text)
        | Refusal::Wrong(text)
        | Refusal::Forbidden(text) => user_error(text),
        refusal @ (Refusal::Db(_) | Refusal::Random(_)) => refusal.into(),
    }
}
