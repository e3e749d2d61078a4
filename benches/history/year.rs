//! A year, and what can be done with it.

use std::time::{Duration, Instant};

use gorget::clock::Clock;
use gorget::db::{BuildState, Db, Evaluation, EvaluationId, EvaluationState, Sweeper};

use crate::guix::Tree;
use crate::size::{megabytes, sizes, tables};
use crate::{CHANGES, SYSTEMS, YEAR, evaluate, spec};

const JOBS: usize = 31_000;
const MONTHS: usize = 12;

/// Random enough, and the same every time.
fn roll(state: &mut u64, sides: usize) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    usize::try_from((*state >> 33) % sides as u64).unwrap()
}

pub async fn year(location: &str, evaluations: usize) {
    let db = Db::open(location).await.unwrap();
    let id = spec(&db).await;
    let mut trees = SYSTEMS.map(|system| Tree::new(system, JOBS));
    // Numbers of evaluations count from 1 without a gap. One that was interrupted begins again.
    db.reclaim_expired("", i64::MAX).await.unwrap();
    let newest = db.evaluations(None, None, 1).await.unwrap();
    let is_complete = |newest: &Evaluation| newest.state == EvaluationState::Complete;
    let there = newest.first().map_or(0, |newest| newest.id.0 - i64::from(!is_complete(newest)));
    let there = usize::try_from(there).unwrap();
    let (mut dice, mut worlds) = (5, 0);
    let begun = Instant::now();
    let mut first = Vec::new();
    println!(
        "evaluations  world rebuilds   MB in all  MB without store items  spans  ms each  ms to open  ms to compare  ms for a history"
    );
    let (mut since, mut recorded) = (Duration::ZERO, 0);
    for number in 0..evaluations {
        let which = number % SYSTEMS.len();
        let tree = &mut trees[which];
        let revision = number / SYSTEMS.len();
        let month = YEAR / SYSTEMS.len() / MONTHS;
        for _ in 0..CHANGES {
            let package = roll(&mut dice, JOBS);
            tree.change(package, package.is_multiple_of(10));
        }
        // In the middle of each month, so that a part of a year has its share.
        if revision % month == month / 2 {
            worlds += 1;
            tree.change_world();
        }
        if number < there {
            tree.pass();
            let id = EvaluationId(i64::try_from(number + 1).unwrap());
            // The oldest may be forgotten.
            if which == 0 && db.evaluation(id).await.unwrap().is_some() {
                first.push(id);
            }
            continue;
        }
        let batches = tree.batches();
        let at = i64::try_from(number).unwrap() * 3600;
        let started = Instant::now();
        let evaluation = evaluate(&db, id, SYSTEMS[which], at, &batches).await;
        db.queue_builds(evaluation, BuildState::Known, at).await.unwrap();
        since += started.elapsed();
        recorded += 1;
        if which == 0 {
            first.push(evaluation);
        }
        if (number + 1) % (evaluations / 24).max(4) == 0 || number + 1 == evaluations {
            let [all, items, jobs] = sizes(location).await;
            let each = since.as_millis() / recorded;
            (since, recorded) = (Duration::ZERO, 0);
            let [open, compare, history] = times(location, &db, &first).await;
            println!(
                "{:>11} {worlds:>15} {:>11.1} {:>23.1} {jobs:>6} {each:>8} {open:>11.1} {compare:>14.1} {history:>17.1}  ({} s)",
                number + 1,
                megabytes(all),
                megabytes(all - items),
                begun.elapsed().as_secs()
            );
        }
    }
    db.close().await;
    tables(location).await;
    at_that_size(location, &first).await;
}

