//! Which evaluations are asked for, who takes them, and what happens when nobody finishes them.

use gorget::db::{Error, EvaluationState, EvaluationWriter, JobError};
use gorget::domain::spec::{Build, Subset, System};
use serde_json::json;

use crate::support::{
    author, batch, begin, claimant, evaluate, interrupted, on_both, only_spec, revision, spec, spec_id,
    system,
};

#[tokio::test]
async fn going_back_to_an_earlier_revision_is_news() {
    on_both(async |db| {
        let master = only_spec(db, spec("master")).await;
        let a = evaluate(db, master, "a", &[]).await;
        let b = evaluate(db, master, "b", &[]).await;
        let again = evaluate(db, master, "a", &[]).await;
        assert!(a < b && b < again);
        let request = async |commit: &str| {
            db.request_evaluations(master, &revision(commit), &Subset::All.into(), &[system()], 300)
                .await
                .unwrap()
        };
        assert_eq!(request("a").await, [], "the newest has that revision");
        let c = request("c").await;
        assert_eq!(request("d").await, c, "nobody had begun with c, so d takes its place");
        let waiting = db.evaluation(c[0]).await.unwrap().unwrap();
        assert_eq!((waiting.revision, waiting.state), (revision("d"), EvaluationState::Pending));
        let task = db.claim_evaluation(&claimant("one"), 400).await.unwrap().unwrap();
        assert_eq!((task.id, task.previous, task.revision.short()), (c[0], Some(again), "d".to_owned()));
        assert_ne!(request("e").await, c, "d is being evaluated already");
        assert_eq!(db.evaluations(None, None, 10).await.unwrap().len(), 5);
        assert_eq!(db.last_complete(master, &system()).await.unwrap().unwrap().id, again);
    })
    .await;
}

#[tokio::test]
async fn asking_for_other_jobs_of_the_same_revision_is_news() {
    on_both(async |db| {
        let master = only_spec(db, spec("master")).await;
        evaluate(db, master, "a", &[]).await;
        let all = Build::from(Subset::All);
        let fewer = Build { exclude: vec!["rust-*".to_owned()], tuned: false, ..all.clone() };
        let request = async |build: &Build| {
            db.request_evaluations(master, &revision("a"), build, &[system()], 300).await.unwrap()
        };
        assert_eq!(request(&all).await, []);
        assert_eq!(request(&fewer).await.len(), 1);
        let task = db.claim_evaluation(&claimant("one"), 400).await.unwrap().unwrap();
        assert_eq!(task.spec.build, fewer);
    })
    .await;
}

#[tokio::test]
async fn the_most_urgent_spec_is_served_first_and_each_system_by_one_worker_at_a_time() {
    on_both(async |db| {
        let mut slow = spec("slow");
        slow.priority = 9;
        slow.systems.push(System::new("i686-linux").unwrap());
        let mut off = spec("off");
        off.active = false;
        db.sync_specs(&[slow.clone(), spec("urgent"), off.clone()]).await.unwrap();
        for name in ["slow", "urgent", "off"] {
            let systems = if name == "slow" { &slow.systems } else { &off.systems };
            let id = spec_id(db, name).await;
            db.request_evaluations(id, &revision("a"), &Subset::All.into(), systems, 100).await.unwrap();
        }
        let mut taken = Vec::new();
        while let Some(task) = db.claim_evaluation(&claimant("one"), 101).await.unwrap() {
            taken.push(format!("{} {}", task.spec.name, task.system));
        }
        assert_eq!(taken, ["urgent x86_64-linux", "slow x86_64-linux", "slow i686-linux"]);

        let id = spec_id(db, "urgent").await;
        db.request_evaluations(id, &revision("b"), &Subset::All.into(), &[system()], 102).await.unwrap();
        assert_eq!(
            db.claim_evaluation(&claimant("one"), 103).await.unwrap(),
            None,
            "the one before is still running"
        );
        assert_eq!(db.newest_evaluations().await.unwrap().len(), 4);
    })
    .await;
}

#[tokio::test]
async fn a_spec_that_is_gone_takes_its_waiting_evaluations_along() {
    on_both(async |db| {
        let mut two = spec("two-systems");
        two.systems.push(System::new("i686-linux").unwrap());
        db.sync_specs(&[spec("gone"), two.clone()]).await.unwrap();
        for stored in db.specs().await.unwrap() {
            db.request_evaluations(stored.id, &revision("a"), &Subset::All.into(), &stored.spec.systems, 100)
                .await
                .unwrap();
        }
        two.systems.remove(0);
        db.sync_specs(&[two.clone()]).await.unwrap();
        let stored = db.specs().await.unwrap();
        assert_eq!(stored.iter().map(|s| s.present).collect::<Vec<_>>(), [false, true]);
        assert_eq!(stored[1].spec, two);
        let [left] = &db.evaluations(None, None, 10).await.unwrap()[..] else { panic!() };
        assert_eq!((left.spec.as_str(), left.system.as_str()), ("two-systems", "i686-linux"));
    })
    .await;
}

