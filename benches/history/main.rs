//! What a long history takes: `cargo bench --bench history`.
//!
//! * 100,000 jobs recorded for the first time, and again with 300 of them changed, and how long readers
//!   wait meanwhile;
//! * a year: evaluations of 31,000 jobs for each of four systems in turn, 300 changes in each, and all of
//!   them changed once a month; how large the database is on the way;
//! * at that size: opening it, comparing any two evaluations, the history of a package, forgetting.
//!
//! `GORGET_BENCH_EVALUATIONS` says how many evaluations the year has: 8,760 unless told, which takes hours.
//! `GORGET_BENCH_DATABASE` is the URL of an empty PostgreSQL database for the first of these; without, it
//! is measured in SQLite alone.

#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on has failed")]
#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use gorget::clock::Clock;
use gorget::db::{
    Batch, Db, EvaluationId, Item, ItemKind, NewDerivation, NewJob, Pack, Recorder, SpecId, Sweeper,
};
use gorget::job::{Facts, Location};
use gorget::revision::{ChannelCommit, Revision};
use gorget::spec::{Spec, Subset, System};
use gorget::store::path::StorePath;
use serde_json::json;
use tokio_util::sync::CancellationToken;

const SYSTEMS: [&str; 4] = ["x86_64-linux", "i686-linux", "aarch64-linux", "armhf-linux"];
const JOBS: usize = 31_000;
const CHANGES: usize = 300;
/// Evaluations in a year, and months.
const YEAR: usize = 8_760;
const MONTHS: usize = 12;
/// Jobs in one batch, as an evaluation records them.
const BATCH: usize = 2_000;

#[tokio::main]
async fn main() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).display().to_string();
    ingest("SQLite", &file("ingest.db")).await;
    if let Ok(url) = std::env::var("GORGET_BENCH_DATABASE") {
        ingest("PostgreSQL", &url).await;
    }
    let evaluations = std::env::var("GORGET_BENCH_EVALUATIONS").map_or(YEAR, |text| text.parse().unwrap());
    year(&file("year.db"), evaluations).await;
}

/// A package as it is built for a system: which version, and how often what it stands on changed.
#[derive(Clone, Copy)]
struct Package {
    number: usize,
    version: usize,
    state: usize,
}

impl Package {
    fn all(count: usize) -> Vec<Self> {
        (0..count).map(|number| Self { number, version: 0, state: 0 }).collect()
    }

    fn hash(self, system: &str, what: &str) -> String {
        let text = format!("{what} {} {} {} {system}", self.number, self.version, self.state);
        StorePath::of_text(b"x", text.as_bytes(), &[""; 0]).unwrap().hash_text()
    }

    fn name(self) -> String {
        format!("package-{}-{}.{}", self.number, self.number * 7919 % 10_007, self.version)
    }

    fn job(self, system: &str) -> NewJob {
        let number = self.number;
        let facts = Facts {
            package: Some(format!("package-{number}")),
            version: Some(format!("{}.{}", number * 7919 % 10_007, self.version)),
            location: Some(Location { file: format!("gnu/packages/file-{}.scm", number % 400), line: 7 }),
            max_silent_time: 3600,
            timeout: 259_200,
            substitutable: true,
            ..Facts::default()
        };
        NewJob { name: format!("package-{number}.{system}"), derivation: self.hash(system, "drv"), facts }
    }

    /// The derivation, with a dozen inputs that it has from the packages before it.
    fn derivation(self, system: &str, all: &[Self]) -> NewDerivation {
        let inputs = (1..=12).filter_map(|step| all.get(self.number.checked_sub(step * step)?));
        NewDerivation {
            hash: self.hash(system, "drv"),
            name: self.name(),
            system: system.to_owned(),
            outputs: vec![("out".to_owned(), format!("{}-{}", self.hash(system, "out"), self.name()))],
            inputs: inputs.map(|input| input.hash(system, "drv")).collect(),
        }
    }
}

