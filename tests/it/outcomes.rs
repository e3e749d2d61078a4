//! What becomes of builds at a coordinator: whichever way Gorget hears of it, and whatever it wants
//! of it later.

use std::time::Duration;

use gorget::clock::Clock;
use gorget::db::{Build, BuildRef, BuildState, Db, NewEvent, QueueFilter};
use gorget::domain::attempt::Attempt;
use gorget::farm::reconciler::{Reconciler, run_until_idle};
use gorget::steps::coordinator::{FollowEvents, GuixBuildCoordinator, PollBuilds, Submission, Submit};

use crate::support::coordinator::{Mood, StandIn};
use crate::support::{context, evaluate, everything, hash, on_both_at, only_spec, spec, write_down};

/// A farm with builds of `gcc1` and `vim1`, queued.
struct Farm<'a> {
    db: &'a Db,
    location: &'a str,
    clock: Clock,
    coordinator: StandIn,
    adapter: GuixBuildCoordinator,
}

impl<'a> Farm<'a> {
    async fn new(db: &'a Db, location: &'a str) -> Self {
        let master = only_spec(db, spec("master")).await;
        let id = evaluate(db, master, "a", &[("gcc", "gcc1"), ("vim", "vim1")]).await;
        db.queue_builds(id, BuildState::Queued, 500).await.unwrap();
        let coordinator = StandIn::start().await;
        for name in ["gcc1", "vim1"] {
            let output = format!("/gnu/store/{}-{name}", hash(&format!("o{name}")));
            coordinator.know_outputs(&derivation(name), &[&output]);
        }
        let adapter = GuixBuildCoordinator::new(&coordinator.url()).unwrap();
        Self { db, location, clock: Clock::manual(1000), coordinator, adapter }
    }

    /// Hands over everything that can be handed over.
    async fn submit(&self) {
        let (name, coordinator) = (NAME.to_owned(), self.adapter.clone());
        let submit = Submit::new(&context(self.db, &self.clock), name, coordinator, everything());
        let tags = [("native".to_owned(), "true".to_owned())].into();
        run_until_idle(&mut submit.with_retry_tags(tags)).await.unwrap();
    }

    /// Asks how far builds are, an hour later.
    async fn ask(&self) {
        self.clock.advance(3601);
        let (name, coordinator) = (NAME.to_owned(), self.adapter.clone());
        run_until_idle(&mut PollBuilds::new(&context(self.db, &self.clock), name, coordinator))
            .await
            .unwrap();
    }

    async fn builds(&self) -> Vec<Build> {
        self.db.queue(&QueueFilter::default(), 10).await.unwrap()
    }

    async fn states(&self) -> Vec<BuildState> {
        self.builds().await.iter().map(|build| build.state).collect()
    }

    /// The build of gcc, which comes first.
    async fn gcc(&self) -> Build {
        self.builds().await.remove(0)
    }

    /// Somebody decides that about gcc.
    async fn decide(&self, what: &str) {
        write_down(
            self.location,
            &format!("update build set {what} where name_id = (select id from job_name where name = 'gcc')"),
        )
        .await;
    }

    /// What the coordinator keeps for gcc: each attempt, and whether it was canceled.
    fn attempts(&self) -> Vec<(String, bool)> {
        let of_gcc = |name: &str| name.ends_with("-gcc1.drv");
        let builds = self.coordinator.builds().into_iter().filter(|held| of_gcc(&held.derivation));
        builds.map(|held| (held.uuid, held.canceled)).collect()
    }
}

fn derivation(name: &str) -> String {
    format!("/gnu/store/{}-{name}.drv", hash(name))
}

/// What the coordinator is called.
const NAME: &str = "default";
const CANCEL: &str = "state = 'canceling'";
const WANT_AGAIN: &str = "state = 'queued', reference = null, sent_urgency = null, next_attempt = 0";

