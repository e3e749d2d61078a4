use std::collections::HashSet;
use std::io::{self, Read};

use serde_json::Value;

use super::{Db, Error, Result, rows};

/// How the contents of a store item are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum ItemKind {
    /// A plain file: its bytes.
    Text,
    /// Anything: a NAR.
    Nar,
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

type Row = (String, ItemKind, String, i64, i64, Vec<u8>);

impl Db {
    /// The store item with this hash in its path, unpacked.
    pub async fn item(&self, hash: &str) -> Result<Option<StoredItem>> {
        const SQL: &str = "select i.name, i.kind, i.refs, i.start, i.length, p.contents
            from store_item i join store_pack p on p.id = i.pack_id where i.hash = $1";
        let row: Option<Row> =
            each!(&self.readers, pool => sqlx::query_as(SQL).bind(hash).fetch_optional(pool).await?);
        let Some((name, kind, refs, start, length, pack)) = row else { return Ok(None) };
        let refs = refs.split_ascii_whitespace().map(str::to_owned).collect();
        let contents = unpack(&pack, start, length).map_err(|error| Error::Damaged {
            what: format!("the store item {hash}-{name}"),
            reason: error.to_string(),
        })?;
        Ok(Some(StoredItem { name, kind, refs, contents }))
    }

    /// Which of these hashes belong to items that are stored already.
    pub async fn known_items<S: AsRef<str>>(&self, hashes: &[S]) -> Result<HashSet<String>> {
        let wanted = rows(hashes.iter().map(|hash| Value::from(hash.as_ref())));
        let found: Vec<String> = each!(&self.readers, pool, sql:
            "select hash from store_item where hash in (select value from json_each($1))",
            "select hash from store_item where hash in (select json_array_elements_text($1::json))"
            => sqlx::query_scalar(sql).bind(&wanted).fetch_all(pool).await?);
        Ok(found.into_iter().collect())
    }
}

/// Cuts `length` bytes out of the unpacked contents of a pack.
fn unpack(pack: &[u8], start: i64, length: i64) -> io::Result<Vec<u8>> {
    let place = |number: i64| u64::try_from(number).map_err(io::Error::other);
    let (start, length) = (place(start)?, place(length)?);
    let mut unpacked = zstd::Decoder::new(pack)?;
    io::copy(&mut unpacked.by_ref().take(start), &mut io::sink())?;
    let mut contents = Vec::new();
    let read = unpacked.take(length).read_to_end(&mut contents)?;
    if u64::try_from(read).is_ok_and(|read| read == length) {
        Ok(contents)
    } else {
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, "its pack is too short"))
    }
}
