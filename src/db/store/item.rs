//! Store items. They are compressed in packs, found by the hash of their store path, and checked
//! against that path before they are served.

use std::collections::{HashSet, VecDeque};
use std::io::{self, Read as _};
use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::db::store::item_kind::ItemKind;
use crate::db::store::packed::{Packed, PackedItem};
use crate::db::store::path::{nar_path, text_path};
use crate::db::{Db, Error, Result, rows};
use crate::guix::derivation::Derivation;
use crate::guix::nar;
use crate::guix::store_path::StorePath;

/// A store item that an evaluation added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredItem {
    /// The rest of its store path, after the hash.
    pub name: String,
    /// The kind of `contents`.
    pub kind: ItemKind,
    /// Base names of the store items that it refers to.
    pub refs: Vec<String>,
    /// The contents of the item.
    pub contents: Vec<u8>,
}

impl StoredItem {
    /// Base names of the references of the item at `path`, sorted. Those of a derivation include
    /// its inputs and sources.
    pub fn references(&self, path: &StorePath) -> Vec<String> {
        let mut references = self.refs.clone();
        if path.derivation_name().is_some()
            && let Ok(derivation) = Derivation::parse(&self.contents)
        {
            let inputs = derivation.inputs.iter().map(|(path, _)| path).chain(&derivation.sources);
            let base_names = inputs.filter_map(|path| Some(StorePath::parse(path).ok()?.base_name()));
            references.extend(base_names);
        }
        references.sort_unstable();
        references.dedup();
        references
    }

    /// The SHA-256 hash of its NAR, and the length of the NAR.
    pub fn nar_hash(&self) -> ([u8; 32], u64) {
        let length = self.contents.len() as u64;
        let (head, tail) = self.kind.frame(length);
        let hash = Sha256::new_with_prefix(&head).chain_update(&self.contents).chain_update(&tail);
        (hash.finalize().into(), (head.len() + tail.len()) as u64 + length)
    }

    /// The item's NAR.
    pub fn into_nar(self) -> Vec<u8> {
        match self.kind {
            ItemKind::Text => nar::of_file(&self.contents),
            ItemKind::Nar => self.contents,
        }
    }

    /// Whether the contents match `path`. Bits can flip on disk or in memory.
    pub fn is_intact(&self, path: &StorePath) -> bool {
        let name = path.name();
        let found = match self.kind {
            ItemKind::Text => text_path(name, &self.contents, self.refs.iter().map(String::as_str)),
            ItemKind::Nar => nar_path(path, &self.contents),
        };
        found.is_ok_and(|found| found == *path)
    }
}

type Row = (String, ItemKind, String, i64, i64, i64);

/// Most bytes of unpacked packs in the cache. Clients that fetch one item go on to its neighbours.
const KEPT: usize = 96 << 20;
/// Items with more bytes than this are unpacked piece by piece.
const LARGE: u64 = 1 << 20;
/// Most bytes of a pack in the cache.
const LARGEST_KEPT: usize = 4 << 20;

/// A cache of the packs that were used last, each unpacked as far as it was used. The latest is at
/// the end.
#[derive(Debug, Default)]
pub(in crate::db) struct Unpacked(VecDeque<(i64, Arc<Vec<u8>>)>);

impl Unpacked {
    fn find(&mut self, id: i64) -> Option<Arc<Vec<u8>>> {
        let place = self.0.iter().position(|(kept, _)| *kept == id)?;
        let found = self.0.remove(place)?;
        let contents = Arc::clone(&found.1);
        self.0.push_back(found);
        Some(contents)
    }

    fn keep(&mut self, id: i64, contents: &Arc<Vec<u8>>) {
        if contents.len() > LARGEST_KEPT {
            return;
        }
        self.0.retain(|(kept, longer)| *kept != id || longer.len() > contents.len());
        if self.find(id).is_some() {
            return;
        }
        self.0.push_back((id, Arc::clone(contents)));
        let mut kept: usize = self.0.iter().map(|(_, contents)| contents.len()).sum();
        while kept > KEPT
            && let Some((_, oldest)) = self.0.pop_front()
        {
            kept -= oldest.len();
        }
    }
}

/// The location of a store item.
#[derive(Debug, Clone)]
pub struct ItemPlace {
    hash: String,
    /// The rest of its store path, after the hash.
    pub name: String,
    /// The kind of its contents.
    pub kind: ItemKind,
    refs: Vec<String>,
    /// The number of its pack, which is never reused.
    pub pack: i64,
    start: u64,
    /// The length of its contents, in bytes.
    pub length: u64,
}

impl ItemPlace {
    /// Whether serving it whole would take much memory, for the item itself or for what precedes it
    /// in its pack.
    pub fn is_large(&self) -> bool {
        self.length > LARGE || self.end() > LARGEST_KEPT
    }

    /// Whether it is a derivation, judged by its name.
    pub fn is_derivation(&self) -> bool {
        self.kind == ItemKind::Text && self.name.strip_suffix(".drv").is_some()
    }

    fn end(&self) -> usize {
        usize::try_from(self.start.saturating_add(self.length)).unwrap_or(usize::MAX)
    }

    fn damaged(&self, reason: &str) -> Error {
        let what = format!("the store item {}-{}", self.hash, self.name);
        Error::Damaged { what, reason: reason.to_owned() }
    }
}

