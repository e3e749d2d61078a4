//! NAR, the archive format of store items: strings with a 64-bit length, padded to eight bytes, in
//! a fixed grammar. See `guix/serialization.scm` of any Guix.

use std::io::{self, Read};
use std::ops::Range;

/// The deepest nesting of directories that is accepted.
const DEEPEST: usize = 256;
/// The longest keyword, file name or link target, in bytes.
const LONGEST_WORD: u64 = 4096;

/// Why an archive was refused.
#[derive(Debug, thiserror::Error)]
pub enum NarError {
    /// The stream broke off.
    #[error("cannot read the archive: {0}")]
    Broken(#[from] io::Error),
    /// Something other than the expected string was found.
    #[error("at byte {at} of the archive: expected {expected}")]
    Unexpected {
        /// Offset of the string that is wrong.
        at: usize,
        /// What the grammar requires there.
        expected: &'static str,
    },
    /// It exceeds the reader's limit.
    #[error("the archive is larger than {0} bytes")]
    TooLarge(usize),
}

/// Reads one archive from a stream that continues after it; returns the archive's bytes.
pub fn read(stream: &mut impl Read, limit: usize) -> Result<Vec<u8>, NarError> {
    let mut reader = Reader { stream, bytes: Vec::new(), limit };
    reader.keyword(b"nix-archive-1")?;
    let mut directories: Vec<Option<Vec<u8>>> = Vec::new();
    loop {
        reader.keyword(b"(")?;
        reader.keyword(b"type")?;
        let (at, kind) = reader.word()?;
        let mut complete = true;
        match reader.slice(&kind) {
            b"regular" => reader.regular()?,
            b"symlink" => {
                reader.keyword(b"target")?;
                reader.word()?;
                reader.keyword(b")")?;
            }
            b"directory" if directories.len() < DEEPEST => {
                directories.push(None);
                complete = false;
            }
            b"directory" => return Err(NarError::Unexpected { at, expected: "less deep directories" }),
            _ => return Err(NarError::Unexpected { at, expected: "a kind of file" }),
        }
        loop {
            let Some(previous) = directories.last_mut() else { return Ok(reader.bytes) };
            if complete {
                reader.keyword(b")")?;
            }
            if reader.entry(previous)? {
                break;
            }
            directories.pop();
            complete = true;
        }
    }
}

/// The contents of an archive of a single file that is not executable.
pub fn single_file(archive: &[u8]) -> Option<&[u8]> {
    let range = single_file_range(archive)?;
    archive.get(usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?)
}

/// The range of these contents in the archive, which begins with `head`.
pub fn single_file_range(head: &[u8]) -> Option<Range<u64>> {
    let mut rest = head;
    for word in [&b"nix-archive-1"[..], b"(", b"type", b"regular", b"contents"] {
        rest = rest.strip_prefix(&word_bytes(word)[..])?;
    }
    let (length, rest) = rest.split_first_chunk::<8>()?;
    let start = (head.len() - rest.len()) as u64;
    Some(start..start.checked_add(u64::from_le_bytes(*length))?)
}

/// Makes an archive of a single file that is not executable.
pub fn of_file(contents: &[u8]) -> Vec<u8> {
    let (head, tail) = frame(contents.len() as u64);
    [&head, contents, &tail].concat()
}

/// The parts of an archive before and after the contents of a single, not executable file of this
/// length.
pub fn frame(length: u64) -> (Vec<u8>, Vec<u8>) {
    let mut head = Vec::with_capacity(128);
    for word in [&b"nix-archive-1"[..], b"(", b"type", b"regular", b"contents"] {
        head.extend(word_bytes(word));
    }
    head.extend(length.to_le_bytes());
    let padding = usize::try_from(length.wrapping_neg() % 8).unwrap_or_default();
    let mut tail = vec![0; padding];
    tail.extend(word_bytes(b")"));
    (head, tail)
}

fn word_bytes(word: &[u8]) -> Vec<u8> {
    let mut bytes = (word.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(word);
    bytes.resize(8 + word.len().next_multiple_of(8), 0);
    bytes
}

struct Reader<'a, R> {
    stream: &'a mut R,
    bytes: Vec<u8>,
    limit: usize,
}

impl<R: Read> Reader<'_, R> {
    /// Reads `count` more bytes from the stream. Memory grows only with what actually arrives.
    fn take(&mut self, count: u64) -> Result<std::ops::Range<usize>, NarError> {
        let start = self.bytes.len();
        if count > (self.limit - start.min(self.limit)) as u64 {
            return Err(NarError::TooLarge(self.limit));
        }
        let taken = self.stream.by_ref().take(count).read_to_end(&mut self.bytes)?;
        if taken as u64 != count {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(start..self.bytes.len())
    }

    fn slice(&self, range: &std::ops::Range<usize>) -> &[u8] {
        &self.bytes[range.clone()]
    }

    fn string(&mut self, longest: u64) -> Result<(usize, std::ops::Range<usize>), NarError> {
        let at = self.bytes.len();
        let header = self.take(8)?;
        let mut length = [0; 8];
        length.copy_from_slice(self.slice(&header));
        let length = u64::from_le_bytes(length);
        if length > longest {
            return Err(NarError::Unexpected { at, expected: "a shorter string" });
        }
        let range = self.take(length)?;
        let padding = self.take((8 - length % 8) % 8)?;
        if self.slice(&padding).iter().any(|byte| *byte != 0) {
            return Err(NarError::Unexpected { at, expected: "padding with zeros" });
        }
        Ok((at, range))
    }

    fn word(&mut self) -> Result<(usize, std::ops::Range<usize>), NarError> {
        self.string(LONGEST_WORD)
    }

    fn keyword(&mut self, wanted: &'static [u8]) -> Result<(), NarError> {
        let (at, range) = self.word()?;
        if self.slice(&range) == wanted {
            Ok(())
        } else {
            Err(NarError::Unexpected { at, expected: std::str::from_utf8(wanted).unwrap_or("a keyword") })
        }
    }

    fn regular(&mut self) -> Result<(), NarError> {
        let (mut at, mut range) = self.word()?;
        if self.slice(&range) == b"executable" {
            self.keyword(b"")?;
            (at, range) = self.word()?;
        }
        if self.slice(&range) != b"contents" {
            return Err(NarError::Unexpected { at, expected: "contents" });
        }
        self.string(u64::MAX)?;
        self.keyword(b")")
    }

    /// Reads the beginning of a directory's next entry; false at the end of the directory.
    fn entry(&mut self, previous: &mut Option<Vec<u8>>) -> Result<bool, NarError> {
        let (at, range) = self.word()?;
        match self.slice(&range) {
            b")" => return Ok(false),
            b"entry" => {}
            _ => return Err(NarError::Unexpected { at, expected: "an entry" }),
        }
        self.keyword(b"(")?;
        self.keyword(b"name")?;
        let (at, range) = self.word()?;
        let name = self.slice(&range).to_vec();
        let hostile =
            name.is_empty() || name == b"." || name == b".." || name.iter().any(|b| b"/\0".contains(b));
        if hostile || previous.as_ref().is_some_and(|previous| *previous >= name) {
            return Err(NarError::Unexpected { at, expected: "file names in order" });
        }
        *previous = Some(name);
        self.keyword(b"node")?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn directory(entries: &[(&[u8], Vec<u8>)]) -> Vec<u8> {
        let mut node: Vec<u8> =
            [&b"("[..], b"type", b"directory"].iter().flat_map(|w| word_bytes(w)).collect();
        for (name, child) in entries {
            for word in [&b"entry"[..], b"(", b"name", name, b"node"] {
                node.extend(word_bytes(word));
            }
            node.extend(child);
            node.extend(word_bytes(b")"));
        }
        node.extend(word_bytes(b")"));
        node
    }

    fn archive(node: &[u8]) -> Vec<u8> {
        [&word_bytes(b"nix-archive-1"), node].concat()
    }

    fn file(contents: &[u8]) -> Vec<u8> {
        of_file(contents)[word_bytes(b"nix-archive-1").len()..].to_vec()
    }

    #[test]
    fn an_archive_ends_where_it_ends() {
        let inner = directory(&[(b"x", file(b"1")), (b"y", directory(&[]))]);
        let good = archive(&directory(&[(b"a", file(b"one")), (b"b", inner), (b"c", file(b""))]));
        let mut stream = [good.clone(), b"next request".to_vec()].concat();
        let mut cursor = io::Cursor::new(&mut stream);
        assert_eq!(read(&mut cursor, 1 << 20).unwrap(), good);
        assert_eq!(cursor.position(), good.len() as u64);
    }

    #[test]
    fn hostile_archives_are_refused() {
        let unordered = directory(&[(b"b", file(b"")), (b"a", file(b""))]);
        let twice = directory(&[(b"a", file(b"")), (b"a", file(b""))]);
        let upward = directory(&[(b"..", file(b""))]);
        let slash = directory(&[(b"a/b", file(b""))]);
        let mut deep = directory(&[]);
        for _ in 0..DEEPEST {
            deep = directory(&[(b"d", deep)]);
        }
        for node in [unordered, twice, upward, slash, deep] {
            let bytes = archive(&node);
            assert!(matches!(read(&mut &bytes[..], 1 << 20), Err(NarError::Unexpected { .. })));
        }
        let huge = [archive(b""), word_bytes(b"("), u64::MAX.to_le_bytes().to_vec()].concat();
        assert!(read(&mut &huge[..], 1 << 20).is_err());
        assert!(matches!(read(&mut &of_file(&[7; 4096])[..], 1000), Err(NarError::TooLarge(1000))));
    }

    proptest! {
        #[test]
        fn a_file_survives_the_journey(contents: Vec<u8>) {
            let archive = of_file(&contents);
            prop_assert_eq!(&read(&mut &archive[..], 1 << 20).unwrap(), &archive);
            prop_assert_eq!(single_file(&archive), Some(&contents[..]));
        }

        #[test]
        fn no_bytes_crash_the_reader(bytes: Vec<u8>, cut in 0_usize..400) {
            let _ = read(&mut &bytes[..], 1 << 16);
            let good = archive(&directory(&[(b"a", file(b"one")), (b"b", directory(&[]))]));
            prop_assert!(read(&mut &good[..cut.min(good.len() - 1)], 1 << 16).is_err());
        }
    }
}
