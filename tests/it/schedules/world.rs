use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gorget::clock::Clock;
use gorget::db::{Batch, Build, Db, EvaluationWriter, NewEvent, QueueFilter};
use gorget::domain::spec::{RetryFailed, Spec};
use gorget::farm::context::Context;
use gorget::farm::reconciler::Reconciler as _;
use gorget::steps::coordinator::{GuixBuildCoordinator, PollBuilds, Submit};
use gorget::steps::schedule::Schedule;
use serde_json::json;
use tokio::task::JoinSet;

use super::crash::{until_crash, what_was_sent_arrives};
use crate::support::coordinator::{Held, Mood, StandIn};
use crate::support::{
    Dice, author, begin, claimant, context, derivation, everything, hash, job, spec, spec_id,
};

/// How many outputs a farm knows. Each is made by either of two derivations.
pub const WORDS: usize = 10;
/// What the coordinator is called.
pub const NAME: &str = "default";

/// A farm with two specs, and its coordinator.
pub struct World<'a> {
    pub db: &'a Db,
    pub lot: Lot,
    pub clock: Clock,
    pub coordinator: &'a mut StandIn,
    adapter: GuixBuildCoordinator,
    pub specs: Vec<Spec>,
    /// What each derivation needs, inputs first.
    pub inputs: Vec<Vec<usize>>,
    /// The jobs of the last complete evaluation of each spec.
    pub jobs: Vec<BTreeSet<usize>>,
    commits: usize,
    /// What the coordinator has told, and has not arrived yet.
    pub news: Vec<NewEvent>,
    /// How much it has told.
    pub heard: usize,
    /// Whether what happens is told, for people.
    pub aloud: bool,
}

/// Numbers as good as drawn by lot, the same for the same seed.
pub struct Lot(Dice);

impl Lot {
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.0.roll(u64::try_from(end).unwrap())).unwrap()
    }

    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// The name of a derivation that makes the outputs called `number`.
fn word(number: usize, other: bool) -> String {
    format!("x{number}{}", if other { "b" } else { "a" })
}

/// Which outputs a derivation makes.
fn number(path: &str) -> Option<usize> {
    path.split("-x").nth(1)?.trim_end_matches(".drv").trim_end_matches(['a', 'b']).parse().ok()
}

fn path(word: &str) -> String {
    format!("/gnu/store/{}-{word}.drv", hash(word))
}

/// What makes the same as the derivation `word`, which makes the outputs called `number`.
fn output(number: usize) -> String {
    format!("{}-x{number}", hash(&format!("o{number}")))
}

