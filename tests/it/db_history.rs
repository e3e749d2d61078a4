//! History is kept as differences, and reads as if every evaluation had been kept whole.

use std::collections::{BTreeMap, BTreeSet};

use gorget::db::{BuildState, Db, Error, EvaluationId, EvaluationWriter, Job, JobError};
use gorget::domain::job::{JobMetadata, Location};
use serde_json::json;

use crate::support::{
    Dice, batch, begin, claimant, derivation, evaluate, hash, on_both, only_spec, spec, spec_id,
};

type Jobs = BTreeSet<(String, String)>;

/// A few of the jobs change, vanish or come.
fn change(dice: &mut Dice, jobs: &Jobs) -> Jobs {
    let mut words: BTreeMap<String, String> = jobs.iter().cloned().collect();
    for _ in 0..dice.roll(5) {
        let name = format!("job{}", dice.roll(12));
        match dice.roll(4) {
            0 => drop(words.remove(&name)),
            version => drop(words.insert(name.clone(), format!("{name}v{version}"))),
        }
    }
    words.into_iter().collect()
}

fn seen<'a>(jobs: impl IntoIterator<Item = (&'a String, &'a String)>) -> Jobs {
    let word = |(name, derivation): (&String, &'a String)| {
        let base = derivation.strip_prefix("/gnu/store/").unwrap().strip_suffix(".drv").unwrap();
        let (digits, word) = base.split_once('-').unwrap();
        assert_eq!(digits, hash(word));
        (name.clone(), word.to_owned())
    };
    jobs.into_iter().map(word).collect()
}

/// The jobs of an evaluation.
async fn jobs_of(db: &Db, id: EvaluationId) -> Jobs {
    let jobs: Vec<Job> = db.jobs(id).await.unwrap();
    seen(jobs.iter().map(|job| (&job.name, &job.derivation)))
}

fn differing(jobs: &[gorget::domain::diff::Job]) -> Jobs {
    seen(jobs.iter().map(|job| (&job.name, &job.derivation)))
}

/// Evaluates `jobs` in two halves, the first of which is recorded twice.
async fn evaluate_in_halves(db: &Db, recorder: &mut EvaluationWriter, jobs: &Jobs) {
    let pairs: Vec<(&str, &str)> = jobs.iter().map(|(name, word)| (name.as_str(), word.as_str())).collect();
    let (one, two) = pairs.split_at(pairs.len() / 2);
    recorder.record(db, &batch(one)).await.unwrap();
    recorder.record(db, &batch(one)).await.unwrap();
    recorder.record(db, &batch(two)).await.unwrap();
}

