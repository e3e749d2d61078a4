//! Whoever has others' outputs built with a derivation that fails costs them that attempt, and nothing else.

use gorget::clock::Clock;
use gorget::db::{Batch, Build, BuildState, Db, EvaluationId, EvaluationWriter, QueueFilter};
use gorget::domain::spec::{RetryFailed, Spec, System};
use gorget::farm::reconciler::run_until_idle;
use gorget::steps::coordinator::{GuixBuildCoordinator, PollBuilds, Submit};
use gorget::steps::schedule::Schedule;
use serde_json::json;

use crate::support::coordinator::StandIn;
use crate::support::program;
use crate::support::{author, begin, context, derivation, everything, hash, job, on_both, spec, spec_id};

/// A derivation: what it is called, what it makes, and what it needs.
type Line<'a> = (&'a str, &'a str, &'a [&'a str]);

/// `which` of strangers and of honest people: they make the same, as their sources have the same hash.
const EVIL: &[Line] = &[("evilsource", "source", &[]), ("evil", "which", &["evilsource"])];
const HONEST: &[Line] = &[("source", "source", &[]), ("which", "which", &["source"])];

/// A farm and its coordinator.
struct Farm<'a> {
    db: &'a Db,
    clock: Clock,
    coordinator: StandIn,
    adapter: GuixBuildCoordinator,
}

impl<'a> Farm<'a> {
    async fn new(db: &'a Db, specs: &[Spec]) -> Self {
        db.sync_specs(specs).await.unwrap();
        let coordinator = StandIn::start().await;
        for (word, makes, inputs) in EVIL.iter().chain(HONEST) {
            coordinator.know_outputs(&path(word), &[&format!("/gnu/store/{}", output(makes))]);
            let inputs: Vec<String> = inputs.iter().map(|input| path(input)).collect();
            coordinator.know_inputs(&path(word), &inputs.iter().map(String::as_str).collect::<Vec<_>>());
        }
        let adapter = GuixBuildCoordinator::new(&coordinator.url()).unwrap();
        Self { db, clock: Clock::manual(1000), coordinator, adapter }
    }

