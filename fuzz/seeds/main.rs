//! `seeds GUIX-ROOT DIRECTORY`: evaluates `hello` with a real Guix, and leaves what came of it where the
//! fuzzer begins: derivations, archives, the requests that add them to a store, messages, and modules of that
//! Guix.

// Whatever is built for the fuzzer calls it at every edge.
use libfuzzer_sys as _;

use std::collections::HashSet;
use std::error::Error;
use std::fs::{create_dir_all, read, read_dir, write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use gorget::domain::spec::{Runtime, Subset, System};
use gorget::evaluator::runtime::{Compiling, InstalledGuix, Runtimes, TimeMachine};
use gorget::evaluator::{Daemon, Event, Limits, Outcome, Request, Target, WarmStart};
use gorget::guix::derivation::Derivation;
use gorget::guix::recording_store::{Kind, RecordedItem};
use tokio::sync::mpsc;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Longer items teach the fuzzer nothing new, and slow it down.
const LONGEST: usize = 8 << 10;
/// So many of a kind are enough.
const MOST: usize = 60;
/// What the first integers of a client say: the protocol's, its version, no CPU, no reserve.
const GREETING: [u64; 4] = [0x6e69_7863, 0x163, 0, 0];

/// Declarations of channels, with all that Guile's syntax has.
const CHANNEL_FILES: [&str; 3] = [
    "(channel (version 0) (directory \"modules\") (dependencies (channel (name a) (url \"https://a.org/b\") \
     (introduction (channel-introduction (version 0) (commit \"9edb\") (signer \"BBB0 2DDF\")))))) ; vim: x",
    "#!/bin/sh\n!# #| a #| b |# |# #;(x) #!r6rs [channel '(version . -0) `(,a ,@b) #:key #{a b}# #\\space #(1)]",
    "(channel \"\\x41\\u00e9\\U01F600\\n\\\n  x\" #t#false 1/2 +inf.0 #xff 1e3 ... #!fold-case A #'b #*01 #\\x41)",
];

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(root), Some(directory)) = (arguments.next(), arguments.next()) else {
        return Err("two arguments are needed: the root of a Guix, and where to write".into());
    };
    let (items, outcomes) = tokio::runtime::Runtime::new()?.block_on(hello(&root))?;
    let small: Vec<&RecordedItem> = items.iter().filter(|item| item.contents.len() < LONGEST).collect();
    for kind in ["derivation", "nar", "eval-store", "protocol", "guile", "scheme"] {
        create_dir_all(directory.join(kind))?;
    }
    let of = |is: &dyn Fn(&RecordedItem) -> bool| -> Vec<&[u8]> {
        let chosen = small.iter().filter(|item| is(item));
        chosen.map(|item| &item.contents[..]).take(MOST).collect()
    };
    leave(&directory.join("derivation"), &of(&|item| item.derivation.is_some()))?;
    leave(&directory.join("nar"), &of(&|item| item.kind == Kind::Nar))?;
    let adding = small.chunks(8).take(MOST).map(requests).collect::<Result<Vec<_>>>()?;
    leave(&directory.join("eval-store"), &adding)?;
    leave(&directory.join("guile"), &CHANNEL_FILES)?;
    leave(&directory.join("protocol"), &messages(&outcomes))?;
    leave(&directory.join("scheme"), &modules(&root)?)
}

/// Small modules of Guix, in pairs.
fn modules(root: &Path) -> Result<Vec<Vec<u8>>> {
    let host = tokio::runtime::Runtime::new()?.block_on(InstalledGuix::probe(root))?;
    let sources = host.root.join(host.sources.strip_prefix("/")?);
    let mut texts = Vec::new();
    for directory in ["guix", "guix/build", "gnu/packages", "gnu/services"] {
        let mut paths: Vec<_> =
            read_dir(sources.join(directory))?.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort();
        let small = paths.iter().filter(|path| path.extension().is_some_and(|ending| ending == "scm"));
        texts.extend(
            small.filter_map(|path| read(path).ok()).filter(|text| text.len() < LONGEST).take(MOST / 2),
        );
    }
    Ok(texts.chunks(2).map(|pair| pair.join(&0)).collect())
}

