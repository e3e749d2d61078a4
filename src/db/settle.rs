use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::event::stored_attempt;
use super::{BuildId, BuildState, Result, Tx, rows};
use crate::attempt::{Attempt, furthest, retry_after, standing};
use crate::clock::Seconds;

/// How far an attempt at a build came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    build: BuildId,
    reference: String,
    attempt: Attempt,
    received_at: Seconds,
}

impl Step {
    pub(super) fn stored(row: (BuildId, String, String, Seconds)) -> Result<Self> {
        let (build, reference, word, received_at) = row;
        let attempt = stored_attempt(build, &word)?;
        Ok(Self { build, reference, attempt, received_at })
    }

    fn pair(&self) -> (&str, Attempt) {
        (&self.reference, self.attempt)
    }
}

/// A build as it stands before it is known what follows from news.
#[derive(Debug, sqlx::FromRow)]
struct Row {
    id: BuildId,
    state: BuildState,
    /// The attempt that the coordinator was asked to give up.
    given_up: Option<String>,
    /// Since when it is wanted.
    created_at: Seconds,
    /// Since when nobody wants it any more.
    unwanted_at: Option<Seconds>,
}

/// What becomes of a build.
#[derive(Debug, PartialEq, Eq)]
struct Move<'a> {
    state: BuildState,
    /// The attempt that says so; none when there has to be another one.
    reference: Option<&'a str>,
    /// In how many seconds it may be submitted again.
    pause: i64,
    /// Whether the news are about an attempt that was not known: there is no other such.
    names: bool,
}

/// Moves builds to the states that follow from all that was told about them, `new` being the news, which
/// came from `coordinator`. It has the builds that it tells of if nobody else has; what came to its end is
/// nobody's any more.
pub(super) async fn settle(
    tx: &mut Tx,
    new: &[Step],
    coordinator: Option<&str>,
    now: Seconds,
) -> Result<u64> {
    if new.is_empty() {
        return Ok(0);
    }
    let ids: BTreeSet<BuildId> = new.iter().map(|step| step.build).collect();
    let ids = rows(ids.into_iter().map(|id| Value::from(id.0)));
    let builds: Vec<Row> = each!(tx, tx, sql:
        "select id, state, given_up, created_at, unwanted_at from build where id in (select value from json_each($1))",
        "select id, state, given_up, created_at, unwanted_at from build
         where id in (select value::bigint from json_array_elements_text($1::json))"
        => sqlx::query_as(sql).bind(&ids).fetch_all(&mut **tx).await?);
    let told: Vec<(BuildId, String, String, Seconds)> = each!(tx, tx, sql:
        "select build_id, reference, attempt, received_at from build_event
         where build_id in (select value from json_each($1)) order by id",
        "select build_id, reference, attempt, received_at from build_event
         where build_id in (select value::bigint from json_array_elements_text($1::json)) order by id"
        => sqlx::query_as(sql).bind(&ids).fetch_all(&mut **tx).await?);
    let mut steps: BTreeMap<BuildId, Vec<Step>> = BTreeMap::new();
    for step in told {
        let step = Step::stored(step)?;
        steps.entry(step.build).or_default().push(step);
    }
    let lines = builds.iter().filter_map(|row| {
        let moved = follows(row, &steps[&row.id], new)?;
        Some(json!({
            "id": row.id, "state": moved.state, "reference": moved.reference, "next_attempt": now + moved.pause,
            "names": moved.names,
        }))
    });
    Ok(execute!(
        tx,
        [
            "update build set state = new.state, reference = new.reference, next_attempt = new.next_attempt,
               answered_at = coalesce(answered_at, $2), coordinator = coalesce(build.coordinator, $3),
               unanswered = unanswered and not new.names,
               offered = new.state in ('submitted', 'started') or new.state in ('queued', 'canceling') and offered
             from (select value->>'id' as id, value->>'state' as state, value->>'reference' as reference,
                     value->>'next_attempt' as next_attempt, value->>'names' as names from json_each($1)) as new
             where build.id = new.id
               and (+build.state <> new.state or build.reference is distinct from new.reference)",
            "update build set state = new.state, reference = new.reference, next_attempt = new.next_attempt,
               answered_at = coalesce(answered_at, $2), coordinator = coalesce(build.coordinator, $3),
               unanswered = unanswered and not new.names,
               offered = new.state in ('submitted', 'started') or new.state in ('queued', 'canceling') and offered
             from json_to_recordset($1::json)
               as new (id bigint, state text, reference text, next_attempt bigint, names boolean)
             where build.id = new.id
               and (build.state <> new.state or build.reference is distinct from new.reference)"
        ],
        rows(lines),
        now,
        coordinator
    ))
}