    /// Evaluates a commit of a spec with these derivations, and the jobs among them.
    async fn evaluate(&self, spec: &str, commit: &str, lines: &[Line<'_>], jobs: &[&str]) -> EvaluationId {
        let task = begin(self.db, spec_id(self.db, spec).await, commit).await;
        let id = task.id;
        let mut recorder = EvaluationWriter::new(task);
        let new = |(word, makes, inputs): &Line| {
            let mut new = derivation(word, inputs);
            new.outputs = vec![("out".to_owned(), output(makes))];
            new
        };
        let batch = Batch {
            derivations: lines.iter().map(new).collect(),
            jobs: jobs.iter().map(|word| job(word, word)).collect(),
            ..Batch::default()
        };
        recorder.record(self.db, &batch).await.unwrap();
        recorder.finish(self.db, false, &json!({}), 200).await.unwrap();
        id
    }

    /// All is asked for, planned and submitted that can be. Gives what the coordinator has to build now.
    async fn go_on(&self) -> Vec<String> {
        for _ in 0..3 {
            self.ask().await;
            run_until_idle(&mut Schedule::new(&context(self.db, &self.clock), false)).await.unwrap();
            run_until_idle(&mut self.submit()).await.unwrap();
        }
        let open = self.coordinator.builds().into_iter();
        let open = open.filter(|held| !held.canceled && held.result.is_none());
        open.map(|held| held.derivation["/gnu/store/".len() + 33..].replace(".drv", "")).collect()
    }

    /// The coordinator is asked how far builds are.
    async fn ask(&self) {
        self.clock.advance(8000);
        let (name, coordinator) = ("default".to_owned(), self.adapter.clone());
        run_until_idle(&mut PollBuilds::new(&context(self.db, &self.clock), name, coordinator))
            .await
            .unwrap();
    }

    fn submit(&self) -> Submit {
        let (name, coordinator) = ("default".to_owned(), self.adapter.clone());
        Submit::new(&context(self.db, &self.clock), name, coordinator, everything())
    }

    async fn build(&self, makes: &str) -> Build {
        let all = self.db.queue(&QueueFilter::default(), i64::MAX).await.unwrap();
        let ours: Vec<&str> =
            EVIL.iter().chain(HONEST).filter(|line| line.1 == makes).map(|line| line.0).collect();
        let is_it = |build: &Build| ours.iter().any(|word| build.derivation == path(word));
        all.into_iter().find(is_it).unwrap()
    }

    async fn state(&self, makes: &str) -> BuildState {
        self.build(makes).await.state
    }

    /// How often the coordinator was asked to build this.
    fn attempts(&self, word: &str) -> usize {
        self.coordinator.builds().iter().filter(|held| held.derivation == path(word)).count()
    }

    /// The jobs of a spec that failed, and their derivations.
    async fn failing(&self, spec: &str) -> Vec<String> {
        let system = System::new("x86_64-linux").unwrap();
        let jobs = self.db.failing_jobs(spec_id(self.db, spec).await, &system).await.unwrap();
        let is_bad = |job: &gorget::db::JobResults| {
            job.ranges.last().is_some_and(|range| range.result == gorget::domain::failures::BuildResult::Bad)
        };
        jobs.into_iter().filter(is_bad).map(|runs| runs.derivation).collect()
    }
}

fn path(word: &str) -> String {
    format!("/gnu/store/{}-{word}.drv", hash(word))
}

fn output(makes: &str) -> String {
    format!("{}-{makes}", hash(&format!("o{makes}")))
}

fn asking(name: &str) -> Spec {
    Spec { queue_inputs: true, ..spec(name) }
}

/// Neither of both has failed before the other one is there, or the first has.
#[tokio::test]
async fn what_fails_with_one_derivation_is_built_with_another() {
    on_both(async |db| {
        let farm = Farm::new(db, &[spec("evil"), spec("honest")]).await;
        farm.evaluate("evil", "a", EVIL, &["evil"]).await;
        assert_eq!(farm.go_on().await, ["evil"]);
        farm.evaluate("honest", "a", HONEST, &["which"]).await;
        assert_eq!(farm.go_on().await, ["evil"], "nothing is built twice as long as it may succeed");

        farm.coordinator.finish("evil", false);
        assert_eq!(farm.go_on().await, ["which"]);
        let build = farm.build("which").await;
        assert_eq!((build.spec.as_str(), build.job.as_str()), ("honest", "which"));
        let failed = db.failed_derivations(build.id).await.unwrap();
        assert_eq!(
            failed.iter().map(|failed| failed.derivation.as_str()).collect::<Vec<_>>(),
            [path("evil")]
        );
        farm.coordinator.finish("which", true);
        assert_eq!(farm.go_on().await, [""; 0]);
        assert_eq!(farm.state("which").await, BuildState::Succeeded);
        farm.evaluate("evil", "b", EVIL, &["evil"]).await;
        assert_eq!(farm.go_on().await, [""; 0], "what has the outputs is done");
    })
    .await;
}

#[tokio::test]
async fn what_failed_before_somebody_else_wanted_it_is_built_for_them() {
    on_both(async |db| {
        let farm = Farm::new(db, &[spec("evil"), spec("honest")]).await;
        farm.evaluate("evil", "a", EVIL, &["evil"]).await;
        farm.go_on().await;
        farm.coordinator.finish("evil", false);
        assert_eq!(farm.go_on().await, [""; 0]);
        assert_eq!(farm.state("which").await, BuildState::Failed);
        assert_eq!(farm.failing("evil").await, [path("evil")]);

        farm.evaluate("honest", "a", HONEST, &["which"]).await;
        assert_eq!(farm.failing("honest").await, [""; 0], "that it fails is not known");
        db.sync_specs(&[spec("honest")]).await.unwrap();
        assert_eq!(farm.go_on().await, ["which"]);
        farm.coordinator.finish("which", true);
        assert_eq!(farm.go_on().await, [""; 0]);
        assert_eq!(farm.state("which").await, BuildState::Succeeded);
    })
    .await;
}

#[tokio::test]
async fn two_derivations_that_fail_are_tried_once_each() {
    on_both(async |db| {
        for (place, policy) in [RetryFailed::Never, RetryFailed::Next].into_iter().enumerate() {
            let with = |name: &str| Spec { retry_failed: policy, ..spec(name) };
            let farm = Farm::new(db, &[with("evil"), with("honest")]).await;
            if place == 0 {
                farm.evaluate("honest", "a", HONEST, &["which"]).await;
                assert_eq!(farm.go_on().await, ["which"]);
                farm.evaluate("evil", "a", EVIL, &["evil"]).await;
                farm.coordinator.finish("which", false);
                assert_eq!(farm.go_on().await, ["evil"]);
                farm.coordinator.finish("evil", false);
                assert_eq!(farm.go_on().await, [""; 0]);
                assert_eq!(farm.failing("evil").await, [path("evil")]);
                assert_eq!(farm.failing("honest").await, [path("which")]);
            } else {
                assert_eq!(farm.go_on().await, [""; 0], "neither has been evaluated since");
            }
            let commit = format!("b{place}");
            farm.evaluate("honest", &commit, HONEST, &["which"]).await;
            farm.evaluate("evil", &commit, EVIL, &["evil"]).await;
            let mut tried = Vec::new();
            for _ in 0..5 {
                for word in farm.go_on().await {
                    farm.coordinator.finish(&word, false);
                    tried.push(word);
                }
            }
            tried.sort_unstable();
            let expected = if place == 0 { &[][..] } else { &["evil", "which"] };
            assert_eq!(tried, expected, "each is tried once for an evaluation: {policy}");
            assert_eq!(farm.state("which").await, BuildState::Failed);
        }
    })
    .await;
}

#[tokio::test]
async fn a_derivation_that_is_refused_leaves_others_their_turn() {
    on_both(async |db| {
        let farm = Farm::new(db, &[spec("evil"), spec("honest")]).await;
        farm.evaluate("evil", "a", EVIL, &["evil"]).await;
        farm.evaluate("honest", "a", HONEST, &["which"]).await;
        run_until_idle(&mut Schedule::new(&context(db, &farm.clock), false)).await.unwrap();
        let evil = farm.build("which").await;
        assert_eq!(evil.derivation, path("evil"));
        db.record_refusal(&evil, "no", 1).await.unwrap();
        assert_eq!(farm.go_on().await, ["which"]);
        db.record_refusal(&evil, "no", 1).await.unwrap();
        assert_eq!(farm.state("which").await, BuildState::Submitted, "that was not about this one");
    })
    .await;
}

#[tokio::test]
async fn what_waits_is_built_as_those_of_the_best_priority_want() {
    on_both(async |db| {
        let better = Spec { priority: 1, ..spec("honest") };
        let farm = Farm::new(db, &[spec("evil"), better]).await;
        let schedule = async || {
            run_until_idle(&mut Schedule::new(&context(db, &farm.clock), false)).await.unwrap();
        };
        farm.evaluate("evil", "a", EVIL, &["evil"]).await;
        schedule().await;
        assert_eq!(farm.build("which").await.derivation, path("evil"));
        farm.evaluate("honest", "a", HONEST, &["which"]).await;
        schedule().await;
        assert_eq!(farm.build("which").await.derivation, path("which"));
        farm.evaluate("evil", "b", &[("other", "other", &[])], &["other"]).await;
        farm.evaluate("evil", "c", EVIL, &["evil"]).await;
        schedule().await;
        assert_eq!(farm.build("which").await.derivation, path("which"));
        farm.go_on().await;
        assert_eq!((farm.attempts("evil"), farm.attempts("which")), (0, 1));
    })
    .await;
}

#[tokio::test]
async fn an_input_that_fails_with_one_derivation_is_built_with_another() {
    on_both(async |db| {
        let farm = Farm::new(db, &[asking("evil"), asking("honest")]).await;
        farm.evaluate("evil", "a", EVIL, &["evil"]).await;
        let mut open = farm.go_on().await;
        open.sort_unstable();
        assert_eq!(open, ["evil", "evilsource"]);
        farm.coordinator.finish("evilsource", false);
        assert_eq!(farm.go_on().await, ["evil"], "the coordinator leaves it waiting");
        let blocked = db.blockers().await.unwrap();
        assert_eq!(blocked.len(), 1, "{blocked:?}");

        // The source of honest people is what the coordinator still needs for the strangers' derivation.
        farm.evaluate("honest", "a", HONEST, &["which"]).await;
        let mut open = farm.go_on().await;
        open.sort_unstable();
        assert_eq!(open, ["evil", "source"]);
        let source = farm.build("source").await;
        assert_eq!((source.spec.as_str(), source.derivation), ("honest", path("source")));
        farm.coordinator.finish("source", true);
        farm.coordinator.finish("evil", true);
        assert_eq!(farm.go_on().await, [""; 0]);
        assert_eq!(farm.state("which").await, BuildState::Succeeded);
    })
    .await;
}

#[tokio::test]
async fn an_input_that_failed_before_is_built_for_who_needs_it_later() {
    on_both(async |db| {
        let farm = Farm::new(db, &[spec("evil"), asking("honest")]).await;
        farm.evaluate("evil", "a", EVIL, &["evilsource"]).await;
        farm.go_on().await;
        farm.coordinator.finish("evilsource", false);
        farm.go_on().await;
        db.sync_specs(&[asking("honest")]).await.unwrap();
        farm.evaluate("honest", "a", HONEST, &["which"]).await;
        let mut open = farm.go_on().await;
        open.sort_unstable();
        assert_eq!(open, ["source", "which"]);
        farm.coordinator.finish("source", false);
        for _ in 0..3 {
            assert_eq!(farm.go_on().await, ["which"], "both sources have failed");
        }
        assert_eq!((farm.attempts("evilsource"), farm.attempts("source")), (1, 1));
        assert_eq!(farm.state("source").await, BuildState::Failed);
    })
    .await;
}

const WORLD: &[Line] = &[("gcc", "gcc", &[]), ("vim", "vim", &[])];

#[tokio::test]
async fn the_budget_of_one_holds_nothing_that_another_may_have_built() {
    on_both(async |db| {
        let evil = Spec { budget: Some(1), priority: 1, ..spec("evil") };
        let careful = Spec { budget: Some(1), ..spec("careful") };
        let honest = asking("honest");
        let farm = Farm::new(db, &[evil.clone(), careful, honest.clone()]).await;
        let world =
            farm.evaluate("evil", "a", &[EVIL, WORLD].concat(), &["evil", "evilsource", "gcc", "vim"]).await;
        assert_eq!(farm.go_on().await, [""; 0]);
        assert_eq!(farm.state("which").await, BuildState::AwaitingApproval);
        let both = farm.evaluate("careful", "a", &[HONEST, WORLD].concat(), &["which", "gcc", "vim"]).await;
        assert_eq!(farm.go_on().await, [""; 0], "that is more than it may have built, too");

        farm.evaluate("honest", "a", HONEST, &["which"]).await;
        let mut open = farm.go_on().await;
        open.sort_unstable();
        assert_eq!(open, ["source", "which"], "with what it needs");
        assert_eq!(farm.build("source").await.spec, "honest");
        let held = |build: &Build| build.state == BuildState::AwaitingApproval;
        let waiting = async || {
            let all = db.queue(&QueueFilter::default(), 99).await.unwrap();
            all.iter().filter(|build| held(build)).map(|build| build.job.clone()).collect::<Vec<_>>()
        };
        assert_eq!(waiting().await, ["gcc", "vim"]);
        db.approve(&[both], &author(), 1).await.unwrap();
        assert_eq!(waiting().await, [""; 0], "whoever holds them, somebody who wants them has approval");
        assert!(world < both);
    })
    .await;
}

#[tokio::test]
async fn it_is_explained_which_derivation_failed_and_which_is_tried() {
    let program = program::Farm::new(Some("http://127.0.0.1:1"));
    std::fs::create_dir_all(program.state()).unwrap();
    let db = program.db().await;
    let farm = Farm::new(&db, &[spec("evil"), spec("honest")]).await;
    let explain = async || {
        let said = program.say(&["explain", "which"]).await;
        assert_eq!(said.code, Some(0), "{}", said.talk);
        said.data
    };
    farm.evaluate("evil", "a", EVIL, &["evil"]).await;
    farm.evaluate("honest", "a", HONEST, &["which"]).await;
    farm.go_on().await;
    let told = explain().await;
    assert!(told.contains(&format!("the same outputs are built by {}", path("evil"))), "{told}");

    farm.coordinator.finish("evil", false);
    farm.ask().await;
    let told = explain().await;
    assert!(told.contains("its own is tried with the next plan"), "{told}");
    assert!(told.contains(&format!("{} failed", path("evil"))), "{told}");
    assert_eq!(farm.go_on().await, ["which"]);
    let told = explain().await;
    assert!(told.contains("the coordinator has it") && !told.contains("the same outputs"), "{told}");
    assert!(told.contains(&format!("{} failed", path("evil"))), "{told}");
    farm.coordinator.finish("which", false);
    farm.go_on().await;
    let told = explain().await;
    assert!(told.contains("failed; honest does not retry failed builds"), "{told}");
}
