use std::io::{self, BufReader, BufWriter, Write};
use std::os::unix::net::UnixStream;

use super::memory::Memory;
use super::wire::{MAGIC_CLIENT, MAGIC_SERVER, Sink, Source, VERSION, broken};
use crate::store::nar;

/// Longest text that is taken.
const LONGEST_TEXT: u64 = 256 << 20;
/// Largest archive that is taken.
const LARGEST_NAR: usize = 1 << 30;

/// Functions that every real daemon of this protocol version builds itself.
const BUILT_IN_BUILDERS: [&str; 2] = ["download", "git-download"];

type Reader<'a> = Source<BufReader<&'a UnixStream>>;
type Writer<'a> = Sink<BufWriter<&'a UnixStream>>;

/// Serves one client until it leaves.
pub(super) fn serve(stream: &UnixStream, memory: &Memory) -> io::Result<()> {
    let mut source = Source { stream: BufReader::with_capacity(64 * 1024, stream) };
    let mut sink = Sink { stream: BufWriter::with_capacity(16 * 1024, stream) };
    greet(&mut source, &mut sink)?;
    let mut text = Vec::new();
    loop {
        let operation = match source.integer() {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            operation => operation?,
        };
        memory.count_request();
        match operation {
            8 => add_text(&mut source, &mut sink, memory, &mut text)?,
            7 => add_nar(&mut source, &mut sink, memory)?,
            _ => rare(operation, &mut source, &mut sink, memory)?,
        }
        sink.stream.flush()?;
    }
}

fn greet(source: &mut Reader<'_>, sink: &mut Writer<'_>) -> io::Result<()> {
    if source.integer()? != MAGIC_CLIENT {
        return Err(broken("a greeting that is not the protocol's"));
    }
    sink.integer(MAGIC_SERVER)?;
    sink.integer(VERSION)?;
    sink.stream.flush()?;
    let version = source.integer()?;
    if version >> 8 != VERSION >> 8 {
        return Err(broken("another major version of the protocol"));
    }
    let minor = version & 0xff;
    if minor >= 14 && source.boolean()? {
        source.integer()?; // CPU affinity
    }
    if minor >= 11 {
        source.integer()?; // whether to reserve space
    }
    sink.answer()?;
    sink.stream.flush()
}

fn add_text(
    source: &mut Reader<'_>,
    sink: &mut Writer<'_>,
    memory: &Memory,
    text: &mut Vec<u8>,
) -> io::Result<()> {
    let name = source.word()?;
    source.string(text, LONGEST_TEXT)?;
    let references = source.words()?;
    match memory.add_text(&name, text, &references) {
        Ok(path) => {
            sink.answer()?;
            sink.string(path.to_string().as_bytes())
        }
        Err(error) => sink.error(&error.to_string()),
    }
}

fn add_nar(source: &mut Reader<'_>, sink: &mut Writer<'_>, memory: &Memory) -> io::Result<()> {
    let name = source.word()?;
    source.integer()?; // obsolete
    let recursive = source.boolean()?;
    let algorithm = source.word()?;
    let archive = nar::read(&mut source.stream, LARGEST_NAR).map_err(|error| broken(&error.to_string()))?;
    match memory.add_nar(&name, recursive, &algorithm, archive) {
        Ok(path) => {
            sink.answer()?;
            sink.string(path.to_string().as_bytes())
        }
        Err(error) => sink.error(&error.to_string()),
    }
}

/// Everything that an evaluation rarely asks. Numbers are those of `guix/store.scm`.
fn rare(operation: u64, source: &mut Reader<'_>, sink: &mut Writer<'_>, memory: &Memory) -> io::Result<()> {
    match operation {
        1 => {
            let path = source.word()?;
            sink.answer()?;
            sink.integer(memory.knows(&path).into())
        }
        3 => {
            source.word()?;
            sink.answer()?;
            sink.integer(0) // there are no substitutes
        }
        9 => {
            let wanted = source.words()?;
            source.integer()?; // build mode
            sink.error(&refuse_build(&wanted))
        }
        10 => {
            let path = source.word()?;
            if memory.knows(&path) {
                sink.answer()?;
                sink.integer(1)
            } else {
                sink.error(&refuse_build(&[path]))
            }
        }
        11 | 12 => {
            source.word()?;
            sink.answer()?;
            sink.integer(1)
        }
        13 => {
            sink.answer()?;
            sink.integer(1)
        }
        19 => set_options(source, sink),
        22 => {
            let path = source.word()?;
            match memory.outputs(&path) {
                Some(outputs) => {
                    sink.answer()?;
                    let paths: Vec<String> = outputs.iter().map(|(_, path)| path.to_string()).collect();
                    sink.strings(&paths)
                }
                None => sink.error(&format!("{} is not a known derivation", String::from_utf8_lossy(&path))),
            }
        }
        31 => {
            let paths = source.words()?;
            let known: Vec<&Vec<u8>> = paths.iter().filter(|path| memory.knows(path)).collect();
            sink.answer()?;
            sink.strings(&known)
        }
        30 | 32 => {
            source.words()?;
            sink.answer()?;
            sink.integer(0) // there are no substitutes
        }
        80 => {
            sink.answer()?;
            sink.strings(&BUILT_IN_BUILDERS)
        }
        4 | 5 | 6 | 18 | 26 | 28 | 33 => {
            let path = source.word()?;
            let path = String::from_utf8_lossy(&path);
            sink.error(&format!("{path} cannot be looked into while evaluating (request {operation})"))
        }
        _ => {
            sink.error(&format!("request {operation} is not answered while evaluating"))?;
            sink.stream.flush()?;
            Err(broken("a request that evaluations do not make"))
        }
    }
}

fn refuse_build(wanted: &[Vec<u8>]) -> String {
    let names: Vec<_> = wanted.iter().map(|path| String::from_utf8_lossy(path)).collect();
    format!("a build was asked for while evaluating: {}", names.join(" "))
}

fn set_options(source: &mut Reader<'_>, sink: &mut Writer<'_>) -> io::Result<()> {
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