/// What follows for a build. Late news about an attempt that came further change nothing.
fn follows<'a>(row: &Row, steps: &'a [Step], new: &[Step]) -> Option<Move<'a>> {
    use BuildState::{Canceled, Canceling, Failed, Queued, Started, Submitted, Succeeded};
    let attempts = furthest(steps.iter().map(Step::pair));
    let is_news = |&(name, attempt): &(&str, Attempt)| {
        let mut new = new.iter().filter(|step| step.build == row.id);
        new.any(|step| step.pair() == (name, attempt))
    };
    let advanced: Vec<_> = attempts.iter().copied().filter(is_news).collect();
    // Before a build is submitted, attempts of former times say nothing about it.
    let at_coordinator = matches!(row.state, Submitted | Started | Succeeded | Failed | Canceling | Canceled);
    let (name, attempt) = if advanced.is_empty() {
        return None;
    } else if at_coordinator {
        standing(attempts)?
    } else {
        standing(advanced.iter().copied())?
    };
    let is_new = |step: &Step| new.contains(step);
    let names =
        advanced.iter().any(|(name, _)| steps.iter().all(|step| step.reference != *name || is_new(step)));
    let to = |state| Some(Move { state, reference: Some(name), pause: 0, names });
    let again = if row.unwanted_at.is_some() { Canceled } else { Queued };
    let anew = |pause| Some(Move { state: again, reference: None, pause, names });
    let was_asked = |name: &str| row.given_up.as_deref() == Some(name);
    match (row.state, attempt) {
        (_, Attempt::Succeeded) => to(Succeeded),
        // Somebody wants again what was given up too late: it is tried once more.
        (Submitted | Started, Attempt::Canceled) if was_asked(name) => anew(0),
        (Queued, Attempt::Canceled) if was_asked(name) => None,
        (Canceling, Attempt::Canceled | Attempt::Disturbed)
        | (Queued | Submitted | Started | Failed | Succeeded | Canceled, Attempt::Canceled) => to(Canceled),
        // What was asked for has not happened yet, or is about a build that nobody submitted.
        (Canceling, Attempt::Scheduled | Attempt::Started) | (_, Attempt::Canceled) => None,
        (_, Attempt::Scheduled) => to(Submitted),
        (_, Attempt::Started) => to(Started),
        (_, Attempt::Failed) => to(Failed),
        (_, Attempt::Disturbed) => match retry_after(disturbed_since(row.created_at, steps)) {
            Some(pause) if row.state != Canceled => anew(pause),
            _ => to(Failed),
        },
    }
}

/// How many attempts were disturbed since then.
fn disturbed_since(then: Seconds, steps: &[Step]) -> usize {
    steps.iter().filter(|step| step.attempt == Attempt::Disturbed && step.received_at >= then).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What follows for a build in `state` from steps, the last of which is news.
    fn after(state: BuildState, given_up: Option<&str>, steps: &[(&str, Attempt)]) -> Option<BuildState> {
        let id = BuildId(1);
        let step = |(name, attempt): &(&str, Attempt)| Step {
            build: id,
            reference: (*name).to_owned(),
            attempt: *attempt,
            received_at: 10,
        };
        let steps: Vec<Step> = steps.iter().map(step).collect();
        let row = Row { id, state, given_up: given_up.map(str::to_owned), created_at: 5, unwanted_at: None };
        follows(&row, &steps, &steps[steps.len() - 1..]).map(|moved| moved.state)
    }

    #[test]
    fn what_is_given_up_stays_so_unless_it_is_done() {
        use Attempt::{Canceled, Disturbed, Failed, Scheduled, Started, Succeeded};
        use BuildState::{self as State, Canceling};
        let after = |step| after(Canceling, Some("a"), &[("a", Scheduled), ("a", step)]);
        assert_eq!(after(Started), None);
        assert_eq!(after(Canceled), Some(State::Canceled));
        assert_eq!(after(Disturbed), Some(State::Canceled));
        assert_eq!(after(Failed), Some(State::Failed));
        assert_eq!(after(Succeeded), Some(State::Succeeded));
    }

    #[test]
    fn a_late_cancellation_does_not_keep_what_is_wanted_again() {
        use Attempt::{Canceled, Scheduled, Started};
        use BuildState::{self as State, Queued, Submitted};
        let old = [("a", Scheduled), ("a", Canceled)];
        assert_eq!(after(Queued, Some("a"), &old), None, "another attempt will be made");
        assert_eq!(after(Queued, None, &old), Some(State::Canceled), "somebody else gave it up");
        assert_eq!(
            after(Submitted, Some("a"), &old),
            Some(Queued),
            "the coordinator had the old attempt only"
        );
        assert_eq!(after(Submitted, Some("x"), &old), Some(State::Canceled));
        let both = [("a", Scheduled), ("b", Scheduled), ("a", Canceled)];
        assert_eq!(after(Submitted, Some("a"), &both), Some(Submitted));
        assert_eq!(after(Queued, Some("a"), &[("a", Canceled), ("a", Started)]), None, "late news");
    }

    #[test]
    fn a_disturbed_build_is_queued_again_until_it_was_tried_often_enough() {
        use Attempt::{Disturbed, Failed};
        use BuildState::{self as State, Queued, Started};
        let names = ["a", "b", "c", "d"];
        let disturbed = |count: usize| {
            let steps: Vec<_> = names[..count].iter().map(|name| (*name, Disturbed)).collect();
            after(Started, None, &steps)
        };
        assert_eq!([1, 2, 3].map(disturbed), [Some(Queued); 3]);
        assert_eq!(disturbed(4), Some(State::Failed));
        assert_eq!(after(Started, None, &[("a", Disturbed), ("b", Failed)]), Some(State::Failed));
    }
}
