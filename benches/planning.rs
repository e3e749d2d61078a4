//! What planning costs and what it is worth: `cargo bench --bench planning [-- DATABASE]`.
//!
//! * 100,000 new derivations, from an evaluation's batches to the queue, in order;
//! * with 300,000 builds in the queue, from opening the database to the next submission;
//! * given the database of a farm that has evaluated something and built nothing: how long it takes to
//!   plan that anew, and when it would be built on so many machines that each build one thing at a time,
//!   in our order, in that of most dependents, and first come, first served.
//!
//! How long builds take is made up, from their names: most take some minutes, a few take hours. "Not
//! known" means that our order is made without knowing that, by numbers of builds.

#![expect(clippy::too_many_lines, reason = "a measurement is read from its beginning to its end")]
#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on has failed")]
#![expect(clippy::print_stdout, reason = "it is what a measurement is for")]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;
use std::time::Instant;

use gorget::clock::Clock;
use gorget::db::{
    self, Batch, BuildRef, Claimant, Db, EvaluationWriter, NewDerivation, NewEvent, NewJob, QueueFilter,
};
use gorget::domain::attempt::Attempt;
use gorget::domain::job::JobMetadata;
use gorget::domain::plan::order::{Graph, ranks};
use gorget::domain::plan::route::{Route, Routes};
use gorget::domain::revision::{ChannelCommit, Revision};
use gorget::domain::spec::{Build, Spec, Subset};
use gorget::farm::context::{Context, Mode};
use gorget::farm::reconciler::run_until_idle;
use gorget::guix::store_path::StorePath;
use gorget::steps::schedule::Schedule;
use serde_json::json;
use sha2::{Digest, Sha256};

/// How many derivations come in a batch, as when Guix is evaluated.
const BATCH: usize = 500;
/// Numbers of machines.
const MACHINES: [usize; 5] = [8, 32, 64, 128, 256];

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).display().to_string();
    runtime.block_on(enqueue(&file("new.db"), 100_000));
    runtime.block_on(restart(&file("queue.db")));
    // `cargo bench` adds an option of its own.
    if let Some(database) = std::env::args().skip(1).find(|argument| !argument.starts_with("--")) {
        // A copy, for it is brought up to date and planned.
        for ending in ["", "-wal"] {
            let _ = std::fs::copy(format!("{database}{ending}"), file(&format!("real.db{ending}")));
        }
        runtime.block_on(real(&file("real.db")));
    }
}

/// So many new jobs, each of which needs some of those before it.
fn batches(count: usize) -> Vec<Batch> {
    let texts = |what: &str| -> Vec<String> {
        let text = |number| format!("{what} {number}");
        let hash = |text: String| StorePath::of_text(b"x", text.as_bytes(), &[""; 0]).unwrap().hash_text();
        (0..count).map(|number| hash(text(number))).collect()
    };
    let (hashes, outputs) = (texts("derivation"), texts("output"));
    let derivation = |number: usize| NewDerivation {
        hash: hashes[number].clone(),
        name: format!("package-{number}"),
        system: "x86_64-linux".to_owned(),
        outputs: vec![("out".to_owned(), format!("{}-package-{number}", outputs[number]))],
        inputs: (1..20)
            .filter_map(|back| Some(hashes[number.checked_sub(back * back * 50)?].clone()))
            .collect(),
    };
    let job = |number: usize| NewJob {
        name: format!("package-{number}.x86_64-linux"),
        derivation: hashes[number].clone(),
        metadata: JobMetadata::default(),
    };
    let numbers = (0..count).step_by(BATCH).map(|from| from..(from + BATCH).min(count));
    let batch = |numbers: Range<usize>| Batch {
        derivations: numbers.clone().map(derivation).collect(),
        jobs: numbers.map(job).collect(),
        ..Batch::default()
    };
    numbers.map(batch).collect()
}

/// Records an evaluation that finds this.
async fn record(db: &Db, batches: &[Batch]) {
    let spec: Spec = serde_json::from_value(json!({
        "name": "master", "channels": [], "build": Build::from(Subset::All), "systems": ["x86_64-linux"],
        "period": "every 5m", "priority": 5, "active": true, "first": "queue",
    }))
    .unwrap();
    let (build, systems) = (spec.build.clone(), spec.systems.clone());
    db.sync_specs(&[spec]).await.unwrap();
    let id = db.specs().await.unwrap()[0].id;
    let revision = Revision::new(vec![ChannelCommit::new("guix", "https://example.org/", "a")]);
    db.request_evaluations(id, &revision, &build, &systems, 1).await.unwrap();
    let mut recorder =
        EvaluationWriter::new(db.claim_evaluation(&Claimant::default(), 1).await.unwrap().unwrap());
    for batch in batches {
        recorder.record(db, batch).await.unwrap();
    }
    recorder.finish(db, false, &json!({}), 2).await.unwrap();
}

