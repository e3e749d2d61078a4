//! Many hosts on one database: who has what, and what becomes of it when a host falls silent.

use std::collections::BTreeSet;

use gorget::db::{
    Claimant, Error, EvaluationState, EvaluationWriter, Interrupted, LEASE, MAX_STARTS, NewHost,
};
use gorget::domain::spec::{Subset, System};
use serde_json::json;

use crate::support::{author, batch, claimant, interrupted, on_both, only_spec, revision, spec, spec_id};

fn host(name: &str, identity: &str) -> NewHost {
    let (roles, systems) = ("evaluate schedule".to_owned(), String::new());
    NewHost {
        name: name.to_owned(),
        identity: identity.to_owned(),
        roles,
        systems,
        workers: 2,
        memory: 1 << 30,
    }
}

#[tokio::test]
async fn a_report_is_of_one_moment_whatever_is_written_meanwhile() {
    on_both(async |db| {
        let view = db.snapshot_view().await.unwrap();
        assert_eq!(view.hosts().await.unwrap().len(), 0);
        // A host that is registered before its spec: no report may know the spec and not the host.
        db.register(&host("one", "a"), 100).await.unwrap();
        only_spec(db, spec("master")).await;
        assert_eq!(view.specs().await.unwrap().len(), 0);
        let later = db.snapshot_view().await.unwrap();
        assert_eq!((later.hosts().await.unwrap().len(), later.specs().await.unwrap().len()), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn a_host_that_falls_silent_loses_its_evaluation_and_can_write_nothing_more() {
    on_both(async |db| {
        let [one, two] = [host("one", "a"), host("two", "b")];
        for host in [&one, &two] {
            db.register(host, 100).await.unwrap();
        }
        let master = only_spec(db, spec("master")).await;
        let systems = [System::new("x86_64-linux").unwrap()];
        db.request_evaluations(master, &revision("a"), &Subset::All.into(), &systems, 100).await.unwrap();
        let task = db.claim_evaluation(&claimant("one"), 100).await.unwrap().unwrap();
        let mut zombie = EvaluationWriter::new(task.clone());
        let mut half = batch(&[("hello", "hello1")]);
        half.done = 1;
        zombie.record(db, &half).await.unwrap();

        db.heartbeat(&one, 100 + LEASE - 1).await.unwrap();
        let expiry = 100 + 2 * LEASE - 1;
        assert_eq!(db.reclaim_expired("two", expiry - 1).await.unwrap(), [], "it sent a heartbeat");
        let running = db.hosts().await.unwrap();
        assert_eq!((&running[0].evaluates[..], running[0].is_silent(expiry - 1)), (&[task.id][..], false));
        assert!(running[0].is_silent(expiry));
        assert_eq!(db.reclaim_expired("two", expiry).await.unwrap(), [interrupted(task.id, "one")]);
        assert_eq!(db.evaluation(task.id).await.unwrap().unwrap().state, EvaluationState::Pending);

        // Whatever the stale one wants to write, before and after somebody else took its place.
        let refused = async |zombie: &mut EvaluationWriter| {
            assert!(matches!(zombie.record(db, &half).await, Err(Error::LeaseLost(_))));
            assert!(matches!(zombie.finish(db, false, &json!({}), 300).await, Err(Error::LeaseLost(_))));
            assert!(matches!(db.set_unit_count(&task, 7).await, Err(Error::LeaseLost(_))));
            assert!(matches!(db.reset_to_pending(&task).await, Err(Error::LeaseLost(_))));
            assert!(matches!(db.fail_evaluation(&task, "no", 300).await, Err(Error::LeaseLost(_))));
            assert!(matches!(db.drop_evaluation(&task).await, Err(Error::LeaseLost(_))));
        };
        refused(&mut zombie).await;
        let taken = db.claim_evaluation(&claimant("two"), 200).await.unwrap().unwrap();
        EvaluationWriter::new(taken.clone()).record(db, &batch(&[("hello", "hello2")])).await.unwrap();
        refused(&mut zombie).await;
        db.heartbeat(&one, 300).await.unwrap();
        assert!(taken.term > task.term, "terms grow");
        assert_eq!(db.reclaim_expired("three", 200 + LEASE).await.unwrap(), [interrupted(task.id, "two")]);
        let third = db.claim_evaluation(&claimant("one"), 300).await.unwrap().unwrap();
        let mut recorder = EvaluationWriter::new(third);
        recorder.record(db, &batch(&[("hello", "hello3")])).await.unwrap();
        recorder.finish(db, false, &json!({}), 301).await.unwrap();
        assert!(
            matches!(recorder.finish(db, false, &json!({}), 302).await, Err(Error::LeaseLost(_))),
            "it is over"
        );
        let jobs = db.jobs(task.id).await.unwrap();
        assert_eq!(jobs.iter().map(|job| job.name.as_str()).collect::<Vec<_>>(), ["hello"]);
        assert!(db.verify().await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn an_evaluation_that_ends_each_of_its_hosts_is_given_up() {
    on_both(async |db| {
        let master = only_spec(db, spec("master")).await;
        let systems = [System::new("x86_64-linux").unwrap()];
        let push = async |commit, at| {
            db.request_evaluations(master, &revision(commit), &Subset::All.into(), &systems, at)
                .await
                .unwrap();
        };
        push("a", 100).await;
        for attempt in 1..=MAX_STARTS {
            let task = db.claim_evaluation(&claimant("one"), 100).await.unwrap().unwrap();
            assert_eq!(task.attempts, attempt);
            let mut recorder = EvaluationWriter::new(task.clone());
            recorder.record(db, &batch(&[("hello", "hello1")])).await.unwrap();
            // The host starts again, or another one finds that it is gone.
            let (finder, at) = if attempt % 2 == 0 { ("one", 101) } else { ("two", 100 + LEASE) };
            let failed = attempt == MAX_STARTS;
            let lost = Interrupted { failed, ..interrupted(task.id, "one") };
            assert_eq!(db.reclaim_expired(finder, at).await.unwrap(), [lost]);
        }
        assert_eq!(db.claim_evaluation(&claimant("one"), 200).await.unwrap(), None);
        let given_up = db.newest_evaluations().await.unwrap().remove(0);
        assert_eq!(given_up.state, EvaluationState::Failed);
        let reason = given_up.reason.unwrap();
        assert!(
            reason.contains(&format!("started {MAX_STARTS} times")) && reason.contains("hint: "),
            "{reason}"
        );
        assert!(db.verify().await.unwrap().is_empty());

        // A person has given it less memory, or something else was pushed.
        let again = db.retry_evaluation(given_up.id, &author(), 300).await.unwrap().unwrap();
        let task = db.claim_evaluation(&claimant("one"), 300).await.unwrap().unwrap();
        assert_eq!((task.id, task.attempts), (again, 1));
        EvaluationWriter::new(task).finish(db, false, &json!({}), 301).await.unwrap();
        push("b", 400).await;
        assert!(db.claim_evaluation(&claimant("one"), 400).await.unwrap().is_some());
    })
    .await;
}

#[tokio::test]
async fn a_lease_that_expired_and_that_nobody_took_goes_on() {
    on_both(async |db| {
        let one = host("one", "a");
        db.register(&one, 100).await.unwrap();
        let master = only_spec(db, spec("master")).await;
        let systems = [System::new("x86_64-linux").unwrap()];
        db.request_evaluations(master, &revision("a"), &Subset::All.into(), &systems, 100).await.unwrap();
        let task = db.claim_evaluation(&claimant("one"), 100).await.unwrap().unwrap();
        db.heartbeat(&one, 5000).await.unwrap();
        let mut recorder = EvaluationWriter::new(task);
        recorder.record(db, &batch(&[("hello", "hello1")])).await.unwrap();
        assert_eq!(db.reclaim_expired("two", 5000 + LEASE - 1).await.unwrap(), []);
        recorder.finish(db, false, &json!({}), 5001).await.unwrap();

        // One that is stopped does not keep others waiting.
        db.request_evaluations(master, &revision("b"), &Subset::All.into(), &systems, 5002).await.unwrap();
        let task = db.claim_evaluation(&claimant("one"), 5002).await.unwrap().unwrap();
        db.deregister(&one, 5003).await.unwrap();
        assert_eq!(db.reclaim_expired("two", 5003).await.unwrap(), [interrupted(task.id, "one")]);
    })
    .await;
}

#[tokio::test]
async fn each_host_takes_what_it_has_loaded_and_no_system_that_is_not_its_own() {
    on_both(async |db| {
        let mut specs = ["first", "second"].map(spec);
        for spec in &mut specs {
            spec.systems =
                ["x86_64-linux", "i686-linux", "aarch64-linux"].map(|name| System::new(name).unwrap()).into();
        }
        db.sync_specs(&specs).await.unwrap();
        let [first, second] = [spec_id(db, "first").await, spec_id(db, "second").await];
        for id in [first, second] {
            let build = Subset::All.into();
            db.request_evaluations(id, &revision("a"), &build, &specs[0].systems, 100).await.unwrap();
        }
        let claim = async |who: &Claimant| {
            let task = db.claim_evaluation(who, 100).await.unwrap()?;
            Some(format!("{} {}", task.spec.name, task.system))
        };
        let warm = |host: &str, spec| Claimant { warm: Some((spec, revision("a"))), ..claimant(host) };
        let only = Claimant { systems: vec![System::new("aarch64-linux").unwrap()], ..claimant("arm") };

        assert_eq!(claim(&claimant("one")).await.unwrap(), "first x86_64-linux");
        assert_eq!(claim(&claimant("two")).await.unwrap(), "second x86_64-linux", "one has loaded the first");
        assert_eq!(claim(&warm("two", second)).await.unwrap(), "second i686-linux");
        assert_eq!(claim(&only).await.unwrap(), "first aarch64-linux");
        assert_eq!(claim(&only).await.unwrap(), "second aarch64-linux");
        assert_eq!(claim(&only).await, None, "what is left is for other systems");
        assert_eq!(claim(&warm("one", second)).await.unwrap(), "first i686-linux");
        assert_eq!(claim(&claimant("one")).await, None);
    })
    .await;
}

#[tokio::test]
async fn a_name_belongs_to_one_host_until_that_stops_or_falls_silent() {
    on_both(async |db| {
        db.register(&host("one", "a"), 100).await.unwrap();
        db.register(&host("one", "a"), 101).await.unwrap();
        let late = 101 + LEASE;
        assert!(matches!(db.register(&host("one", "b"), late - 1).await, Err(Error::HostTaken(name)) if name == "one"));
        db.register(&host("one", "b"), late).await.unwrap();
        assert!(matches!(db.heartbeat(&host("one", "a"), late).await, Err(Error::HostTaken(_))));
        db.deregister(&host("one", "a"), late).await.unwrap();
        db.heartbeat(&host("one", "b"), late).await.unwrap();
        assert_eq!(db.hosts().await.unwrap()[0].stopped_at, None, "a stale one cannot stop it");
        db.deregister(&host("one", "b"), late + 1).await.unwrap();
        db.register(&host("one", "c"), late + 2).await.unwrap();

        db.register(&host("two", "d"), late + 60 * 24 * 3600).await.unwrap();
        let names: BTreeSet<String> = db.hosts().await.unwrap().into_iter().map(|host| host.name).collect();
        assert_eq!(names, BTreeSet::from(["two".to_owned()]), "the other is forgotten");
    })
    .await;
}

#[tokio::test]
async fn one_host_schedules_and_who_did_before_can_write_nothing() {
    on_both(async |db| {
        for name in ["one", "two"] {
            db.register(&host(name, name), 100).await.unwrap();
        }
        let turn = db.take_scheduler_lease("one", 100).await.unwrap().unwrap();
        let first = db.scheduling(turn);
        first.sync_specs(&[spec("master")]).await.unwrap();
        assert_eq!(db.take_scheduler_lease("two", 101).await.unwrap(), None);
        assert!(db.renew_scheduler_lease(turn, 120).await.unwrap());
        assert_eq!(db.take_scheduler_lease("two", 119 + LEASE).await.unwrap(), None);
        let schedules =
            async || db.hosts().await.unwrap().iter().map(|host| host.schedules).collect::<Vec<_>>();
        assert_eq!(schedules().await, [true, false]);

        let second = db.scheduling(db.take_scheduler_lease("two", 120 + LEASE).await.unwrap().unwrap());
        assert_eq!(schedules().await, [false, true]);
        assert!(!db.renew_scheduler_lease(turn, 121 + LEASE).await.unwrap());
        assert!(matches!(first.sync_specs(&[]).await, Err(Error::NotScheduling)));
        second.sync_specs(&[spec("other")]).await.unwrap();
        db.deregister(&host("two", "two"), 122 + LEASE).await.unwrap();
        assert!(
            db.take_scheduler_lease("one", 123 + LEASE).await.unwrap().is_some(),
            "nobody waits for one that was stopped"
        );
        assert!(matches!(second.sync_specs(&[]).await, Err(Error::NotScheduling)));
        assert!(
            matches!(first.sync_specs(&[]).await, Err(Error::NotScheduling)),
            "nor does the old turn come back"
        );
        assert_eq!(db.specs().await.unwrap().iter().filter(|spec| spec.present).count(), 1);
    })
    .await;
}
