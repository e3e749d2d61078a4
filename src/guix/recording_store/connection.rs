//! One client of the recording store, and its requests.
//!
//! Every length is checked against a limit before anything is read. A client that breaks the
//! protocol is disconnected.

use std::io::{self, BufReader, BufWriter, Read, Write};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::queries::answer_query;
use super::recording::Recording;
use super::requests::RequestKind;
use super::streams::{Metered, Reader, Writer};
use crate::guix::daemon::wire::{MAGIC_CLIENT, MAGIC_SERVER, Sink, Source, VERSION, broken};
use crate::guix::nar;

/// The longest text that is accepted, in bytes.
const LONGEST_TEXT: u64 = 64 << 20;
/// The largest archive that is accepted, in bytes.
const LARGEST_NAR: usize = 256 << 20;
/// If the buffer for a text grows beyond this, it is not kept for the next text.
const KEPT_BUFFER: usize = 1 << 20;

/// Serves one client until it disconnects.
pub(super) fn serve<R: Read, W: Write>(input: R, output: W, recording: &Recording) -> io::Result<()> {
    let reader = BufReader::with_capacity(64 * 1024, input);
    let mut source = Source { stream: Metered { stream: reader, recording, counted: 0, uncounted: 0 } };
    let mut sink = Sink { stream: BufWriter::with_capacity(16 * 1024, output) };
    greet(&mut source, &mut sink)?;
    let mut text = Vec::new();
    let mut counted = cpu_time();
    loop {
        let operation = match source.integer() {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            operation => operation?,
        };
        match operation {
            8 => add_text(&mut source, &mut sink, recording, &mut text)?,
            7 => add_nar(&mut source, &mut sink, recording)?,
            _ => answer_query(operation, &mut source, &mut sink, recording)?,
        }
        // A client that pipelines requests gets the answers together.
        if source.stream.stream.buffer().is_empty() {
            sink.stream.flush()?;
            let used = cpu_time();
            recording.count_cpu(used.saturating_sub(counted));
            counted = used;
        }
        source.stream.end_request();
        if text.capacity() > KEPT_BUFFER {
            text = Vec::new();
        }
    }
}

/// The CPU time that this thread has used.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap_or_default()
}