#[tokio::test]
async fn what_nobody_wants_any_more_is_given_up_until_somebody_does() {
    on_both_at(async |db, location| {
        let farm = Farm::new(db, location).await;
        farm.submit().await;
        farm.decide(CANCEL).await;
        farm.submit().await;
        assert_eq!(farm.states().await, [BuildState::Canceled, BuildState::Submitted]);
        let first = farm.attempts()[0].0.clone();
        assert_eq!(farm.attempts(), [(first.clone(), true)]);

        farm.decide(WANT_AGAIN).await;
        farm.submit().await;
        let second = farm.attempts()[1].0.clone();
        assert_eq!(farm.attempts(), [(first.clone(), true), (second.clone(), false)]);
        // Old news come late.
        let late = |attempt| NewEvent {
            build: BuildRef::Attempt,
            reference: first.clone(),
            attempt,
            happened_at: None,
        };
        db.record_events("default", &[late(Attempt::Started), late(Attempt::Canceled)], 2000).await.unwrap();
        let gcc = farm.gcc().await;
        assert_eq!((gcc.state, gcc.reference), (BuildState::Submitted, Some(second)));

        // It was built before anybody could be asked to give it up.
        farm.decide(CANCEL).await;
        farm.coordinator.finish("gcc1", true);
        farm.submit().await;
        assert_eq!(farm.gcc().await.state, BuildState::Succeeded);
    })
    .await;
}

#[tokio::test]
async fn a_lost_or_late_cancellation_does_not_cost_a_build_that_is_wanted_again() {
    on_both_at(async |db, location| {
        let farm = Farm::new(db, location).await;
        farm.submit().await;
        // It was given up, and nobody knows.
        farm.decide(CANCEL).await;
        farm.coordinator.feel(Mood::LosesAnswers);
        farm.submit().await;
        assert_eq!(farm.gcc().await.state, BuildState::Canceling);
        farm.coordinator.feel(Mood::Sound);
        farm.decide(WANT_AGAIN).await;
        farm.submit().await;
        assert_eq!(farm.attempts().iter().map(|(_, canceled)| *canceled).collect::<Vec<_>>(), [true, false]);
        assert_eq!(farm.gcc().await.reference, Some(farm.attempts()[1].0.clone()));

        // It is given up only after it was wanted again.
        farm.decide(CANCEL).await;
        farm.coordinator.feel(Mood::Fails);
        farm.submit().await;
        farm.coordinator.feel(Mood::Sound);
        farm.decide(WANT_AGAIN).await;
        farm.submit().await;
        assert_eq!(farm.gcc().await.state, BuildState::Submitted);
        farm.coordinator.cancel("gcc1");
        farm.ask().await;
        assert_eq!(farm.gcc().await.state, BuildState::Queued);
        farm.submit().await;
        assert_eq!(farm.attempts().len(), 3);
        assert!(!farm.attempts()[2].1);
        farm.coordinator.finish("gcc1", true);
        farm.ask().await;
        assert_eq!(farm.gcc().await.state, BuildState::Succeeded);
    })
    .await;
}

#[tokio::test]
async fn what_another_build_needs_or_somebody_else_wants_is_not_given_up() {
    on_both_at(async |db, location| {
        let farm = Farm::new(db, location).await;
        farm.coordinator.know_inputs(&derivation("vim1"), &[&derivation("gcc1")]);
        farm.submit().await;
        farm.decide(CANCEL).await;
        farm.submit().await;
        let gcc = farm.gcc().await;
        assert_eq!(gcc.state, BuildState::Canceling);
        assert_eq!(gcc.answer.as_deref(), Some("another build at the coordinator needs it"));
        farm.coordinator.finish("vim1", false);
        farm.ask().await;
        farm.submit().await;
        assert_eq!(farm.states().await, [BuildState::Canceled, BuildState::Failed]);

        // The coordinator has it of somebody else, who has no tags.
        farm.decide(WANT_AGAIN).await;
        let theirs = serde_json::json!({ "derivation": derivation("gcc1") });
        let url = format!("{}/builds", farm.coordinator.url());
        reqwest::Client::new().post(url).json(&theirs).send().await.unwrap();
        farm.submit().await;
        assert_eq!((farm.gcc().await.state, farm.gcc().await.reference), (BuildState::Submitted, None));
        farm.decide(CANCEL).await;
        farm.submit().await;
        assert_eq!(farm.gcc().await.state, BuildState::Canceled);
        assert!(!farm.attempts()[1].1);
    })
    .await;
}

