//! Derives the state of a build from events.
//!
//! # Guarantees
//!
//! * After submission, a build's state follows from the set of events about it, whatever their
//!   order, and from what was decided about it. Any attempt that succeeded is enough.
//! * A late event never undoes a decision.
//! * No state changes except by [`build::transition`].
//! * A cancellation that comes too late never costs a build that is wanted again: it is queued
//!   once more.
//!
//! # Design
//!
//! Of each attempt, the furthest reported step counts. Of several attempts, a running one counts
//! more than a failed one. An attempt that failed for another reason than the build itself is
//! retried after 5 minutes, half an hour and two hours, and then the build is failed.
//!
//! # Races
//!
//! * Before a build is submitted, events about earlier attempts say nothing about it.
//! * A canceled build that the coordinator finished anyway has succeeded or failed.
//! * A repeated event changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::clock::Seconds;
use crate::db::build::failed::note_failures;
use crate::db::log::event_log::{EventKind, log};
use crate::db::{BuildId, BuildState, Error, Result, Tx, rows};
use crate::domain::attempt::{Attempt, deciding_attempt, furthest, retry_after};
use crate::domain::build::{self, Event};

/// The progress of an attempt at a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::db) struct Step {
    build: BuildId,
    reference: String,
    attempt: Attempt,
    /// The derivation of the attempt, if known: the 32 characters of its store path.
    derivation: Option<String>,
    received_at: Seconds,
}

/// A [`Step`] as it is stored.
pub(in crate::db) type StoredStep = (BuildId, String, String, Option<String>, Seconds);

impl Step {
    pub(in crate::db) fn stored(row: StoredStep) -> Result<Self> {
        let (build, reference, word, derivation, received_at) = row;
        let attempt = stored_attempt(build, &word)?;
        Ok(Self { build, reference, attempt, derivation, received_at })
    }

    fn pair(&self) -> (&str, Attempt) {
        (&self.reference, self.attempt)
    }
}

pub(in crate::db) fn stored_attempt(build: BuildId, word: &str) -> Result<Attempt> {
    let damaged = || Error::Damaged {
        what: format!("an event of build {build}"),
        reason: format!("`{word}` is not a state of an attempt"),
    };
    Attempt::of_word(word).ok_or_else(damaged)
}

/// A build as it was before the new events.
#[derive(Debug, sqlx::FromRow)]
struct Row {
    id: BuildId,
    state: BuildState,
    /// The derivation to build: the 32 characters of its store path.
    derivation: String,
    /// The attempt that the coordinator was asked to cancel.
    canceled_attempt: Option<String>,
    /// Since when it is wanted.
    created_at: Seconds,
    /// When it became unwanted.
    unwanted_at: Option<Seconds>,
}

/// The change of a build that follows from its events.
#[derive(Debug, PartialEq, Eq)]
struct StateChange<'a> {
    state: BuildState,
    /// The attempt that decided it; `None` when a new attempt is needed.
    reference: Option<&'a str>,
    /// The derivation of that attempt, if it differs from the one to build.
    derivation: Option<&'a str>,
    /// Seconds until the build may be submitted again.
    pause: i64,
    /// Whether the new events are about an attempt that was not known. Then the build has no other
    /// unknown attempt.
    is_new_attempt: bool,
}

