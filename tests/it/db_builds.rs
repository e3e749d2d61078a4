//! New outputs are wanted once, and leave through the queue.

use gorget::db::{
    Batch, Build, BuildFilter, BuildPlace, BuildRef, BuildState, Db, EvaluationId, EvaluationWriter,
    NewEvent, QueueFilter,
};
use gorget::domain::attempt::Attempt;
use gorget::domain::spec::System;
use gorget::farm::actions::Actions;
use serde_json::json;

use crate::support::{
    author, begin, derivation, evaluate, everything, hash, job, next_builds, on_both, only_spec, spec,
    spec_id,
};

async fn schedule(db: &Db, state: BuildState) -> (EvaluationId, u64) {
    let task = db.unscheduled_evaluation().await.unwrap().unwrap();
    (task.id, db.queue_builds(task.id, state, 500).await.unwrap())
}

fn names(builds: &[Build]) -> Vec<&str> {
    builds.iter().map(|build| build.job.as_str()).collect()
}

#[tokio::test]
async fn each_set_of_outputs_is_queued_once() {
    on_both(async |db| {
        let master = only_spec(db, spec("master")).await;
        let first = evaluate(db, master, "a", &[("hello", "hello1"), ("emacs", "emacs1")]).await;
        assert_eq!(schedule(db, BuildState::Queued).await, (first, 2));
        assert_eq!(db.unscheduled_evaluation().await.unwrap(), None);
        assert_eq!(db.queue_builds(first, BuildState::Queued, 501).await.unwrap(), 0, "once is enough");

        let task = begin(db, master, "b").await;
        let second = task.id;
        let mut recorder = EvaluationWriter::new(task);
        let mut same_outputs = derivation("emacs2", &[]);
        same_outputs.outputs = vec![("other-name".to_owned(), format!("{}-emacs1", hash("oemacs1")))];
        let changed = Batch {
            derivations: vec![same_outputs, derivation("hello2", &[])],
            jobs: vec![job("emacs", "emacs2"), job("hello", "hello2"), job("hello-alias", "hello2")],
            ..Batch::default()
        };
        recorder.record(db, &changed).await.unwrap();
        assert_eq!(schedule(db, BuildState::Queued).await, (second, 1), "only hello has new outputs");
        recorder.finish(db, false, &json!({}), 200).await.unwrap();
        assert_eq!(db.unscheduled_evaluation().await.unwrap(), None, "it was queued while it was found");
        let (before, after) = db.changed_jobs(first, second).await.unwrap();
        assert_eq!(before[0].outputs, after[0].outputs, "emacs: another derivation, the same build");

        evaluate(db, master, "a", &[("hello", "hello1"), ("emacs", "emacs1")]).await;
        assert_eq!(schedule(db, BuildState::Queued).await.1, 0, "all of that was wanted before");

        let builds = db.queue(&QueueFilter::default(), 10).await.unwrap();
        assert_eq!(names(&builds).len(), 3);
        assert_eq!(builds[2].job, "hello");
        assert_eq!(builds[2].evaluation, second);
        assert_eq!(builds[2].revision.short(), "b");
        assert_eq!(builds[2].derivation, format!("/gnu/store/{}-hello2.drv", hash("hello2")));
    })
    .await;
}

#[tokio::test]
async fn what_one_spec_only_recorded_another_may_queue() {
    on_both(async |db| {
        let mut urgent = spec("urgent");
        urgent.priority = 1;
        db.sync_specs(&[spec("recorder"), urgent]).await.unwrap();
        let (recorder, urgent) = (spec_id(db, "recorder").await, spec_id(db, "urgent").await);
        evaluate(db, recorder, "a", &[("hello", "hello1"), ("vim", "vim1")]).await;
        assert_eq!(schedule(db, BuildState::Known).await.1, 2);
        assert_eq!(next_builds(db, 1000, 10).await, []);

        evaluate(db, recorder, "b", &[("vim", "vim1")]).await;
        evaluate(db, recorder, "a", &[("hello", "hello1"), ("vim", "vim1")]).await;
        assert_eq!(schedule(db, BuildState::Queued).await.1, 0, "it knew that itself");

        evaluate(db, urgent, "a", &[("hello", "hello1")]).await;
        assert_eq!(schedule(db, BuildState::Queued).await.1, 1);
        let [build] = &next_builds(db, 1000, 10).await[..] else { panic!() };
        assert_eq!((build.job.as_str(), build.spec.as_str(), build.priority), ("hello", "urgent", 1));

        let counts = db.build_counts().await.unwrap();
        let counts: Vec<_> = counts.iter().map(|c| (c.spec.as_str(), c.state, c.count)).collect();
        assert_eq!(counts, [("recorder", BuildState::Known, 1), ("urgent", BuildState::Queued, 1)]);
    })
    .await;
}

