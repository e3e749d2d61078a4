//! Build events: what coordinators report of their attempts.
//!
//! An event about a build of another coordinator, or about one that is not recorded, changes
//! nothing. Nor does an event that was recorded before.

use serde_json::json;

use crate::clock::Seconds;
use crate::db::build::transition::{Step, StoredStep, stored_attempt, transition};
use crate::db::{BuildId, Db, Result, Tx, rows};
use crate::domain::attempt::{Attempt, furthest};

/// A coordinator's report of the progress of an attempt at a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// The build that is attempted.
    pub build: BuildRef,
    /// The coordinator's identifier for the attempt.
    pub reference: String,
    /// The progress of the attempt.
    pub attempt: Attempt,
    /// When that happened, if the coordinator says so.
    pub happened_at: Option<Seconds>,
}

/// How an event names its build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildRef {
    /// The 32 characters of the store path of the derivation that is built.
    Derivation(String),
    /// By the attempt's identifier alone, from an earlier event.
    Attempt,
    /// By the build that the coordinator was asked about.
    Asked(BuildId),
    /// By the build that the coordinator was asked about, and the 32 characters of the store path
    /// of the derivation that it reports on.
    AskedOf(BuildId, String),
}

/// The effect of recorded events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordedEvents {
    /// How many events were new.
    pub new: u64,
    /// How many builds changed their state because of them.
    pub changed: u64,
}

/// A recorded event about a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildEvent {
    /// The coordinator's identifier for the attempt.
    pub reference: String,
    /// The progress of the attempt.
    pub attempt: Attempt,
    /// The derivation of the attempt, if known: the 32 characters of its store path.
    pub derivation: Option<String>,
    /// When it happened, if the coordinator said so.
    pub happened_at: Option<Seconds>,
    /// When the event arrived.
    pub received_at: Seconds,
}

impl Db {
    /// Records events of a coordinator, and moves the builds to the states that follow. Events
    /// about builds that are not recorded or that belong to another coordinator, and repeated
    /// events, change nothing.
    pub async fn record_events(
        &self,
        coordinator: &str,
        events: &[NewEvent],
        now: Seconds,
    ) -> Result<RecordedEvents> {
        let mut tx = self.begin().await?;
        let new = insert(&mut tx, &lines(events), Some(coordinator), now).await?;
        let changed = transition(&mut tx, &new, Some(coordinator), now).await?;
        tx.commit().await?;
        Ok(RecordedEvents { new: new.len() as u64, changed })
    }

    /// Records attempts at a build that were not known. They do not change the build as long as it
    /// is queued.
    pub async fn note_attempts(
        &self,
        build: BuildId,
        coordinator: &str,
        events: &[NewEvent],
        now: Seconds,
    ) -> Result<()> {
        const QUEUED: &str = "select state = 'queued' from build where id = $1";
        let mut tx = self.begin().await?;
        let new = insert(&mut tx, &lines(events), Some(coordinator), now).await?;
        let is_queued: bool =
            each!(&mut tx, tx => sqlx::query_scalar(QUEUED).bind(build).fetch_one(&mut **tx).await?);
        if !is_queued {
            transition(&mut tx, &new, Some(coordinator), now).await?;
        }
        tx.commit().await
    }

    /// The events about a build, in the order in which they arrived.
    pub async fn build_events(&self, build: BuildId) -> Result<Vec<BuildEvent>> {
        const SQL: &str = "select reference, attempt, derivation, happened_at, received_at from build_event
            where build_id = $1 order by id";
        type Row = (String, String, Option<String>, Option<Seconds>, Seconds);
        let rows: Vec<Row> =
            each!(&self.readers, pool => sqlx::query_as(SQL).bind(build).fetch_all(pool).await?);
        let read = |(reference, word, derivation, happened_at, received_at): Row| {
            let attempt = stored_attempt(build, &word)?;
            Ok(BuildEvent { reference, attempt, derivation, happened_at, received_at })
        };
        rows.into_iter().map(read).collect()
    }

    /// The known attempts at a build, by identifier, with the progress of each.
    pub async fn attempts(&self, build: BuildId) -> Result<Vec<(String, Attempt)>> {
        let events = self.build_events(build).await?;
        let steps = events.iter().map(|event| (event.reference.as_str(), event.attempt));
        Ok(furthest(steps).into_iter().map(|(name, attempt)| (name.to_owned(), attempt)).collect())
    }
}

fn lines(events: &[NewEvent]) -> String {
    rows(events.iter().map(|event| {
        let (hash, build) = match &event.build {
            BuildRef::Derivation(hash) => (Some(hash), None),
            BuildRef::Attempt => (None, None),
            BuildRef::Asked(id) => (None, Some(id)),
            BuildRef::AskedOf(id, hash) => (Some(hash), Some(id)),
        };
        json!({
            "hash": hash, "build": build, "reference": event.reference, "attempt": event.attempt.word(),
            "happened_at": event.happened_at,
        })
    }))
}

/// Inserts the events that are new and about a known build, and returns them. If a coordinator is
/// given, events about builds of other coordinators are left out. The order of the events is kept.
///
/// A build with a thousand events takes only answers: no real build has that many. While the
/// coordinator may have an unknown attempt, an event that a known attempt ended without success is
/// ignored, unless it is an answer.
pub(in crate::db) async fn insert(
    tx: &mut Tx,
    lines: &str,
    coordinator: Option<&str>,
    now: Seconds,
) -> Result<Vec<Step>> {
    // The derivation of an attempt is the one that the event names, else the one of an earlier
    // event about the attempt, else the one that is to be built.
    let sql = sql!(
        "with told as (select * from numbered_records($1: hash text, build bigint, reference text, attempt text,
             happened_at bigint) as told),
           meant as (
             select b.id, told.* from told join derivation d on has_hash(d, told.hash)
               join build b on b.output_set_id = d.output_set_id where told.build is null
             union select b.id, told.* from told join build b on b.id = told.build
             union select x.build_id, told.* from told join build_event x on x.reference = told.reference
               where told.hash is null and told.build is null)
         insert into build_event (build_id, reference, attempt, derivation, happened_at, received_at)
         select id, reference, attempt, coalesce(hash,
             (select min(k.derivation) from build_event k where k.build_id = meant.id and k.reference = meant.reference),
             (select d.hash from build b join derivation d on d.id = b.derivation_id where b.id = meant.id)),
           happened_at, $2 from meant where exists (select 1 from build o
           where o.id = meant.id and ($3 is null or o.coordinator is null or o.coordinator = $3)
             and (meant.build is not null or (select count(*) from build_event k where k.build_id = o.id) < 1000)
             and (meant.build is not null or not o.in_doubt or meant.attempt in ('scheduled', 'started', 'succeeded')
               or not exists (select 1 from build_event k where k.build_id = o.id and k.reference = meant.reference)))
         order by place on conflict do nothing returning build_id, reference, attempt, derivation, received_at"
    );
    let new: Vec<StoredStep> = each!(tx, tx, sql =>
        sqlx::query_as(sql).bind(lines).bind(now).bind(coordinator).fetch_all(&mut **tx).await?);
    new.into_iter().map(Step::stored).collect()
}
