//! What is wanted follows what live evaluations have: nothing is built for nobody, and nothing that
//! somebody needs is given up.

use std::collections::BTreeMap;

use gorget::clock::{Clock, Seconds};
use gorget::daemon::{Bells, exhaust};
use gorget::db::{Batch, Build, BuildState, Db, EvaluationId, NewEvent, QueueFilter, Recorder, SpecId};
use gorget::plan::Attempt;
use gorget::schedule::Schedule;
use gorget::spec::{RetryFailed, Spec};
use serde_json::json;

use crate::support::{begin, derivation, hash, job, on_both, only_spec, spec, spec_id};

const DAY: Seconds = 86_400;

/// A job of a derivation, and the derivations that this one needs.
type Line<'a> = (&'a str, &'a [&'a str]);

/// Evaluates a commit. A derivation is called as its job is, so outputs are equal where names are.
async fn evaluate(db: &Db, spec: SpecId, commit: &str, jobs: &[Line<'_>]) -> EvaluationId {
    let task = begin(db, spec, commit).await;
    let id = task.id;
    let mut recorder = Recorder::new(task);
    let batch = Batch {
        derivations: jobs.iter().map(|(name, inputs)| derivation(name, inputs)).collect(),
        jobs: jobs.iter().map(|(name, _)| job(name, name)).collect(),
        ..Batch::default()
    };
    recorder.record(db, &batch).await.unwrap();
    recorder.finish(db, false, &json!({}), 200).await.unwrap();
    id
}

/// Schedules until there is nothing left to do.
async fn schedule(db: &Db, now: Seconds) {
    let clock = Clock::manual(now);
    let mut keeper = Schedule { db: db.clone(), clock, bells: Bells::default(), look_up: false };
    exhaust(&mut keeper).await.unwrap();
}

async fn tell(db: &Db, word: &str, reference: &str, attempt: Attempt, now: Seconds) {
    let event =
        NewEvent { derivation: hash(word), reference: reference.to_owned(), attempt, happened_at: Some(now) };
    db.record_events(&[event], now).await.unwrap();
}

async fn builds(db: &Db) -> BTreeMap<String, Build> {
    let all = db.queue(&QueueFilter::default(), i64::MAX).await.unwrap();
    all.into_iter().map(|build| (build.job.clone(), build)).collect()
}

async fn state(db: &Db, job: &str) -> BuildState {
    builds(db).await[job].state
}

#[tokio::test]
async fn what_failed_is_tried_again_when_the_spec_says_so() {
    on_both(async |db| {
        let specs =
            [RetryFailed::Never, RetryFailed::Next, RetryFailed::After(7 * DAY)].map(|retry_failed| {
                let name = retry_failed.to_string();
                Spec { retry_failed, ..spec(&name) }
            });
        db.sync_specs(&specs).await.unwrap();
        let names = ["never", "next", "604800s"];
        for name in names {
            evaluate(db, spec_id(db, name).await, "a", &[(name, &[])]).await;
            schedule(db, 1000).await;
            tell(db, name, "a", Attempt::Failed, 2000).await;
        }
        schedule(db, 3000).await;
        for name in names {
            assert_eq!(state(db, name).await, BuildState::Failed, "{name}: nothing new was evaluated");
        }
        for name in names {
            evaluate(db, spec_id(db, name).await, "b", &[(name, &[])]).await;
        }
        schedule(db, 4000).await;
        let states =
            async || [state(db, names[0]).await, state(db, names[1]).await, state(db, names[2]).await];
        assert_eq!(states().await, [BuildState::Failed, BuildState::Queued, BuildState::Failed]);
        assert_eq!(builds(db).await["next"].revision.short(), "b");

        tell(db, "next", "b", Attempt::Failed, 5000).await;
        schedule(db, 6000).await;
        assert_eq!(state(db, "next").await, BuildState::Failed, "it had its try with that evaluation");
        for name in names {
            evaluate(db, spec_id(db, name).await, "c", &[(name, &[])]).await;
        }
        schedule(db, 2000 + 7 * DAY).await;
        assert_eq!(states().await, [BuildState::Failed, BuildState::Queued, BuildState::Queued]);
        let counts = db.build_counts().await.unwrap();
        assert_eq!(counts.iter().map(|count| count.count).sum::<i64>(), 3, "a build for each set of outputs");
    })
    .await;
}

#[tokio::test]
async fn a_build_lives_while_somebody_wants_it_or_needs_it_for_another() {
    on_both(async |db| {
        db.sync_specs(&[spec("master"), spec("topic")]).await.unwrap();
        let (master, topic) = (spec_id(db, "master").await, spec_id(db, "topic").await);
        let all: &[Line] =
            &[("gcc", &[]), ("shared", &["gcc"]), ("fresh", &[]), ("asked", &[]), ("lone", &["gcc"])];
        evaluate(db, topic, "a", all).await;
        evaluate(db, master, "a", &[("shared", &["gcc"])]).await;
        schedule(db, 1000).await;
        tell(db, "asked", "x", Attempt::Scheduled, 1100).await;
        tell(db, "lone", "y", Attempt::Started, 1100).await;

        let second = evaluate(db, topic, "b", &[("other", &[])]).await;
        schedule(db, 2000).await;
        let states: Vec<_> = builds(db).await.into_iter().map(|(job, build)| (job, build.state)).collect();
        let named = |job: &str, state| (job.to_owned(), state);
        assert_eq!(
            states,
            [
                named("asked", BuildState::Canceling),
                named("fresh", BuildState::Canceled),
                named("gcc", BuildState::Queued), // master's build needs it
                named("lone", BuildState::Canceling),
                named("other", BuildState::Queued),
                named("shared", BuildState::Queued), // master wants it
            ]
        );
        let reason = format!("evaluation {second} of topic has it no more, and nobody else wants it");
        assert_eq!(builds(db).await["fresh"].answer.as_ref(), Some(&reason));

        // Back again before the coordinator was told, and after.
        evaluate(db, topic, "c", &[("asked", &[]), ("fresh", &[])]).await;
        schedule(db, 3000).await;
        assert_eq!(state(db, "asked").await, BuildState::Queued);
        assert_eq!(state(db, "fresh").await, BuildState::Queued);
        assert_eq!(state(db, "other").await, BuildState::Canceled);
        assert_eq!(builds(db).await["asked"].unwanted_at, None);

        // What is being canceled and is needed again for another build is taken back.
        evaluate(db, master, "b", &[("user", &["lone"])]).await;
        schedule(db, 4000).await;
        assert_eq!(state(db, "lone").await, BuildState::Queued);
        assert_eq!(state(db, "shared").await, BuildState::Canceled);
        assert_eq!(state(db, "gcc").await, BuildState::Queued, "lone needs it");
    })
    .await;
}

#[tokio::test]
async fn a_spec_that_rests_wants_nothing_until_it_is_active_again() {
    on_both(async |db| {
        let id = only_spec(db, spec("master")).await;
        evaluate(db, id, "a", &[("hello", &[]), ("bye", &[])]).await;
        schedule(db, 1000).await;
        tell(db, "bye", "x", Attempt::Succeeded, 1100).await;
        let resting = Spec { active: false, ..spec("master") };
        for (given, expected) in [(vec![resting], "is no more evaluated"), (vec![], "for x86_64-linux")] {
            db.sync_specs(&given).await.unwrap();
            schedule(db, 2000).await;
            let hello = &builds(db).await["hello"];
            assert_eq!(hello.state, BuildState::Canceled);
            assert!(hello.answer.as_ref().unwrap().contains(expected), "{:?}", hello.answer);
            assert_eq!(state(db, "bye").await, BuildState::Succeeded, "that is done");
            db.sync_specs(&[spec("master")]).await.unwrap();
            schedule(db, 3000).await;
            assert_eq!(state(db, "hello").await, BuildState::Queued, "the same evaluation wants it again");
        }
    })
    .await;
}

#[tokio::test]
async fn what_an_evaluation_found_stays_wanted_until_a_later_one_is_complete() {
    on_both(async |db| {
        let id = only_spec(db, spec("master")).await;
        evaluate(db, id, "a", &[("old", &[])]).await;
        schedule(db, 1000).await;
        let task = begin(db, id, "b").await;
        let mut recorder = Recorder::new(task);
        let found = Batch {
            derivations: vec![derivation("new", &[])],
            jobs: vec![job("new", "new")],
            ..Batch::default()
        };
        recorder.record(db, &found).await.unwrap();
        schedule(db, 2000).await;
        assert_eq!(state(db, "old").await, BuildState::Queued, "the new evaluation may still come to it");

        db.fail_evaluation(recorder.evaluation(), "no memory", 2500).await.unwrap();
        schedule(db, 3000).await;
        assert_eq!(state(db, "new").await, BuildState::Queued, "it was the branch's");
        assert_eq!(state(db, "old").await, BuildState::Queued);

        evaluate(db, id, "c", &[("old", &[])]).await;
        schedule(db, 4000).await;
        assert_eq!(state(db, "new").await, BuildState::Canceled);
        assert_eq!(state(db, "old").await, BuildState::Queued);
    })
    .await;
}