#[tokio::test]
async fn the_queue_empties_in_order_and_waits_while_nobody_answers() {
    on_both(async |db| {
        let mut urgent = spec("urgent");
        urgent.priority = 0;
        db.sync_specs(&[spec("master"), urgent]).await.unwrap();
        let (master, urgent) = (spec_id(db, "master").await, spec_id(db, "urgent").await);
        evaluate(db, master, "a", &[("a", "a1"), ("b", "b1"), ("c", "c1")]).await;
        evaluate(db, urgent, "a", &[("z", "z1")]).await;
        schedule(db, BuildState::Queued).await;
        schedule(db, BuildState::Queued).await;

        let next = next_builds(db, 1000, 3).await;
        assert_eq!(names(&next), ["z", "a", "b"]);
        db.record_submission(&next[0], Some("build-7"), "201", 1001).await.unwrap();
        db.record_refusal(&next[1], "no such system", 1002).await.unwrap();
        db.postpone(&[next[2].id], "connection refused", 2000).await.unwrap();
        assert_eq!(names(&next_builds(db, 1999, 9).await), ["c"]);
        assert_eq!(names(&next_builds(db, 2000, 9).await), ["b", "c"]);

        let submitted = QueueFilter { state: Some(BuildState::Submitted), ..QueueFilter::default() };
        let [z] = &db.queue(&submitted, 10).await.unwrap()[..] else { panic!() };
        assert_eq!((z.reference.as_deref(), z.answered_at, z.attempts), (Some("build-7"), Some(1001), 1));
        let of_master = QueueFilter { spec: Some("master".to_owned()), ..QueueFilter::default() };
        assert_eq!(names(&db.queue(&of_master, 10).await.unwrap()), ["a", "b", "c"]);
        let elsewhere = QueueFilter { system: System::new("i686-linux"), ..QueueFilter::default() };
        assert_eq!(db.queue(&elsewhere, 10).await.unwrap(), []);
        db.record_submission(&next[1], None, "late", 3000).await.unwrap();
        assert_eq!(db.queue(&submitted, 10).await.unwrap().len(), 1, "what was refused stays refused");
    })
    .await;
}

#[tokio::test]
async fn a_coordinator_that_tells_without_end_fills_no_disk() {
    on_both(async |db| {
        let master = only_spec(db, spec("master")).await;
        evaluate(db, master, "a", &[("hello", "hello1")]).await;
        schedule(db, BuildState::Queued).await;
        let event = |number: usize| NewEvent {
            build: BuildRef::Derivation(hash("hello1")),
            reference: format!("attempt {number}"),
            attempt: Attempt::Started,
            happened_at: None,
        };
        for begin in (0..1500).step_by(250) {
            let events: Vec<NewEvent> = (begin..begin + 250).map(event).collect();
            db.record_events("default", &events, 600).await.unwrap();
        }
        let build = db.queue(&QueueFilter::default(), 10).await.unwrap()[0].id;
        assert_eq!(db.build_events(build).await.unwrap().len(), 1000);
        let asked = NewEvent { build: BuildRef::Asked(build), ..event(2000) };
        assert_eq!(db.record_events("default", &[asked], 700).await.unwrap().new, 1, "answers always count");
    })
    .await;
}

