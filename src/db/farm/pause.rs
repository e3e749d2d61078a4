//! Pauses. The steps that claim and submit skip whatever is paused; work that runs already goes on.

use crate::clock::Seconds;
use crate::db::farm::notify::{Wake, ring};
use crate::db::log::audit::record;
use crate::db::{Db, Result};
use crate::domain::access::{Action, Author};
use crate::domain::spec::{Spec, System};

/// SQL for whether the spec `$spec` (a row of `spec`), or the system, is paused:
/// [`Pause::stops_spec`] and [`Pause::stops_system`].
macro_rules! is_paused {
    ($spec:literal, $system:literal) => {
        concat!(
            "exists (select 1 from pause p where p.kind = 'system' and p.name = ",
            $system,
            " or p.kind = 'spec' and (p.name = ",
            $spec,
            ".name or p.name = member(",
            $spec,
            ".definition, template)))"
        )
    };
}

/// What can be paused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pausable {
    /// A spec, and the specs made from it: nothing of them is evaluated or submitted.
    Spec(String),
    /// A system: nothing is evaluated or submitted for it.
    System(String),
    /// A host: it begins no evaluation.
    Host(String),
    /// Submission: nothing is submitted.
    Submission,
}

impl Pausable {
    /// The words for the kinds.
    pub const KINDS: [&str; 4] = ["spec", "system", "host", "submission"];

    /// The thing with this kind and name; `None` if the kind is unknown.
    pub fn new(kind: &str, name: &str) -> Option<Self> {
        Some(match kind {
            "spec" => Self::Spec(name.to_owned()),
            "system" => Self::System(name.to_owned()),
            "host" => Self::Host(name.to_owned()),
            "submission" => Self::Submission,
            _ => return None,
        })
    }

    /// The kind and the name, as they are stored.
    pub fn words(&self) -> (&'static str, &str) {
        match self {
            Self::Spec(name) => ("spec", name),
            Self::System(name) => ("system", name),
            Self::Host(name) => ("host", name),
            Self::Submission => ("submission", ""),
        }
    }

    /// The text for people.
    pub fn text(&self) -> String {
        let (kind, name) = self.words();
        format!("{kind} {name}").trim_end().to_owned()
    }
}

/// A pause.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Pause {
    /// `spec`, `system`, `host` or `submission`.
    pub kind: String,
    /// The name of the paused thing.
    pub name: String,
    /// When the pause began.
    pub since: Seconds,
    /// The author of the pause.
    pub author: String,
    /// The author's reason; may be empty.
    pub reason: String,
}

impl Pause {
    /// Whether nothing of a spec is evaluated or submitted. A pause of a template stops the specs
    /// made from it.
    pub fn stops_spec(&self, spec: &Spec) -> bool {
        self.kind == "spec" && (self.name == spec.name || spec.template.as_ref() == Some(&self.name))
    }

    /// Whether nothing is evaluated or submitted for a system.
    pub fn stops_system(&self, system: &System) -> bool {
        self.kind == "system" && self.name == system.as_str()
    }

    /// Whether nothing at all is submitted.
    pub fn stops_submission(&self) -> bool {
        self.kind == "submission"
    }
}

impl Db {
    /// All pauses.
    pub async fn pauses(&self) -> Result<Vec<Pause>> {
        const SQL: &str = "select kind, name, since, author, reason from pause order by kind, name";
        each!(&self.readers, pool => Ok(sqlx::query_as(SQL).fetch_all(pool).await?))
    }

    /// Pauses something. Returns `false` if it is paused already.
    pub async fn pause(&self, what: &Pausable, reason: &str, author: &Author, now: Seconds) -> Result<bool> {
        const ADD: &str = "insert into pause (kind, name, since, author, reason) values ($1, $2, $3, $4, $5)
            on conflict (kind, name) do nothing";
        let (kind, name) = what.words();
        let mut tx = self.begin().await?;
        let is_new = execute!(&mut tx, ADD, kind, name, now, &author.name, reason) > 0;
        if is_new {
            let subject = if reason.is_empty() { what.text() } else { format!("{}: {reason}", what.text()) };
            record(&mut tx, author, Action::Pause, &subject, now).await?;
        }
        tx.commit().await?;
        Ok(is_new)
    }

    /// Resumes something. Returns `false` if it was not paused.
    pub async fn resume_paused(&self, what: &Pausable, author: &Author, now: Seconds) -> Result<bool> {
        let (kind, name) = what.words();
        let mut tx = self.begin().await?;
        let was = execute!(&mut tx, "delete from pause where kind = $1 and name = $2", kind, name) > 0;
        if was {
            record(&mut tx, author, Action::Resume, &what.text(), now).await?;
            ring(&mut tx, Wake::Evaluate).await?;
            ring(&mut tx, Wake::Schedule).await?;
        }
        tx.commit().await?;
        Ok(was)
    }
}
