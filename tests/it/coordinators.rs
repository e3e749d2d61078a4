//! Several coordinators: each gets its own builds and keeps them, and none waits for another.

use gorget::clock::Clock;
use gorget::db::{Batch, Build, BuildRef, BuildState, Db, EvaluationWriter, NewEvent, QueueFilter};
use gorget::domain::attempt::Attempt;
use gorget::domain::plan::route::{Route, Routes};
use gorget::domain::spec::Spec;
use gorget::farm::context::{Context, Mode};
use gorget::farm::reconciler::run_until_idle;
use gorget::steps::coordinator::{CancelOrphans, GuixBuildCoordinator, Submit};
use serde_json::{Value, json};

use crate::support::coordinator::StandIn;
use crate::support::guix::{Tree, manifest};
use crate::support::program::{Farm, text};
use crate::support::{begin, context, derivation, hash, job, on_both, on_both_at, spec, spec_id, write_down};

fn route(coordinator: &str, specs: &[&str], systems: &[&str]) -> Route {
    let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    Route { coordinator: coordinator.to_owned(), specs: owned(specs), systems: owned(systems) }
}

/// An evaluation of `spec` that wants these: names and systems of derivations.
async fn want(db: &Db, spec: &str, commit: &str, words: &[(&str, &str)]) {
    let task = begin(db, spec_id(db, spec).await, commit).await;
    let id = task.id;
    let mut recorder = EvaluationWriter::new(task);
    let derivations = words.iter().map(|(word, system)| {
        let mut new = derivation(word, &[]);
        (*system).clone_into(&mut new.system);
        new
    });
    let jobs = words.iter().map(|(word, _)| job(word, word)).collect();
    let batch = Batch { derivations: derivations.collect(), jobs, ..Batch::default() };
    recorder.record(db, &batch).await.unwrap();
    recorder.finish(db, false, &json!({}), 200).await.unwrap();
    db.queue_builds(id, BuildState::Queued, 500).await.unwrap();
}

/// The step that submits to the coordinator called `name`.
fn submit(db: &Db, name: &str, coordinator: &StandIn, routes: &Routes) -> Submit {
    let coordinator = GuixBuildCoordinator::new(&coordinator.url()).unwrap();
    let context = Context { mode: Mode::Once, ..context(db, &Clock::manual(1000)) };
    Submit::new(&context, name.to_owned(), coordinator, routes.clone())
}

async fn build(db: &Db, word: &str) -> Build {
    let all = db.queue(&QueueFilter::default(), 99).await.unwrap();
    all.into_iter().find(|build| build.job == word).unwrap()
}

/// The state of a build, and whose it is.
async fn at(db: &Db, word: &str) -> (BuildState, String) {
    let build = build(db, word).await;
    (build.state, build.coordinator.unwrap_or_else(|| "undecided".to_owned()))
}

fn named(name: &str) -> String {
    name.to_owned()
}

fn words(coordinator: &StandIn) -> Vec<String> {
    let name = |derivation: String| derivation["/gnu/store/".len() + 33..].replace(".drv", "");
    coordinator.builds().into_iter().map(|held| name(held.derivation)).collect()
}

