//! The input and output of a connection.

use std::io::{self, BufReader, BufWriter, Read};

use super::recording::Recording;
use crate::guix::daemon::wire::{Sink, Source, broken};

/// A request of up to this many bytes is not counted.
const UNCOUNTED: usize = 64 << 10;

/// The requests of a client.
pub(super) type Reader<'a, R> = Source<Metered<'a, R>>;
/// The answers to a client.
pub(super) type Writer<W> = Sink<BufWriter<W>>;

/// Reads from a client, and counts the bytes of its request: many concurrent clients with large
/// requests must not exhaust memory.
pub(super) struct Metered<'a, R> {
    pub(super) stream: BufReader<R>,
    pub(super) recording: &'a Recording,
    pub(super) counted: usize,
    pub(super) uncounted: usize,
}

impl<R> Metered<'_, R> {
    /// Ends the count of a request, which is finished.
    pub(super) fn end_request(&mut self) {
        self.recording.release_bytes(std::mem::take(&mut self.counted));
        self.uncounted = 0;
    }
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        self.uncounted += count;
        if self.uncounted > UNCOUNTED {
            let bytes = std::mem::take(&mut self.uncounted);
            self.counted += bytes;
            if !self.recording.reserve_bytes(bytes) {
                return Err(broken("more than can be taken at a time"));
            }
        }
        Ok(count)
    }
}

impl<R> Drop for Metered<'_, R> {
    fn drop(&mut self) {
        self.end_request();
    }
}
