//! What the evaluation store takes in a second: `cargo bench --bench eval_store`.
//!
//! A client says what a worker says, over the real socket: as many requests at a time as a worker sends
//! before it takes their answers. Client and store share one core, so that the client's part is in the figure.
//! Nothing is added twice, all of it is kept, and it is drained as the supervisor does.

#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on has failed")]

use std::borrow::Cow;
use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gorget::guix::derivation::{Derivation, ModuloHash, Output, OutputError};
use gorget::guix::recording_store::{EvalStore, Recording};
use gorget::guix::store_path::StorePath;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// How many texts are added to one store.
const COUNT: usize = 20_000;
/// How long they are, in bytes: half of a full evaluation's are longer.
const LENGTH: usize = 3500;
/// What a worker has unanswered at most: requests, and bytes of them. See `pipeline.scm`.
const UNANSWERED: (usize, usize) = (100, 1 << 17);
/// Bytes that wait before they are drained.
const FULL: usize = 24 << 20;

/// A request, and the path that has to come back.
struct Adding {
    request: Vec<u8>,
    path: StorePath,
}

fn word(request: &mut Vec<u8>, text: &[u8]) {
    request.extend((text.len() as u64).to_le_bytes());
    request.extend(text);
    request.resize(request.len().next_multiple_of(8), 0);
}

fn adding(name: &str, text: &[u8], references: &[String]) -> Adding {
    let mut request = 8_u64.to_le_bytes().to_vec();
    word(&mut request, name.as_bytes());
    word(&mut request, text);
    request.extend((references.len() as u64).to_le_bytes());
    for reference in references {
        word(&mut request, reference.as_bytes());
    }
    Adding { request, path: StorePath::of_text(name.as_bytes(), text, references).unwrap() }
}

/// Texts as long and as random as a builder's.
fn filling(number: usize, length: usize) -> String {
    let lines =
        (0..).map(|line| format!("(define value-{} \"{:x}\")\n", line, (number + 1) * (line * line + 7)));
    lines.take(length / 20).collect::<String>()[..length].to_owned()
}

fn texts() -> Vec<Adding> {
    (0..COUNT)
        .map(|number| adding(&format!("package-{number}-builder"), filling(number, LENGTH).as_bytes(), &[]))
        .collect()
}

/// Derivations that need some of those before them, as most do.
fn derivations() -> Vec<Adding> {
    let builder = adding("builder", b"builder", &[]);
    let mut all = vec![builder];
    let mut known: Vec<(String, ModuloHash)> = Vec::new();
    for number in 0..COUNT {
        let inputs: Vec<usize> = (1..=15).filter_map(|back| number.checked_sub(back * back)).collect();
        let name = format!("package-{number}");
        let (text, modulo) = derivation(&name, number, &inputs, &known, &all[0].path);
        let mut references: Vec<String> = inputs.iter().map(|input| known[*input].0.clone()).collect();
        references.push(all[0].path.to_string());
        references.sort_unstable();
        let adding = adding(&format!("{name}.drv"), &text, &references);
        known.push((adding.path.to_string(), modulo));
        all.push(adding);
    }
    all
}

fn derivation(
    name: &str,
    number: usize,
    inputs: &[usize],
    known: &[(String, ModuloHash)],
    builder: &StorePath,
) -> (Vec<u8>, ModuloHash) {
    let text = |text: &str| Cow::Owned(text.as_bytes().to_vec());
    let mut paths: Vec<&(String, ModuloHash)> = inputs.iter().map(|input| &known[*input]).collect();
    paths.sort_unstable();
    let make = |out: &str| {
        let output = Output { name: text("out"), path: text(out), algorithm: text(""), hash: text("") };
        let used = 700 + 90 * inputs.len();
        Derivation {
            outputs: vec![output],
            inputs: paths.iter().map(|(path, _)| (text(path), vec![text("out")])).collect(),
            sources: vec![text(&builder.to_string())],
            system: text("x86_64-linux"),
            builder: text("/gnu/store/guile"),
            arguments: vec![text("--no-auto-compile"), text(&builder.to_string())],
            environment: vec![
                (text("buildInputs"), text(&filling(number, LENGTH - used))),
                (text("out"), text(out)),
            ],
        }
    };
    let modulo_of =
        |path: &[u8]| paths.iter().find(|(known, _)| known.as_bytes() == path).map(|known| known.1);
    let Err(OutputError::Wrong { actual, .. }) = make("").check_outputs(name, modulo_of) else { panic!() };
    let derivation = make(&actual.to_string());
    let modulo = derivation.check_outputs(name, modulo_of).unwrap();
    (derivation.print(), modulo)
}

/// How long a store takes for all of it.
fn add_all(all: &[Adding]) -> Duration {
    let store = EvalStore::start(Recording::new(true, 1 << 30)).unwrap();
    let mut stream = UnixStream::connect(store.socket()).unwrap();
    for greeting in [0x6e69_7863_u64, 0x163, 0, 0] {
        stream.write_all(&greeting.to_le_bytes()).unwrap();
    }
    stream.read_exact(&mut [0; 24]).unwrap();
    let begun = Instant::now();
    let (mut said, mut open) = (Vec::new(), Vec::new());
    for adding in all {
        if open.len() == UNANSWERED.0 || said.len() + adding.request.len() > UNANSWERED.1 {
            take_answers(&mut stream, &mut said, &mut open);
        }
        if store.recording().pending_bytes() > FULL {
            black_box(store.recording().drain());
        }
        said.extend(&adding.request);
        open.push(adding);
    }
    take_answers(&mut stream, &mut said, &mut open);
    let taken = begun.elapsed();
    assert_eq!(store.recording().totals().0, all.len());
    taken
}

fn take_answers(stream: &mut UnixStream, said: &mut Vec<u8>, open: &mut Vec<&Adding>) {
    stream.write_all(said).unwrap();
    said.clear();
    let mut expected = Vec::new();
    for adding in open.drain(..) {
        expected.extend(0x616c_7473_u64.to_le_bytes());
        word(&mut expected, adding.path.to_string().as_bytes());
    }
    let mut answers = vec![0; expected.len()];
    stream.read_exact(&mut answers).unwrap();
    assert!(answers == expected, "another answer than the path");
}

fn measure(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("eval_store");
    group.sample_size(10).measurement_time(Duration::from_secs(8));
    for (what, all) in [("add texts of 3.5 kB", texts()), ("add derivations of 3.5 kB", derivations())] {
        group.throughput(Throughput::Elements(all.len() as u64));
        group.bench_function(what, |bencher| {
            bencher.iter_custom(|times| (0..times).map(|_| add_all(&all)).sum());
        });
    }
    group.finish();
}

/// From here on everything happens on one core.
fn on_one_core(criterion: &mut Criterion) {
    let all = sched_getaffinity(None).unwrap();
    let mut one = CpuSet::new();
    one.set((0..CpuSet::MAX_CPU).find(|cpu| all.is_set(*cpu)).unwrap());
    sched_setaffinity(None, &one).unwrap();
    measure(criterion);
}

criterion_group!(benches, on_one_core);
criterion_main!(benches);
