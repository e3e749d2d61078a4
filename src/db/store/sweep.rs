//! Removes derivations and store items that nothing needs any more.
//!
//! # Guarantees
//!
//! * After an interruption at any point, everything that is left has everything that it needs.
//! * Nothing is swept while an evaluation runs, and no evaluation begins before the sweep is done,
//!   because an evaluation keeps numbers of derivations in memory and relies on items that it
//!   found. The row in `sweep` says that a sweep is under way. It expires, in case the sweeper has
//!   died.
//!
//! # Design
//!
//! Everything that jobs and builds reach is marked. The rest is removed: users first, then items
//! that no remaining derivation names. Packs that are less than half full are repacked. Job
//! metadata are few, and stay.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::db::store::mark::Needed;
use crate::db::store::pack::{Packs, StoredPack, StoredRow, compress};
use crate::db::store::sweeper::Sweeper;
use crate::db::{Result, Tx, rows};

/// Derivations to remove at a time.
const CHUNK: usize = 2000;
/// The zstd level for repacking, which is done once, with nobody waiting.
const LEVEL: i32 = 9;

/// The amounts that a sweep removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Number of derivations.
    pub derivations: u64,
    /// Number of store items.
    pub items: u64,
    /// Bytes of packs.
    pub bytes: i64,
}

impl Sweeper {
    /// Removes everything that no job of any evaluation and no build needs. After an interruption,
    /// everything that is left has everything that it needs.
    pub async fn sweep(&mut self) -> Result<Swept> {
        let needed = self.mark().await?;
        let mut swept = Swept { derivations: needed.garbage.len() as u64, ..Swept::default() };
        if self.dry.is_none() {
            for chunk in needed.garbage.chunks(CHUNK) {
                self.remove_derivations(chunk).await?;
            }
        }
        let mut packs = Packs::of(&self.db);
        while let Some(pack) = packs.next().await? {
            self.renew_if_due().await?;
            self.sweep_pack(pack, &needed, &mut swept).await?;
        }
        Ok(swept)
    }

    async fn remove_derivations(&mut self, ids: &[i64]) -> Result<()> {
        let ids = rows(ids.iter().copied().map(Value::from));
        let mut tx = self.begin_removing().await?;
        let sql = sql!("delete from derivation where id in ids($1) returning output_set_id");
        let sets: Vec<i64> =
            each!(&mut tx, tx, sql => sqlx::query_scalar(sql).bind(&ids).fetch_all(&mut **tx).await?);
        let sets: BTreeSet<i64> = sets.into_iter().collect();
        let sql = sql!(
            "delete from output_set where id in ids($1)
             and not exists (select 1 from derivation d where d.output_set_id = output_set.id)"
        );
        execute!(&mut tx, sql, rows(sets.into_iter().map(Value::from)));
        tx.commit().await
    }

    /// Removes the unneeded items of a pack, and repacks the rest if that is less than half of it.
    async fn sweep_pack(&mut self, pack: StoredPack, needed: &Needed, swept: &mut Swept) -> Result<()> {
        let mut dead = Vec::new();
        let mut live = Vec::new();
        for item in &pack.items {
            if needed.has_item(&item.hash()?) { live.push(item) } else { dead.push(item) }
        }
        if dead.is_empty() && !live.is_empty() {
            return Ok(());
        }
        let packed = self.db.packed(&pack).await?;
        let contents = pack.unpacked(&packed)?;
        let smaller = packed_anew(&pack, &live, &contents)?;
        swept.items += dead.len() as u64;
        swept.bytes += match (&smaller, live.is_empty()) {
            (_, true) => i64::try_from(packed.len()).unwrap_or_default(),
            (Some(anew), _) => i64::try_from(packed.len().saturating_sub(anew.len())).unwrap_or_default(),
            (None, false) => 0,
        };
        if self.dry.is_some() {
            return Ok(());
        }
        let mut tx = self.begin_removing().await?;
        remove_items(&mut tx, &dead).await?;
        if let Some(anew) = smaller {
            move_items(&mut tx, &pack, &live, &anew).await?;
        }
        // The highest number is kept, so that it is not reused: others may have unpacked the pack
        // with that number.
        execute!(
            &mut tx,
            "delete from store_pack where id = $1 and not exists (select 1 from store_item where pack_id = $1)
             and id < (select max(id) from store_pack)",
            pack.id
        );
        tx.commit().await
    }
}

/// Compresses these items of a pack again, if they are less than half of it.
fn packed_anew(pack: &StoredPack, items: &[&StoredRow], contents: &[u8]) -> Result<Option<Vec<u8>>> {
    let left: i64 = items.iter().map(|item| item.length).sum();
    if items.is_empty() || left >= i64::try_from(contents.len()).unwrap_or(i64::MAX) / 2 {
        return Ok(None);
    }
    let texts: Vec<&[u8]> = items.iter().map(|item| item.bytes(contents)).collect::<Result<_>>()?;
    let anew = compress(&texts.concat(), LEVEL).map_err(|error| pack.damaged(&error.to_string()))?;
    Ok(Some(anew))
}

async fn remove_items(tx: &mut Tx, items: &[&StoredRow]) -> Result<()> {
    let ids = rows(items.iter().map(|item| Value::from(item.id)));
    execute!(tx, sql!("delete from store_item where id in ids($1)"), ids);
    Ok(())
}

/// Moves items to a new pack, one after the other.
async fn move_items(tx: &mut Tx, pack: &StoredPack, items: &[&StoredRow], packed: &[u8]) -> Result<()> {
    const OWN: &str = "insert into pack_owner (pack_id, spec_id, bytes)
        select $1, spec_id, $3 from pack_owner where pack_id = $2";
    const NEXT: &str = "select coalesce(max(id), 0) + 1 from store_pack";
    let id: i64 = each!(tx, tx => sqlx::query_scalar(NEXT).fetch_one(&mut **tx).await?);
    execute!(tx, "insert into store_pack (id, contents) values ($1, $2)", id, packed);
    execute!(tx, OWN, id, pack.id, i64::try_from(packed.len()).unwrap_or(i64::MAX));
    let mut start = 0;
    let lines = rows(items.iter().map(|item| {
        let line = serde_json::json!({ "id": item.id, "start": start });
        start += item.length;
        line
    }));
    let sql = sql!(
        "update store_item set pack_id = $2, start = moved.start
         from records($1: id bigint, start bigint) as moved where store_item.id = moved.id"
    );
    execute!(tx, sql, lines, id);
    Ok(())
}