fn schedule(db: &Db) -> Schedule {
    Schedule::new(&Context::new(db.clone(), Clock::manual(1000), Mode::Continuous, "here"), false)
}

async fn enqueue(file: &str, count: usize) {
    let db = Db::open(file).await.unwrap();
    let batches = batches(count);
    let begun = Instant::now();
    record(&db, &batches).await;
    let recorded = begun.elapsed();
    let begun = Instant::now();
    run_until_idle(&mut schedule(&db)).await.unwrap();
    let queued = db.build_counts().await.unwrap()[0].count;
    println!(
        "{queued} new derivations recorded in {:.2} s, and queued in order {:.2} s later",
        recorded.as_secs_f64(),
        begun.elapsed().as_secs_f64()
    );
    db.close().await;
}

async fn restart(file: &str) {
    let db = Db::open(file).await.unwrap();
    record(&db, &batches(300_000)).await;
    run_until_idle(&mut schedule(&db)).await.unwrap();
    let routes = Routes(vec![Route { coordinator: "default".to_owned(), ..Route::default() }]);
    let begun = Instant::now();
    db.route(&routes).await.unwrap();
    println!("300,000 builds given to a coordinator in {} ms", begun.elapsed().as_millis());
    db.close().await;
    let begun = Instant::now();
    let db = Db::open(file).await.unwrap();
    db.route_anew(&routes).await.unwrap();
    let next = db.next_submissions("default", 1000, 64).await.unwrap().len();
    println!(
        "300,000 builds queued: the next {next} are known {} ms after opening",
        begun.elapsed().as_millis()
    );
    let begun = Instant::now();
    run_until_idle(&mut schedule(&db)).await.unwrap();
    println!("    and that there is nothing to plan {} ms later", begun.elapsed().as_millis());
    let (begun, input) = (Instant::now(), db.plan_input().await.unwrap());
    let snapshot = db.snapshot(&input.live).await.unwrap();
    let read = begun.elapsed();
    let begun = Instant::now();
    let ranked = ranks(&snapshot.graph, &snapshot.claims).len();
    println!(
        "    {ranked} builds read in {} ms and put in order in {} ms",
        read.as_millis(),
        begun.elapsed().as_millis()
    );
    blocking(&db).await;
}

/// How long it takes to find out what failed builds block, if one in a thousand of many failed.
async fn blocking(db: &Db) {
    let failed = |build: &db::Build| NewEvent {
        build: BuildRef::Asked(build.id),
        reference: build.id.to_string(),
        attempt: Attempt::Failed,
        happened_at: None,
    };
    let builds = db.queue(&QueueFilter::default(), i64::MAX).await.unwrap();
    let events: Vec<NewEvent> = builds.iter().step_by(1000).map(failed).collect();
    db.record_events("default", &events, 2000).await.unwrap();
    let begun = Instant::now();
    let blockers = db.blockers().await.unwrap();
    println!(
        "    {} failed builds block up to {} others: known in {} ms",
        blockers.len(),
        blockers.first().map_or(0, |blocker| blocker.blocked.len()),
        begun.elapsed().as_millis()
    );
}

async fn real(file: &str) {
    let db = Db::open(file).await.unwrap();
    let begun = Instant::now();
    run_until_idle(&mut schedule(&db)).await.unwrap();
    let planned = begun.elapsed();
    let (begun, input) = (Instant::now(), db.plan_input().await.unwrap());
    let mut snapshot = db.snapshot(&input.live).await.unwrap();
    let read = begun.elapsed();
    let begun = Instant::now();
    let order = ranks(&snapshot.graph, &snapshot.claims);
    let ranked = begun.elapsed();
    let edges: usize = snapshot.graph.nodes.iter().map(|node| node.inputs.len()).sum();
    println!(
        "{} builds among {} derivations with {edges} inputs: planned in {} ms, of which reading {} ms and ordering {} ms",
        snapshot.builds.len(),
        snapshot.graph.nodes.len(),
        planned.as_millis(),
        read.as_millis(),
        ranked.as_millis(),
    );
    let urgencies = |order: &[Option<gorget::domain::plan::order::Rank>]| -> Vec<i64> {
        order.iter().map(|rank| rank.map_or(0, |rank| rank.urgency)).collect()
    };
    let unknown = urgencies(&order);
    for (build, place) in snapshot.builds.iter().zip(snapshot.graph.builds.clone()) {
        snapshot.graph.nodes[place].seconds = made_up(build.derivation_id.0);
    }
    let known = urgencies(&ranks(&snapshot.graph, &snapshot.claims));
    let first_come = vec![0; snapshot.builds.len()];
    let most = dependents(&snapshot.graph);
    println!(
        "{:<10}{:>12}{:>16}{:>16}{:>16}{:>16}",
        "machines", "bound", "ours", "ours, not known", "dependents", "first come"
    );
    for machines in MACHINES {
        let bound = bound(&snapshot.graph, machines);
        let ratio = |order: &[i64]| makespan(&snapshot.graph, order, machines).0 / bound;
        println!(
            "{machines:<10}{:>10.1} h{:>16.3}{:>16.3}{:>16.3}{:>16.3}",
            bound / 3600.0,
            ratio(&known),
            ratio(&unknown),
            ratio(&most),
            ratio(&first_come)
        );
        for (what, order) in [("ours, not known", &unknown), ("dependents", &most)] {
            let (end, last) = makespan(&snapshot.graph, order, machines);
            let takes = f64::from(snapshot.graph.nodes[last].seconds);
            let users = snapshot.graph.nodes.iter().filter(|node| node.inputs.contains(&last)).count();
            println!(
                "    {what}: what ends last, number {last}, takes {:.1} h from {:.1} h on, and {users} need it",
                takes / 3600.0,
                (end - takes) / 3600.0,
            );
        }
    }
}

