//! Finds the derivations and store items that jobs and builds need.
//!
//! Derivations are walked from the newest on, and then the store items that they name. Only the
//! text of a derivation says which items it names, so each sweep unpacks all packs, on all
//! processors.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;

use data_encoding::HEXLOWER_PERMISSIVE;
use serde::de::DeserializeOwned;
use tokio::task::{JoinError, JoinSet};

use crate::db::dialect::Texts;
use crate::db::store::pack::{Packs, StoredPack};
use crate::db::store::sweeper::Sweeper;
use crate::db::{Db, Error, EvaluationId, Result, stored};
use crate::guix::store_path::{Hash, StorePath};
use crate::guix::{base32, derivation::Derivation, edges};

/// The derivations and store items that stay.
pub(in crate::db) struct Needed {
    /// One bit for each derivation, by its number.
    bits: Vec<u64>,
    /// Hashes of the needed derivations.
    derivations: Arc<HashSet<Hash>>,
    /// Hashes of the other needed store items.
    sources: HashSet<Hash>,
    /// The derivations to remove, the newest first, so that users come before inputs.
    pub(in crate::db) garbage: Vec<i64>,
}

/// The sources that needed derivations name, and the references of other items.
#[derive(Default)]
struct Named {
    sources: HashSet<Hash>,
    refers: HashMap<Hash, Vec<Hash>>,
}

impl Needed {
    fn has(&self, id: i64) -> bool {
        let id = id.cast_unsigned();
        usize::try_from(id / 64)
            .ok()
            .and_then(|place| self.bits.get(place))
            .is_some_and(|bits| bits >> (id % 64) & 1 == 1)
    }

    fn add(&mut self, id: i64) {
        let id = id.cast_unsigned();
        if let Some(bits) = usize::try_from(id / 64).ok().and_then(|place| self.bits.get_mut(place)) {
            *bits |= 1 << (id % 64);
        }
    }

    pub(in crate::db) fn has_item(&self, hash: &Hash) -> bool {
        self.derivations.contains(hash) || self.sources.contains(hash)
    }
}

impl Sweeper {
    /// Finds what jobs and builds need. Inputs have smaller numbers than their users, so iterating
    /// over all derivations from the newest on meets users first.
    pub(in crate::db) async fn mark(&mut self) -> Result<Needed> {
        const LAST: &str = "select coalesce(max(id), 0) from derivation";
        let last: i64 = each!(&self.db.readers, pool => sqlx::query_scalar(LAST).fetch_one(pool).await?);
        let size = usize::try_from(last / 64 + 1).unwrap_or_default();
        let (derivations, sources) = (Arc::default(), HashSet::new());
        let mut needed = Needed { bits: vec![0; size], derivations, sources, garbage: Vec::new() };
        self.mark_jobs(&mut needed).await?;
        self.mark_builds(&mut needed).await?;
        self.mark_derivations(last, &mut needed).await?;
        self.mark_sources(&mut needed).await?;
        Ok(needed)
    }