fn greet<R: Read, W: Write>(source: &mut Reader<'_, R>, sink: &mut Writer<W>) -> io::Result<()> {
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

fn add_text<R: Read, W: Write>(
    source: &mut Reader<'_, R>,
    sink: &mut Writer<W>,
    recording: &Recording,
    text: &mut Vec<u8>,
) -> io::Result<()> {
    let name = source.word()?;
    source.string(text, LONGEST_TEXT)?;
    let references = source.words()?;
    recording.request_counts.count(RequestKind::Text { is_derivation: name.ends_with(b".drv") });
    match recording.add_text(&name, text, &references) {
        Ok(path) => {
            sink.answer()?;
            sink.string(path.to_string().as_bytes())
        }
        Err(error) => sink.error(&error.to_string()),
    }
}

fn add_nar<R: Read, W: Write>(
    source: &mut Reader<'_, R>,
    sink: &mut Writer<W>,
    recording: &Recording,
) -> io::Result<()> {
    recording.request_counts.count(RequestKind::Tree);
    let name = source.word()?;
    source.integer()?; // obsolete
    let recursive = source.boolean()?;
    let algorithm = source.word()?;
    let archive = nar::read(&mut source.stream, LARGEST_NAR).map_err(|error| broken(&error.to_string()))?;
    match recording.add_nar(&name, recursive, &algorithm, archive) {
        Ok(path) => {
            sink.answer()?;
            sink.string(path.to_string().as_bytes())
        }
        Err(error) => sink.error(&error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;
    use std::thread;
    use std::time::Duration;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::recording::MOST_ARRIVING;
    use super::*;

    /// A part of a request.
    #[derive(Debug, Clone)]
    enum Part {
        Integer(u64),
        Text(Vec<u8>),
        Words(Vec<Vec<u8>>),
        Archive(Vec<u8>),
        Rubbish(Vec<u8>),
    }

    impl Part {
        fn push_to(&self, bytes: &mut Vec<u8>) {
            let mut sink = Sink { stream: bytes };
            match self {
                Self::Integer(number) => sink.integer(*number).unwrap(),
                Self::Text(text) => sink.string(text).unwrap(),
                Self::Words(words) => sink.strings(words).unwrap(),
                Self::Archive(contents) => sink.stream.extend(nar::of_file(contents)),
                Self::Rubbish(rubbish) => sink.stream.extend(rubbish),
            }
        }
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            Just(b"a-name".to_vec()),
            Just(b"a.drv".to_vec()),
            Just(b"sha256".to_vec()),
            Just(b"/gnu/store/00000000000000000000000000000000-x".to_vec()),
            Just(b"Derive([(\"out\",\"\",\"\",\"\")],[],[],\"x86_64-linux\",\"/bin/sh\",[],[])".to_vec()),
            vec(any::<u8>(), 0..40),
        ]
    }

    fn part() -> impl Strategy<Value = Part> {
        prop_oneof![
            prop_oneof![0..100_u64, any::<u64>()].prop_map(Part::Integer),
            text().prop_map(Part::Text),
            vec(text(), 0..4).prop_map(Part::Words),
            text().prop_map(Part::Archive),
            vec(any::<u8>(), 0..20).prop_map(Part::Rubbish),
        ]
    }

    /// A valid request, or the number of an operation followed by any parts.
    fn request() -> impl Strategy<Value = Vec<Part>> {
        let add_text = (text(), text(), vec(text(), 0..3)).prop_map(|(name, contents, references)| {
            vec![Part::Integer(8), Part::Text(name), Part::Text(contents), Part::Words(references)]
        });
        let add_file = (text(), any::<bool>(), text()).prop_map(|(name, recursive, contents)| {
            let algorithm = Part::Text(b"sha256".to_vec());
            let [add, unused, recursive] = [7, 1, u64::from(recursive)].map(Part::Integer);
            vec![add, Part::Text(name), unused, recursive, algorithm, Part::Archive(contents)]
        });
        let any = (0..90_u64, vec(part(), 0..5))
            .prop_map(|(operation, parts)| [vec![Part::Integer(operation)], parts].concat());
        prop_oneof![add_text, add_file, any]
    }

    fn stream(requests: &[Vec<Part>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for greeting in [MAGIC_CLIENT, VERSION, 0, 0] {
            Part::Integer(greeting).push_to(&mut bytes);
        }
        requests.iter().flatten().for_each(|part| part.push_to(&mut bytes));
        bytes
    }

    /// Serves a client that sends all of `said` and disconnects; returns the number of bytes of the
    /// answers.
    fn answers(recording: &Recording, said: &[u8]) -> usize {
        let (client, server) = UnixStream::pair().unwrap();
        for end in [&client, &server] {
            end.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        }
        thread::scope(|scope| {
            let serving = scope.spawn(move || serve(&server, &server, recording));
            scope.spawn(|| {
                // The client may be disconnected before it has sent everything.
                let _ = (&client).write_all(said);
                let _ = client.shutdown(Shutdown::Write);
            });
            let mut heard = Vec::new();
            // Answers that it has not read may be lost when it is disconnected.
            let _ = (&client).read_to_end(&mut heard);
            let result = serving.join().unwrap();
            let kind = result.map_err(|error| error.kind());
            assert!(!matches!(kind, Err(io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)), "it hangs");
            heard.len()
        })
    }

    proptest! {
        #[test]
        fn no_client_can_break_the_server(
            requests in vec(request(), 0..12),
            spoilt in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            cut in any::<prop::sample::Index>(),
            whole in any::<bool>(),
        ) {
            let recording = Recording::new(true, 1 << 20);
            let mut said = stream(&requests);
            for (at, byte) in spoilt {
                let at = at.index(said.len());
                said[at] = byte;
            }
            if !whole {
                said.truncate(cut.index(said.len()));
            }
            let heard = answers(&recording, &said);
            // No answer is much longer than the request, and nothing is kept that was not sent.
            prop_assert!(heard <= 64 + 64 * said.len());
            let (items, bytes) = recording.totals();
            prop_assert!(bytes <= said.len() && items <= said.len());
            prop_assert!(recording.drain().len() == items && recording.reserve_bytes(MOST_ARRIVING));
        }
    }

    #[test]
    fn a_length_is_not_believed_before_the_bytes_are_there() {
        let recording = Recording::new(true, 1 << 20);
        for operation in [1_u64, 7, 8, 9, 19, 31] {
            let parts = [operation, LONGEST_TEXT, LONGEST_TEXT].map(Part::Integer).to_vec();
            answers(&recording, &stream(&[parts]));
        }
        assert_eq!(recording.totals().0, 0);
    }

    #[test]
    fn what_many_send_at_a_time_is_bounded() {
        let recording = Recording::new(true, 1 << 30);
        assert!(recording.reserve_bytes(MOST_ARRIVING - (1 << 20)));
        let small = vec![
            Part::Integer(8),
            Part::Text(b"a".to_vec()),
            Part::Text(vec![1; 1000]),
            Part::Words(Vec::new()),
        ];
        let mut large = small.clone();
        large[2] = Part::Text(vec![1; 4 << 20]);
        answers(&recording, &stream(&[small.clone(), large.clone(), small.clone()]));
        assert_eq!(recording.totals().0, 1);
        recording.release_bytes(MOST_ARRIVING - (1 << 20));
        answers(&recording, &stream(&[small, large]));
        assert_eq!(recording.totals().0, 2);
    }
}
