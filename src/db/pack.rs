use super::item::ItemKind;
use super::{Db, Error, Result};
use crate::store::base32;
use crate::store::path::Hash;

/// A pack with what is in it.
pub(super) struct StoredPack {
    pub(super) id: i64,
    /// Compressed.
    pub(super) contents: Vec<u8>,
    pub(super) items: Vec<StoredRow>,
}

/// A row of `store_item`.
#[derive(sqlx::FromRow)]
pub(super) struct StoredRow {
    pub(super) id: i64,
    pub(super) hash: String,
    pub(super) name: String,
    pub(super) kind: ItemKind,
    pub(super) refs: String,
    start: i64,
    pub(super) length: i64,
}

impl StoredPack {
    pub(super) fn unpacked(&self) -> Result<Vec<u8>> {
        zstd::decode_all(&self.contents[..]).map_err(|error| self.damaged(&error.to_string()))
    }

    pub(super) fn damaged(&self, reason: &str) -> Error {
        Error::Damaged { what: format!("pack {} of store items", self.id), reason: reason.to_owned() }
    }
}

impl StoredRow {
    pub(super) fn hash(&self) -> Result<Hash> {
        base32::decode(self.hash.as_bytes()).map_err(|error| self.damaged(&error.to_string()))
    }

    /// Whether it is one, by its name.
    pub(super) fn is_derivation(&self) -> bool {
        self.name.strip_suffix(".drv").is_some()
    }

    /// The item itself, out of its pack.
    pub(super) fn bytes<'a>(&self, pack: &'a [u8]) -> Result<&'a [u8]> {
        let place = usize::try_from(self.start).ok().zip(usize::try_from(self.length).ok());
        let bytes = place.and_then(|(start, length)| pack.get(start..start.checked_add(length)?));
        bytes.ok_or_else(|| self.damaged("its pack is too short"))
    }

    pub(super) fn damaged(&self, reason: &str) -> Error {
        let what = format!("the store item {}-{}", self.hash, self.name);
        Error::Damaged { what, reason: reason.to_owned() }
    }
}

impl Db {
    /// The pack that comes after this one by its number.
    pub(super) async fn next_pack(&self, after: i64) -> Result<Option<StoredPack>> {
        const PACK: &str = "select id, contents from store_pack where id > $1 order by id limit 1";
        const ITEMS: &str = "select id, hash, name, kind, refs, start, length from store_item where pack_id = $1 order by start, hash";
        let pack: Option<(i64, Vec<u8>)> = each!(&self.readers, pool =>
            sqlx::query_as(PACK).bind(after).fetch_optional(pool).await?);
        let Some((id, contents)) = pack else { return Ok(None) };
        let items = each!(&self.readers, pool => sqlx::query_as(ITEMS).bind(id).fetch_all(pool).await?);
        Ok(Some(StoredPack { id, contents, items }))
    }
}