#[tokio::test]
async fn each_gets_its_own_builds_and_one_that_is_away_holds_nobody_up() {
    on_both(async |db| {
        let (intel, mut arm) = (StandIn::start().await, StandIn::start().await);
        let routes = Routes(vec![
            route("intel", &[], &["x86_64-linux", "i686-linux"]),
            route("arm", &[], &["aarch64-linux"]),
        ]);
        db.sync_specs(&[spec("master")]).await.unwrap();
        let all = [
            ("gcc", "x86_64-linux"),
            ("vim", "aarch64-linux"),
            ("sed", "riscv64-linux"),
            ("tar", "i686-linux"),
        ];
        want(db, "master", "a", &all).await;
        arm.stop().await;
        assert!(!run_until_idle(&mut submit(db, "arm", &arm, &routes)).await.unwrap());
        run_until_idle(&mut submit(db, "intel", &intel, &routes)).await.unwrap();
        assert_eq!(words(&intel), ["gcc", "tar"]);
        assert_eq!(at(db, "vim").await, (BuildState::Queued, named("arm")));
        let problem = &db.coordinator_counts(1000).await.unwrap()[0].problem;
        assert!(problem.is_some(), "it is known why it waits");
        assert_eq!(at(db, "sed").await, (BuildState::Queued, named("")));
        let unserved = db.unserved().await.unwrap();
        assert_eq!((unserved.len(), unserved[0].system.as_str(), unserved[0].count), (1, "riscv64-linux", 1));

        arm.restart().await;
        run_until_idle(&mut submit(db, "arm", &arm, &routes)).await.unwrap();
        assert_eq!(words(&arm), ["vim"]);
        // What one says of the other's builds says nothing.
        let reference = build(db, "vim").await.reference.unwrap();
        for told in [BuildRef::Derivation(hash("vim")), BuildRef::Attempt] {
            let event = NewEvent {
                build: told,
                reference: reference.clone(),
                attempt: Attempt::Failed,
                happened_at: None,
            };
            assert_eq!(db.record_events("intel", std::slice::from_ref(&event), 1100).await.unwrap().new, 0);
        }
        assert_eq!(at(db, "vim").await, (BuildState::Submitted, named("arm")));
    })
    .await;
}

#[tokio::test]
async fn what_a_coordinator_has_stays_there_until_it_ends_or_is_given_up() {
    on_both_at(async |db, location| {
        let (mut old, new) = (StandIn::start().await, StandIn::start().await);
        let everything_to = |name: &str| Routes(vec![route(name, &[], &[])]);
        let [before, after] = [everything_to("old"), everything_to("new")];
        db.sync_specs(&[spec("master")]).await.unwrap();
        let all: Vec<(String, &str)> = (0..70).map(|n| (format!("p{n}"), "x86_64-linux")).collect();
        let all: Vec<(&str, &str)> = all.iter().map(|(name, system)| (name.as_str(), *system)).collect();
        want(db, "master", "a", &all[..2]).await;
        run_until_idle(&mut submit(db, "old", &old, &before)).await.unwrap();
        // Of some of these, it may have heard before it went away.
        want(db, "master", "b", &all).await;
        old.stop().await;
        run_until_idle(&mut submit(db, "old", &old, &before)).await.unwrap();

        db.route_anew(&after).await.unwrap();
        run_until_idle(&mut submit(db, "new", &new, &after)).await.unwrap();
        assert_eq!(new.builds().len(), 60, "eight were on their way to the old one");
        assert_eq!(at(db, "p0").await, (BuildState::Submitted, named("old")));
        let doubtful = db.builds_at("old").await.unwrap();
        assert_eq!(doubtful.len(), 10);
        assert!(doubtful.iter().any(|build| build.state == BuildState::Queued));
        assert_eq!(db.route_anew(&after).await.unwrap(), 0);

        // One that nobody wants any more is given up, though the old one cannot be told.
        let cancel = "update build set state = 'canceling', unwanted_at = 1
            where name_id = (select id from job_name where name = 'p1')";
        write_down(location, cancel).await;
        let context = context(db, &Clock::manual(1000));
        run_until_idle(&mut CancelOrphans::new(&context, vec!["old".to_owned()])).await.unwrap();
        assert_eq!(at(db, "p1").await.0, BuildState::Canceling);
        run_until_idle(&mut CancelOrphans::new(&context, vec!["new".to_owned()])).await.unwrap();
        assert_eq!(at(db, "p1").await.0, BuildState::Canceled);

        // It failed while it was the old one's; the next try is the new one's.
        let failed = NewEvent {
            build: BuildRef::Asked(build(db, "p0").await.id),
            reference: build(db, "p0").await.reference.unwrap(),
            attempt: Attempt::Failed,
            happened_at: None,
        };
        db.record_events("old", &[failed], 600).await.unwrap();
        assert!(!build(db, "p0").await.sent);
        db.record_loss(&db.builds_at("old").await.unwrap(), 1000).await.unwrap();
        run_until_idle(&mut submit(db, "new", &new, &after)).await.unwrap();
        assert_eq!(new.builds().len(), 68, "all but the one that failed and the one that nobody wants");
    })
    .await;
}