#[tokio::test]
async fn a_change_of_urgency_is_told() {
    on_both_at(async |db, location| {
        let farm = Farm::new(db, location).await;
        farm.submit().await;
        farm.decide("urgency = 777000").await;
        assert_eq!(db.unsent_urgencies(NAME, 10).await.unwrap().len(), 1);
        farm.coordinator.feel(Mood::LosesAnswers);
        farm.submit().await;
        assert_eq!(db.unsent_urgencies(NAME, 10).await.unwrap().len(), 1, "perhaps it heard, perhaps not");
        farm.coordinator.feel(Mood::Sound);
        farm.submit().await;
        assert_eq!(farm.coordinator.builds()[0].priority, 777_000);
        assert_eq!(farm.gcc().await.sent_urgency, Some(777_000));
        assert_eq!(db.unsent_urgencies(NAME, 10).await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn asking_alone_finds_out_what_became_of_builds() {
    on_both_at(async |db, location| {
        let mut farm = Farm::new(db, location).await;
        // Another farm has asked for them before, so this one is not told what their attempts are called.
        for build in farm.builds().await {
            let (derivation, tags, urls) = (build.derivation, Vec::new(), Vec::new());
            let submission =
                Submission { derivation, priority: 1, tags, substitute_urls: urls, again: false };
            farm.adapter.submit(&submission).await.unwrap();
        }
        farm.submit().await;
        assert_eq!(farm.builds().await.iter().filter(|build| build.reference.is_none()).count(), 2);
        farm.coordinator.begin("gcc1");
        farm.coordinator.fail_setup("vim1");
        farm.ask().await;
        assert_eq!(farm.states().await, [BuildState::Building, BuildState::Submitted]);
        let answer = farm.builds().await.remove(1).answer.unwrap();
        assert!(answer.contains("missing_inputs"), "{answer}");

        farm.coordinator.finish("gcc1", false);
        farm.coordinator.stop().await;
        farm.ask().await;
        assert_eq!(farm.gcc().await.state, BuildState::Building, "it is away");
        farm.coordinator.restart().await;
        farm.ask().await;
        let gcc = farm.gcc().await;
        assert_eq!(gcc.state, BuildState::Failed);
        let told = db.build_events(gcc.id).await.unwrap();
        let told: Vec<_> = told.iter().map(|event| (event.attempt, event.happened_at.unwrap())).collect();
        assert_eq!(
            told.iter().map(|(step, _)| *step).collect::<Vec<_>>(),
            [Attempt::Scheduled, Attempt::Started, Attempt::Failed]
        );
        assert_eq!(told[2].1 - told[1].1, 600, "how long it took");

        // A new disk: what it had not built is handed over again.
        farm.coordinator.forget_everything();
        farm.ask().await;
        assert_eq!(farm.states().await, [BuildState::Failed, BuildState::Queued]);
        farm.submit().await;
        let held = farm.coordinator.builds();
        assert_eq!((held.len(), held[0].derivation.clone()), (1, derivation("vim1")));
        farm.coordinator.finish("vim1", false);
        farm.ask().await;
        assert_eq!(farm.states().await, [BuildState::Failed; 2], "the lost attempt counts no more");
    })
    .await;
}

#[tokio::test]
async fn listening_alone_finds_out_what_became_of_builds() {
    on_both_at(async |db, location| {
        let mut farm = Farm::new(db, location).await;
        let (name, coordinator) = (NAME.to_owned(), farm.adapter.clone());
        let mut follow = FollowEvents::new(&context(db, &farm.clock), name, coordinator);
        let listening = tokio::spawn(async move {
            loop {
                follow.step().await.unwrap();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        let become_of = async |farm: &Farm<'_>, states: [BuildState; 2]| {
            while farm.states().await != states {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::sleep(Duration::from_millis(300)).await;
        // The answers are lost; that it was submitted is heard.
        farm.coordinator.feel(Mood::LosesAnswers);
        farm.submit().await;
        farm.coordinator.feel(Mood::Repeats);
        farm.coordinator.begin("gcc1");
        become_of(&farm, [BuildState::Building, BuildState::Submitted]).await;
        farm.coordinator.finish("gcc1", true);
        farm.coordinator.begin("vim1");
        become_of(&farm, [BuildState::Succeeded, BuildState::Building]).await;
        farm.coordinator.stop().await;
        farm.coordinator.restart().await;
        // It may take a moment until somebody listens again.
        tokio::time::sleep(Duration::from_millis(300)).await;
        farm.coordinator.finish("vim1", false);
        become_of(&farm, [BuildState::Succeeded, BuildState::Failed]).await;
        assert_eq!(farm.coordinator.builds().len(), 2);
        listening.abort();
    })
    .await;
}

#[tokio::test]
async fn a_coordinator_that_tells_nothing_is_no_trouble() {
    on_both_at(async |db, location| {
        let farm = Farm::new(db, location).await;
        farm.coordinator.fall_silent();
        let (name, coordinator) = (NAME.to_owned(), farm.adapter.clone());
        let mut follow = FollowEvents::new(&context(db, &farm.clock), name, coordinator);
        assert!(!run_until_idle(&mut follow).await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn what_was_disturbed_is_tried_again_some_times_and_never_twice_at_once() {
    on_both_at(async |db, location| {
        let farm = Farm::new(db, location).await;
        farm.submit().await;
        let disturb = async || {
            let gcc = farm.gcc().await;
            let reference = gcc.reference.unwrap();
            let build = BuildRef::Asked(gcc.id);
            farm.coordinator.finish("gcc1", false);
            let event = NewEvent { build, reference, attempt: Attempt::FailedOther, happened_at: None };
            db.record_events("default", &[event], farm.clock.now()).await.unwrap();
        };
        disturb().await;
        assert_eq!(farm.gcc().await.state, BuildState::Queued);
        farm.submit().await;
        assert_eq!(farm.attempts().len(), 1, "not at once");
        farm.clock.advance(300);
        // The coordinator takes it, though it had it before, and the answer is lost.
        farm.coordinator.feel(Mood::LosesAnswers);
        farm.submit().await;
        assert_eq!((farm.attempts().len(), farm.gcc().await.state), (1, BuildState::Queued));
        farm.coordinator.feel(Mood::Sound);
        farm.clock.advance(3600);
        farm.submit().await;
        assert_eq!((farm.attempts().len(), farm.gcc().await.state), (2, BuildState::Submitted));
        farm.clock.advance(3600);
        farm.submit().await;
        assert_eq!(farm.attempts().len(), 2);

        for attempts in 3..=4 {
            disturb().await;
            farm.clock.advance(7200);
            farm.submit().await;
            assert_eq!(farm.attempts().len(), attempts);
        }
        disturb().await;
        assert_eq!(farm.gcc().await.state, BuildState::Failed, "that was enough");
    })
    .await;
}

#[tokio::test]
async fn what_failed_where_it_was_emulated_is_tried_again_where_it_is_native() {
    on_both_at(async |db, location| {
        let mut farm = Farm::new(db, location).await;
        farm.adapter =
            farm.adapter.with_emulating_agents([("emulates".to_owned(), "true".to_owned())].into());
        farm.coordinator.know_agent("qemu", &[("emulates", "true")]);
        farm.coordinator.know_agent("native", &[("native", "true")]);
        farm.coordinator.know_agent("plain", &[]);
        farm.submit().await;
        assert!(!farm.coordinator.begin_at("gcc1", "native"), "a first attempt has no such tag");
        assert!(farm.coordinator.begin_at("gcc1", "qemu"), "but may be emulated");
        farm.coordinator.finish("gcc1", false);
        // That `vim` failed says all that is to be said, since its agent does not emulate.
        assert!(farm.coordinator.begin_at("vim1", "plain"));
        farm.coordinator.finish("vim1", false);
        farm.ask().await;
        let gcc = farm.gcc().await;
        assert_eq!(farm.states().await, [BuildState::Queued, BuildState::Failed]);
        assert_eq!(gcc.answer.as_deref(), Some("it failed at agent qemu, which emulates"));

        farm.clock.advance(300);
        farm.submit().await;
        assert_eq!(farm.attempts().len(), 2);
        assert!(!farm.coordinator.begin_at("gcc1", "qemu"), "it lacks that agent's tag");
        assert!(farm.coordinator.begin_at("gcc1", "native"));
        farm.coordinator.finish("gcc1", false);
        farm.ask().await;
        assert_eq!(farm.gcc().await.state, BuildState::Failed);
    })
    .await;
}
