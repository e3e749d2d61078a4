//! What began to fail, what still fails, and since which commits.

use gorget::db::{Batch, BuildRef, BuildState, Db, EvaluationId, EvaluationWriter, NewEvent, SpecId};
use gorget::domain::attempt::Attempt;
use serde_json::{Value, json};

use crate::support::program::Farm;
use crate::support::{begin, derivation, hash, job, next_builds, on_both, only_spec, spec};

/// Evaluates a commit with jobs: the name of each, its derivation, and what that needs; and queues them.
async fn evaluate(db: &Db, spec: SpecId, commit: &str, jobs: &[(&str, &str, &[&str])]) -> EvaluationId {
    let task = begin(db, spec, commit).await;
    let id = task.id;
    let batch = Batch {
        derivations: jobs.iter().map(|(_, word, inputs)| derivation(word, inputs)).collect(),
        jobs: jobs.iter().map(|(name, word, _)| job(name, word)).collect(),
        ..Batch::default()
    };
    let mut recorder = EvaluationWriter::new(task);
    recorder.record(db, &batch).await.unwrap();
    recorder.finish(db, false, &json!({}), 200).await.unwrap();
    db.queue_builds(id, BuildState::Queued, 300).await.unwrap();
    id
}

async fn tell(db: &Db, word: &str, attempt: Attempt) {
    let build = BuildRef::Derivation(hash(word));
    let event = NewEvent { build, reference: format!("of {word}"), attempt, happened_at: None };
    assert_eq!(db.record_events("default", &[event], 400).await.unwrap().changed, 1);
}

#[tokio::test]
async fn builds_that_wait_for_what_failed_are_counted() {
    on_both(async |db| {
        let master = only_spec(db, spec("master")).await;
        let jobs: [(&str, &str, &[&str]); 5] = [
            ("gcc", "gcc1", &[]),
            ("lib", "lib1", &["gcc1"]),
            ("vim", "vim1", &["lib1"]),
            ("sed", "sed1", &["lib1", "vim1"]),
            ("hello", "hll1", &[]),
        ];
        evaluate(db, master, "a", &jobs).await;
        assert_eq!(db.blockers().await.unwrap(), []);
        tell(db, "lib1", Attempt::Failed).await;
        tell(db, "hll1", Attempt::Failed).await;
        let counts = async || {
            let blockers = db.blockers().await.unwrap();
            blockers.into_iter().map(|b| (b.build.job, b.blocked.len())).collect::<Vec<_>>()
        };
        assert_eq!(counts().await, [("lib".to_owned(), 2)]);
        tell(db, "gcc1", Attempt::Failed).await;
        assert_eq!(counts().await, [("gcc".to_owned(), 2), ("lib".to_owned(), 2)]);

        let queue = next_builds(db, 1000, 10).await;
        assert_eq!(queue.iter().map(|build| build.job.as_str()).collect::<Vec<_>>(), ["vim", "sed"]);
        assert_eq!(db.needing_others(&queue).await.unwrap().len(), 2);
        tell(db, "lib1", Attempt::Succeeded).await;
        tell(db, "gcc1", Attempt::Succeeded).await;
        assert_eq!(counts().await, []);
        let waiting = db.needing_others(&queue).await.unwrap();
        assert!(!waiting.contains(&queue[0].id) && waiting.contains(&queue[1].id), "sed waits for vim");
    })
    .await;
}

#[tokio::test]
async fn a_failure_is_told_with_the_commits_that_brought_it() {
    let farm = Farm::new(None);
    std::fs::create_dir_all(farm.state()).unwrap();
    let db = farm.db().await;
    let master = only_spec(&db, spec("master")).await;
    evaluate(&db, master, "a1", &[("gcc", "gcc1", &[]), ("vim", "vim1", &[]), ("sed", "sed1", &[])]).await;
    for word in ["gcc1", "sed1"] {
        tell(&db, word, Attempt::Succeeded).await;
    }
    tell(&db, "vim1", Attempt::Failed).await;
    evaluate(&db, master, "b2", &[("gcc", "gcc2", &[]), ("vim", "vim1", &[]), ("sed", "sed2", &[])]).await;
    tell(&db, "gcc2", Attempt::Failed).await;
    tell(&db, "sed2", Attempt::Failed).await;
    let jobs: [(&str, &str, &[&str]); 4] =
        [("gcc", "gcc3", &[]), ("vim", "vim1", &[]), ("sed", "sed3", &[]), ("new", "new1", &["gcc3"])];
    evaluate(&db, master, "c3", &jobs).await;
    tell(&db, "gcc3", Attempt::Failed).await;
    tell(&db, "sed3", Attempt::Succeeded).await;

    let told = async |arguments: &[&str]| -> Value {
        let said = farm.say(&[&["failures", "master", "--json"], arguments].concat()).await;
        assert_eq!(said.code, Some(0), "{}", said.talk);
        serde_json::from_str(&said.data).unwrap()
    };
    let brief = |list: &Value| -> Vec<String> {
        let commit =
            |place: &Value| place["revision"]["channels"][0]["commit"].as_str().unwrap_or("-").to_owned();
        let job = |found: &Value| {
            let (before, since) = (commit(&found["before"]), commit(&found["since"]));
            format!("{} {} {before}..{since}", found["job"].as_str().unwrap(), found["since"]["evaluation"])
        };
        list.as_array().unwrap().iter().map(job).collect()
    };
    let found = told(&[]).await;
    assert_eq!(brief(&found["new"]), [""; 0]);
    assert_eq!(brief(&found["still"]), ["gcc 2 a1..b2", "vim 1 -..a1"]);
    assert_eq!(brief(&found["fixed"]), ["sed 3 b2..c3"]);
    assert_eq!(found["still"][0]["blocks"], 1);
    let found = told(&["--since", "1"]).await;
    assert_eq!(brief(&found["new"]), ["gcc 2 a1..b2"]);
    assert_eq!(brief(&found["still"]), ["vim 1 -..a1"]);
    assert_eq!(brief(&found["fixed"]), [""; 0]);

    let said = farm.say(&["failures", "master"]).await;
    assert!(said.data.contains("gcc since evaluation 2 (a1..b2), 1 build waits for it"), "{}", said.data);
    let said = farm.say(&["failures", "nobody"]).await;
    assert!(said.code == Some(1) && said.talk.contains("hint: there are master"), "{}", said.talk);
}
