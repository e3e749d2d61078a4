//! The output of builders, kept in a file. If it is too long, only its beginning and its end are
//! kept.

use std::collections::VecDeque;
use std::io::{self, Write};

/// A log of at most twice `half` bytes, plus one line that says how much is left out.
#[derive(Debug)]
pub struct Log<W: Write> {
    file: W,
    half: usize,
    begun: usize,
    end: VecDeque<u8>,
    left_out: u64,
}

impl<W: Write> Log<W> {
    /// A log of at most `most` bytes.
    pub fn new(file: W, most: u64) -> Self {
        let half = usize::try_from(most / 2).unwrap_or(usize::MAX);
        Self { file, half, begun: 0, end: VecDeque::new(), left_out: 0 }
    }

    /// Takes the next part of the output.
    pub fn take(&mut self, text: &[u8]) -> io::Result<()> {
        let (beginning, rest) = text.split_at(text.len().min(self.half - self.begun));
        self.file.write_all(beginning)?;
        self.begun += beginning.len();
        self.end.extend(rest);
        let too_much = self.end.len().saturating_sub(self.half);
        self.end.drain(..too_much);
        self.left_out += too_much as u64;
        Ok(())
    }

    /// Ends the log: writes the end of the output, which has been in memory until now.
    pub fn finish(&mut self) -> io::Result<()> {
        if self.left_out > 0 {
            write!(self.file, "\n[{} bytes omitted]\n", self.left_out)?;
        }
        let (one, other) = self.end.as_slices();
        self.file.write_all(one)?;
        self.file.write_all(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(pieces: &[&[u8]]) -> String {
        let mut log = Log::new(Vec::new(), 10);
        for piece in pieces {
            log.take(piece).unwrap();
        }
        log.finish().unwrap();
        String::from_utf8(log.file).unwrap()
    }

    #[test]
    fn of_a_long_log_beginning_and_end_are_kept() {
        assert_eq!(kept(&[b"abc", b"def", b"ghij"]), "abcdefghij");
        assert_eq!(kept(&[b"abc", b"defg", b"hijkl", b"m"]), "abcde\n[3 bytes omitted]\nijklm");
        assert_eq!(kept(&[b"abcdefghijklmnopqrstuvwxyz"]), "abcde\n[16 bytes omitted]\nvwxyz");
    }
}
