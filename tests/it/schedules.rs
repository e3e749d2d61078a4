//! Farms that live through hundreds of random schedules, with a crash before any write or in the middle of a step, end
//! where they should: nothing that is wanted is lost, and nothing is built for nobody.
//!
//! `GORGET_TEST_SCHEDULES` says how many are tried, from which number on: `100000` or `5+1`.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future as _;
use std::ops::Range;
use std::pin::pin;
use std::task::Poll;

use gorget::attempt::Attempt;
use gorget::clock::Clock;
use gorget::daemon::{Bells, Keeper as _, exhaust};
use gorget::db::{Batch, Build, BuildState, Db, NewEvent, QueueFilter, Recorder, Told};
use gorget::schedule::Schedule;
use gorget::spec::{RetryFailed, Spec};
use serde_json::json;

use crate::support::{begin, claimant, derivation, hash, job, on_both, spec, spec_id};

/// How many schedules are tried, of both databases, unless told otherwise.
const USUAL: u64 = 60;
/// How many derivations a farm knows.
const WORDS: usize = 10;
/// One more than a step of the keeper writes at most.
const MOST_WRITES: usize = 5;
/// How much happens in a schedule.
const EVENTS: usize = 25;

/// Numbers as good as drawn by lot, the same for the same seed.
struct Lot(u64);

impl Lot {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// A farm with two specs, whose names and derivations nobody else has.
struct World<'a> {
    db: &'a Db,
    lot: Lot,
    keeper: Schedule,
    specs: Vec<Spec>,
    /// What each derivation needs, inputs first.
    inputs: Vec<Vec<usize>>,
    /// The jobs of the last complete evaluation of each spec.
    jobs: Vec<BTreeSet<usize>>,
    prefix: String,
    commits: usize,
}

fn seeds() -> Range<u64> {
    let told = std::env::var("GORGET_TEST_SCHEDULES").unwrap_or_default();
    let (from, count) = told.split_once('+').unwrap_or(("0", &told));
    let from: u64 = from.parse().unwrap_or(0);
    from..from + count.parse().unwrap_or(USUAL)
}

#[tokio::test]
async fn whatever_happens_what_is_wanted_is_queued_and_nothing_else() {
    on_both(async |db| {
        let mut seen = BTreeSet::new();
        for seed in seeds() {
            let mut world = World::new(db, seed).await;
            for _ in 0..EVENTS {
                world.something_happens().await;
            }
            world.settle().await;
            world.check(seed).await;
            seen.extend(world.builds().await.into_values().map(|build| format!("{:?}", build.state)));
        }
        for state in
            ["Canceled", "Canceling", "Failed", "Held", "Queued", "Started", "Submitted", "Succeeded"]
        {
            assert!(seen.contains(state), "no schedule ends with anything {state}");
        }
    })
    .await;
}