/// All builds that a filter selects, a page of two at a time.
async fn listed(db: &Db, filter: &BuildFilter) -> Vec<String> {
    let (mut all, mut place) = (Vec::new(), None);
    loop {
        let page = db.builds(filter, place, 2).await.unwrap();
        let Some(last) = page.last() else { return all };
        // What a page names is where the next one begins.
        place = Some(BuildPlace::of(last).to_string().parse().unwrap());
        all.extend(page.into_iter().map(|build| format!("{} {} {}", build.evaluation, build.id, build.job)));
    }
}

#[tokio::test]
async fn a_list_of_builds_has_what_its_filter_selects_page_by_page() {
    on_both(async |db| {
        db.sync_specs(&[spec("master"), spec("staging")]).await.unwrap();
        let [master, staging] = [spec_id(db, "master").await, spec_id(db, "staging").await];
        for (spec, commit, words) in [
            (master, "a", ["hello1", "gcc1", "vim1", "hello-doc1"]),
            (staging, "b", ["hello2", "gcc2", "sed2", "x2"]),
            (master, "c", ["hello3", "gcc1", "vim3", "hello-doc3"]),
        ] {
            let jobs = words.map(|word| (word.trim_end_matches(char::is_numeric), word));
            evaluate(db, spec, commit, &jobs).await;
            schedule(db, BuildState::Queued).await;
        }
        db.route(&everything()).await.unwrap();
        let tell = async |word: &str, attempt| {
            let (build, reference) = (BuildRef::Derivation(hash(word)), format!("{word}-{attempt:?}"));
            let event = NewEvent { build, reference, attempt, happened_at: None };
            assert_eq!(db.record_events("default", &[event], 600).await.unwrap().new, 1);
        };
        for word in ["hello1", "hello2", "gcc1", "vim3"] {
            tell(word, Attempt::Failed).await;
        }
        tell("vim1", Attempt::FailedOther).await;
        let mut all = db.queue(&QueueFilter::default(), 100).await.unwrap();
        all.sort_by_key(|build| std::cmp::Reverse((build.evaluation, build.id)));
        let last = |id| async move { db.build_events(id).await.unwrap().last().map(|event| event.attempt) };
        let systems = [None, System::new("x86_64-linux"), System::new("i686-linux")];
        for spec in [None, Some("master"), Some("staging"), Some("none")] {
            for (system, state) in systems.iter().flat_map(|system| {
                [None, Some(BuildState::Failed), Some(BuildState::Queued)]
                    .map(|state| (system.clone(), state))
            }) {
                for (name, is_disturbed) in
                    [(None, false), (Some("hello"), false), (Some("v"), true), (None, true)]
                {
                    let mut expected = Vec::new();
                    for build in &all {
                        let is_its = spec.is_none_or(|spec| spec == build.spec)
                            && system.as_ref().is_none_or(|system| *system == build.system)
                            && state.is_none_or(|state| state == build.state)
                            && name.is_none_or(|name| build.job.starts_with(name))
                            && (!is_disturbed || last(build.id).await == Some(Attempt::FailedOther));
                        if is_its {
                            expected.push(format!("{} {} {}", build.evaluation, build.id, build.job));
                        }
                    }
                    let filter = BuildFilter {
                        spec: spec.map(str::to_owned),
                        system: system.clone(),
                        state,
                        name: name.map(str::to_owned),
                        is_disturbed,
                    };
                    assert_eq!(listed(db, &filter).await, expected, "{filter:?}");
                }
            }
        }
        assert_eq!(listed(db, &BuildFilter::default()).await.len(), 11);
        for wrong in ["", "1", "1-", "x-1", "1-2-3"] {
            assert!(wrong.parse::<BuildPlace>().is_err(), "{wrong}");
        }
        // What is listed is what is queued again.
        let author = author();
        let actions = Actions { db, author: &author, now: 700 };
        let filter = BuildFilter { name: Some("hello".to_owned()), ..BuildFilter::default() };
        assert_eq!(actions.retry_builds(&filter).await.unwrap(), "2 builds are queued again");
        let failed = BuildFilter { state: Some(BuildState::Failed), ..BuildFilter::default() };
        assert_eq!(listed(db, &failed).await, ["3 10 vim", "1 2 gcc"]);
    })
    .await;
}
