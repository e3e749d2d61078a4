//! What is wanted follows what live evaluations have: nothing is built for nobody, and nothing that
//! somebody needs is given up.

use std::collections::BTreeMap;

use gorget::clock::{Clock, Seconds};
use gorget::db::{
    Batch, Build, BuildRef, BuildState, Db, EvaluationId, EvaluationWriter, JobError, NewDerivation,
    NewEvent, QueueFilter, SpecId,
};
use gorget::domain::attempt::Attempt;
use gorget::domain::spec::{FirstEvaluation, RetryFailed, Spec, System};
use gorget::farm::reconciler::run_until_idle;
use gorget::steps::schedule::Schedule;
use serde_json::json;

use crate::support::{
    author, batch, begin, claimant, context, derivation, hash, job, next_builds, on_both, only_spec,
    revision, spec, spec_id,
};

const DAY: Seconds = 86_400;

/// A job of a derivation, and the derivations that this one needs.
type Line<'a> = (&'a str, &'a [&'a str]);

/// Evaluates a commit. A derivation is called as its job is, so outputs are equal where names are.
async fn evaluate(db: &Db, spec: SpecId, commit: &str, jobs: &[Line<'_>]) -> EvaluationId {
    let task = begin(db, spec, commit).await;
    let id = task.id;
    let mut recorder = EvaluationWriter::new(task);
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
    run_until_idle(&mut Schedule::new(&context(db, &Clock::manual(now)), false)).await.unwrap();
}

async fn tell(db: &Db, word: &str, reference: &str, attempt: Attempt, now: Seconds) {
    let event = NewEvent {
        build: BuildRef::Derivation(hash(word)),
        reference: reference.to_owned(),
        attempt,
        happened_at: Some(now),
    };
    db.record_events("default", &[event], now).await.unwrap();
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
        let reason = format!("evaluation {second} of topic no longer has it, and no other job wants it");
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
async fn what_could_not_be_evaluated_is_not_given_up_and_every_commit_can_count() {
    on_both(async |db| {
        let every = Spec { every_commit: true, ..spec("every") };
        db.sync_specs(&[spec("master"), every]).await.unwrap();
        let (master, every) = (spec_id(db, "master").await, spec_id(db, "every").await);
        evaluate(db, master, "a", &[("bad", &[]), ("gone", &[]), ("lost", &[])]).await;
        evaluate(db, every, "a", &[("first", &[])]).await;
        evaluate(db, every, "b", &[("second", &[])]).await;
        schedule(db, 1000).await;
        assert_eq!(state(db, "first").await, BuildState::Queued, "every commit is to be built");

        let error =
            JobError { name: "bad".to_owned(), cause: "exception".to_owned(), message: "no".to_owned() };
        for (commit, partial, lost) in [("b", true, BuildState::Queued), ("c", false, BuildState::Canceled)] {
            let mut recorder = EvaluationWriter::new(begin(db, master, commit).await);
            recorder.record(db, &Batch { errors: vec![error.clone()], ..Batch::default() }).await.unwrap();
            recorder.finish(db, partial, &json!({}), 200).await.unwrap();
            schedule(db, 2000).await;
            assert_eq!(state(db, "bad").await, BuildState::Queued, "{commit}");
            assert_eq!([state(db, "gone").await, state(db, "lost").await], [lost, lost], "{commit}");
        }
        evaluate(db, master, "d", &[("other", &[])]).await;
        schedule(db, 3000).await;
        assert_eq!(state(db, "bad").await, BuildState::Canceled, "it could be evaluated, and is no job");
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
        for (given, expected) in [(vec![resting], "is no longer evaluated"), (vec![], "for x86_64-linux")] {
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
        let mut recorder = EvaluationWriter::new(task);
        let found = Batch {
            derivations: vec![derivation("new", &[])],
            jobs: vec![job("new", "new")],
            ..Batch::default()
        };
        recorder.record(db, &found).await.unwrap();
        schedule(db, 2000).await;
        assert_eq!(state(db, "old").await, BuildState::Queued, "the new evaluation may still come to it");

        db.fail_evaluation(recorder.task(), "no memory", 2500).await.unwrap();
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

fn held_by<'a>(builds: &'a BTreeMap<String, Build>, reason: &str) -> Vec<&'a str> {
    let held = builds.values().filter(|build| build.state == BuildState::AwaitingApproval);
    held.filter(|build| build.answer.as_deref() == Some(reason)).map(|build| build.job.as_str()).collect()
}

#[tokio::test]
async fn a_whole_world_is_held_until_somebody_approves_it() {
    on_both(async |db| {
        let careful = Spec { budget: Some(2), ..spec("careful") };
        db.sync_specs(&[careful.clone(), spec("other")]).await.unwrap();
        let (id, other) = (spec_id(db, "careful").await, spec_id(db, "other").await);
        evaluate(db, other, "a", &[("x", &[]), ("y", &[]), ("z", &[])]).await;
        evaluate(db, id, "a", &[("gcc", &[]), ("hello", &["gcc"])]).await;
        schedule(db, 1000).await;
        assert!(db.awaiting_approval().await.unwrap().is_empty(), "that is within the budget");

        // The core has changed, and everything with it.
        let world: &[Line] = &[("gcc2", &[]), ("hello2", &["gcc2"]), ("emacs2", &["gcc2"])];
        let second = evaluate(db, id, "b", world).await;
        schedule(db, 2000).await;
        let reason = "more new builds than the budget of careful, which is 2";
        assert_eq!(held_by(&builds(db).await, reason), ["emacs2", "gcc2", "hello2"]);
        assert_eq!(state(db, "hello").await, BuildState::Canceled, "held or not, it took their place");
        let next: Vec<_> = next_builds(db, 9000, 99).await;
        assert!(next.iter().all(|build| build.spec == "other"), "{next:?}");
        let [held] = &db.awaiting_approval().await.unwrap()[..] else { panic!() };
        assert_eq!((held.evaluation, held.count, held.reason.as_str()), (second, 3, reason));

        // Another commit: what stays the same is held still, and goes with the approval of the new one.
        let third = evaluate(db, id, "c", &[("gcc2", &[]), ("hello3", &["gcc2"])]).await;
        schedule(db, 3000).await;
        assert_eq!(state(db, "hello3").await, BuildState::Queued, "one build is within the budget");
        assert_eq!(state(db, "emacs2").await, BuildState::Canceled);
        assert_eq!(state(db, "gcc2").await, BuildState::Queued, "what is left of the world is within it too");
        assert!(third > second);

        evaluate(db, id, "d", world).await;
        schedule(db, 4000).await;
        let fourth = evaluate(db, id, "e", &[("a", &[]), ("b", &[]), ("c", &[])]).await;
        schedule(db, 5000).await;
        assert_eq!(held_by(&builds(db).await, reason), ["a", "b", "c"]);
        assert_eq!(db.approve(&[fourth], &author(), 5500).await.unwrap(), 3);
        assert_eq!(state(db, "a").await, BuildState::Queued);
        schedule(db, 6000).await;
        assert!(db.awaiting_approval().await.unwrap().is_empty(), "approved is approved");

        evaluate(db, id, "f", &[("p", &[]), ("q", &[]), ("r", &[])]).await;
        schedule(db, 7000).await;
        assert_eq!(db.awaiting_approval().await.unwrap().len(), 1);
        db.sync_specs(&[Spec { budget: None, ..careful }, spec("other")]).await.unwrap();
        schedule(db, 8000).await;
        assert!(db.awaiting_approval().await.unwrap().is_empty(), "the spec allows it");
    })
    .await;
}

#[tokio::test]
async fn other_systems_wait_until_the_first_is_through() {
    on_both(async |db| {
        let systems = ["x86_64-linux", "i686-linux"].map(|name| System::new(name).unwrap());
        let staged = Spec { staged: true, systems: systems.to_vec(), ..spec("master") };
        let id = only_spec(db, staged.clone()).await;
        let revision = revision("a");
        db.request_evaluations(id, &revision, &staged.build, &systems, 100).await.unwrap();
        for word in ["first", "second"] {
            let mut recorder =
                EvaluationWriter::new(db.claim_evaluation(&claimant("one"), 101).await.unwrap().unwrap());
            recorder.record(db, &batch(&[(word, word)])).await.unwrap();
            recorder.finish(db, false, &json!({}), 200).await.unwrap();
        }
        schedule(db, 1000).await;
        let reason = "master is staged: x86_64-linux comes first";
        assert_eq!(held_by(&builds(db).await, reason), ["second"]);
        assert_eq!(state(db, "first").await, BuildState::Queued);
        tell(db, "first", "x", Attempt::Started, 1100).await;
        schedule(db, 1200).await;
        assert_eq!(state(db, "second").await, BuildState::AwaitingApproval);
        tell(db, "first", "x", Attempt::Failed, 1300).await;
        schedule(db, 1400).await;
        assert_eq!(
            state(db, "second").await,
            BuildState::Queued,
            "the first is through, for better or worse"
        );
    })
    .await;
}

#[tokio::test]
async fn what_builds_need_is_queued_with_them_where_the_spec_asks_for_it() {
    on_both(async |db| {
        let asking = Spec { queue_inputs: true, ..spec("asking") };
        db.sync_specs(&[asking, Spec { first: FirstEvaluation::Record, ..spec("known") }]).await.unwrap();
        let (asking, known) = (spec_id(db, "asking").await, spec_id(db, "known").await);
        evaluate(db, known, "a", &[("make", &[])]).await;
        let task = begin(db, asking, "a").await;
        let mut recorder = EvaluationWriter::new(task);
        let derivations =
            [("tar", &[][..]), ("source", &["tar"]), ("make", &[]), ("hello", &["source", "make"])];
        let found = Batch {
            derivations: derivations.iter().map(|(word, inputs)| derivation(word, inputs)).collect(),
            jobs: vec![job("hello", "hello")],
            ..Batch::default()
        };
        recorder.record(db, &found).await.unwrap();
        recorder.finish(db, false, &json!({}), 200).await.unwrap();
        schedule(db, 1000).await;
        let all = builds(db).await;
        let states: Vec<_> = all.values().map(|build| (build.job.as_str(), build.state)).collect();
        assert_eq!(
            states,
            [
                ("hello", BuildState::Queued),
                ("make", BuildState::Known), // taken for known by another spec
                ("source.drv", BuildState::Queued),
                ("tar.drv", BuildState::Queued),
            ]
        );
        assert_eq!(all["source.drv"].needed_by, Some(all["hello"].id));
        for name in ["source.drv", &hash("source")] {
            let [source] = &db.inputs_called(name).await.unwrap()[..] else { panic!("{name}") };
            assert_eq!((source.name.as_str(), source.last_evaluation), ("source.drv", None));
            assert_eq!(db.build_of(source).await.unwrap().as_ref(), Some(&all["source.drv"]));
        }
        let order = next_builds(db, 2000, 9).await;
        let order: Vec<_> = order.iter().map(|build| build.job.as_str()).collect();
        assert_eq!(order, ["tar.drv", "source.drv", "hello"], "the longest chain first");

        evaluate(db, asking, "b", &[("other", &[])]).await;
        schedule(db, 3000).await;
        for job in ["hello", "source.drv", "tar.drv"] {
            assert_eq!(state(db, job).await, BuildState::Canceled, "{job}");
        }
        evaluate(db, asking, "c", &[("user", &["source"])]).await;
        schedule(db, 4000).await;
        assert_eq!(state(db, "tar.drv").await, BuildState::Queued, "it is needed again");
        assert_eq!(state(db, "source.drv").await, BuildState::Queued);
        assert_eq!(state(db, "hello").await, BuildState::Canceled);
    })
    .await;
}

#[tokio::test]
async fn the_chain_that_takes_longest_comes_first_as_far_as_it_is_known() {
    on_both(async |db| {
        let id = only_spec(db, spec("master")).await;
        evaluate(db, id, "a", &[("slow-1.0", &[])]).await;
        schedule(db, 1000).await;
        tell(db, "slow-1.0", "x", Attempt::Started, 2000).await;
        tell(db, "slow-1.0", "x", Attempt::Succeeded, 2000 + 7200).await;
        let jobs: &[Line] =
            &[("one", &[]), ("two", &["one"]), ("three", &["two"]), ("quick", &[]), ("slow-2.0", &[])];
        evaluate(db, id, "b", jobs).await;
        schedule(db, 3000).await;
        tell(db, "quick", "y", Attempt::Started, 4000).await;
        tell(db, "quick", "y", Attempt::Succeeded, 4010).await;
        evaluate(db, id, "c", jobs).await;
        schedule(db, 5000).await;
        let order = next_builds(db, 9000, 9).await;
        let order: Vec<_> = order.iter().map(|build| build.job.as_str()).collect();
        assert_eq!(order, ["one", "two", "slow-2.0", "three"], "of what is not known, the mean is assumed");

        let task = begin(db, id, "d").await;
        let mut recorder = EvaluationWriter::new(task);
        let elsewhere = NewDerivation { system: "riscv64-linux".to_owned(), ..derivation("slow-3.0", &[]) };
        let jobs = ["one", "two", "three", "slow-3.0"].map(|word| job(word, word));
        let found = Batch { derivations: vec![elsewhere], jobs: jobs.to_vec(), ..Batch::default() };
        recorder.record(db, &found).await.unwrap();
        recorder.finish(db, false, &json!({}), 200).await.unwrap();
        schedule(db, 6000).await;
        let order = next_builds(db, 9000, 9).await;
        let order: Vec<_> = order.iter().map(|build| build.job.as_str()).collect();
        assert_eq!(
            order,
            ["one", "two", "slow-3.0", "three"],
            "what is long for one system is long for another"
        );
    })
    .await;
}