impl<'a> World<'a> {
    async fn new(db: &'a Db, seed: u64) -> Self {
        let mut lot = Lot(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let prefix = format!("s{seed}");
        let policies = [RetryFailed::Never, RetryFailed::Next, RetryFailed::After(50)];
        let queue_inputs = lot.once_in(2);
        let specs = ["a", "b"].map(|name| Spec {
            retry_failed: policies[lot.below(3)],
            budget: [None, Some(3)][lot.below(2)],
            queue_inputs,
            priority: u8::try_from(lot.below(10)).unwrap(),
            ..spec(&format!("{prefix}{name}"))
        });
        let inputs = (0..WORDS).map(|word| (0..word).filter(|_| lot.once_in(4)).collect()).collect();
        db.sync_specs(&specs).await.unwrap();
        let keeper =
            Schedule { db: db.clone(), clock: Clock::manual(1000), bells: Bells::default(), look_up: false };
        let specs = specs.to_vec();
        Self { db, lot, keeper, specs, inputs, jobs: vec![BTreeSet::new(); 2], prefix, commits: 0 }
    }

    fn word(&self, number: usize) -> String {
        format!("{}x{number}", self.prefix)
    }

    async fn something_happens(&mut self) {
        self.keeper.clock.advance(10);
        match self.lot.below(10) {
            0..3 => self.evaluate().await,
            3..6 => self.step_and_crash().await,
            6 => self.rest_or_wake().await,
            _ => {
                for _ in 0..4 {
                    self.build_something().await;
                }
            }
        }
    }

    /// A step of the keeper, which may end before it is done: before one of its writes, or while it waits for
    /// an answer of the database.
    async fn step_and_crash(&mut self) {
        let mut waits = if self.lot.once_in(2) { usize::MAX } else { self.lot.below(60) };
        if waits == usize::MAX {
            self.db.permit_writes(i64::try_from(self.lot.below(MOST_WRITES)).unwrap());
        }
        let mut step = pin!(self.keeper.step());
        std::future::poll_fn(|context| match step.as_mut().poll(context) {
            Poll::Ready(result) => {
                assert!(result.is_ok(), "{result:?}");
                Poll::Ready(())
            }
            Poll::Pending if waits == 0 || self.db.is_cut_off() => Poll::Ready(()),
            Poll::Pending => {
                waits -= 1;
                Poll::Pending
            }
        })
        .await;
        self.db.permit_writes(i64::MAX);
    }

    async fn evaluate(&mut self) {
        let which = self.lot.below(2);
        let jobs: BTreeSet<usize> = (0..WORDS).filter(|_| self.lot.once_in(3)).collect();
        if !self.specs[which].active {
            return;
        }
        let mut recorder = self.record(which, &jobs).await;
        match self.lot.below(6) {
            0 => self.db.fail_evaluation(recorder.task(), "it had to be", 1).await.unwrap(),
            1 => {
                // Killed in the middle, and begun again.
                self.db.take_back("one", 0).await.unwrap();
                self.step_and_crash().await;
                let task = self.db.claim_evaluation(&claimant("one"), 1).await.unwrap().unwrap();
                recorder = Recorder::new(task);
                recorder.record(self.db, &self.batch(&jobs)).await.unwrap();
                recorder.finish(self.db, false, &json!({}), 1).await.unwrap();
                self.jobs[which] = jobs;
            }
            _ => {
                recorder.finish(self.db, false, &json!({}), 1).await.unwrap();
                self.jobs[which] = jobs;
            }
        }
    }

    async fn record(&mut self, which: usize, jobs: &BTreeSet<usize>) -> Recorder {
        self.commits += 1;
        let id = spec_id(self.db, &self.specs[which].name).await;
        let task = begin(self.db, id, &format!("{}{}", self.prefix, self.commits)).await;
        let mut recorder = Recorder::new(task);
        recorder.record(self.db, &self.batch(jobs)).await.unwrap();
        if self.lot.once_in(2) {
            self.step_and_crash().await;
        }
        recorder
    }

    fn batch(&self, jobs: &BTreeSet<usize>) -> Batch {
        let words: Vec<String> = (0..WORDS).map(|number| self.word(number)).collect();
        let new = |number: usize| {
            let inputs: Vec<&str> = self.inputs[number].iter().map(|input| words[*input].as_str()).collect();
            derivation(&words[number], &inputs)
        };
        Batch {
            derivations: (0..WORDS).map(new).collect(),
            jobs: jobs.iter().map(|number| job(&words[*number], &words[*number])).collect(),
            ..Batch::default()
        }
    }

    async fn rest_or_wake(&mut self) {
        let which = self.lot.below(2);
        self.specs[which].active = !self.specs[which].active;
        self.db.sync_specs(&self.specs).await.unwrap();
    }

    /// All builds of this farm, by the numbers of their derivations.
    async fn builds(&self) -> BTreeMap<usize, Build> {
        let all = self.db.queue(&QueueFilter::default(), i64::MAX).await.unwrap();
        let number = |build: &Build| {
            (0..WORDS).find(|n| build.derivation.ends_with(&format!("-{}.drv", self.word(*n))))
        };
        all.into_iter().filter_map(|build| Some((number(&build)?, build))).collect()
    }

    /// What the coordinator may do with one of the builds.
    async fn build_something(&mut self) {
        let builds = self.builds().await;
        if builds.is_empty() {
            return;
        }
        let (number, build) = builds.iter().nth(self.lot.below(builds.len())).unwrap();
        let attempt = match build.state {
            BuildState::Queued => {
                let build = build.clone();
                if self.lot.once_in(3) {
                    // Much may happen while the coordinator thinks about it.
                    self.evaluate().await;
                    self.step_and_crash().await;
                }
                self.commits += 1;
                let reference = self.commits.to_string();
                self.db.record_submission(&build, Some(&reference), "accepted", 1).await.unwrap();
                return;
            }
            BuildState::Submitted => Attempt::Started,
            BuildState::Started => {
                [Attempt::Succeeded, Attempt::Failed, Attempt::Canceled][self.lot.below(3)]
            }
            BuildState::Canceling => {
                [Attempt::Started, Attempt::Succeeded, Attempt::Canceled][self.lot.below(3)]
            }
            // It was on its way when it was given up.
            BuildState::Canceled if build.unwanted_at.is_some() && self.lot.once_in(2) => Attempt::Scheduled,
            _ => return,
        };
        self.commits += 1;
        let reference = build.reference.clone().unwrap_or_else(|| self.commits.to_string());
        let now = self.keeper.clock.now();
        let event = NewEvent {
            build: Told::Derivation(hash(&self.word(*number))),
            reference,
            attempt,
            happened_at: None,
        };
        self.db.record_events("default", &[event], now).await.unwrap();
    }

    /// Both specs have one more evaluation that is complete, and all is done that there is to do.
    async fn settle(&mut self) {
        for which in 0..2 {
            self.specs[which].active = true;
        }
        self.db.sync_specs(&self.specs).await.unwrap();
        for which in 0..2 {
            let jobs: BTreeSet<usize> = (0..WORDS).filter(|_| self.lot.once_in(3)).collect();
            let mut recorder = self.record(which, &jobs).await;
            recorder.finish(self.db, false, &json!({}), 1).await.unwrap();
            self.jobs[which] = jobs;
        }
        self.specs[0].active = !self.lot.once_in(3);
        self.db.sync_specs(&self.specs).await.unwrap();
        self.keeper.clock.advance(100);
        exhaust(&mut self.keeper).await.unwrap();
        self.keeper.clock.advance(100);
        exhaust(&mut self.keeper).await.unwrap();
    }

    async fn check(&self, seed: u64) {
        let builds = self.builds().await;
        let active = || self.specs.iter().zip(&self.jobs).filter(|(spec, _)| spec.active);
        let wanted: BTreeSet<usize> = active().flat_map(|(_, jobs)| jobs.iter().copied()).collect();
        for number in &wanted {
            let build = builds.get(number).unwrap_or_else(|| panic!("schedule {seed}: {number} is lost"));
            let given_up = matches!(build.state, BuildState::Canceling | BuildState::Canceled);
            assert!(!given_up, "schedule {seed}: {number} was given up: {build:?}");
        }
        let needed = self.needed(&wanted, &builds);
        let all_inputs = active().all(|(spec, _)| spec.queue_inputs);
        for (number, build) in &builds {
            match build.state {
                BuildState::Held => {
                    let owner = self.specs.iter().find(|spec| spec.name == build.spec);
                    assert!(owner.is_some_and(|spec| spec.budget.is_some()), "schedule {seed}: {build:?}");
                }
                BuildState::Canceling => {
                    assert!(!needed.contains(number), "schedule {seed}: {number} is needed: {build:?}");
                }
                _ => {}
            }
            if !is_open(build) {
                continue;
            }
            assert!(needed.contains(number), "schedule {seed}: nobody needs {number}: {build:?}");
            for input in &self.inputs[*number] {
                let Some(other) = builds.get(input) else {
                    assert!(
                        !all_inputs || build.state == BuildState::Held,
                        "schedule {seed}: {input} lacks for {build:?}"
                    );
                    continue;
                };
                let sooner = other.urgency >= build.urgency;
                assert!(!is_open(other) || sooner, "schedule {seed}: {other:?} comes after {build:?}");
            }
        }
    }

    /// What is wanted and not over, and what that needs, also by way of what nobody has asked for.
    fn needed(&self, wanted: &BTreeSet<usize>, builds: &BTreeMap<usize, Build>) -> BTreeSet<usize> {
        let is_over = |number: &usize| {
            builds.get(number).is_some_and(|build| {
                matches!(build.state, BuildState::Succeeded | BuildState::Failed | BuildState::Refused)
            })
        };
        let mut waiting: Vec<usize> = wanted.iter().copied().collect();
        let mut needed = BTreeSet::new();
        while let Some(number) = waiting.pop() {
            if !is_over(&number) && needed.insert(number) {
                waiting.extend(&self.inputs[number]);
            }
        }
        needed
    }
}

fn is_open(build: &Build) -> bool {
    use BuildState::{Held, Queued, Started, Submitted, Wanted};
    matches!(build.state, Wanted | Held | Queued | Submitted | Started)
}