#[tokio::test]
async fn a_build_goes_to_whoever_serves_one_of_the_specs_that_want_it() {
    on_both(async |db| {
        let coordinator = StandIn::start().await;
        let routes = Routes(vec![route("release", &["release"], &[])]);
        let specs: [Spec; 2] = [spec("master"), spec("release")];
        db.sync_specs(&specs).await.unwrap();
        let shared = [("gcc", "x86_64-linux"), ("vim", "x86_64-linux")];
        want(db, "master", "a", &shared).await;
        run_until_idle(&mut submit(db, "release", &coordinator, &routes)).await.unwrap();
        assert_eq!(words(&coordinator), [""; 0]);
        assert_eq!(at(db, "gcc").await, (BuildState::Queued, named("")));

        want(db, "release", "b", &shared[..1]).await;
        let live = db.plan_input().await.unwrap();
        db.apply_changes(&gorget::db::Changes::default(), &live, 600).await.unwrap();
        run_until_idle(&mut submit(db, "release", &coordinator, &routes)).await.unwrap();
        assert_eq!(words(&coordinator), ["gcc"]);
        assert_eq!(at(db, "vim").await, (BuildState::Queued, named("")));
    })
    .await;
}

#[tokio::test]
async fn whoever_asks_is_told_who_has_what_and_what_nobody_serves() {
    let (mut near, far) = (StandIn::start().await, StandIn::start().await);
    let channel = Tree::channel("manifest.scm", &manifest(&[("one", "")]));
    let farm = Farm::new(None);
    let named = |name: &str, coordinator: &StandIn, serves: &str| {
        let url = coordinator.url();
        format!("[coordinators.{name}]\nkind = \"guix-build-coordinator\"\nurl = \"{url}\"\n{serves}")
    };
    let build = "build = { manifests = [\"manifest.scm\"] }";
    farm.spec("own", &format!("{build}\n{}", channel.as_channel("own")));
    farm.configure(&named("far", &far, "specs = [\"other\"]"));
    let said = farm.say(&["run", "--once"]).await;
    assert!(said.talk.contains("no coordinator serves own for x86_64-linux (1 build)"), "{}", said.talk);
    let story = async || {
        let said = farm.say(&["explain", "--json", "one-1"]).await;
        serde_json::from_str::<Value>(&said.data).unwrap()["jobs"][0].take()
    };
    let unserved = story().await;
    assert_eq!((&unserved["rule"], &unserved["build"]["coordinator"]), (&"unserved".into(), &Value::Null));
    assert_eq!(farm.status().await["unserved"][0]["count"], 1);

    farm.configure(&named("near", &near, "specs = [\"own\"]"));
    farm.run_once().await;
    let submitted = story().await;
    assert_eq!(
        (&submitted["rule"], &submitted["build"]["coordinator"]),
        (&"submitted".into(), &"near".into())
    );
    assert!(text(&submitted["because"]).contains("the coordinator near has it"), "{submitted}");
    assert_eq!((near.builds().len(), far.builds().len()), (1, 0));
    let status = farm.status().await;
    let of =
        |name: &str| status["coordinators"].as_array().unwrap().iter().find(|c| c["name"] == name).cloned();
    assert_eq!(of("near").unwrap()["builds"]["submitted"], 1);
    let told = farm.say(&["status"]).await.data;
    assert!(told.contains("COORDINATOR") && told.contains("near"), "{told}");
    let refused = farm.say(&["reassign", "near"]).await;
    assert_eq!(refused.code, Some(1), "{}", refused.talk);
    near.stop().await;

    // Somebody gives it another name.
    write_down(&farm.database(), "update build set coordinator = 'former'").await;
    let gone = story().await;
    assert_eq!(gone["rule"], "coordinator-gone");
    assert!(text(&gone["because"]).contains("`gorget reassign former`"), "{gone}");
    let said = farm.say(&["reassign", "former"]).await;
    assert!(said.talk.contains("1 build is reassigned from former"), "{}", said.talk);
    assert_eq!(story().await["rule"], "new-outputs");
    assert_eq!(farm.say(&["reassign", "former"]).await.code, Some(1));
}
