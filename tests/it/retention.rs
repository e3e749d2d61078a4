//! What is forgotten leaves the rest as it was, wherever it is interrupted.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::path::Path;
use std::task::Poll;

use gorget::clock::Clock;
use gorget::db::{
    Batch, BuildState, Db, EvaluationId, EvaluationWriter, QueueFilter, SpecId, Sweeper, Swept,
};
use gorget::domain::spec::{Keep, Spec};
use serde_json::{Value, json};

use crate::support::program::Farm;
use crate::support::real::{Real, in_one_pack, real, real_batch};
use crate::support::{
    Dice, batch, begin, claimant, on_both, on_both_at, only_spec, spec, spec_id, write_down,
};

/// Jobs and the words that their derivations are made of.
type Jobs = BTreeMap<String, String>;
/// What each evaluation has: names and derivations of jobs.
type Seen = BTreeMap<EvaluationId, BTreeSet<(String, String)>>;

const DAY: i64 = 86_400;

/// A spec that keeps only the newest evaluation, and what must be kept.
fn forgetful(name: &str) -> Spec {
    Spec { keep: Some(Keep { newest: 1, ..Keep::default() }), ..spec(name) }
}

/// All jobs stand on one library, which is of this version.
fn graph(jobs: &Jobs, library: u64) -> Vec<(Option<&str>, Real)> {
    let library = real(&format!("library-{library}"), &[]);
    let users = jobs.iter().map(|(name, word)| (Some(name.as_str()), real(word, &[&library])));
    std::iter::once((None, library.clone())).chain(users.collect::<Vec<_>>()).collect()
}

async fn evaluate(db: &Db, spec: SpecId, commit: &str, batch: &Batch, at: i64) -> EvaluationId {
    let mut recorder = EvaluationWriter::new(begin(db, spec, commit).await);
    let id = recorder.evaluation();
    recorder.record(db, batch).await.unwrap();
    recorder.finish(db, false, &json!({}), at).await.unwrap();
    db.queue_builds(id, BuildState::Queued, at).await.unwrap();
    id
}

async fn seen(db: &Db, id: EvaluationId) -> BTreeSet<(String, String)> {
    db.jobs(id).await.unwrap().into_iter().map(|job| (job.name, job.derivation)).collect()
}

/// Every build comes to an end.
async fn refuse_all(db: &Db) {
    for build in db.queue(&QueueFilter::default(), 10_000).await.unwrap() {
        db.record_refusal(&build, "no", 1).await.unwrap();
    }
}

/// Evaluations of two specs, in turns; some fail. Gives those that are complete.
async fn history(db: &Db, evaluations: u64) -> Seen {
    db.sync_specs(&[forgetful("master"), forgetful("staging")]).await.unwrap();
    let specs = [spec_id(db, "master").await, spec_id(db, "staging").await];
    let mut dice = Dice(3);
    let mut jobs = [Jobs::new(), Jobs::new()];
    let mut history = Seen::new();
    for number in 0..evaluations {
        let which = usize::try_from(dice.roll(2)).unwrap();
        for _ in 0..dice.roll(4) {
            let name = format!("job{}", dice.roll(6));
            match dice.roll(4) {
                0 => drop(jobs[which].remove(&name)),
                version => drop(jobs[which].insert(name.clone(), format!("{name}-{version}"))),
            }
        }
        let graph = graph(&jobs[which], dice.roll(2));
        let batch = in_one_pack(real_batch(&graph), &graph);
        if number % 7 == 6 {
            let task = begin(db, specs[which], &format!("commit{number}")).await;
            let mut recorder = EvaluationWriter::new(task);
            recorder.record(db, &batch).await.unwrap();
            db.fail_evaluation(recorder.task(), "out of memory", 200).await.unwrap();
            continue;
        }
        let id = evaluate(db, specs[which], &format!("commit{number}"), &batch, 200).await;
        history.insert(id, seen(db, id).await);
    }
    history
}

/// Forgets what specs do not keep, and sweeps.
async fn collect(db: &Db, clock: Clock) -> Swept {
    for evaluation in db.retained().await.unwrap() {
        if evaluation.reason.is_none() {
            assert!(db.forget_evaluation(evaluation.id).await.unwrap());
        }
    }
    let mut sweeper = Sweeper::begin(db, clock, "tester".to_owned()).await.unwrap().unwrap();
    assert!(!sweeper.must_wait().await.unwrap());
    let swept = sweeper.sweep().await.unwrap();
    sweeper.end().await.unwrap();
    swept
}