    /// Adds the derivations of jobs that belong to a remaining evaluation.
    async fn mark_jobs(&mut self, needed: &mut Needed) -> Result<()> {
        type Interval = (i64, i64, i64, EvaluationId, Option<EvaluationId>);
        let left = self.left().await?;
        let stays = |sequence, first, last: Option<EvaluationId>| {
            let (Some(left), Some(last)) = (&left, last) else { return true };
            left.get(&sequence).is_some_and(|left: &BTreeSet<EvaluationId>| {
                left.range(first..).next().is_some_and(|id| *id <= last)
            })
        };
        let sql = sql!(
            "one_text(id, derivation_id, sequence_id, first_evaluation, last_evaluation
               from job_interval where id > $1 order by id limit 50000)"
        );
        let mut after = 0;
        loop {
            self.renew_if_due().await?;
            let jobs: Vec<Interval> = self.db.chunk(sql, after).await?;
            if jobs.is_empty() {
                return Ok(());
            }
            for (id, derivation, sequence, first, last) in jobs {
                after = after.max(id);
                if stays(sequence, first, last) {
                    needed.add(derivation);
                }
            }
        }
    }

    /// The evaluations of each sequence that are not assumed to be forgotten; `None` if none is
    /// assumed to be.
    async fn left(&self) -> Result<Option<HashMap<i64, BTreeSet<EvaluationId>>>> {
        const SQL: &str = "select q.id, e.id from evaluation e join sequence q on q.spec_id = e.spec_id and q.system = e.system
            where e.state in ('complete', 'running')";
        let Some(forgotten) = &self.dry else { return Ok(None) };
        let all: Vec<(i64, EvaluationId)> =
            each!(&self.db.readers, pool => sqlx::query_as(SQL).fetch_all(pool).await?);
        let mut left: HashMap<i64, BTreeSet<EvaluationId>> = HashMap::new();
        for (sequence, id) in all.into_iter().filter(|(_, id)| !forgotten.contains(id)) {
            left.entry(sequence).or_default().insert(id);
        }
        Ok(Some(left))
    }

    /// Adds the derivations of builds: all open ones, and those whose evaluation remains.
    async fn mark_builds(&mut self, needed: &mut Needed) -> Result<()> {
        let open = sql!("select id from build where state in {open}");
        let sql = sql!(
            "one_text(id, derivation_id, evaluation_id from build where id > $1 order by id limit 50000)"
        );
        let open: Vec<i64> =
            each!(&self.db.readers, pool, open => sqlx::query_scalar(open).fetch_all(pool).await?);
        let open: HashSet<i64> = open.into_iter().collect();
        let mut after = 0;
        loop {
            self.renew_if_due().await?;
            let builds: Vec<(i64, i64, EvaluationId)> = self.db.chunk(sql, after).await?;
            if builds.is_empty() {
                return Ok(());
            }
            for (id, derivation, evaluation) in builds {
                after = after.max(id);
                let is_forgotten = self.dry.as_ref().is_some_and(|forgotten| forgotten.contains(&evaluation));
                if !is_forgotten || open.contains(&id) {
                    needed.add(derivation);
                }
            }
        }
    }

    /// Adds the inputs of needed derivations, and collects the derivations that nothing needs.
    async fn mark_derivations(&mut self, last: i64, needed: &mut Needed) -> Result<()> {
        let sql = sql!(
            "one_text(id, hash, hex(inputs) from derivation where id < $1 order by id desc limit 20000)"
        );
        let mut hashes = HashSet::new();
        let mut before = last + 1;
        loop {
            self.renew_if_due().await?;
            let mut rows: Vec<(i64, String, String)> = self.db.chunk(sql, before).await?;
            rows.sort_unstable_by_key(|(id, ..)| std::cmp::Reverse(*id));
            let Some((oldest, ..)) = rows.last() else { break };
            before = *oldest;
            for (id, hash, inputs) in rows {
                if !needed.has(id) {
                    needed.garbage.push(id);
                    continue;
                }
                let damaged = |reason: String| Error::Damaged { what: format!("derivation {id}"), reason };
                hashes.insert(base32::decode(hash.as_bytes()).map_err(|e| damaged(e.to_string()))?);
                let inputs =
                    HEXLOWER_PERMISSIVE.decode(inputs.as_bytes()).map_err(|e| damaged(e.to_string()))?;
                for input in edges::decode(&inputs).map_err(|e| damaged(e.to_string()))? {
                    needed.add(input);
                }
            }
        }
        needed.derivations = Arc::new(hashes);
        Ok(())
    }

    /// Adds the builders and sources that needed derivations name, and their references. This
    /// unpacks all packs, on all processors.
    async fn mark_sources(&mut self, needed: &mut Needed) -> Result<()> {
        let processors = available_parallelism().map_or(1, NonZero::get);
        let mut reading = JoinSet::new();
        let mut named = Named::default();
        let mut packs = Packs::of(&self.db);
        while let Some(pack) = packs.next().await? {
            self.renew_if_due().await?;
            if reading.len() >= processors
                && let Some(read) = reading.join_next().await
            {
                named.add(finished(read)?);
            }
            let packed = self.db.packed(&pack).await?;
            let derivations = Arc::clone(&needed.derivations);
            reading.spawn_blocking(move || Named::read(&pack, &packed, &derivations));
        }
        while let Some(read) = reading.join_next().await {
            named.add(finished(read)?);
        }
        named.close();
        needed.sources = named.sources;
        Ok(())
    }
}

impl Named {
    fn read(pack: &StoredPack, packed: &[u8], needed: &HashSet<Hash>) -> Result<Self> {
        let mut named = Self::default();
        let contents = pack.unpacked(packed)?;
        for item in &pack.items {
            let hash = item.hash()?;
            let damaged = |error: &dyn std::error::Error| item.damaged(&error.to_string());
            if !item.is_derivation() {
                let refs = item.refs.split_ascii_whitespace();
                let refs = refs.map(|base| StorePath::parse_base_name(base.as_bytes()));
                let refs = refs.map(|path| Ok(*path.map_err(|e| damaged(&e))?.hash()));
                let refs: Vec<Hash> = refs.collect::<Result<_>>()?;
                if !refs.is_empty() {
                    named.refers.insert(hash, refs);
                }
            } else if needed.contains(&hash) {
                for source in Derivation::parse_sources(item.bytes(&contents)?).map_err(|e| damaged(&e))? {
                    named.sources.insert(*StorePath::parse(&source).map_err(|e| damaged(&e))?.hash());
                }
            }
        }
        named.close();
        Ok(named)
    }

    fn add(&mut self, other: Self) {
        self.sources.extend(other.sources);
        self.refers.extend(other.refers);
    }

    /// Adds the references of the sources. References of other items are kept, because those items
    /// may turn out to be sources.
    fn close(&mut self) {
        let mut waiting: Vec<Hash> =
            self.refers.keys().filter(|hash| self.sources.contains(*hash)).copied().collect();
        while let Some(hash) = waiting.pop() {
            for reference in self.refers.remove(&hash).into_iter().flatten() {
                if self.sources.insert(reference) {
                    waiting.push(reference);
                }
            }
        }
    }
}

impl Db {
    /// Reads the rows after a number, or before it, from one text.
    async fn chunk<T: DeserializeOwned>(&self, sql: Texts, from: i64) -> Result<Vec<T>> {
        let text: String =
            each!(&self.readers, pool, sql => sqlx::query_scalar(sql).bind(from).fetch_one(pool).await?);
        stored(&text, || format!("rows around number {from}"))
    }
}

/// The result of a thread; a panic is resumed here.
fn finished(read: Result<Result<Named>, JoinError>) -> Result<Named> {
    read.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}