#[tokio::test]
async fn an_interrupted_evaluation_starts_over() {
    on_both(async |db| {
        let master = only_spec(db, spec("master")).await;
        let first = evaluate(db, master, "a", &[("hello", "hello1")]).await;
        let task = begin(db, master, "b").await;
        db.set_preparation(&task, 40, 947).await.unwrap();
        let preparing = db.evaluation(task.id).await.unwrap().unwrap();
        assert_eq!((preparing.modules_done, preparing.modules_total), (40, 947));
        db.set_unit_count(&task, 2).await.unwrap();
        let mut zombie = EvaluationWriter::new(task.clone());
        let mut half = batch(&[("hello", "hello2")]);
        half.errors.push(JobError { name: "emacs".into(), cause: "exception".into(), message: "no".into() });
        half.done = 2;
        zombie.record(db, &half).await.unwrap();
        let running = db.evaluation(task.id).await.unwrap().unwrap();
        assert_eq!((running.jobs_done, running.errors, running.unscheduled), (2, 1, true));
        assert!(matches!(db.jobs(task.id).await, Err(Error::NotComplete(_))));

        assert_eq!(db.reclaim_expired("one", 102).await.unwrap(), [interrupted(task.id, "one")]);
        assert_eq!(db.reclaim_expired("one", 102).await.unwrap(), []);
        let waiting = db.evaluation(task.id).await.unwrap().unwrap();
        assert_eq!((waiting.jobs_total, waiting.jobs_done, waiting.errors), (None, 0, 0));
        assert_eq!((waiting.modules_done, waiting.modules_total), (0, 0));
        assert_eq!(db.errors(task.id).await.unwrap(), []);
        assert!(matches!(zombie.record(db, &half).await, Err(Error::LeaseLost(_))));

        let second = db.claim_evaluation(&claimant("one"), 200).await.unwrap().unwrap();
        assert_eq!((second.id, second.attempts, second.previous), (task.id, 2, Some(first)));
        assert!(matches!(zombie.record(db, &half).await, Err(Error::LeaseLost(_))), "not its turn");
        let mut recorder = EvaluationWriter::new(second);
        recorder.record(db, &batch(&[("hello", "hello1")])).await.unwrap();
        recorder.finish(db, false, &json!({ "memory": 5 }), 300).await.unwrap();
        assert_eq!(db.changed_jobs(first, task.id).await.unwrap(), (vec![], vec![]));
        let done = db.evaluation(task.id).await.unwrap().unwrap();
        assert_eq!((done.state, done.unscheduled), (EvaluationState::Complete, false));
        assert_eq!(done.metrics, Some(json!({ "memory": 5 })));
    })
    .await;
}

#[tokio::test]
async fn a_system_that_waits_again_lets_the_others_go_first() {
    on_both(async |db| {
        let mut two = spec("two-systems");
        two.every_commit = true;
        two.systems.push(System::new("i686-linux").unwrap());
        let systems = two.systems.clone();
        let id = only_spec(db, two).await;
        for commit in ["a", "b"] {
            db.request_evaluations(id, &revision(commit), &Subset::All.into(), &systems, 100).await.unwrap();
        }
        let claim = async || {
            let task = db.claim_evaluation(&claimant("one"), 101).await.unwrap().unwrap();
            let what = format!("{} {}", task.revision.short(), task.system);
            (task, what)
        };
        let (first, what) = claim().await;
        assert_eq!(what, "a x86_64-linux");
        db.reset_to_pending(&first).await.unwrap();
        assert!(matches!(db.reset_to_pending(&first).await, Err(Error::LeaseLost(_))));
        assert_eq!(claim().await.1, "a i686-linux", "that was not tried before");
        let (again, what_again) = claim().await;
        assert_eq!(
            (again.id, what_again),
            (first.id, what),
            "b is the difference to a, so it does not come earlier"
        );
        assert_eq!(db.claim_evaluation(&claimant("one"), 102).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn an_evaluation_that_is_over_can_be_asked_for_again() {
    on_both(async |db| {
        let master = only_spec(db, spec("master")).await;
        let first = evaluate(db, master, "a", &[("hello", "hello1")]).await;
        let again = db.retry_evaluation(first, &author(), 300).await.unwrap().unwrap();
        assert_eq!(db.retry_evaluation(first, &author(), 301).await.unwrap(), None, "there is a newer one");
        assert_eq!(db.retry_evaluation(again, &author(), 302).await.unwrap(), None, "it is not over");
        let task = db.claim_evaluation(&claimant("one"), 303).await.unwrap().unwrap();
        assert_eq!((task.id, task.previous, &task.revision), (again, Some(first), &revision("a")));
        db.fail_evaluation(&task, "no memory", 304).await.unwrap();
        assert!(db.retry_evaluation(again, &author(), 305).await.unwrap().is_some());
    })
    .await;
}

#[tokio::test]
async fn a_failed_evaluation_says_why_and_changes_no_history() {
    on_both(async |db| {
        let master = only_spec(db, spec("master")).await;
        let good = evaluate(db, master, "a", &[("hello", "hello1")]).await;
        let task = begin(db, master, "b").await;
        let mut recorder = EvaluationWriter::new(task.clone());
        let mut half = batch(&[("hello", "hello2")]);
        half.errors.push(JobError { name: "emacs".into(), cause: "exception".into(), message: "no".into() });
        recorder.record(db, &half).await.unwrap();
        db.fail_evaluation(&task, "(guix ui) does not compile", 300).await.unwrap();
        assert!(matches!(db.fail_evaluation(&task, "again", 301).await, Err(Error::LeaseLost(_))));
        let failed = db.evaluation(task.id).await.unwrap().unwrap();
        assert_eq!((failed.state, failed.unscheduled), (EvaluationState::Failed, false));
        assert_eq!(failed.reason.as_deref(), Some("(guix ui) does not compile"));
        assert_eq!(db.errors(task.id).await.unwrap().len(), 1);

        let fixed = begin(db, master, "c").await;
        assert_eq!(fixed.previous, Some(good));
        let id = fixed.id;
        let mut recorder = EvaluationWriter::new(fixed);
        recorder.record(db, &batch(&[("hello", "hello2")])).await.unwrap();
        recorder.finish(db, false, &json!({}), 400).await.unwrap();
        let (before, after) = db.changed_jobs(good, id).await.unwrap();
        assert_eq!((before.len(), after.len()), (1, 1));
    })
    .await;
}