/// What an evaluation of `hello` adds to the store, and what comes of it.
async fn hello(root: &Path) -> Result<(Vec<RecordedItem>, Vec<Outcome>)> {
    let cache = tempfile::tempdir()?;
    let limit = Duration::from_mins(5);
    let nobody = cache.path().join("nobody");
    let daemon = Daemon { socket: nobody.clone(), store: nobody.clone() };
    let time_machine = TimeMachine { directory: nobody, daemon, limit };
    let runtimes = Runtimes::new(root, cache.path().to_owned(), 1 << 30, Compiling::default(), time_machine);
    let prepared = runtimes.prepare("seeds", Runtime::default(), &Subset::Hello.into(), &[]).await?;
    let request = Request {
        root: root.to_owned(),
        environment: prepared.environment,
        build: Subset::Hello.into(),
        channels: Vec::new(),
        keep_contents: true,
        limits: Limits {
            workers: 1,
            memory: 2 << 30,
            package_time: limit,
            evaluation_time: limit,
            stored: 1 << 30,
        },
        daemon: None,
    };
    let system = System::new("x86_64-linux").ok_or("no such system")?;
    let mut warm = WarmStart::start(request)?;
    let (events, mut received) = mpsc::channel(4);
    let collecting = async {
        let (mut items, mut outcomes) = (Vec::new(), Vec::new());
        while let Some(event) = received.recv().await {
            if let Event::Batch(batch) = event {
                items.extend(batch.items);
                outcomes.extend(batch.outcomes);
            }
        }
        (items, outcomes)
    };
    let evaluating = async move {
        let wanted = Target { system, likely: HashSet::new() };
        warm.evaluate(wanted, &events).await
    };
    let (ended, collected) = tokio::join!(evaluating, collecting);
    ended?;
    Ok(collected)
}

fn leave<T: AsRef<[u8]>>(directory: &Path, seeds: &[T]) -> Result<()> {
    if seeds.is_empty() {
        return Err(format!("there are no seeds for {}", directory.display()).into());
    }
    for (number, seed) in seeds.iter().enumerate() {
        write(directory.join(number.to_string()), seed)?;
    }
    Ok(())
}

/// A client that adds some items and leaves. What they refer to may be missing: then it is told so.
fn requests(items: &[&RecordedItem]) -> Result<Vec<u8>> {
    let mut said: Vec<u8> = GREETING.iter().flat_map(|number| number.to_le_bytes()).collect();
    for item in items {
        said.extend((if item.kind == Kind::Text { 8_u64 } else { 7 }).to_le_bytes());
        string(&mut said, item.path.name().as_bytes());
        if item.kind == Kind::Nar {
            said.extend([1_u64, 1].iter().flat_map(|number| number.to_le_bytes()));
            string(&mut said, b"sha256");
            said.extend(&item.contents);
            continue;
        }
        string(&mut said, &item.contents);
        let mut references: Vec<Vec<u8>> =
            item.references.iter().map(|path| path.to_string().into_bytes()).collect();
        if item.derivation.is_some() {
            let derivation = Derivation::parse(&item.contents)?;
            references = derivation.inputs.iter().map(|(path, _)| path.to_vec()).collect();
            references.extend(derivation.sources.iter().map(|path| path.to_vec()));
        }
        said.extend((references.len() as u64).to_le_bytes());
        references.iter().for_each(|reference| string(&mut said, reference));
    }
    Ok(said)
}

fn string(said: &mut Vec<u8>, text: &[u8]) {
    said.extend((text.len() as u64).to_le_bytes());
    said.extend(text);
    said.resize(said.len().next_multiple_of(8), 0);
}

/// One message of each kind.
fn messages(outcomes: &[Outcome]) -> Vec<String> {
    let mut messages: Vec<String> = [
        "(parent \"3.0.9\" \"1.5.0\")\n(labels \"hello.x86_64-linux\" \"guile.x86_64-linux\")\n(packages 0 1)\n(enumerated 0 1)\n",
        "(module-error \"(gnu packages x)\" unbound-variable \"x.scm:1: error: \\x1b;y\\tz\\n\")\n",
        "(fatal exception \"In \\\"x\\\\y\\\"\")\n(forked 0 12)\n(reaped 12 -1 9)\n",
        "(worker 0 \"0123456789abcdef\")\n(begin 0)\n(none 0)\n(begin 1)\n(error 1 time \"é\")\n(idle)\n",
    ]
    .map(str::to_owned)
    .to_vec();
    for outcome in outcomes {
        if let Outcome::Job { name, derivation, .. } = outcome {
            messages.push(format!(
                "(also 7 {name:?} \"{derivation}\" (#f \"2.1\" \"gnu/x.scm\" 7 #f #f 3600 86400))\n\
                 (job 7 {name:?} \"{derivation}\" (\"hello\" #f #f #f \"riscv64-linux-gnu\" \"guix\" 1 2 hidden replacement))\n"
            ));
        }
    }
    messages
}
