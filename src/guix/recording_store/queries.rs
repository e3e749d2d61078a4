//! The rare requests of an evaluation. Operations have their numbers from `guix/store.scm`.

use std::io::{self, Read, Write};

use super::builds::derivation_of;
use super::recording::Recording;
use super::requests::RequestKind;
use super::streams::{Reader, Writer};
use crate::guix::daemon::wire::broken;
use crate::guix::store_path::StorePath;

/// Builders that are built into every real daemon of this protocol version.
const BUILT_IN_BUILDERS: [&str; 2] = ["download", "git-download"];

/// The most builds of one request.
const MOST_WANTED: usize = 4096;
/// How many of the requested builds an error names.
const MOST_NAMED: usize = 20;

/// Answers all requests except those that add texts and archives.
pub(super) fn answer_query<R: Read, W: Write>(
    operation: u64,
    source: &mut Reader<'_, R>,
    sink: &mut Writer<W>,
    recording: &Recording,
) -> io::Result<()> {
    recording.request_counts.count(if matches!(operation, 9 | 10) {
        RequestKind::Build
    } else {
        RequestKind::Question
    });
    match operation {
        1 => {
            let path = source.word()?;
            number(sink, recording.is_valid(&path).into())
        }
        // There are no substitutes.
        3 => source.word().and_then(|_| number(sink, 0)),
        30 | 32 => source.words().and_then(|_| number(sink, 0)),
        5 => references(&source.word()?, sink, recording),
        4 | 6 | 18 | 26 | 28 | 33 => sink.error(&refused_query(&source.word()?, operation)),
        9 => {
            let wanted = source.words()?;
            source.integer()?; // build mode
            done(sink, build(recording, &wanted))
        }
        10 => {
            let path = source.word()?;
            done(sink, if recording.is_valid(&path) { Ok(()) } else { Err(asked_for(&[path])) })
        }
        // Garbage collection roots have no effect: nothing is ever collected.
        11 | 12 => source.word().and_then(|_| number(sink, 1)),
        13 => number(sink, 1),
        19 => set_options(source, sink),
        22 => outputs(&source.word()?, sink, recording),
        31 => {
            let paths = source.words()?;
            let known: Vec<&Vec<u8>> = paths.iter().filter(|path| recording.is_valid(path)).collect();
            strings(sink, &known)
        }
        80 => strings(sink, &BUILT_IN_BUILDERS),
        _ => {
            sink.error(&format!("request {operation} is not supported while evaluating"))?;
            sink.stream.flush()?;
            Err(broken("a request that evaluations do not make"))
        }
    }
}

fn number<W: Write>(sink: &mut Writer<W>, number: u64) -> io::Result<()> {
    sink.answer()?;
    sink.integer(number)
}

fn strings<W: Write>(sink: &mut Writer<W>, strings: &[impl AsRef<[u8]>]) -> io::Result<()> {
    sink.answer()?;
    sink.strings(strings)
}

fn done<W: Write>(sink: &mut Writer<W>, result: Result<(), String>) -> io::Result<()> {
    match result {
        Ok(()) => number(sink, 1),
        Err(message) => sink.error(&message),
    }
}

/// The output paths of a derivation.
fn outputs<W: Write>(path: &[u8], sink: &mut Writer<W>, recording: &Recording) -> io::Result<()> {
    let Some((outputs, _)) = recording.derivation(path) else {
        return sink.error(&format!("{} is not a known derivation", String::from_utf8_lossy(path)));
    };
    strings(sink, &outputs.iter().map(|(_, path)| path.to_string()).collect::<Vec<_>>())
}

/// The references of something that was built during the evaluation.
fn references<W: Write>(path: &[u8], sink: &mut Writer<W>, recording: &Recording) -> io::Result<()> {
    let built = recording.builds().filter(|builds| builds.has_built(path));
    match built.map(|builds| builds.references(path)) {
        Some(Ok(references)) => strings(sink, &references),
        Some(Err(error)) => sink.error(&error.to_string()),
        None => sink.error(&refused_query(path, 5)),
    }
}

/// Builds `wanted` if the evaluation may; otherwise, or if that fails, returns an error.
fn build(recording: &Recording, wanted: &[Vec<u8>]) -> Result<(), String> {
    let Some(builds) = recording.builds() else {
        let hint = "with `builds-while-evaluating = true` in the spec, such builds are made";
        return Err(format!("{}\nhint: {hint}", asked_for(wanted)));
    };
    if wanted.len() > MOST_WANTED {
        return Err(format!("{}: more than {MOST_WANTED} at a time are refused", asked_for(wanted)));
    }
    let derivations = wanted.iter().filter_map(|text| derivation_of(text));
    let outputs = derivations.filter_map(|path| recording.derivation(path.to_string().as_bytes()));
    let outputs: Vec<StorePath> = outputs
        .flat_map(|(outputs, _)| outputs.iter().map(|(_, path)| path.clone()).collect::<Vec<_>>())
        .collect();
    let failed = |error| format!("{}, but cannot be built: {error}", asked_for(wanted));
    builds.build(wanted, &outputs).map_err(failed)
}

/// The message to evaluated code about a build. The worker recognizes it by its first words.
fn asked_for(wanted: &[Vec<u8>]) -> String {
    let mut names: Vec<_> =
        wanted.iter().take(MOST_NAMED).map(|path| String::from_utf8_lossy(path)).collect();
    if wanted.len() > MOST_NAMED {
        names.push(format!("and {} more", wanted.len() - MOST_NAMED).into());
    }
    format!("a build was asked for while evaluating: {}", names.join(" "))
}

fn refused_query(path: &[u8], operation: u64) -> String {
    format!("{} cannot be looked into while evaluating (request {operation})", String::from_utf8_lossy(path))
}

fn set_options<R: Read, W: Write>(source: &mut Reader<'_, R>, sink: &mut Writer<W>) -> io::Result<()> {
    for _ in 0..9 {
        source.integer()?;
    }
    let pairs = source.integer()?;
    if pairs > 1000 {
        return Err(broken("a list that is too long"));
    }
    for _ in 0..pairs {
        source.word()?;
        source.word()?;
    }
    sink.answer()
}
