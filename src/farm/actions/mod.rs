//! Changes that people make: the same from the command line, a page and the API.
//!
//! # Guarantees
//!
//! * A change and its entry in the audit log are one transaction.
//! * An author who is limited to certain specs cannot change anything else.

mod builds;
mod hooks;
mod pauses;
mod tokens;
mod waivers;

use std::fmt;

use rustix::io::Errno;

use crate::clock::Seconds;
use crate::db::{
    self, AwaitingApproval, Branch, Db, Evaluation, EvaluationId, EvaluationState, PushId, StoredSpec,
};
use crate::domain::access::Author;

/// The reason why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The thing to change does not exist.
    #[error("{0}")]
    Missing(String),
    /// The thing is in a state that does not permit the change.
    #[error("{0}")]
    Conflict(String),
    /// An argument is invalid.
    #[error("{0}")]
    Wrong(String),
    /// The author may not make this change.
    #[error("{0}")]
    Forbidden(String),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] db::Error),
    /// The system provides no random numbers.
    #[error("cannot get random numbers: {0}")]
    Random(#[from] Errno),
}

pub use hooks::ReportedPush;
pub use tokens::random_secret;
pub use waivers::WantedWaiver;

type Result<T> = std::result::Result<T, Refusal>;

fn missing<T>(text: impl Into<String>) -> Result<T> {
    Err(Refusal::Missing(text.into()))
}

fn conflict<T>(text: impl Into<String>) -> Result<T> {
    Err(Refusal::Conflict(text.into()))
}

/// Formats a count: `1 build`, `2 builds`.
fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// Selects builds that await approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which<'a> {
    /// All evaluations of a spec.
    Spec(&'a str),
    /// One evaluation, and earlier ones of the same spec and system.
    Evaluation(EvaluationId),
}

impl fmt::Display for Which<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spec(name) => f.write_str(name),
            Self::Evaluation(id) => write!(f, "evaluation {id}"),
        }
    }
}

/// The changes that one author may make.
#[derive(Debug, Clone, Copy)]
pub struct Actions<'a> {
    /// The database to change.
    pub db: &'a Db,
    /// The author of the changes.
    pub author: &'a Author,
    /// The time of the changes.
    pub now: Seconds,
}