/// The store items of derivations: a text as long, and as random, as most have, and a builder.
fn pack(derivations: &[NewDerivation]) -> Pack {
    let (mut contents, mut items) = (String::new(), Vec::new());
    for derivation in derivations {
        for (hash, what) in
            [(derivation.hash.clone(), "drv"), (format!("b{}", &derivation.hash[1..]), "builder")]
        {
            let start = contents.len();
            if what == "drv" {
                let _ = write!(
                    contents,
                    "Derive([(\"out\",\"/gnu/store/{}\",\"\",\"\")],[",
                    derivation.outputs[0].1
                );
                let input =
                    |input: &String| format!("(\"/gnu/store/{input}-some-package-1.0.drv\",[\"out\"])");
                contents.push_str(&derivation.inputs.iter().map(input).collect::<Vec<_>>().join(","));
                let _ = write!(
                    contents,
                    "],[\"/gnu/store/b{}-{}-builder\"],\"x86_64-linux\",\"/gnu/store/6kqs-guile-3.0/bin/guile\",[\"--no-auto-compile\"],[(\"out\",\"\")])",
                    &hash[1..],
                    derivation.name
                );
            } else {
                let _ = write!(
                    contents,
                    "(begin (use-modules (guix build gnu-build-system)) (gnu-build #:source \"{}\" #:name \"{}\" #:phases %standard-phases #:tests? #t #:parallel-build? #t #:inputs '(",
                    derivation.hash, derivation.name
                );
                for input in &derivation.inputs {
                    let _ = write!(contents, "(\"input\" . \"/gnu/store/{input}-some-package-1.0\") ");
                }
                contents.push_str(")))");
            }
            items.push(Item {
                hash,
                name: format!("{}.{what}", derivation.name),
                kind: ItemKind::Text,
                refs: Vec::new(),
                start: start as u64,
                length: (contents.len() - start) as u64,
            });
        }
    }
    Pack { contents: zstd::encode_all(contents.as_bytes(), 3).unwrap(), items }
}

async fn spec(db: &Db) -> SpecId {
    let spec: Spec = serde_json::from_value(json!({
        "name": "master", "channels": [{ "name": "guix", "url": "u", "branch": "master" }], "systems": SYSTEMS,
        "build": gorget::spec::Build::from(Subset::All), "period": "every 5m", "priority": 5, "active": true,
        "first": "record", "keep": { "newest": 1, "days": 0, "weeks": 0, "months": 0 },
    }))
    .unwrap();
    db.sync_specs(&[spec]).await.unwrap();
    db.specs().await.unwrap()[0].id
}

/// Evaluates these packages; those of which `is_new` says so have new derivations.
async fn evaluate(
    db: &Db,
    spec: SpecId,
    system: &str,
    at: i64,
    packages: &[Package],
    is_new: impl Fn(&Package) -> bool,
) -> EvaluationId {
    let commit = StorePath::of_text(b"x", format!("{at}").as_bytes(), &[""; 0]).unwrap().hash_text();
    let revision = Revision::new(vec![ChannelCommit::new("guix", "u", commit)]);
    let systems = [System::new(system).unwrap()];
    db.request_evaluations(spec, &revision, &Subset::All.into(), &systems, at).await.unwrap();
    let mut recorder = Recorder::new(db.claim_evaluation(at).await.unwrap().unwrap());
    for chunk in packages.chunks(BATCH) {
        let derivations: Vec<NewDerivation> = chunk
            .iter()
            .filter(|package| is_new(package))
            .map(|package| package.derivation(system, packages))
            .collect();
        let jobs = chunk.iter().map(|package| package.job(system));
        // What is unchanged is known by its hash alone.
        let packs = if derivations.is_empty() { Vec::new() } else { vec![pack(&derivations)] };
        let batch = Batch { packs, derivations, jobs: jobs.collect(), ..Batch::default() };
        recorder.record(db, &batch).await.unwrap();
    }
    let id = recorder.evaluation();
    recorder.finish(db, false, &json!({}), at).await.unwrap();
    id
}

/// 100,000 jobs, and how long a reader waits while they are written.
async fn ingest(kind: &str, location: &str) {
    let db = Db::open(location).await.unwrap();
    let id = spec(&db).await;
    let mut packages = Package::all(100_000);
    for changed in [packages.len(), CHANGES] {
        for package in packages.iter_mut().take(changed) {
            package.version += 1;
        }
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
        let is_new = |package: &Package| package.number < changed;
        evaluate(&db, id, SYSTEMS[0], i64::try_from(changed).unwrap(), &packages, is_new).await;
        let took = begun.elapsed();
        stop.cancel();
        let longest = reading.await.unwrap();
        println!(
            "{kind}: 100,000 jobs, {changed} of them new, recorded in {:.1} s; a reader waited at most {} ms",
            took.as_secs_f64(),
            longest.as_millis()
        );
    }
    db.close().await;
}

