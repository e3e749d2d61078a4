//! The daemon's wire format: 64-bit little-endian integers; strings with length and padding.
//! See `guix/store.scm` and `guix/serialization.scm` of any Guix.

use std::io::{self, Read, Write};

/// First integer from the client.
pub(crate) const MAGIC_CLIENT: u64 = 0x6e69_7863;
/// First integer from the server.
pub(crate) const MAGIC_SERVER: u64 = 0x6478_696f;
/// The protocol version of the recording store, major in the upper byte.
pub(crate) const VERSION: u64 = 0x164;
/// Ends the log frames before an answer.
pub(crate) const STDERR_LAST: u64 = 0x616c_7473;
/// The frame that reports an error instead of an answer.
pub(crate) const STDERR_ERROR: u64 = 0x6378_7470;

/// A violation of the protocol.
pub(crate) fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// The reading side of a connection.
#[derive(Debug)]
pub(crate) struct Source<R> {
    pub(crate) stream: R,
}

impl<R: Read> Source<R> {
    pub(crate) fn integer(&mut self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.stream.read_exact(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    pub(crate) fn boolean(&mut self) -> io::Result<bool> {
        Ok(self.integer()? != 0)
    }

    /// Reads a string of at most `longest` bytes into `buffer`.
    pub(crate) fn string(&mut self, buffer: &mut Vec<u8>, longest: u64) -> io::Result<()> {
        let length = self.integer()?;
        if length > longest {
            return Err(broken("a string that is too long"));
        }
        buffer.clear();
        let padded = length.next_multiple_of(8);
        let taken = self.stream.by_ref().take(padded).read_to_end(buffer)?;
        if taken as u64 != padded {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer.truncate(usize::try_from(length).map_err(|_| broken("a string that is too long"))?);
        Ok(())
    }

    /// Reads a short string, such as a path or a name.
    pub(crate) fn word(&mut self) -> io::Result<Vec<u8>> {
        let mut buffer = Vec::new();
        self.string(&mut buffer, 4096)?;
        Ok(buffer)
    }

    /// Reads a list of short strings.
    pub(crate) fn words(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let count = self.integer()?;
        if count > 1 << 17 {
            return Err(broken("a list that is too long"));
        }
        (0..count).map(|_| self.word()).collect()
    }
}

/// The writing side of a connection.
#[derive(Debug)]
pub(crate) struct Sink<W> {
    pub(crate) stream: W,
}

impl<W: Write> Sink<W> {
    pub(crate) fn integer(&mut self, number: u64) -> io::Result<()> {
        self.stream.write_all(&number.to_le_bytes())
    }

    pub(crate) fn string(&mut self, text: &[u8]) -> io::Result<()> {
        self.integer(text.len() as u64)?;
        self.stream.write_all(text)?;
        self.stream.write_all(&[0; 8][..(8 - text.len() % 8) % 8])
    }

    pub(crate) fn strings<T: AsRef<[u8]>>(&mut self, texts: &[T]) -> io::Result<()> {
        self.integer(texts.len() as u64)?;
        texts.iter().try_for_each(|text| self.string(text.as_ref()))
    }

    /// Tells the client that a result follows.
    pub(crate) fn answer(&mut self) -> io::Result<()> {
        self.integer(STDERR_LAST)
    }

    /// Reports an error. The connection stays open.
    pub(crate) fn error(&mut self, message: &str) -> io::Result<()> {
        self.integer(STDERR_ERROR)?;
        self.string(message.as_bytes())?;
        self.integer(1)
    }
}