/// Moves builds to the states that follow from all events about them. `new` holds the new events,
/// which came from `coordinator`. A build without a coordinator gets this one; a build that has
/// ended no longer counts as sent.
pub(in crate::db) async fn transition(
    tx: &mut Tx,
    new: &[Step],
    coordinator: Option<&str>,
    now: Seconds,
) -> Result<u64> {
    if new.is_empty() {
        return Ok(0);
    }
    let builds = sql!(
        "select b.id, b.state, d.hash as derivation, b.canceled_attempt, b.created_at, b.unwanted_at
         from build b join derivation d on d.id = b.derivation_id where b.id in ids($1)"
    );
    let recorded = sql!(
        "select build_id, reference, attempt, derivation, received_at from build_event
         where build_id in ids($1) order by id"
    );
    let ids: BTreeSet<BuildId> = new.iter().map(|step| step.build).collect();
    let ids = rows(ids.into_iter().map(|id| Value::from(id.0)));
    let builds: Vec<Row> =
        each!(tx, tx, builds => sqlx::query_as(builds).bind(&ids).fetch_all(&mut **tx).await?);
    let recorded: Vec<StoredStep> =
        each!(tx, tx, recorded => sqlx::query_as(recorded).bind(&ids).fetch_all(&mut **tx).await?);
    let mut steps: BTreeMap<BuildId, Vec<Step>> = BTreeMap::new();
    for step in recorded {
        let step = Step::stored(step)?;
        steps.entry(step.build).or_default().push(step);
    }
    let changes: Vec<(&Row, StateChange<'_>)> =
        builds.iter().filter_map(|row| Some((row, state_change(row, &steps[&row.id], new)?))).collect();
    note_failures(tx, failures(&builds, &changes, new), now).await?;
    let lines = changes.iter().map(|(row, change)| {
        json!({
            "id": row.id, "state": change.state, "reference": change.reference, "next_attempt": now + change.pause,
            "is_new_attempt": change.is_new_attempt, "derivation": change.derivation,
        })
    });
    let count = apply_changes(tx, &rows(lines), coordinator, now).await?;
    if count > 0 {
        log(tx, EventKind::Builds, None, None, now).await?;
    }
    Ok(count)
}

async fn apply_changes(tx: &mut Tx, lines: &str, coordinator: Option<&str>, now: Seconds) -> Result<u64> {
    let sql = sql!(
        "update build set state = new.state, reference = new.reference, next_attempt = new.next_attempt,
           answered_at = coalesce(answered_at, $2), coordinator = coalesce(build.coordinator, $3),
           in_doubt = in_doubt and not new.is_new_attempt,
           derivation_id = coalesce((select d.id from derivation d where has_hash(d, new.derivation)
             and d.output_set_id = build.output_set_id), derivation_id),
           sent = new.state in {submitted} or new.state in {in_outbox} and sent
         from records($1: id bigint, state text, reference text, next_attempt bigint, is_new_attempt boolean,
           derivation text) as new
         where build.id = new.id
           and (unindexed(build.state) <> new.state or build.reference is distinct from new.reference)"
    );
    Ok(execute!(tx, sql, lines, now, coordinator))
}

/// The derivations that failed according to the new events, or to the changes that follow from
/// them.
fn failures<'a>(
    builds: &'a [Row],
    changes: &[(&'a Row, StateChange<'a>)],
    new: &'a [Step],
) -> BTreeSet<(BuildId, &'a str)> {
    let current: BTreeMap<BuildId, &str> =
        builds.iter().map(|row| (row.id, row.derivation.as_str())).collect();
    let reported = new.iter().filter(|step| step.attempt == Attempt::Failed);
    let reported =
        reported.map(|step| (step.build, step.derivation.as_deref().unwrap_or(current[&step.build])));
    let failed = changes.iter().filter(|(_, change)| change.state == BuildState::Failed);
    reported.chain(failed.map(|(row, _)| (row.id, row.derivation.as_str()))).collect()
}

/// The derivation of the attempt with this identifier, if known.
fn attempted<'a>(steps: &'a [Step], name: &str) -> Option<&'a str> {
    steps.iter().filter(|step| step.reference == name).find_map(|step| step.derivation.as_deref())
}

/// The change that follows for a build. An attempt at another derivation with the same outputs
/// counts while it runs and when it succeeds, but not when it fails. Late events about an attempt
/// that is further already change nothing.
fn state_change<'a>(row: &Row, steps: &'a [Step], new: &[Step]) -> Option<StateChange<'a>> {
    use BuildState::{Building, Canceled, Canceling, Failed, Submitted, Succeeded};
    let is_this = |name: &str| attempted(steps, name).is_none_or(|derivation| derivation == row.derivation);
    let (attempts, others): (Vec<_>, Vec<_>) = furthest(steps.iter().map(Step::pair))
        .into_iter()
        .partition(|(name, attempt)| !attempt.is_over() || *attempt == Attempt::Succeeded || is_this(name));
    let is_news = |&(name, attempt): &(&str, Attempt)| {
        let mut new = new.iter().filter(|step| step.build == row.id);
        new.any(|step| step.pair() == (name, attempt))
    };
    let advanced: Vec<_> = attempts.iter().copied().filter(is_news).collect();
    // Before a build is submitted, earlier attempts say nothing about it.
    let at_coordinator =
        matches!(row.state, Submitted | Building | Succeeded | Failed | Canceling | Canceled);
    let state = |event| build::transition(row.state, event).unwrap_or(row.state);
    let retry = |pause| StateChange {
        state: state(if row.unwanted_at.is_some() { Event::Canceled } else { Event::Lost }),
        reference: None,
        derivation: None,
        pause,
        is_new_attempt: false,
    };
    let (name, attempt) = if advanced.is_empty() {
        // The coordinator had only an attempt at the other derivation, which failed. Now this one
        // is tried.
        let nothing_left = attempts.iter().all(|(_, attempt)| attempt.is_over());
        let is_lost = matches!(row.state, Submitted | Building) && nothing_left && others.iter().any(is_news);
        return is_lost.then(|| retry(0));
    } else if at_coordinator {
        deciding_attempt(attempts)?
    } else {
        deciding_attempt(advanced.iter().copied())?
    };
    let is_new = |step: &Step| new.contains(step);
    let is_new_attempt =
        advanced.iter().any(|(name, _)| steps.iter().all(|step| step.reference != *name || is_new(step)));
    let derivation = attempted(steps, name).filter(|derivation| *derivation != row.derivation);
    Some(match decide(row, name, attempt, steps)? {
        Next::Event(event) => {
            StateChange { state: state(event), reference: Some(name), derivation, pause: 0, is_new_attempt }
        }
        Next::Retry(pause) => StateChange { is_new_attempt, ..retry(pause) },
    })
}

/// The effect of an attempt.
enum Next {
    /// This event happens to the build.
    Event(Event),
    /// A new attempt is needed, in this many seconds.
    Retry(i64),
}