/// Random enough, and the same every time.
fn roll(state: &mut u64, sides: usize) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    usize::try_from((*state >> 33) % sides as u64).unwrap()
}

async fn year(file: &str, evaluations: usize) {
    let db = Db::open(file).await.unwrap();
    let id = spec(&db).await;
    let mut systems = SYSTEMS.map(|_| Package::all(JOBS));
    let (mut dice, mut worlds) = (5, 0);
    let begun = Instant::now();
    let mut first = Vec::new();
    let mut last = [EvaluationId(0); 4];
    println!("evaluations  world rebuilds   MB in all  MB without store items      job rows  s");
    for number in 0..evaluations {
        let which = number % SYSTEMS.len();
        let packages = &mut systems[which];
        let revision = number / SYSTEMS.len();
        let month = YEAR / SYSTEMS.len() / MONTHS;
        // In the middle of each month, so that a part of a year has its share.
        let is_world = revision % month == month / 2;
        let mut changed = vec![number < SYSTEMS.len() || is_world; JOBS];
        for _ in 0..CHANGES {
            let package = &mut packages[roll(&mut dice, JOBS)];
            package.version += usize::from(package.number % 10 == 0);
            package.state += 1;
            changed[package.number] = true;
        }
        if is_world {
            worlds += 1;
            for package in packages.iter_mut() {
                package.state += 1;
            }
        }
        last[which] =
            evaluate(&db, id, SYSTEMS[which], i64::try_from(number).unwrap() * 3600, packages, |package| {
                changed[package.number]
            })
            .await;
        if which == 0 {
            first.push(last[0]);
        }
        if (number + 1) % (evaluations / 12).max(4) == 0 || number + 1 == evaluations {
            let [all, items, jobs] = sizes(file).await;
            let seconds = begun.elapsed().as_secs();
            println!(
                "{:>11} {worlds:>15} {:>11.1} {:>23.1} {jobs:>13} {seconds:>4}",
                number + 1,
                megabytes(all),
                megabytes(all - items)
            );
        }
    }
    db.close().await;
    at_that_size(file, &first).await;
}

fn megabytes(bytes: i64) -> f64 {
    f64::from(i32::try_from(bytes / 1000).unwrap()) / 1000.0
}

/// Bytes of the database, of the store items in it, and rows of `job`.
async fn sizes(file: &str) -> [i64; 3] {
    const SIZES: [&str; 3] = [
        "select page_count * page_size from pragma_page_count, pragma_page_size",
        "select sum(pgsize) from dbstat where name in ('store_pack', 'store_item', 'store_item_pack')",
        "select count(*) from job",
    ];
    let pool = sqlx::SqlitePool::connect(file).await.unwrap();
    let mut sizes = [0; 3];
    for (size, sql) in sizes.iter_mut().zip(SIZES) {
        *size = sqlx::query_scalar(sql).fetch_one(&pool).await.unwrap();
    }
    sizes
}

/// How long work takes, the better of two times.
async fn timed<T>(what: &str, work: impl AsyncFn() -> T) -> T {
    let mut best = Duration::MAX;
    let mut result = None;
    for _ in 0..2 {
        let begun = Instant::now();
        result = Some(work().await);
        best = best.min(begun.elapsed());
    }
    println!("{what}: {:.1} ms", best.as_secs_f64() * 1000.0);
    result.unwrap()
}

async fn at_that_size(file: &str, evaluations: &[EvaluationId]) {
    timed("opening the database", async || Db::open(file).await.unwrap().close().await).await;
    let db = Db::open(file).await.unwrap();
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
    timed("the jobs of an evaluation in the middle", async || db.jobs(evaluations[middle]).await.unwrap())
        .await;
    timed("the history of a package", async || db.history("package-170", None, 50).await.unwrap()).await;
    timed("what is kept, and why", async || db.retained().await.unwrap()).await;
    let begun = Instant::now();
    let gone: Vec<_> = db.retained().await.unwrap().into_iter().filter(|e| e.reason.is_none()).collect();
    let mut longest = Duration::ZERO;
    for evaluation in &gone {
        let begun = Instant::now();
        assert!(db.forget_evaluation(evaluation.id).await.unwrap());
        longest = longest.max(begun.elapsed());
    }
    println!(
        "forgetting {} evaluations: {:.1} s, one transaction at most {} ms",
        gone.len(),
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
