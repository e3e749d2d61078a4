//! Large store items are unpacked piece by piece, so that serving one takes little memory.

use std::collections::BTreeSet;
use std::io::{self, Cursor, Read};

use sha2::{Digest as _, Sha256};

use super::item::name_of_nar;
use crate::store::nar;
use crate::store::path::StorePath;

/// How much is read at a time, in bytes.
const PIECE: usize = 64 << 10;

/// An archive in its pack.
#[derive(Debug)]
pub struct PackedItem {
    pub(super) packed: Vec<u8>,
    pub(super) start: u64,
    /// Its length in bytes.
    pub length: u64,
    pub(super) refs: Vec<String>,
}

/// What unpacks it.
pub struct Pieces {
    unpacked: Box<dyn Read + Send>,
    left: u64,
}

impl PackedItem {
    /// The SHA-256 of the archive, if its contents are those that `path` names.
    pub fn hash(&self, path: &StorePath) -> io::Result<Option<[u8; 32]>> {
        let mut unpacked = unpacked(&self.packed[..], self.start)?.take(self.length);
        let (mut whole, mut file) = (Sha256::new(), Sha256::new());
        let (mut buffer, mut at) = (vec![0; PIECE], 0);
        let mut range = None;
        loop {
            let count = fill(&mut unpacked, &mut buffer)?;
            let piece = &buffer[..count];
            if at == 0 {
                range = nar::single_file_range(piece);
            }
            if count == 0 {
                break;
            }
            whole.update(piece);
            if let Some(range) = &range {
                let inside = |end: u64| usize::try_from(end.saturating_sub(at)).unwrap_or(count).min(count);
                file.update(&piece[inside(range.start)..inside(range.end)]);
            }
            at += count as u64;
        }
        let hash = whole.finalize().into();
        let file = range.map(|_| file.finalize().into());
        let is_intact = at == self.length && name_of_nar(path, &hash, file).is_ok_and(|found| found == *path);
        Ok(is_intact.then_some(hash))
    }

    /// Base names of what it refers to, sorted.
    pub fn references(&self) -> Vec<String> {
        let references: BTreeSet<&String> = self.refs.iter().collect();
        references.into_iter().cloned().collect()
    }

    /// Unpacks it.
    pub fn pieces(self) -> io::Result<Pieces> {
        let unpacked = unpacked(Cursor::new(self.packed), self.start)?;
        Ok(Pieces { unpacked: Box::new(unpacked), left: self.length })
    }
}

impl Pieces {
    /// Those of something that is unpacked already.
    pub fn of(contents: Vec<u8>) -> Self {
        let left = contents.len() as u64;
        Self { unpacked: Box::new(Cursor::new(contents)), left }
    }

    /// The next piece; an empty one is the end.
    pub fn next_piece(&mut self) -> io::Result<Vec<u8>> {
        let mut piece = vec![0; PIECE.min(usize::try_from(self.left).unwrap_or(PIECE))];
        self.unpacked.read_exact(&mut piece)?;
        self.left -= piece.len() as u64;
        Ok(piece)
    }
}

/// What comes after `start` in a pack.
fn unpacked<R: io::BufRead>(packed: R, start: u64) -> io::Result<zstd::Decoder<'static, R>> {
    let mut unpacked = zstd::Decoder::with_buffer(packed)?;
    io::copy(&mut unpacked.by_ref().take(start), &mut io::sink())?;
    Ok(unpacked)
}

/// Reads until the buffer is full, or nothing is left.
fn fill(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::compress;

    /// An archive behind something else in its pack.
    fn packed(archive: &[u8]) -> PackedItem {
        let contents = [b"other", archive].concat();
        let packed = compress(&contents, 3).unwrap();
        PackedItem { packed, start: 5, length: archive.len() as u64, refs: Vec::new() }
    }

    #[test]
    fn a_large_item_is_checked_and_unpacked_piece_by_piece() {
        let words: Vec<u8> = (0..1_000_003u32).flat_map(u32::to_le_bytes).collect();
        let archive = nar::of_file(&words);
        let hash: [u8; 32] = Sha256::digest(&archive).into();
        let tree = StorePath::of_source(b"tree", &hash).unwrap();
        let file = StorePath::of_fixed(b"file", "sha256", &Sha256::digest(&words), false).unwrap();
        let other = StorePath::of_source(b"other", &[0; 32]).unwrap();
        for (path, expected) in [(tree, Some(hash)), (file, Some(hash)), (other, None)] {
            assert_eq!(packed(&archive).hash(&path).unwrap(), expected, "{path}");
        }
        let mut pieces = packed(&archive).pieces().unwrap();
        let mut whole = Vec::new();
        loop {
            let piece = pieces.next_piece().unwrap();
            if piece.is_empty() {
                break;
            }
            whole.extend(piece);
        }
        assert!(whole == archive);
    }

    #[test]
    fn a_pack_that_is_too_short_is_noticed() {
        let archive = nar::of_file(&[7; 1000]);
        let path = StorePath::of_source(b"tree", &Sha256::digest(&archive).into()).unwrap();
        let longer = PackedItem { length: 5000, ..packed(&archive) };
        assert_eq!(longer.hash(&path).unwrap(), None);
        assert!(longer.pieces().unwrap().next_piece().is_err());
    }
}
