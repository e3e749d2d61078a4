//! What a long history takes: `cargo bench --bench history`.
//!
//! * 100,000 jobs recorded for the first time, and again with 300 of them changed, and how long readers
//!   wait meanwhile;
//! * a year: evaluations of 31,000 jobs for each of four systems in turn, 300 changes in each, and all of
//!   them changed once a month; how large the database is on the way;
//! * at that size: opening it, comparing any two evaluations, the history of a package, forgetting.
//!
//! `GORGET_BENCH_EVALUATIONS` says how many evaluations the year has: 8,760 unless told.
//! `GORGET_BENCH_FILE` names the database of the year, a file or the URL of a PostgreSQL database, which is gone on
//! with if it is there; without, it is a file that is removed in the end.
//! `GORGET_BENCH_DATABASE` is the URL of an empty PostgreSQL database for the first of these; without, it
//! is measured in SQLite alone.

#![expect(clippy::too_many_lines, reason = "a measurement is read from its beginning to its end")]
#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on has failed")]
#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

use std::time::{Duration, Instant};

use gorget::db::{Batch, BuildState, Claimant, Db, EvaluationId, EvaluationWriter, SpecId};
use gorget::domain::revision::{ChannelCommit, Revision};
use gorget::domain::spec::{Spec, Subset, System};
use gorget::guix::store_path::StorePath;
use serde_json::json;
use tokio_util::sync::CancellationToken;

mod guix;
mod size;
mod year;

/// As the program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SYSTEMS: [&str; 4] = ["x86_64-linux", "i686-linux", "aarch64-linux", "armhf-linux"];
const CHANGES: usize = 300;
/// Evaluations in a year.
const YEAR: usize = 8_760;

#[tokio::main]
async fn main() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).display().to_string();
    let named = std::env::var("GORGET_BENCH_FILE");
    if named.is_err() {
        ingest("SQLite", &file("ingest.db")).await;
        if let Ok(url) = std::env::var("GORGET_BENCH_DATABASE") {
            ingest("PostgreSQL", &url).await;
        }
    }
    let evaluations = std::env::var("GORGET_BENCH_EVALUATIONS").map_or(YEAR, |text| text.parse().unwrap());
    if evaluations > 0 {
        year::year(&named.unwrap_or_else(|_| file("year.db")), evaluations).await;
    }
}

/// The spec that is evaluated.
async fn spec(db: &Db) -> SpecId {
    let spec: Spec = serde_json::from_value(json!({
        "name": "master", "channels": [{ "name": "guix", "url": "u", "branch": "master" }], "systems": SYSTEMS,
        "build": gorget::domain::spec::Build::from(Subset::All), "period": "every 5m", "priority": 5, "active": true,
        "first": "record", "keep": { "newest": 1, "days": 0, "weeks": 0, "months": 0 },
    }))
    .unwrap();
    db.sync_specs(&[spec]).await.unwrap();
    db.specs().await.unwrap()[0].id
}

/// Records an evaluation that finds this, and wants what it builds.
async fn evaluate(db: &Db, spec: SpecId, system: &str, at: i64, batches: &[Batch]) -> EvaluationId {
    let commit = StorePath::of_text(b"x", format!("{at}").as_bytes(), &[""; 0]).unwrap().hash_text();
    let revision = Revision::new(vec![ChannelCommit::new("guix", "u", commit)]);
    let systems = [System::new(system).unwrap()];
    db.request_evaluations(spec, &revision, &Subset::All.into(), &systems, at).await.unwrap();
    let mut recorder =
        EvaluationWriter::new(db.claim_evaluation(&Claimant::default(), at).await.unwrap().unwrap());
    for batch in batches {
        recorder.record(db, batch).await.unwrap();
    }
    let id = recorder.evaluation();
    recorder.finish(db, false, &json!({}), at).await.unwrap();
    id
}

/// 100,000 jobs, and how long a reader waits while they are written.
async fn ingest(kind: &str, location: &str) {
    const ALL: usize = 100_000;
    let db = Db::open(location).await.unwrap();
    let id = spec(&db).await;
    let mut tree = guix::Tree::new(SYSTEMS[0], ALL);
    let mut batches = tree.batches();
    for (at, changed) in [(1, ALL), (2, CHANGES)] {
        let (reader, stop) = (db.clone(), CancellationToken::new());
        let stopped = stop.clone();
        let reading = tokio::spawn(async move {
            let mut longest = Duration::ZERO;
            while !stopped.is_cancelled() {
                let begun = Instant::now();
                reader.newest_evaluations().await.unwrap();
                longest = longest.max(begun.elapsed());
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            longest
        });
        let begun = Instant::now();
        let evaluation = evaluate(&db, id, SYSTEMS[0], at, &batches).await;
        let recorded = begun.elapsed();
        let begun = Instant::now();
        db.queue_builds(evaluation, BuildState::Known, at).await.unwrap();
        let queued = begun.elapsed();
        stop.cancel();
        let longest = reading.await.unwrap();
        println!(
            "{kind}: {ALL} jobs, {changed} of them new, recorded in {:.1} s, and their builds in {:.1} s; \
             a reader waited at most {} ms",
            recorded.as_secs_f64(),
            queued.as_secs_f64(),
            longest.as_millis()
        );
        (0..CHANGES).for_each(|number| tree.change(number, true));
        batches = tree.batches();
    }
    db.close().await;
}
