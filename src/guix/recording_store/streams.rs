//! What a client says, and what it is answered.

use std::io::{self, BufReader, BufWriter, Read};

use super::recording::Recording;
use crate::guix::daemon::wire::{Sink, Source, broken};

/// So many bytes go unnoticed before they are counted.
const UNCOUNTED: usize = 64 << 10;

/// What a client says.
pub(super) type Reader<'a, R> = Source<Metered<'a, R>>;
/// What it is answered.
pub(super) type Writer<W> = Sink<BufWriter<W>>;

/// Reads from a client, and counts what its request takes: many clients with large requests at a
/// time must not take all memory.
pub(super) struct Metered<'a, R> {
    pub(super) stream: BufReader<R>,
    pub(super) memory: &'a Recording,
    pub(super) counted: usize,
    pub(super) uncounted: usize,
}

impl<R> Metered<'_, R> {
    /// The request has been dealt with.
    pub(super) fn settle(&mut self) {
        self.memory.arrived(std::mem::take(&mut self.counted));
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
            if !self.memory.register(bytes) {
                return Err(broken("more than can be taken at a time"));
            }
        }
        Ok(count)
    }
}

impl<R> Drop for Metered<'_, R> {
    fn drop(&mut self) {
        self.settle();
    }
}
