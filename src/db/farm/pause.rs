//! What people stop for a while. The steps that claim and submit leave it alone; what runs goes on.

use crate::clock::Seconds;
use crate::db::farm::notify::{Wake, ring};
use crate::db::log::audit::record;
use crate::db::{Db, Result};
use crate::domain::access::{Action, Author};

/// SQL for whether something of the spec `$spec` (a row of `spec`), for a system, is paused.
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
    /// Nothing of a spec, or of those made from it, is evaluated or submitted.
    Spec(String),
    /// Nothing is evaluated or submitted for a system.
    System(String),
    /// A host begins no evaluation.
    Host(String),
    /// Nothing is submitted.
    Submission,
}

impl Pausable {
    /// The words of the kinds.
    pub const KINDS: [&str; 4] = ["spec", "system", "host", "submission"];

    /// What is called so.
    pub fn new(kind: &str, name: &str) -> Option<Self> {
        Some(match kind {
            "spec" => Self::Spec(name.to_owned()),
            "system" => Self::System(name.to_owned()),
            "host" => Self::Host(name.to_owned()),
            "submission" => Self::Submission,
            _ => return None,
        })
    }

    /// Its kind and its name, as they are stored.
    pub fn words(&self) -> (&'static str, &str) {
        match self {
            Self::Spec(name) => ("spec", name),
            Self::System(name) => ("system", name),
            Self::Host(name) => ("host", name),
            Self::Submission => ("submission", ""),
        }
    }

    /// What it is called for people.
    pub fn text(&self) -> String {
        let (kind, name) = self.words();
        format!("{kind} {name}").trim_end().to_owned()
    }
}

/// Something that is paused.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Pause {
    /// `spec`, `system`, `host` or `submission`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Since when.
    pub since: Seconds,
    /// Who did that.
    pub author: String,
    /// Why, in their words; perhaps nothing.
    pub reason: String,
}

impl Db {
    /// What is paused.
    pub async fn pauses(&self) -> Result<Vec<Pause>> {
        const SQL: &str = "select kind, name, since, author, reason from pause order by kind, name";
        each!(&self.readers, pool => Ok(sqlx::query_as(SQL).fetch_all(pool).await?))
    }

    /// Stops something for a while. Gives `false` if it is paused already.
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

    /// Lets something go on. Gives `false` if it was not paused.
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