/// The effect of the attempt that counts, if it has one.
fn decide(row: &Row, name: &str, attempt: Attempt, steps: &[Step]) -> Option<Next> {
    use BuildState::{Building, Canceled, Canceling, Failed, Queued, Submitted, Succeeded};
    let happens = |event| Some(Next::Event(event));
    let was_asked = row.canceled_attempt.as_deref() == Some(name);
    match (row.state, attempt) {
        (_, Attempt::Succeeded) => happens(Event::Succeeded),
        // The build is wanted again, but the earlier request to cancel it was carried out: it is
        // retried.
        (Submitted | Building, Attempt::Canceled) if was_asked => Some(Next::Retry(0)),
        (Queued, Attempt::Canceled) if was_asked => None,
        (Canceling, Attempt::Canceled | Attempt::FailedOther)
        | (Queued | Submitted | Building | Failed | Succeeded | Canceled, Attempt::Canceled) => {
            happens(Event::Canceled)
        }
        // A requested cancellation has not happened yet, or the canceled attempt is of a build that
        // was not submitted.
        (Canceling, Attempt::Scheduled | Attempt::Started) | (_, Attempt::Canceled) => None,
        (_, Attempt::Scheduled) => happens(Event::Scheduled),
        (_, Attempt::Started) => happens(Event::Started),
        (_, Attempt::Failed) => happens(Event::Failed),
        (_, Attempt::FailedOther) => match retry_after(other_failures_since(row.created_at, steps)) {
            Some(pause) if row.state != Canceled => Some(Next::Retry(pause)),
            _ => happens(Event::Failed),
        },
    }
}

/// How many attempts failed for other reasons since `then`.
fn other_failures_since(then: Seconds, steps: &[Step]) -> usize {
    steps.iter().filter(|step| step.attempt == Attempt::FailedOther && step.received_at >= then).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The state that follows for a build in `state` from steps, the last of which is new. A name
    /// that ends in `'` belongs to an attempt at another derivation.
    fn after(
        state: BuildState,
        canceled_attempt: Option<&str>,
        steps: &[(&str, Attempt)],
    ) -> Option<BuildState> {
        let id = BuildId(1);
        let step = |(name, attempt): &(&str, Attempt)| Step {
            build: id,
            reference: (*name).trim_end_matches('\'').to_owned(),
            attempt: *attempt,
            derivation: Some(if name.ends_with('\'') { "other" } else { "this" }.to_owned()),
            received_at: 10,
        };
        let steps: Vec<Step> = steps.iter().map(step).collect();
        let (derivation, canceled_attempt) = ("this".to_owned(), canceled_attempt.map(str::to_owned));
        let row = Row { id, state, derivation, canceled_attempt, created_at: 5, unwanted_at: None };
        state_change(&row, &steps, &steps[steps.len() - 1..]).map(|change| change.state)
    }

    #[test]
    fn what_is_given_up_stays_so_unless_it_is_done() {
        use Attempt::{Canceled, Failed, FailedOther, Scheduled, Started, Succeeded};
        use BuildState::{self as State, Canceling};
        let after = |step| after(Canceling, Some("a"), &[("a", Scheduled), ("a", step)]);
        assert_eq!(after(Started), None);
        assert_eq!(after(Canceled), Some(State::Canceled));
        assert_eq!(after(FailedOther), Some(State::Canceled));
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
    fn another_derivation_that_comes_to_nothing_says_nothing_of_this_one() {
        use Attempt::{Canceled, Failed, FailedOther, Scheduled, Started, Succeeded};
        use BuildState::{self as State, Queued, Submitted};
        let ours = [("b", Scheduled), ("a'", Scheduled)];
        for (step, expected) in [(Failed, None), (Canceled, None), (Succeeded, Some(State::Succeeded))] {
            let steps = [&ours[..], &[("a'", step)]].concat();
            assert_eq!(after(Submitted, None, &steps), expected, "{step:?}");
        }
        assert_eq!(after(Queued, None, &[("a'", Scheduled), ("a'", Failed)]), None);
        assert_eq!(after(Queued, None, &[("a'", Started)]), Some(State::Building), "somebody builds it");
        let other = [("a'", Scheduled), ("a'", Failed)];
        assert_eq!(after(Submitted, None, &other), Some(Queued), "the coordinator had the other one only");
        assert_eq!(after(State::Building, None, &[("a'", Failed), ("b", FailedOther)]), Some(Queued));
    }

    #[test]
    fn a_build_that_failed_for_other_reasons_is_queued_again_until_it_was_tried_often_enough() {
        use Attempt::{Failed, FailedOther};
        use BuildState::{self as State, Building, Queued};
        let references = ["a", "b", "c", "d"];
        let other_failures = |count: usize| {
            let steps: Vec<_> = references[..count].iter().map(|name| (*name, FailedOther)).collect();
            after(Building, None, &steps)
        };
        assert_eq!([1, 2, 3].map(other_failures), [Some(Queued); 3]);
        assert_eq!(other_failures(4), Some(State::Failed));
        assert_eq!(after(Building, None, &[("a", FailedOther), ("b", Failed)]), Some(State::Failed));
    }
}