/// Milliseconds to open the database, to compare two evaluations ten apart in the middle, and for the history
/// of a package; the better of two times.
async fn times(location: &str, db: &Db, evaluations: &[EvaluationId]) -> [f64; 3] {
    let (newest, middle) = (evaluations.len() - 1, evaluations.len() / 2);
    let (a, b) = (evaluations[middle], evaluations[(middle + 10).min(newest)]);
    [
        better(async || Db::open(location).await.unwrap().close().await).await,
        better(async || drop(db.changed_jobs(a, b).await.unwrap())).await,
        better(async || drop(db.history("package-170", None, 50).await.unwrap())).await,
    ]
}

async fn better(work: impl AsyncFn()) -> f64 {
    several(2, work).await.0.into_iter().fold(f64::INFINITY, f64::min)
}

async fn timed<T>(what: &str, work: impl AsyncFn() -> T) -> T {
    // Others use the machine, too.
    let (mut times, result) = several(9, work).await;
    let first = times[0];
    times.sort_by(f64::total_cmp);
    println!("{what}: {:.1} ms, at least {:.1}, first {first:.1}", times[times.len() / 2], times[0]);
    result
}

/// Does something several times: the milliseconds of each, and the last result.
async fn several<T>(times: usize, work: impl AsyncFn() -> T) -> (Vec<f64>, T) {
    let (mut taken, mut result) = (Vec::new(), None);
    for _ in 0..times {
        drop(result.take());
        let begun = Instant::now();
        result = Some(work().await);
        taken.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    (taken, result.unwrap())
}

async fn at_that_size(location: &str, evaluations: &[EvaluationId]) {
    timed("opening the database", async || Db::open(location).await.unwrap().close().await).await;
    let db = Db::open(location).await.unwrap();
    let (newest, middle) = (evaluations.len() - 1, evaluations.len() / 2);
    for (what, a, b) in [
        ("the newest two", newest - 1, newest),
        ("the oldest two", 0, 1),
        ("two in the middle, ten apart", middle, (middle + 10).min(newest)),
        ("the oldest and the newest", 0, newest),
    ] {
        let compare = async || db.changed_jobs(evaluations[a], evaluations[b]).await.unwrap();
        let (_, only_b) = timed(&format!("comparing {what}"), compare).await;
        println!("    {} jobs differ", only_b.len());
    }
    let other = EvaluationId(evaluations[middle].0 + 1);
    let (_, only_b) =
        timed("comparing two systems", async || db.changed_jobs(evaluations[middle], other).await.unwrap())
            .await;
    println!("    {} jobs differ", only_b.len());
    timed("the jobs of an evaluation in the middle", async || db.jobs(evaluations[middle]).await.unwrap())
        .await;
    timed("the history of a package", async || db.history("package-170", None, 50).await.unwrap()).await;
    timed("the history of a job", async || {
        db.history("package-170.x86_64-linux", Some("master"), 50).await.unwrap()
    })
    .await;
    timed("names that contain a word", async || db.jobs_like("age-1234", 20).await.unwrap()).await;
    timed("what is kept, and why", async || db.retained().await.unwrap()).await;
    let begun = Instant::now();
    let gone: Vec<_> = db.retained().await.unwrap().into_iter().filter(|e| e.reason.is_none()).collect();
    let mut longest = Duration::ZERO;
    // The oldest day of them, as they are forgotten: a year's would take long, and leave nothing to look at.
    let day = &gone[gone.len().saturating_sub(24)..];
    for evaluation in day {
        let begun = Instant::now();
        assert!(db.forget_evaluation(evaluation.id).await.unwrap());
        longest = longest.max(begun.elapsed());
    }
    println!(
        "forgetting {} evaluations: {:.1} s, one transaction at most {} ms",
        day.len(),
        begun.elapsed().as_secs_f64(),
        longest.as_millis()
    );
    let mut sweeper = Sweeper::begin(&db, Clock::System, "bench".to_owned()).await.unwrap().unwrap();
    let begun = Instant::now();
    let swept = sweeper.sweep().await.unwrap();
    println!("sweeping: {:.1} s, {swept:?}", begun.elapsed().as_secs_f64());
    sweeper.end().await.unwrap();
    db.close().await;
}
