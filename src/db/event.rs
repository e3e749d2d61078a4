use serde_json::{Value, json};

use super::{BuildId, BuildState, Db, Error, Result, Tx, rows};
use crate::clock::Seconds;
use crate::plan::{Attempt, standing};

/// A coordinator tells how far one of its attempts at a build is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// The 32 characters of the store path of the derivation that is built.
    pub derivation: String,
    /// The coordinator's name for the attempt.
    pub reference: String,
    /// How far it is.
    pub attempt: Attempt,
    /// When that happened, if it says.
    pub happened_at: Option<Seconds>,
}

/// What came of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noted {
    /// How many told something new.
    pub new: u64,
    /// How many builds changed their state by that.
    pub changed: u64,
}

/// What a coordinator told about a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildEvent {
    /// Its name for the attempt.
    pub reference: String,
    /// How far that was.
    pub attempt: Attempt,
    /// When, as far as it told.
    pub happened_at: Option<Seconds>,
    /// When it told.
    pub received_at: Seconds,
}

impl Db {
    /// Writes down what a coordinator tells, and moves the builds to the states that follow. Events
    /// about builds that nobody here wants, and such as were told before, change nothing.
    pub async fn record_events(&self, events: &[NewEvent], now: Seconds) -> Result<Noted> {
        let lines = rows(events.iter().map(|event| {
            json!({
                "hash": event.derivation, "reference": event.reference, "attempt": event.attempt.word(),
                "happened_at": event.happened_at,
            })
        }));
        let mut tx = self.begin().await?;
        let builds: Vec<BuildId> = each!(&mut tx, tx, sql:
            "insert into build_event (build_id, reference, attempt, happened_at, received_at)
             select b.id, value->>'reference', value->>'attempt', value->>'happened_at', $2
             from json_each($1) join derivation d on d.hash = value->>'hash'
               join build b on b.output_set_id = d.output_set_id
             where true on conflict do nothing returning build_id",
            "insert into build_event (build_id, reference, attempt, happened_at, received_at)
             select b.id, new.reference, new.attempt, new.happened_at, $2
             from json_to_recordset($1::json)
               as new (hash text, reference text, attempt text, happened_at bigint)
               join derivation d on d.hash = new.hash join build b on b.output_set_id = d.output_set_id
             on conflict do nothing returning build_id"
            => sqlx::query_scalar(sql).bind(&lines).bind(now).fetch_all(&mut **tx).await?);
        let changed = settle(&mut tx, &builds, now).await?;
        tx.commit().await?;
        Ok(Noted { new: builds.len() as u64, changed })
    }

    /// What a coordinator told about a build, in the order in which it did.
    pub async fn build_events(&self, build: BuildId) -> Result<Vec<BuildEvent>> {
        const SQL: &str = "select reference, attempt, happened_at, received_at from build_event
            where build_id = $1 order by id";
        let rows: Vec<(String, String, Option<Seconds>, Seconds)> =
            each!(&self.readers, pool => sqlx::query_as(SQL).bind(build).fetch_all(pool).await?);
        let read = |(reference, word, happened_at, received_at): (String, String, _, _)| {
            let attempt = stored_attempt(build, &word)?;
            Ok(BuildEvent { reference, attempt, happened_at, received_at })
        };
        rows.into_iter().map(read).collect()
    }
}

/// Moves these builds to the states that follow from all that was told about them.
async fn settle(tx: &mut Tx, builds: &[BuildId], now: Seconds) -> Result<u64> {
    let wanted = rows(builds.iter().map(|id| Value::from(id.0)));
    let told: Vec<(BuildId, String, String)> = each!(tx, tx, sql:
        "select build_id, reference, attempt from build_event
         where build_id in (select value from json_each($1)) order by build_id, id",
        "select build_id, reference, attempt from build_event
         where build_id in (select value::bigint from json_array_elements_text($1::json)) order by build_id, id"
        => sqlx::query_as(sql).bind(&wanted).fetch_all(&mut **tx).await?);
    let mut lines = Vec::new();
    for of_one in told.chunk_by(|one, next| one.0 == next.0) {
        let id = of_one[0].0;
        let step =
            |(_, name, word): &'_ (BuildId, String, String)| Ok((name.clone(), stored_attempt(id, word)?));
        let steps = of_one.iter().map(step).collect::<Result<Vec<_>>>()?;
        let Some(attempt) = standing(steps.iter().map(|(name, attempt)| (name.as_str(), *attempt))) else {
            continue;
        };
        let (name, _) = &steps[steps.len() - 1];
        lines.push(json!({ "id": id, "state": state(attempt), "reference": name }));
    }
    Ok(execute!(
        tx,
        [
            "update build set state = new.state, reference = new.reference, answered_at = coalesce(answered_at, $2)
             from (select value->>'id' as id, value->>'state' as state, value->>'reference' as reference
                   from json_each($1)) as new
             where build.id = new.id and +build.state <> new.state",
            "update build set state = new.state, reference = new.reference, answered_at = coalesce(answered_at, $2)
             from json_to_recordset($1::json) as new (id bigint, state text, reference text)
             where build.id = new.id and build.state <> new.state"
        ],
        rows(lines),
        now
    ))
}

/// The state of a build that stands there.
fn state(attempt: Attempt) -> BuildState {
    match attempt {
        Attempt::Scheduled => BuildState::Submitted,
        Attempt::Started => BuildState::Started,
        Attempt::Canceled => BuildState::Canceled,
        Attempt::Failed => BuildState::Failed,
        Attempt::Succeeded => BuildState::Succeeded,
    }
}

fn stored_attempt(build: BuildId, word: &str) -> Result<Attempt> {
    let damaged = || Error::Damaged {
        what: format!("an event of build {build}"),
        reason: format!("`{word}` is no word for an attempt"),
    };
    Attempt::of_word(word).ok_or_else(damaged)
}