/// A number of seconds that is as good as drawn by lot, and the same for the same number: half of
/// all take less than two minutes, one in a hundred takes longer than an hour and a half.
fn made_up(number: i64) -> u32 {
    let digest = Sha256::digest(number.to_string());
    // Twelve numbers between 0 and 1 add up to nearly a normal distribution around 6.
    let normal: f64 = digest[..12].iter().map(|byte| f64::from(*byte) / 255.0).sum::<f64>() - 6.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is some seconds")]
    let seconds = (120.0 * (1.7 * normal).exp()) as u32;
    seconds.max(1)
}

/// Nothing is built earlier: the longest chain, and the whole work on all machines.
fn bound(graph: &Graph, machines: usize) -> f64 {
    let mut ends = vec![0_u64; graph.nodes.len()];
    let mut work = 0;
    for (place, node) in graph.nodes.iter().enumerate() {
        let begin = node.inputs.iter().map(|input| ends[*input]).max().unwrap_or(0);
        ends[place] = begin + u64::from(node.seconds);
        work += u64::from(node.seconds);
    }
    let longest = f64::from(u32::try_from(ends.into_iter().max().unwrap_or(0)).unwrap());
    let shared = f64::from(u32::try_from(work / machines as u64).unwrap());
    longest.max(shared)
}

/// How many builds need each, directly or not.
fn dependents(graph: &Graph) -> Vec<i64> {
    const PIECE: usize = 4096;
    let mut counts = vec![0; graph.builds.len()];
    for from in (0..graph.builds.len()).step_by(PIECE) {
        let mut users = vec![[0_u64; PIECE / 64]; graph.nodes.len()];
        for (place, node) in graph.nodes.iter().enumerate().rev() {
            let mut own = users[place];
            if let Some(build) = node.build {
                counts[build] += own.iter().map(|word| i64::from(word.count_ones())).sum::<i64>();
                if (from..from + PIECE).contains(&build) {
                    own[(build - from) / 64] |= 1 << ((build - from) % 64);
                }
            }
            for input in &node.inputs {
                users[*input].iter_mut().zip(own).for_each(|(all, own)| *all |= own);
            }
        }
    }
    counts
}

/// When everything is built, if a machine that is free takes the most urgent of what can be built; and the place of
/// what ends last.
fn makespan(graph: &Graph, urgencies: &[i64], machines: usize) -> (f64, usize) {
    let mut users = vec![Vec::new(); graph.nodes.len()];
    let mut waits: Vec<usize> = graph.nodes.iter().map(|node| node.inputs.len()).collect();
    for (place, node) in graph.nodes.iter().enumerate() {
        node.inputs.iter().for_each(|input| users[*input].push(place));
    }
    let urgency = |place: usize| graph.nodes[place].build.map_or(i64::MAX, |build| urgencies[build]);
    let mut ready: BinaryHeap<(i64, Reverse<usize>)> = BinaryHeap::new();
    let mut running: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    ready.extend(
        (0..waits.len()).filter(|place| waits[*place] == 0).map(|place| (urgency(place), Reverse(place))),
    );
    let (mut now, mut last) = (0, 0);
    loop {
        while let Some(&(_, Reverse(place))) = ready.peek() {
            // What nobody builds is there at once.
            let takes_machine = graph.nodes[place].build.is_some();
            if takes_machine && running.len() >= machines {
                break;
            }
            ready.pop();
            if takes_machine {
                running.push(Reverse((now + u64::from(graph.nodes[place].seconds), place)));
            } else {
                free(place, &users, &mut waits, |user| ready.push((urgency(user), Reverse(user))));
            }
        }
        let Some(Reverse((end, place))) = running.pop() else { break };
        (now, last) = (end, place);
        free(place, &users, &mut waits, |user| ready.push((urgency(user), Reverse(user))));
    }
    (f64::from(u32::try_from(now).unwrap()), last)
}

/// Tells who can be built now that this is.
fn free(place: usize, users: &[Vec<usize>], waits: &mut [usize], mut can: impl FnMut(usize)) {
    for user in &users[place] {
        waits[*user] -= 1;
        if waits[*user] == 0 {
            can(*user);
        }
    }
}