impl Db {
    /// The store item with this hash in its path, unpacked.
    pub async fn item(&self, hash: &str) -> Result<Option<StoredItem>> {
        // The item may move to another pack between the two lookups.
        for _ in 0..2 {
            let Some(place) = self.find_item(hash).await? else { return Ok(None) };
            if let Some(item) = self.read_item(&place).await? {
                return Ok(Some(item));
            }
        }
        let what = format!("the store item {hash}");
        Err(Error::Damaged { what, reason: "its pack is missing".to_owned() })
    }

    /// The location of the store item with this hash in its path.
    pub async fn find_item(&self, hash: &str) -> Result<Option<ItemPlace>> {
        let sql =
            sql!("select name, kind, refs, pack_id, start, length from store_item s where has_hash(s, $1)");
        let row: Option<Row> =
            each!(&self.readers, pool, sql => sqlx::query_as(sql).bind(hash).fetch_optional(pool).await?);
        let Some((name, kind, refs, pack, start, length)) = row else { return Ok(None) };
        let refs = refs.split_ascii_whitespace().map(str::to_owned).collect();
        let number = |number: i64| u64::try_from(number).unwrap_or(u64::MAX);
        let (start, length) = (number(start), number(length));
        Ok(Some(ItemPlace { hash: hash.to_owned(), name, kind, refs, pack, start, length }))
    }

    /// The item at a location; `None` if it has moved to another pack.
    pub async fn read_item(&self, place: &ItemPlace) -> Result<Option<StoredItem>> {
        let Some(unpacked) = self.pack(place.pack, place.end()).await? else { return Ok(None) };
        let pack = unpacked.map_err(|error| place.damaged(&error.to_string()))?;
        let start = usize::try_from(place.start).unwrap_or(usize::MAX);
        let contents = pack.get(start..place.end()).ok_or_else(|| place.damaged("its pack is too short"))?;
        let (name, refs) = (place.name.clone(), place.refs.clone());
        Ok(Some(StoredItem { name, kind: place.kind, refs, contents: contents.to_vec() }))
    }

    /// Opens a large item at a location, to be unpacked piece by piece; `None` if it has moved.
    pub async fn open_item(&self, place: ItemPlace) -> Result<Option<PackedItem>> {
        let packed = self.compressed(place.pack).await?;
        Ok(packed.map(|packed| Self::open_at_hand(place, Packed::new(packed))))
    }

    /// Compressed bytes of the whole pack of an item; `None` if the item has moved.
    pub async fn packed_length(&self, place: &ItemPlace) -> Result<Option<u64>> {
        const SQL: &str = "select cast(length(contents) as bigint) from store_pack where id = $1";
        let length: Option<i64> = each!(&self.readers, pool =>
            sqlx::query_scalar(SQL).bind(place.pack).fetch_optional(pool).await?);
        Ok(length.and_then(|length| u64::try_from(length).ok()))
    }

    /// Opens an item in a pack that has been read before.
    pub fn open_at_hand(place: ItemPlace, packed: Packed) -> PackedItem {
        let ItemPlace { start, length, kind, refs, .. } = place;
        PackedItem { packed, start, length, kind, refs }
    }

    async fn compressed(&self, pack: i64) -> Result<Option<Vec<u8>>> {
        const SQL: &str = "select contents from store_pack where id = $1";
        Ok(each!(&self.readers, pool => sqlx::query_scalar(SQL).bind(pack).fetch_optional(pool).await?))
    }

    /// The contents of a pack up to `end`, if the pack exists. A first request may want a single
    /// item. A further request unpacks all of the pack, if it is small, because requests for the
    /// neighbours usually follow.
    async fn pack(&self, id: i64, end: usize) -> Result<Option<io::Result<Arc<Vec<u8>>>>> {
        let kept = self.unpacked.lock().ok().and_then(|mut kept| kept.find(id));
        if let Some(contents) = kept.as_ref().filter(|contents| contents.len() >= end) {
            return Ok(Some(Ok(Arc::clone(contents))));
        }
        let end = if kept.is_some() { end.max(LARGEST_KEPT) } else { end };
        let Some(packed) = self.compressed(id).await? else { return Ok(None) };
        // The author of the items determines how long this takes.
        let unpacked = tokio::task::spawn_blocking(move || unpack(&packed, end)).await;
        let contents = match unpacked.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(contents) => Arc::new(contents),
            Err(error) => return Ok(Some(Err(error))),
        };
        if let Ok(mut kept) = self.unpacked.lock() {
            kept.keep(id, &contents);
        }
        Ok(Some(Ok(contents)))
    }

    /// Those of the given hashes that belong to stored items.
    pub async fn known_items<S: AsRef<str>>(&self, hashes: &[S]) -> Result<HashSet<String>> {
        let wanted = rows(hashes.iter().map(|hash| Value::from(hash.as_ref())));
        let sql = sql!("of_hashes(store_item: t.hash)");
        let found: Vec<String> =
            each!(&self.readers, pool, sql => sqlx::query_scalar(sql).bind(&wanted).fetch_all(pool).await?);
        Ok(found.into_iter().collect())
    }
}

/// Unpacks a pack up to `end`, and no further.
fn unpack(packed: &[u8], end: usize) -> io::Result<Vec<u8>> {
    let mut contents = Vec::with_capacity(end.min(LARGEST_KEPT));
    zstd::Decoder::with_buffer(packed)?.take(end as u64).read_to_end(&mut contents)?;
    Ok(contents)
}
