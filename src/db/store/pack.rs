use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write as _};
use std::panic::resume_unwind;

use serde::Deserialize;
use tokio::task::JoinHandle;

use crate::db::store::item_kind::ItemKind;
use crate::db::{Db, Error, Result, stored};
use crate::guix::base32;
use crate::guix::store_path::Hash;

/// A pack, with the rows of its items.
pub(in crate::db) struct StoredPack {
    pub(in crate::db) id: i64,
    /// The items, in the order in which they are in the pack.
    pub(in crate::db) items: Vec<StoredRow>,
}

/// A row of `store_item`, read from a JSON array.
#[derive(Deserialize)]
pub(in crate::db) struct StoredRow {
    pub(in crate::db) id: i64,
    pack: i64,
    pub(in crate::db) hash: String,
    pub(in crate::db) name: String,
    pub(in crate::db) kind: ItemKind,
    pub(in crate::db) refs: String,
    start: i64,
    pub(in crate::db) length: i64,
}

/// Compresses the contents of a pack, with a checksum. Unpacking all of it detects a flipped bit.
pub fn compress(contents: &[u8], level: i32) -> io::Result<Vec<u8>> {
    let mut encoder = zstd::Encoder::new(Vec::new(), level)?;
    encoder.include_checksum(true)?;
    encoder.set_pledged_src_size(Some(contents.len() as u64))?;
    encoder.write_all(contents)?;
    encoder.finish()
}

impl StoredPack {
    pub(in crate::db) fn unpacked(&self, packed: &[u8]) -> Result<Vec<u8>> {
        zstd::decode_all(packed).map_err(|error| self.damaged(&error.to_string()))
    }

    pub(in crate::db) fn damaged(&self, reason: &str) -> Error {
        Error::Damaged { what: format!("pack {} of store items", self.id), reason: reason.to_owned() }
    }
}

impl StoredRow {
    pub(in crate::db) fn hash(&self) -> Result<Hash> {
        base32::decode(self.hash.as_bytes()).map_err(|error| self.damaged(&error.to_string()))
    }

    /// Whether the item is a derivation, judged by its name.
    pub(in crate::db) fn is_derivation(&self) -> bool {
        self.name.strip_suffix(".drv").is_some()
    }

    /// The contents of the item, from its unpacked pack.
    pub(in crate::db) fn bytes<'a>(&self, pack: &'a [u8]) -> Result<&'a [u8]> {
        let place = usize::try_from(self.start).ok().zip(usize::try_from(self.length).ok());
        let bytes = place.and_then(|(start, length)| pack.get(start..start.checked_add(length)?));
        bytes.ok_or_else(|| self.damaged("its pack is too short"))
    }

    pub(in crate::db) fn damaged(&self, reason: &str) -> Error {
        let what = format!("the store item {}-{}", self.hash, self.name);
        Error::Damaged { what, reason: reason.to_owned() }
    }
}

/// All packs, in the order of their numbers. The next ones are read while some are processed.
pub(in crate::db) struct Packs {
    db: Db,
    here: VecDeque<StoredPack>,
    ahead: Option<JoinHandle<Result<Vec<StoredPack>>>>,
}

impl Packs {
    pub(in crate::db) fn of(db: &Db) -> Self {
        let mut packs = Self { db: db.clone(), here: VecDeque::new(), ahead: None };
        packs.read_ahead(0);
        packs
    }

    pub(in crate::db) async fn next(&mut self) -> Result<Option<StoredPack>> {
        if self.here.is_empty()
            && let Some(ahead) = self.ahead.take()
        {
            self.here = ahead.await.unwrap_or_else(|error| resume_unwind(error.into_panic()))?.into();
            if let Some(last) = self.here.back() {
                self.read_ahead(last.id);
            }
        }
        Ok(self.here.pop_front())
    }

    fn read_ahead(&mut self, after: i64) {
        let db = self.db.clone();
        self.ahead = Some(tokio::spawn(async move { db.packs(after).await }));
    }
}

impl Db {
    /// The next packs after this one; empty if there are no more.
    async fn packs(&self, after: i64) -> Result<Vec<StoredPack>> {
        const IDS: &str = "select id from store_pack where id > $1 order by id limit 32";
        let ids: Vec<i64> =
            each!(&self.readers, pool => sqlx::query_scalar(IDS).bind(after).fetch_all(pool).await?);
        let Some(last) = ids.last() else { return Ok(Vec::new()) };
        let sql = sql!(
            "one_text(id, pack_id, hash, name, kind, refs, start, length
               from store_item where pack_id > $1 and pack_id <= $2)"
        );
        let text: String = each!(&self.readers, pool, sql =>
            sqlx::query_scalar(sql).bind(after).bind(last).fetch_one(pool).await?);
        let rows: Vec<StoredRow> = stored(&text, || format!("packs {after} to {last}"))?;
        let mut packs: BTreeMap<i64, StoredPack> =
            ids.into_iter().map(|id| (id, StoredPack { id, items: Vec::new() })).collect();
        for row in rows {
            if let Some(pack) = packs.get_mut(&row.pack) {
                pack.items.push(row);
            }
        }
        for pack in packs.values_mut() {
            pack.items.sort_unstable_by(|a, b| (a.start, &a.hash).cmp(&(b.start, &b.hash)));
        }
        Ok(packs.into_values().collect())
    }

    /// The compressed contents of a pack.
    pub(in crate::db) async fn packed(&self, pack: &StoredPack) -> Result<Vec<u8>> {
        const SQL: &str = "select contents from store_pack where id = $1";
        let packed: Option<Vec<u8>> =
            each!(&self.readers, pool => sqlx::query_scalar(SQL).bind(pack.id).fetch_optional(pool).await?);
        packed.ok_or_else(|| pack.damaged("it is missing"))
    }
}
