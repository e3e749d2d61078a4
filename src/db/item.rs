use std::collections::{HashSet, VecDeque};
use std::io::{self, Read as _};
use std::sync::Arc;

use serde_json::Value;

use super::{Db, Error, Result, rows};
use crate::store::derivation::Derivation;
use crate::store::path::StorePath;

/// How the contents of a store item are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type, serde::Deserialize)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum ItemKind {
    /// A plain file: its bytes.
    Text,
    /// Anything: a NAR.
    Nar,
}

impl ItemKind {
    /// As it stands in the database.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Nar => "nar",
        }
    }
}

/// An item of the store that an evaluation added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredItem {
    /// What follows the hash in its store path.
    pub name: String,
    /// How `contents` is to be understood.
    pub kind: ItemKind,
    /// Base names of the store items that it refers to.
    pub refs: Vec<String>,
    /// The item itself.
    pub contents: Vec<u8>,
}

impl StoredItem {
    /// Base names of what the item at `path` refers to, sorted: of a derivation, its inputs and sources.
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
}

type Row = (String, ItemKind, String, i64, i64, i64);

/// How much of what was unpacked is kept at hand, in bytes: those who fetch one item go on to its neighbours.
const KEPT: usize = 96 << 20;
/// The largest pack that is kept at hand, in bytes.
const LARGEST_KEPT: usize = 4 << 20;

/// The packs that were used last, unpacked as far as they were used, the latest at the end.
#[derive(Debug, Default)]
pub(super) struct Unpacked(VecDeque<(i64, Arc<Vec<u8>>)>);

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

impl Db {
    /// The store item with this hash in its path, unpacked.
    pub async fn item(&self, hash: &str) -> Result<Option<StoredItem>> {
        const SQL: &str = concat!(
            "select name, kind, refs, pack_id, start, length from store_item s where ",
            has_hash!("s", "$1")
        );
        let mut unpacked = None;
        let mut row: Option<Row> = None;
        // Between the two look-ups, it may have moved to another pack.
        for _ in 0..2 {
            row = each!(&self.readers, pool => sqlx::query_as(SQL).bind(hash).fetch_optional(pool).await?);
            let Some((.., pack, start, length)) = row else { return Ok(None) };
            unpacked = self.pack(pack, usize::try_from(start.saturating_add(length)).unwrap_or(0)).await?;
            if unpacked.is_some() {
                break;
            }
        }
        let Some((name, kind, refs, _, start, length)) = row else { return Ok(None) };
        let refs = refs.split_ascii_whitespace().map(str::to_owned).collect();
        let damaged =
            |reason: String| Error::Damaged { what: format!("the store item {hash}-{name}"), reason };
        let unpacked = unpacked.ok_or_else(|| damaged("its pack is not there".to_owned()))?;
        let pack = unpacked.map_err(|error| damaged(error.to_string()))?;
        let place = usize::try_from(start).ok().zip(usize::try_from(length).ok());
        let contents = place.and_then(|(start, length)| pack.get(start..start.checked_add(length)?));
        let contents = contents.ok_or_else(|| damaged("its pack is too short".to_owned()))?.to_vec();
        Ok(Some(StoredItem { name, kind, refs, contents }))
    }

    /// The contents of a pack up to `end`, if it is there. Who asks for the first time may want a single item;
    /// who asks for more is given all of it, since the neighbours come next.
    async fn pack(&self, id: i64, end: usize) -> Result<Option<io::Result<Arc<Vec<u8>>>>> {
        const SQL: &str = "select contents from store_pack where id = $1";
        let kept = self.unpacked.lock().ok().and_then(|mut kept| kept.find(id));
        if let Some(contents) = kept.as_ref().filter(|contents| contents.len() >= end) {
            return Ok(Some(Ok(Arc::clone(contents))));
        }
        let end = if kept.is_some() { usize::MAX } else { end };
        let packed: Option<Vec<u8>> =
            each!(&self.readers, pool => sqlx::query_scalar(SQL).bind(id).fetch_optional(pool).await?);
        let Some(packed) = packed else { return Ok(None) };
        let contents = match unpack(&packed, end) {
            Ok(contents) => Arc::new(contents),
            Err(error) => return Ok(Some(Err(error))),
        };
        if let Ok(mut kept) = self.unpacked.lock() {
            kept.keep(id, &contents);
        }
        Ok(Some(Ok(contents)))
    }

    /// Which of these hashes belong to items that are stored already.
    pub async fn known_items<S: AsRef<str>>(&self, hashes: &[S]) -> Result<HashSet<String>> {
        let wanted = rows(hashes.iter().map(|hash| Value::from(hash.as_ref())));
        let found: Vec<String> = each!(&self.readers, pool, sql:
            of_hashes!(sqlite "t.hash", "store_item"),
            of_hashes!(postgres "t.hash", "store_item")
            => sqlx::query_scalar(sql).bind(&wanted).fetch_all(pool).await?);
        Ok(found.into_iter().collect())
    }
}

/// What comes before `end` in a pack, and no more than that is unpacked.
fn unpack(packed: &[u8], end: usize) -> io::Result<Vec<u8>> {
    let mut contents = Vec::with_capacity(end.min(LARGEST_KEPT));
    zstd::Decoder::with_buffer(packed)?.take(end as u64).read_to_end(&mut contents)?;
    Ok(contents)
}