/// What is left reads as before, and nothing is wrong with it.
async fn all_is_well(db: &Db, history: &Seen, when: &str) {
    assert_eq!(db.verify().await.unwrap(), [], "{when}");
    for evaluation in db.evaluations(None, None, 1000).await.unwrap() {
        if let Some(expected) = history.get(&evaluation.id) {
            assert_eq!(&seen(db, evaluation.id).await, expected, "{when}: evaluation {}", evaluation.id);
        }
    }
}

#[tokio::test]
async fn whichever_evaluations_are_forgotten_the_others_are_as_they_were() {
    on_both(async |db| {
        let history = history(db, 40).await;
        refuse_all(db).await;
        let mut dice = Dice(11);
        let mut left: Vec<EvaluationId> = history.keys().copied().collect();
        while left.len() > 8 {
            let which = usize::try_from(dice.roll(left.len() as u64)).unwrap();
            if db.forget_evaluation(left[which]).await.unwrap() {
                assert_eq!(db.evaluation(left.remove(which)).await.unwrap(), None);
            }
            all_is_well(db, &history, "one less").await;
        }
        for a in &left {
            for b in &left {
                let (only_a, only_b) = db.changed_jobs(*a, *b).await.unwrap();
                let pairs = |jobs: Vec<gorget::domain::diff::Job>| -> BTreeSet<_> {
                    jobs.into_iter().map(|job| (job.name, job.derivation)).collect()
                };
                assert_eq!(pairs(only_a), &history[a] - &history[b], "only in {a}, not in {b}");
                assert_eq!(pairs(only_b), &history[b] - &history[a], "only in {b}, not in {a}");
            }
        }
        let counted = Sweeper::counting(db, Clock::manual(1000), BTreeSet::new()).sweep().await.unwrap();
        let swept = collect(db, Clock::manual(1000)).await;
        assert!(counted.derivations <= swept.derivations && swept.items > 0, "{counted:?} {swept:?}");
        all_is_well(db, &history, "swept").await;
        assert_eq!(db.evaluations(None, None, 1000).await.unwrap().len(), 2, "one of each spec");
        assert_eq!(collect(db, Clock::manual(2000)).await, Swept::default(), "there is nothing left to do");
    })
    .await;
}

/// Lets work go on for so many steps; `None`: then it was cut off. How many steps work has differs
/// from run to run: what the database has answered meanwhile is no step of its own.
async fn for_steps<T>(steps: usize, work: impl Future<Output = T>) -> Option<T> {
    let mut work = Box::pin(work);
    let mut left = steps;
    poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        work.as_mut().poll(context).map(Some)
    })
    .await
}

#[tokio::test]
async fn cut_off_anywhere_it_loses_nothing_and_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).display().to_string();
    let db = Db::open(&at("whole")).await.unwrap();
    let history = history(&db, 9).await;
    refuse_all(&db).await;
    db.close().await;
    assert!(!Path::new(&at("whole-wal")).exists(), "all of it is in one file");
    let mut outcomes = BTreeSet::new();
    let (mut steps, mut cuts) = (0, 0);
    loop {
        steps += 1;
        std::fs::copy(at("whole"), at("copy")).unwrap();
        let db = Db::open(&at("copy")).await.unwrap();
        let done = for_steps(steps, collect(&db, Clock::manual(1000))).await;
        db.close().await;
        let db = Db::open(&at("copy")).await.unwrap();
        all_is_well(&db, &history, &format!("after {steps} steps")).await;
        collect(&db, Clock::manual(1061)).await;
        all_is_well(&db, &history, "in the end").await;
        outcomes.insert(rows(&db).await);
        db.close().await;
        std::fs::remove_file(at("copy")).unwrap();
        match done {
            Some(_) if cuts >= 20 => break,
            Some(_) => steps = 0,
            None => cuts += 1,
        }
    }
    assert_eq!(outcomes.len(), 1, "the end is the same, whatever happened: {outcomes:?}");
}

#[tokio::test]
async fn a_batch_that_is_cut_off_anywhere_is_recorded_whole_by_who_comes_next() {
    on_both_at(async |db, location| {
        let master = only_spec(db, spec("master")).await;
        let (mut steps, mut cuts) = (0, 0);
        for attempt in 1.. {
            steps += 1;
            let jobs = Jobs::from([("app".to_owned(), format!("app-{attempt}"))]);
            let batch = real_batch(&graph(&jobs, attempt));
            let mut recorder = EvaluationWriter::new(begin(db, master, &attempt.to_string()).await);
            let dying = Db::open(location).await.unwrap();
            let done = for_steps(steps, recorder.record(&dying, &batch)).await;
            drop(dying);
            assert_eq!(db.verify().await.unwrap(), [], "after {steps} steps");
            db.reclaim_expired("one", 0).await.unwrap();
            let mut next =
                EvaluationWriter::new(db.claim_evaluation(&claimant("one"), 101).await.unwrap().unwrap());
            next.record(db, &batch).await.unwrap();
            next.finish(db, false, &json!({}), 200).await.unwrap();
            assert_eq!(db.verify().await.unwrap(), [], "in the end");
            let derivation = &db.jobs(next.evaluation()).await.unwrap()[0].derivation;
            assert!(derivation.ends_with(&format!("-app-{attempt}.drv")), "{derivation}");
            match done {
                Some(_) if cuts >= 8 => break,
                Some(_) => steps = 0,
                None => cuts += 1,
            }
        }
    })
    .await;
}

