//! Unpacks large store items piece by piece, so that serving one takes little memory.

use std::collections::BTreeSet;
use std::io::{self, Cursor, Read};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::db::StoredItem;
use crate::db::store::item_kind::ItemKind;
use crate::db::store::path::{name_of_nar, name_of_text};
use crate::guix::nar;
use crate::guix::store_path::StorePath;

/// Bytes to read at a time.
const PIECE: usize = 64 << 10;

/// Most bytes to reserve for a derivation in advance, whatever its recorded length.
const LARGEST_DERIVATION: u64 = 64 << 20;

/// A compressed pack, shared by all its readers.
#[derive(Debug, Clone)]
pub struct Packed(Arc<Vec<u8>>);

/// An item in its pack.
#[derive(Debug)]
pub struct PackedItem {
    /// The whole pack.
    pub packed: Packed,
    pub(in crate::db) start: u64,
    pub(in crate::db) length: u64,
    pub(in crate::db) kind: ItemKind,
    pub(in crate::db) refs: Vec<String>,
}

/// Unpacks the NAR of an item piece by piece.
pub struct Pieces {
    unpacked: Box<dyn Read + Send>,
    left: u64,
}

impl Packed {
    pub(in crate::db) fn new(bytes: Vec<u8>) -> Self {
        Self(Arc::new(bytes))
    }
}

impl AsRef<[u8]> for Packed {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl PackedItem {
    /// The SHA-256 hash of the item's NAR and the NAR's length, if the contents match `path`.
    pub fn check(&mut self, path: &StorePath) -> io::Result<Option<([u8; 32], u64)>> {
        if self.kind == ItemKind::Text && path.derivation_name().is_some() {
            return self.check_derivation(path);
        }
        let mut unpacked = unpacked(self.packed.as_ref(), self.start)?.take(self.length);
        let (head, tail) = self.kind.frame(self.length);
        let (mut whole, mut file) = (Sha256::new_with_prefix(&head), Sha256::new());
        let (mut buffer, mut at) = (vec![0; PIECE], 0);
        let mut range = (self.kind == ItemKind::Text).then_some(0..self.length);
        loop {
            let count = fill(&mut unpacked, &mut buffer)?;
            let piece = &buffer[..count];
            if at == 0 && self.kind == ItemKind::Nar {
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
        let hash = whole.chain_update(&tail).finalize().into();
        let file = file.finalize().into();
        let found = match self.kind {
            ItemKind::Text => name_of_text(path.name(), &file, self.refs.iter().map(String::as_str)),
            ItemKind::Nar => name_of_nar(path, &hash, range.map(|_| file)),
        };
        let is_intact = at == self.length && found.is_ok_and(|found| found == *path);
        Ok(is_intact.then_some((hash, (head.len() + tail.len()) as u64 + at)))
    }

    /// Does the same for a derivation. Its references are in its text, so all of it is unpacked for
    /// a moment.
    fn check_derivation(&mut self, path: &StorePath) -> io::Result<Option<([u8; 32], u64)>> {
        let likely = self.length.min(LARGEST_DERIVATION);
        let mut contents = Vec::with_capacity(usize::try_from(likely).unwrap_or_default());
        unpacked(self.packed.as_ref(), self.start)?.take(self.length).read_to_end(&mut contents)?;
        let (name, refs) = (path.name().to_owned(), std::mem::take(&mut self.refs));
        let item = StoredItem { name, kind: self.kind, refs, contents };
        if item.contents.len() as u64 != self.length || !item.is_intact(path) {
            return Ok(None);
        }
        self.refs = item.references(path);
        Ok(Some(item.nar_hash()))
    }

    /// Base names of the item's references, sorted; of a derivation, only after the check.
    pub fn references(&self) -> Vec<String> {
        let references: BTreeSet<&String> = self.refs.iter().collect();
        references.into_iter().cloned().collect()
    }

    /// Starts to unpack the item.
    pub fn pieces(self) -> io::Result<Pieces> {
        let unpacked = unpacked(Cursor::new(self.packed), self.start)?;
        Ok(Pieces::new(self.kind, self.length, unpacked))
    }
}

impl Pieces {
    fn new(kind: ItemKind, length: u64, contents: impl Read + Send + 'static) -> Self {
        let (head, tail) = kind.frame(length);
        let left = (head.len() + tail.len()) as u64 + length;
        let nar = Cursor::new(head).chain(contents.take(length)).chain(Cursor::new(tail));
        Self { unpacked: Box::new(nar), left }
    }

    /// The pieces of an item that is unpacked already.
    pub fn of(item: StoredItem) -> Self {
        Self::new(item.kind, item.contents.len() as u64, Cursor::new(item.contents))
    }

    /// The next piece; an empty one marks the end.
    pub fn next_piece(&mut self) -> io::Result<Vec<u8>> {
        let mut piece = vec![0; PIECE.min(usize::try_from(self.left).unwrap_or(PIECE))];
        self.unpacked.read_exact(&mut piece)?;
        self.left -= piece.len() as u64;
        Ok(piece)
    }
}

/// A decoder of a pack, positioned at `start`.
fn unpacked<R: io::BufRead>(packed: R, start: u64) -> io::Result<zstd::Decoder<'static, R>> {
    let mut unpacked = zstd::Decoder::with_buffer(packed)?;
    io::copy(&mut unpacked.by_ref().take(start), &mut io::sink())?;
    Ok(unpacked)
}

/// Reads until the buffer is full or the source ends.
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

