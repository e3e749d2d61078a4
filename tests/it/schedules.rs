//! Farms that live through thousands of random schedules, and end where they should: nothing that
//! is wanted is lost, nothing is built twice, and nothing is built for nobody.
//!
//! Evaluations fail or start again, specs rest and wake, a coordinator restarts, fails, loses
//! answers or keeps them back while much happens, and reports everything late, twice or never. A
//! crash comes before any write or at any wait. At the end, everything that is wanted is with the
//! coordinator once, with the right priority, and nothing else is; then it is built, and that is
//! known.
//!
//! The steps and the adapter are the real ones, and so is HTTP. Time is simulated, so no wait is
//! real. What was sent before a crash is assumed to arrive before anything is sent after it: a
//! second attempt at a failed build is submitted after asking whether there is one, and no
//! coordinator does both at once.
//!
//! A number repeats its schedule as far as the threads of a database answer at the same moments,
//! so a rare failure has to be repeated some times. `GORGET_TEST_SCHEDULES` says how many
//! schedules are tried, from which number on: `500` or `4711+1`. One alone is printed step by
//! step. `make simulate` tries 100,000.

#![expect(clippy::print_stderr, reason = "the schedule that fails is what a failure is understood by")]

mod agents;
mod crash;
mod ending;
mod tale;
mod world;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use gorget::db::{BuildState, Db};
use gorget::domain::build::{Event, transition};
use gorget::steps::coordinator::GuixBuildCoordinator;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::support::coordinator::StandIn;
use crate::support::{Wiper, on_both_at};
use world::World;

/// How many schedules are tried, of both databases, unless told otherwise.
const USUAL: u64 = 60;
/// How many the long form tries.
const MANY: u64 = 100_000;
/// Schedules that ended wrong once: they are always tried.
const ONCE_WRONG: [u64; 5] = [4920, 5019, 6029, 10252, 10829];
/// How much happens in a schedule.
const EVENTS: Range<usize> = 5..30;
/// States with which schedules end, if enough of them are tried.
const ENDS: [&str; 6] = ["AwaitingApproval", "Building", "Canceled", "Failed", "Submitted", "Succeeded"];

fn seeds(usual: u64) -> Range<u64> {
    let told = std::env::var("GORGET_TEST_SCHEDULES").unwrap_or_default();
    let (from, count) = told.split_once('+').unwrap_or(("0", &told));
    let from: u64 = from.parse().unwrap_or(0);
    from..from + count.parse().unwrap_or(usual)
}

/// Says which schedule it was that failed.
struct SaysWhich(u64);

impl Drop for SaysWhich {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("that was schedule {0}; to repeat it: GORGET_TEST_SCHEDULES={0}+1", self.0);
        }
    }
}

/// Where schedules happen, one after the other.
struct Stage<'a> {
    db: &'a Db,
    wiper: Wiper,
    coordinator: StandIn,
    /// Made once, since it reads all certificates of the machine.
    adapter: GuixBuildCoordinator,
    /// States of builds at the ends of schedules.
    seen: BTreeSet<String>,
}

impl<'a> Stage<'a> {
    async fn new(db: &'a Db, location: &str) -> Self {
        let coordinator = StandIn::start().await;
        let adapter = GuixBuildCoordinator::new(&coordinator.url()).unwrap();
        Self { db, wiper: Wiper::new(location).await, coordinator, adapter, seen: BTreeSet::new() }
    }

    /// One schedule, in a world that knows nothing of others.
    async fn play(&mut self, seed: u64) {
        let _guard = SaysWhich(seed);
        self.wiper.wipe().await;
        self.coordinator.forget_everything();
        let mut world = World::new(self.db, &mut self.coordinator, self.adapter.clone(), seed).await;
        world.aloud = seeds(USUAL) == (seed..seed + 1);
        for _ in 0..EVENTS.start + world.lot.below(EVENTS.len()) {
            world.something_happens().await;
        }
        self.seen.extend(world.end().await);
    }
}

#[tokio::test]
async fn whatever_happens_what_is_wanted_is_built_once_and_nothing_else() {
    on_both_at(async |db, location| {
        let mut stage = Stage::new(db, location).await;
        stage.wiper.watch_builds().await;
        for seed in seeds(USUAL).chain(ONCE_WRONG) {
            stage.play(seed).await;
        }
        let seen = stage.wiper.seen().await;
        for (before, after) in &seen {
            assert!(is_legal(before, after), "a build that was {before} became {after}");
        }
        assert!(seeds(USUAL).count() < 50 || seen.len() >= 20, "few changes of builds' states: {seen:?}");
        for state in ENDS {
            let enough = seeds(USUAL).count() < 50 || stage.seen.contains(state);
            assert!(enough, "no schedule ends with anything {state}");
        }
    })
    .await;
}

/// Whether some event leads from one state to the other.
fn is_legal(before: &str, after: &str) -> bool {
    let state = |word| BuildState::ALL.into_iter().find(|state| state.word() == word).unwrap();
    let (before, after) = (state(before), state(after));
    Event::ALL.into_iter().any(|event| transition(before, event) == Some(after))
}

#[test]
#[ignore = "takes the better part of an hour: `make simulate`"]
fn whatever_happens_in_a_hundred_thousand_schedules() {
    let (seeds, begun) = (seeds(MANY), Instant::now());
    let next = AtomicU64::new(seeds.start);
    let all = sched_getaffinity(None).unwrap();
    let (next, seeds_of_all) = (&next, &seeds);
    std::thread::scope(|scope| {
        for cpu in (0..CpuSet::MAX_CPU).filter(|cpu| all.is_set(*cpu)) {
            scope.spawn(move || {
                // The threads of a database that wait for each other do so in half the time on one processor.
                let mut own = CpuSet::new();
                own.set(cpu);
                sched_setaffinity(None, &own).unwrap();
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(play_all(next, seeds_of_all));
            });
        }
    });
    eprintln!("schedules {seeds:?} on SQLite: as it should be, after {} s", begun.elapsed().as_secs());
}

/// Plays what nobody has played yet. If one fails, the others end soon.
async fn play_all(next: &AtomicU64, seeds: &Range<u64>) {
    let directory = tempfile::tempdir().unwrap();
    let location = directory.path().join("gorget.db").display().to_string();
    let db = Db::open(&location).await.unwrap();
    let mut stage = Stage::new(&db, &location).await;
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if !seeds.contains(&seed) {
            break;
        }
        let end = EndsAll(next, seeds.end);
        stage.play(seed).await;
        drop(end);
        if (seed + 1 - seeds.start).is_multiple_of(1000) {
            eprintln!("{} schedules", seed + 1 - seeds.start);
        }
    }
    db.close().await;
}

/// Nothing more is begun after something has failed.
struct EndsAll<'a>(&'a AtomicU64, u64);

impl Drop for EndsAll<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(self.1, Ordering::Relaxed);
        }
    }
}