impl Actions<'_> {
    async fn check(&self, spec: Option<&str>) -> Result<()> {
        if self.author.may_change(spec) {
            return Ok(());
        }
        let what = spec.map_or("the farm as a whole".to_owned(), |name| format!("the spec {name}"));
        self.db.record_denial(self.author, &format!("a change of {what}"), self.now).await?;
        Err(Refusal::Forbidden(format!("{} may not change {what}", self.author.name)))
    }

    async fn spec(&self, name: &str) -> Result<StoredSpec> {
        let specs = self.db.specs().await?;
        let found = specs.into_iter().find(|stored| stored.spec.name == name);
        found
            .map_or_else(|| missing(format!("there is no spec {name}\nhint: `gorget status` lists them")), Ok)
    }

    async fn evaluation(&self, id: EvaluationId) -> Result<Evaluation> {
        let missing =
            || Refusal::Missing(format!("there is no evaluation {id}\nhint: `gorget status` lists them"));
        let found = self.db.evaluation(id).await?.ok_or_else(missing)?;
        self.check(Some(&found.spec)).await?;
        Ok(found)
    }

    /// Requests a poll of the branches of a spec, or of all branches.
    pub async fn poll(&self, spec: Option<&str>) -> Result<String> {
        self.check(spec).await?;
        let stored = match spec {
            None => None,
            Some(name) => Some(self.spec(name).await?),
        };
        let wanted = |branch: &&Branch| stored.as_ref().is_none_or(|stored| watches(stored, branch));
        let branches = self.db.branches().await?;
        let branches: Vec<_> = branches.iter().filter(wanted).map(|branch| branch.id).collect();
        let subject = spec.map_or("all branches".to_owned(), |name| format!("spec {name}"));
        self.db.request_polls(&branches, &subject, self.author, self.now).await?;
        let count = count(branches.len(), "branch is", "branches are");
        Ok(format!("{count} polled as soon as `gorget run` runs"))
    }

    /// Queues builds that await approval. Returns the approved evaluations.
    pub async fn approve(&self, which: Which<'_>, system: Option<&str>) -> Result<Vec<AwaitingApproval>> {
        let held = self.db.awaiting_approval().await?;
        let is_meant = |one: &&AwaitingApproval| {
            let is_of = match which {
                Which::Spec(name) => one.spec == name,
                Which::Evaluation(id) => held.iter().any(|named| {
                    named.evaluation == id
                        && (&one.spec, &one.system) == (&named.spec, &named.system)
                        && one.evaluation <= id
                }),
            };
            is_of && system.is_none_or(|system| *system == one.system)
        };
        let meant: Vec<AwaitingApproval> = held.iter().filter(is_meant).cloned().collect();
        let Some(first) = meant.first() else {
            let of_system = system.map(|system| format!(" for {system}")).unwrap_or_default();
            let hint = "hint: `gorget status` shows what awaits approval";
            return missing(format!("nothing of {which}{of_system} awaits approval\n{hint}"));
        };
        self.check(Some(&first.spec)).await?;
        let evaluations: Vec<_> = meant.iter().map(|held| held.evaluation).collect();
        self.db.approve(&evaluations, self.author, self.now).await?;
        Ok(meant)
    }

    /// Requests another evaluation of the same revision.
    pub async fn retry(&self, id: EvaluationId) -> Result<String> {
        let old = self.evaluation(id).await?;
        let specs = self.db.specs().await?;
        if !specs.iter().any(|stored| stored.id == old.spec_id && stored.present && stored.spec.active) {
            return conflict(format!("the spec {} is not active, so nothing of it is evaluated", old.spec));
        }
        match self.db.retry_evaluation(id, self.author, self.now).await? {
            None => self.cannot_retry(&old).await,
            Some(new) => Ok(format!(
                "evaluation {new} of {} for {} waits for `gorget run`, at {}",
                old.spec,
                old.system,
                old.revision.short()
            )),
        }
    }

    async fn cannot_retry(&self, old: &Evaluation) -> Result<String> {
        let id = old.id;
        match old.state {
            EvaluationState::Pending => conflict(format!("evaluation {id} is pending already")),
            EvaluationState::Running => conflict(format!("evaluation {id} is running")),
            EvaluationState::Complete | EvaluationState::Failed => {
                let newest = self.db.newest_evaluations().await?;
                let newest =
                    newest.iter().find(|one| (one.spec_id, &one.system) == (old.spec_id, &old.system));
                let hint = newest.map_or(String::new(), |newest| format!("\nhint: that is {}", newest.id));
                let what = format!("evaluation {id} is not the newest of {} for {}", old.spec, old.system);
                conflict(format!("{what}{hint}"))
            }
        }
    }

    /// Keeps an evaluation until it is unpinned, or as long as its spec says.
    pub async fn pin(&self, id: EvaluationId, keep: bool) -> Result<String> {
        self.evaluation(id).await?;
        self.db.pin(id, keep, self.author, self.now).await?;
        Ok(if keep {
            format!("evaluation {id} is kept until it is unpinned")
        } else {
            format!("evaluation {id} is kept as its spec says")
        })
    }

    /// Allows a push that leads away from the commits that were evaluated before.
    pub async fn acknowledge(&self, id: PushId) -> Result<String> {
        self.check(None).await?;
        let pushes = self.db.all_pushes(i64::MAX).await?;
        let Some(push) = pushes.into_iter().find(|push| push.id == id) else {
            return missing(format!("there is no push {id}\nhint: `gorget pushes` lists them"));
        };
        let Some(after) = push.after else {
            return conflict(format!("push {id} removed the branch: there is nothing to acknowledge"));
        };
        self.db.acknowledge_push(id, self.author, self.now).await?;
        Ok(format!("the push of {} of {} to {after} is acknowledged", push.branch, push.url))
    }
}

/// Whether a branch is one that a spec names.
fn watches(stored: &StoredSpec, branch: &Branch) -> bool {
    let channels = &stored.spec.channels;
    channels.iter().any(|channel| (&channel.url, &channel.branch) == (&branch.url, &branch.name))
}