    /// An item after other contents in its pack.
    fn packed(kind: ItemKind, item: &[u8], refs: &[String]) -> PackedItem {
        let contents = [b"other", item].concat();
        let packed = Packed::new(compress(&contents, 3).unwrap());
        PackedItem { packed, start: 5, length: item.len() as u64, kind, refs: refs.to_vec() }
    }

    /// All pieces of an item together.
    fn nar_of(item: PackedItem) -> Vec<u8> {
        let (mut pieces, mut nar) = (item.pieces().unwrap(), Vec::new());
        loop {
            let piece = pieces.next_piece().unwrap();
            if piece.is_empty() {
                return nar;
            }
            nar.extend(piece);
        }
    }

    fn summary(nar: &[u8]) -> ([u8; 32], u64) {
        (Sha256::digest(nar).into(), nar.len() as u64)
    }

    #[test]
    fn a_large_item_is_checked_and_unpacked_piece_by_piece() {
        let words: Vec<u8> = (0..1_000_003u32).flat_map(u32::to_le_bytes).collect();
        let archive = nar::of_file(&words);
        let hash: [u8; 32] = Sha256::digest(&archive).into();
        let tree = StorePath::of_source(b"tree", &hash).unwrap();
        let file = StorePath::of_fixed(b"file", "sha256", &Sha256::digest(&words), false).unwrap();
        let other = StorePath::of_source(b"other", &[0; 32]).unwrap();
        let all = Some(summary(&archive));
        for (path, expected) in [(tree, all), (file, all), (other, None)] {
            let mut item = packed(ItemKind::Nar, &archive, &[]);
            assert_eq!(item.check(&path).unwrap(), expected, "{path}");
        }
        assert!(nar_of(packed(ItemKind::Nar, &archive, &[])) == archive);
    }

    #[test]
    fn so_is_a_large_text_and_what_a_derivation_refers_to_is_found() {
        let source = StorePath::of_source(b"source", &[7; 32]).unwrap();
        let refs = [source.to_string()];
        let words = vec![b'x'; 200_003];
        let argument = "y".repeat(100_000);
        let derivation = format!("Derive([],[],[\"{source}\"],\"s\",\"b\",[\"{argument}\"],[])").into_bytes();
        for (name, text, stored) in [("text", words, &[source.base_name()][..]), ("x.drv", derivation, &[])] {
            let path = StorePath::of_text(name.as_bytes(), &text, &refs).unwrap();
            let archive = nar::of_file(&text);
            let mut item = packed(ItemKind::Text, &text, stored);
            assert_eq!(item.check(&path).unwrap(), Some(summary(&archive)), "{name}");
            assert_eq!(item.references(), [source.base_name()], "{name}");
            assert!(nar_of(item) == archive, "{name}");
            let other = StorePath::of_text(name.as_bytes(), b"other", &refs).unwrap();
            assert_eq!(packed(ItemKind::Text, &text, stored).check(&other).unwrap(), None, "{name}");
        }
    }

    #[test]
    fn a_pack_that_is_too_short_is_noticed() {
        let archive = nar::of_file(&[7; 1000]);
        let path = StorePath::of_source(b"tree", &Sha256::digest(&archive).into()).unwrap();
        let longer = || PackedItem { length: 5000, ..packed(ItemKind::Nar, &archive, &[]) };
        assert_eq!(longer().check(&path).unwrap(), None);
        assert!(longer().pieces().unwrap().next_piece().is_err());
    }
}