async fn rows(db: &Db) -> [usize; 2] {
    let evaluations = db.evaluations(None, None, 1000).await.unwrap();
    let mut derivations = BTreeSet::new();
    for evaluation in &evaluations {
        derivations.extend(seen(db, evaluation.id).await);
    }
    [evaluations.len(), derivations.len()]
}

#[tokio::test]
async fn builds_that_are_not_finished_keep_their_evaluation_and_all_that_they_need() {
    on_both(async |db| {
        let master = only_spec(db, forgetful("master")).await;
        let jobs = |word: &str| Jobs::from([("app".to_owned(), word.to_owned())]);
        let first = evaluate(db, master, "a", &real_batch(&graph(&jobs("app-1"), 1)), 200).await;
        let gone = evaluate(db, master, "b", &real_batch(&graph(&jobs("app-2"), 2)), 300).await;
        let last = evaluate(db, master, "c", &real_batch(&graph(&jobs("app-3"), 3)), 400).await;
        let builds = db.queue(&QueueFilter::default(), 10).await.unwrap();
        let middle = builds.iter().find(|build| build.evaluation == gone).unwrap();
        db.record_refusal(middle, "no", 500).await.unwrap();

        let swept = collect(db, Clock::manual(1000)).await;
        assert_eq!((swept.derivations, swept.items), (2, 4), "app-2, library-2, and their builders");
        let left: Vec<_> = db.evaluations(None, None, 10).await.unwrap().iter().map(|e| e.id).collect();
        assert_eq!(left, [last, first]);
        let builds = db.queue(&QueueFilter::default(), 10).await.unwrap();
        assert_eq!(builds.len(), 2, "a build whose job is nowhere is forgotten");
        for build in &builds {
            let hash = build.derivation.trim_start_matches("/gnu/store/").split('-').next().unwrap();
            assert!(db.item(hash).await.unwrap().is_some());
        }
        assert_eq!(db.verify().await.unwrap(), []);

        // What is left is known, and what was forgotten is new.
        evaluate(db, master, "d", &real_batch(&graph(&jobs("app-2"), 2)), 600).await;
        assert_eq!(db.queue(&QueueFilter::default(), 10).await.unwrap().len(), 3);
        assert_eq!(db.verify().await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn while_somebody_sweeps_no_evaluation_begins_and_the_other_way_round() {
    on_both(async |db| {
        let master = only_spec(db, forgetful("master")).await;
        let clock = Clock::manual(1000);
        let mut sweeper = Sweeper::begin(db, clock.clone(), "one".to_owned()).await.unwrap().unwrap();
        assert!(Sweeper::begin(db, clock.clone(), "other".to_owned()).await.unwrap().is_none());
        db.request_evaluations(
            master,
            &crate::support::revision("a"),
            &gorget::domain::spec::Subset::All.into(),
            &[crate::support::system()],
            100,
        )
        .await
        .unwrap();
        assert_eq!(db.claim_evaluation(&claimant("one"), 1059).await.unwrap(), None);
        assert!(
            db.claim_evaluation(&claimant("one"), 1060).await.unwrap().is_some(),
            "a sweeper that says nothing is dead"
        );
        clock.advance(61);
        assert!(sweeper.sweep().await.is_err(), "it has lost its turn");
        let mut second = Sweeper::begin(db, clock, "other".to_owned()).await.unwrap().unwrap();
        assert!(second.must_wait().await.unwrap(), "an evaluation runs");
        sweeper.end().await.unwrap();
        assert!(second.must_wait().await.unwrap(), "the first cannot end the turn of the second");
        second.end().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn specs_say_what_is_kept_and_gc_says_why() {
    let farm = Farm::new(None);
    std::fs::create_dir_all(farm.state()).unwrap();
    let db = farm.db().await;
    let keep = Keep { newest: 2, days: 3, ..Keep::default() };
    db.sync_specs(&[spec("all"), Spec { keep: Some(keep), ..spec("some") }]).await.unwrap();
    let all = spec_id(&db, "all").await;
    evaluate(&db, all, "x", &Batch::default(), 0).await;
    let some = spec_id(&db, "some").await;
    // Two a day.
    for number in 0..8 {
        let jobs = Jobs::from([("app".to_owned(), format!("app-{number}"))]);
        evaluate(
            &db,
            some,
            &format!("c{number}"),
            &real_batch(&graph(&jobs, number)),
            number.cast_signed() * DAY / 2,
        )
        .await;
    }
    refuse_all(&db).await;
    let say = async |arguments: &[&str]| {
        let said = farm.say(arguments).await;
        assert_eq!(said.code, Some(0), "{}", said.talk);
        said.data
    };
    say(&["pin", "2"]).await;
    say(&["pin", "3"]).await;
    say(&["pin", "--remove", "3"]).await;
    assert_eq!(farm.say(&["pin", "99"]).await.code, Some(1));

    let told: Vec<Value> = say(&["gc", "--dry-run", "--json"])
        .await
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let reasons: BTreeMap<i64, &Value> =
        told.iter().filter_map(|line| Some((line["evaluation"].as_i64()?, &line["kept"]))).collect();
    let expected = json!({
        "1": "the newest", "2": "pinned", "3": null, "4": null, "5": "last of its day", "6": null,
        "7": "last of its day", "8": "among the newest", "9": "the newest",
    });
    assert_eq!(serde_json::to_value(&reasons).unwrap(), expected);
    let would = told.last().unwrap();
    assert_eq!((&would["derivations"], &would["items"]), (&json!(6), &json!(12)));
    assert_eq!(db.evaluations(None, None, 100).await.unwrap().len(), 9, "nothing was done");
    assert!(say(&["gc", "--dry-run"]).await.contains("would forget evaluation 6 of some for x86_64-linux"));

    let said = say(&["gc", "--vacuum"]).await;
    assert!(said.contains("forgot evaluation 6") && said.contains("removed 6 derivations"), "{said}");
    assert!(said.contains("2 (last of its day)") && said.contains("1 (pinned)"), "{said}");
    let left: Vec<i64> = db.evaluations(None, None, 100).await.unwrap().iter().map(|e| e.id.0).collect();
    assert_eq!(left, [9, 8, 7, 5, 2, 1]);
    assert_eq!(farm.say(&["verify"]).await.code, Some(0));
    assert!(!say(&["gc"]).await.contains("forgot"));
}

/// Whatever refers to what is removed must be known to those who remove it.
#[tokio::test]
async fn a_build_goes_though_another_was_wanted_for_its_sake() {
    on_both_at(async |db, location| {
        let master = only_spec(db, forgetful("master")).await;
        let first = evaluate(db, master, "a", &batch(&[("a", "a1"), ("b", "b1")]), 1).await;
        evaluate(db, master, "b", &batch(&[("a", "a2"), ("b", "b1")]), 2).await;
        let a1 = "(select min(id) from build where name_id = (select id from job_name where name = 'a'))";
        write_down(
            location,
            &format!(
                "update build set needed_by = {a1} where name_id = (select id from job_name where name = 'b')"
            ),
        )
        .await;
        refuse_all(db).await;
        assert!(db.forget_evaluation(first).await.unwrap());
        let left = db.queue(&QueueFilter::default(), 10).await.unwrap();
        let mut left: Vec<_> = left.iter().map(|build| (build.job.as_str(), build.needed_by)).collect();
        left.sort_unstable();
        assert_eq!(left, [("a", None), ("b", None)]);
    })
    .await;
}

#[tokio::test]
async fn every_reference_to_what_is_removed_is_heeded() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gorget.db").display().to_string();
    Db::open(&file).await.unwrap().close().await;
    let mut connection = <sqlx::SqliteConnection as sqlx::Connection>::connect(&file).await.unwrap();
    let references: Vec<String> = sqlx::query_scalar(
        "select t.name || '.' || f.\"from\" from pragma_table_list t join pragma_foreign_key_list(t.name) f
         where f.\"table\" in ('evaluation', 'build', 'derivation', 'output_set', 'store_pack', 'store_item', 'job_interval')
         order by 1",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    let heeded = [
        "build.evaluation_id",
        "build.needed_by",
        "build.output_set_id",
        "build_event.build_id",
        "coverage.evaluation_id",
        "derivation.output_set_id",
        "evaluation_error.evaluation_id",
        "failed_derivation.build_id",
        "job_interval.derivation_id",
        "job_interval.first_evaluation",
        "pack_owner.pack_id",
        "presence.output_set_id",
        "store_item.pack_id",
    ];
    assert_eq!(
        references, heeded,
        "see src/db/history/retention.rs and src/db/store/sweep.rs, then add it here"
    );
}