impl<'a> World<'a> {
    pub async fn new(
        db: &'a Db,
        coordinator: &'a mut StandIn,
        adapter: GuixBuildCoordinator,
        seed: u64,
    ) -> Self {
        let mut lot = Lot(Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let policies = [RetryFailed::Never, RetryFailed::Next, RetryFailed::After(50)];
        let queue_inputs = lot.once_in(2);
        let specs = ["a", "b"].map(|name| Spec {
            retry_failed: policies[lot.below(3)],
            budget: [None, Some(3)][lot.below(2)],
            queue_inputs,
            priority: u8::try_from(lot.below(10)).unwrap(),
            ..spec(name)
        });
        let inputs: Vec<Vec<usize>> =
            (0..WORDS).map(|word| (0..word).filter(|_| lot.once_in(4)).collect()).collect();
        for (number, inputs) in inputs.iter().enumerate() {
            let both = |number: usize| [word(number, false), word(number, true)].map(|word| path(&word));
            let inputs: Vec<String> = inputs.iter().flat_map(|input| both(*input)).collect();
            let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
            for derivation in both(number) {
                coordinator.know_outputs(&derivation, &[&format!("/gnu/store/{}", output(number))]);
                coordinator.know_inputs(&derivation, &inputs);
            }
        }
        coordinator.feel(Mood::Sound);
        db.sync_specs(&specs).await.unwrap();
        let (specs, jobs, heard) = (specs.to_vec(), vec![BTreeSet::new(); 2], coordinator.told().len());
        let clock = Clock::manual(1000);
        Self {
            db,
            lot,
            clock,
            coordinator,
            adapter,
            specs,
            inputs,
            jobs,
            commits: 0,
            news: Vec::new(),
            heard,
            aloud: false,
        }
    }

    pub async fn something_happens(&mut self) {
        self.clock.advance([10, 10, 10, 400, 4000][self.lot.below(5)]);
        let what = match self.lot.below(16) {
            0..3 => (self.evaluate().await, "an evaluation"),
            3..5 => (self.schedule_and_crash().await, "a plan"),
            5..8 => (self.submit_and_crash().await, "builds are submitted"),
            8 => (self.submit_while_much_happens().await, "builds are submitted while much happens"),
            9 => (self.reconcile_and_crash().await, "it is asked how far they are"),
            10 => (self.rest_or_wake().await, "a spec rests or wakes"),
            11 => (self.coordinator_changes().await, "the coordinator changes"),
            12 => (self.approve().await, "what is held is approved"),
            _ => (self.something_is_built().await, "something is built"),
        };
        self.tell(what.1).await;
        self.assert_nothing_is_built_twice();
    }

    fn context(&self) -> Context {
        context(self.db, &self.clock)
    }

    pub fn schedule(&self) -> Schedule {
        Schedule::new(&self.context(), false)
    }

    pub fn submit(&self) -> Submit {
        Submit::new(&self.context(), NAME.to_owned(), self.adapter.clone(), everything())
    }

    pub fn reconcile(&self) -> PollBuilds {
        PollBuilds::new(&self.context(), NAME.to_owned(), self.adapter.clone())
    }

    async fn schedule_and_crash(&mut self) {
        let mut schedule = self.schedule();
        until_crash(self.db, &mut self.lot, 5, schedule.step()).await;
    }

    async fn submit_and_crash(&mut self) {
        let mut submit = self.submit();
        until_crash(self.db, &mut self.lot, 12, submit.step()).await;
        what_was_sent_arrives().await;
    }

    async fn reconcile_and_crash(&mut self) {
        let mut reconcile = self.reconcile();
        until_crash(self.db, &mut self.lot, 5, reconcile.step()).await;
    }

    /// Much may happen while the coordinator thinks about what was sent. Its answers may find nobody.
    async fn submit_while_much_happens(&mut self) {
        let mut submit = self.submit();
        self.coordinator.feel(Mood::KeepsAnswers);
        // By itself, as it may have begun to write when nobody else waits for it.
        let mut step = JoinSet::new();
        step.spawn(async move { submit.step().await.unwrap() });
        tokio::select! {
            result = step.join_next() => drop(result.unwrap().unwrap()),
            () = self.coordinator.has_something_to_answer() => {
                for _ in 0..=self.lot.below(2) {
                    match self.lot.below(3) {
                        0 => self.evaluate().await,
                        1 => self.something_is_built().await,
                        _ => {}
                    }
                    self.schedule_and_crash().await;
                }
                self.coordinator.feel(Mood::Sound);
                if !self.lot.once_in(3) {
                    // With one of those it may have come to a write that a crash forbade.
                    let end = tokio::time::timeout(Duration::from_secs(3), step.join_next()).await;
                    drop(end.map(|result| result.unwrap().unwrap()));
                }
            }
        }
        drop(step);
        self.coordinator.feel(Mood::Sound);
        what_was_sent_arrives().await;
    }

    async fn evaluate(&mut self) {
        let which = self.lot.below(2);
        let jobs: BTreeSet<usize> = (0..WORDS).filter(|_| self.lot.once_in(3)).collect();
        if !self.specs[which].active {
            return;
        }
        let batch = self.batch(&jobs);
        let mut recorder = self.record(which, &batch).await;
        match self.lot.below(6) {
            0 => self.db.fail_evaluation(recorder.task(), "it had to be", 1).await.unwrap(),
            1 => {
                // Killed in the middle, and begun again.
                self.db.reclaim_expired("one", 0).await.unwrap();
                self.schedule_and_crash().await;
                let task = self.db.claim_evaluation(&claimant("one"), 1).await.unwrap().unwrap();
                recorder = EvaluationWriter::new(task);
                recorder.record(self.db, &batch).await.unwrap();
                recorder.finish(self.db, false, &json!({}), 1).await.unwrap();
                self.jobs[which] = jobs;
            }
            _ => {
                recorder.finish(self.db, false, &json!({}), 1).await.unwrap();
                self.jobs[which] = jobs;
            }
        }
    }

    /// One more evaluation of a spec, whatever happens.
    pub async fn evaluate_to_the_end(&mut self, which: usize) {
        let jobs: BTreeSet<usize> = (0..WORDS).filter(|_| self.lot.once_in(3)).collect();
        let batch = self.batch(&jobs);
        let mut recorder = self.record(which, &batch).await;
        recorder.finish(self.db, false, &json!({}), 1).await.unwrap();
        self.jobs[which] = jobs;
    }

    async fn record(&mut self, which: usize, batch: &Batch) -> EvaluationWriter {
        self.commits += 1;
        let id = spec_id(self.db, &self.specs[which].name).await;
        let task = begin(self.db, id, &self.commits.to_string()).await;
        let mut recorder = EvaluationWriter::new(task);
        recorder.record(self.db, batch).await.unwrap();
        if self.lot.once_in(2) {
            self.schedule_and_crash().await;
        }
        recorder
    }

    /// A revision with these jobs. It decides by which of two derivations each output is made.
    fn batch(&mut self, jobs: &BTreeSet<usize>) -> Batch {
        let words: Vec<String> = (0..WORDS).map(|number| word(number, self.lot.once_in(3))).collect();
        let new = |number: usize| {
            let inputs: Vec<&str> = self.inputs[number].iter().map(|input| words[*input].as_str()).collect();
            let mut new = derivation(&words[number], &inputs);
            new.outputs = vec![("out".to_owned(), output(number))];
            new
        };
        Batch {
            derivations: (0..WORDS).map(new).collect(),
            jobs: jobs.iter().map(|number| job(&format!("x{number}"), &words[*number])).collect(),
            ..Batch::default()
        }
    }

    async fn rest_or_wake(&mut self) {
        let which = self.lot.below(2);
        self.specs[which].active = !self.specs[which].active;
        self.db.sync_specs(&self.specs).await.unwrap();
    }

    pub async fn approve(&self) {
        let held = self.db.awaiting_approval().await.unwrap();
        let held: Vec<_> = held.into_iter().map(|held| held.evaluation).collect();
        self.db.approve(&held, &author(), self.clock.now()).await.unwrap();
    }

    /// All builds, by the numbers of their outputs.
    pub async fn builds(&self) -> BTreeMap<usize, Build> {
        let all = self.db.queue(&QueueFilter::default(), i64::MAX).await.unwrap();
        all.into_iter().map(|build| (number(&build.derivation).unwrap(), build)).collect()
    }

    /// All attempts at the coordinator, the first ones first, by the numbers of their outputs.
    pub fn attempts(&self) -> BTreeMap<usize, Vec<Held>> {
        let mut attempts: BTreeMap<usize, Vec<Held>> = BTreeMap::new();
        for held in self.coordinator.builds() {
            attempts.entry(number(&held.derivation).unwrap()).or_default().push(held);
        }
        attempts
    }
}