#[tokio::test]
async fn any_two_of_many_evaluations_compare_as_if_each_had_been_kept_whole() {
    on_both(async |db| {
        db.sync_specs(&[spec("master"), spec("staging")]).await.unwrap();
        let specs = [spec_id(db, "master").await, spec_id(db, "staging").await];
        let mut dice = Dice(7);
        let mut jobs = [Jobs::new(), Jobs::new()];
        let mut history: Vec<(EvaluationId, Jobs)> = Vec::new();
        for number in 0..24 {
            let which = usize::try_from(dice.roll(2)).unwrap();
            let next = change(&mut dice, &jobs[which]);
            let mut task = begin(db, specs[which], &format!("commit{number}")).await;
            let id = task.id;
            if number % 5 == 4 {
                evaluate_in_halves(db, &mut EvaluationWriter::new(task), &next).await;
                db.reclaim_expired("one", 0).await.unwrap();
                task = db.claim_evaluation(&claimant("one"), 150).await.unwrap().unwrap();
            }
            let mut recorder = EvaluationWriter::new(task);
            evaluate_in_halves(db, &mut recorder, &next).await;
            if number % 7 == 6 {
                db.fail_evaluation(recorder.task(), "out of memory", 200).await.unwrap();
                continue;
            }
            recorder.finish(db, false, &json!({}), 200).await.unwrap();
            jobs[which] = next.clone();
            history.push((id, next));
        }
        for (a, in_a) in &history {
            assert_eq!(&jobs_of(db, *a).await, in_a);
            for (b, in_b) in &history {
                let (only_a, only_b) = db.changed_jobs(*a, *b).await.unwrap();
                assert_eq!(differing(&only_a), in_a - in_b, "only in {a}, not in {b}");
                assert_eq!(differing(&only_b), in_b - in_a, "only in {b}, not in {a}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn nearly_all_of_a_large_evaluation_changes() {
    fn words(jobs: &[(String, String)]) -> Vec<(&str, &str)> {
        jobs.iter().map(|(name, word)| (name.as_str(), word.as_str())).collect()
    }
    on_both(async |db| {
        let master = only_spec(db, spec("master")).await;
        let all =
            |letter: char| (0..2100).map(move |number| (format!("j{number}"), format!("{letter}{number}")));
        let before: Vec<(String, String)> = all('a').collect();
        let mut after: Vec<(String, String)> = all('b').collect();
        after[0].1 = "a0".to_owned();
        after[1].1 = "a0".to_owned();
        let first = evaluate(db, master, "a", &words(&before)).await;
        let second = evaluate(db, master, "b", &words(&after)).await;
        let (only_before, only_after) = db.changed_jobs(first, second).await.unwrap();
        assert_eq!((only_before.len(), only_after.len()), (2099, 2099), "j0 is as it was");
        let had: Vec<&str> =
            only_after.iter().filter(|job| job.other_has_outputs).map(|job| job.name.as_str()).collect();
        assert_eq!(had, ["j1"], "it is what j0 was before");
        assert!(only_before.iter().all(|job| !job.other_has_outputs), "nobody has any of those any more");
    })
    .await;
}

#[tokio::test]
async fn a_job_that_could_not_be_evaluated_is_an_error_and_not_gone() {
    on_both(async |db| {
        let master = only_spec(db, spec("master")).await;
        let all = [("emacs", "emacs1"), ("hello", "hello1"), ("vim", "vim1"), ("xz", "xz1")];
        let first = evaluate(db, master, "a", &all).await;
        let task = begin(db, master, "b").await;
        let second = task.id;
        let mut recorder = EvaluationWriter::new(task);
        let mut rest = batch(&[("hello", "hello1"), ("xz", "xz2")]);
        let broken =
            JobError { name: "emacs".into(), cause: "exception".into(), message: "unbound variable".into() };
        rest.errors.push(broken.clone());
        recorder.record(db, &rest).await.unwrap();
        recorder.finish(db, true, &json!({}), 200).await.unwrap();

        let errors = db.errors(second).await.unwrap();
        assert_eq!(errors[0], broken);
        assert_eq!((errors[1].name.as_str(), errors[1].cause.as_str()), ("vim", "module"));
        let evaluation = db.evaluation(second).await.unwrap().unwrap();
        assert_eq!((errors.len(), evaluation.errors, evaluation.partial), (2, 2, true));

        let third = evaluate(db, master, "c", &all).await;
        assert_eq!(db.changed_jobs(first, third).await.unwrap(), (vec![], vec![]), "as if nothing had been");
        assert_eq!(db.jobs(first).await.unwrap().len(), 4);
    })
    .await;
}

#[tokio::test]
async fn hostile_words_come_back_as_they_were() {
    let words = "'; drop table job; -- \" \\ \u{7f}\u{1b}[2J {\"a\": [1]} $1 ? %s \u{202e}ünï 𝄞 \r\n\t";
    on_both(async |db| {
        let master = only_spec(db, spec("master")).await;
        let task = begin(db, master, words).await;
        let id = task.id;
        let mut recorder = EvaluationWriter::new(task);
        let mut strange = batch(&[]);
        strange.derivations.push(derivation("hello", &[]));
        strange.derivations[0].name = words.to_owned();
        let mut job = crate::support::job(words, "hello");
        let word = || Some(words.to_owned());
        job.metadata = JobMetadata {
            package: word(),
            version: word(),
            target: word(),
            channel: word(),
            ..JobMetadata::default()
        };
        strange.jobs.push(job.clone());
        let error = JobError { name: words.into(), cause: words.into(), message: words.into() };
        strange.errors.push(error.clone());
        recorder.record(db, &strange).await.unwrap();
        recorder.finish(db, false, &json!({ words: words }), 200).await.unwrap();
        assert_eq!(db.errors(id).await.unwrap(), [error]);
        let [stored] = &db.jobs(id).await.unwrap()[..] else { panic!() };
        assert_eq!((stored.name.as_str(), &stored.metadata), (words, &job.metadata));
        assert_eq!(stored.derivation, format!("/gnu/store/{}-{words}.drv", hash("hello")));
        let evaluation = db.evaluation(id).await.unwrap().unwrap();
        assert_eq!(evaluation.revision.channels()[0].commit, words);
        assert_eq!(evaluation.metrics, Some(json!({ words: words })));
    })
    .await;
}

#[tokio::test]
async fn facts_of_a_job_are_kept_with_it_and_lines_that_move_write_nothing() {
    let evaluate = async |db: &Db, spec, commit: &str, version: &str, line, timeout| {
        let mut recorder = EvaluationWriter::new(begin(db, spec, commit).await);
        let id = recorder.evaluation();
        let mut found = batch(&[("hello", &format!("hello{version}")), ("sed", "sed1")]);
        found.jobs[0].metadata = JobMetadata {
            package: Some("hello".to_owned()),
            version: Some(version.to_owned()),
            location: Some(Location { file: "gnu/packages/base.scm".to_owned(), line }),
            target: None,
            channel: Some("guix".to_owned()),
            max_silent_time: 3600,
            timeout,
            hidden: false,
            replacement: true,
            substitutable: true,
        };
        recorder.record(db, &found).await.unwrap();
        recorder.finish(db, false, &json!({}), 200).await.unwrap();
        (id, found.jobs[0].metadata.clone())
    };
    on_both(async |db| {
        let master = only_spec(db, spec("master")).await;
        let metadata = async |id| db.jobs(id).await.unwrap().into_iter().next().unwrap().metadata;
        let (first, expected) = evaluate(db, master, "a", "1", 7, 60).await;
        assert_eq!(metadata(first).await, expected);
        assert_eq!(
            db.jobs(first).await.unwrap()[1].metadata,
            JobMetadata::default(),
            "nothing is known of it"
        );

        let (moved, _) = evaluate(db, master, "b", "1", 9, 60).await;
        assert_eq!(metadata(moved).await, expected, "the line is that of the first evaluation");
        assert_eq!(db.unscheduled_evaluation().await.unwrap().unwrap().id, first);
        db.queue_builds(first, BuildState::Known, 200).await.unwrap();
        assert_eq!(db.unscheduled_evaluation().await.unwrap(), None, "the second wrote no job");

        let (slower, other) = evaluate(db, master, "c", "1", 9, 90).await;
        assert_eq!(metadata(slower).await, other);
        assert_eq!(metadata(moved).await, expected);
        assert_eq!(db.changed_jobs(moved, slower).await.unwrap(), (vec![], vec![]), "nothing to build");

        let (newer, _) = evaluate(db, master, "d", "2", 9, 90).await;
        let (before, after) = db.changed_jobs(first, newer).await.unwrap();
        let versions = [&before, &after].map(|jobs| jobs[0].version.clone().unwrap());
        assert_eq!((before.len(), after.len(), versions), (1, 1, ["1".to_owned(), "2".to_owned()]));
    })
    .await;
}

#[tokio::test]
async fn a_batch_is_recorded_wholly_or_not_at_all() {
    on_both(async |db| {
        let master = only_spec(db, spec("master")).await;
        let mut recorder = EvaluationWriter::new(begin(db, master, "a").await);
        let mut wrong = batch(&[("hello", "hello1")]);
        wrong.derivations.push(derivation("late", &["later"]));
        wrong.derivations.push(derivation("later", &[]));
        let error = recorder.record(db, &wrong).await.unwrap_err();
        let expected = hash("later");
        assert!(
            matches!(error, Error::UnknownDerivation { hash, user } if hash == expected && user == "late")
        );

        wrong.derivations.swap(1, 2);
        recorder.record(db, &wrong).await.unwrap();
        let id = recorder.evaluation();
        recorder.finish(db, false, &json!({}), 200).await.unwrap();
        assert_eq!(db.jobs(id).await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn new_outputs_are_counted_while_an_evaluation_runs() {
    on_both(async |db| {
        db.sync_specs(&[spec("master")]).await.unwrap();
        let id = spec_id(db, "master").await;
        let mut base = EvaluationWriter::new(begin(db, id, "base").await);
        base.record(db, &batch(&[("a", "a1"), ("b", "b1"), ("c", "c1")])).await.unwrap();
        base.finish(db, false, &json!({}), 200).await.unwrap();
        let mut between = EvaluationWriter::new(begin(db, id, "between").await);
        between.record(db, &batch(&[("a", "a2"), ("b", "b1"), ("c", "c1")])).await.unwrap();
        between.finish(db, false, &json!({}), 200).await.unwrap();
        let mut running = EvaluationWriter::new(begin(db, id, "change").await);
        let (base, change) = (base.task().id, running.task().id);
        assert_eq!(db.new_outputs(change, base).await.unwrap(), 0);
        // One is back, one has a new name, and two have the same new outputs.
        running.record(db, &batch(&[("a", "a1"), ("d", "c1"), ("b", "b2"), ("e", "b2")])).await.unwrap();
        assert_eq!(db.new_outputs(change, base).await.unwrap(), 1);
        running.record(db, &batch(&[("c", "c2")])).await.unwrap();
        assert_eq!(db.new_outputs(change, base).await.unwrap(), 2);
    })
    .await;
}
