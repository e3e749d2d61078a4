//! A batch of an evaluation's results: store items, derivations (inputs first), jobs and errors. It
//! is written in one transaction.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::{Value, json};

use crate::db::bulk::{Cell, insert};
use crate::db::{DerivationId, Error, ItemKind, JobError, Result, SpecId, Tx, rows};
use crate::domain::job::JobMetadata;
use crate::guix::edges;

/// The results of an evaluation since the last batch.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Store items.
    pub packs: Vec<Pack>,
    /// Derivations, each after its inputs, except for inputs that were recorded before.
    pub derivations: Vec<NewDerivation>,
    /// Jobs, including unchanged ones.
    pub jobs: Vec<NewJob>,
    /// Jobs and modules that could not be evaluated.
    pub errors: Vec<JobError>,
    /// How many of all units are done, including this batch.
    pub done: i64,
}

/// Store items that are compressed together.
#[derive(Debug, Clone)]
pub struct Pack {
    /// Their contents one after the other, compressed with zstd.
    pub contents: Vec<u8>,
    /// The items, and their positions.
    pub items: Vec<Item>,
}

/// One store item of a [`Pack`].
#[derive(Debug, Clone)]
pub struct Item {
    /// The 32 characters of its store path.
    pub hash: String,
    /// The rest of its store path.
    pub name: String,
    /// The kind of its contents.
    pub kind: ItemKind,
    /// Base names of the store items that it refers to. Empty for a derivation, whose contents list
    /// them.
    pub refs: Vec<String>,
    /// The offset of its first byte in the unpacked contents.
    pub start: u64,
    /// Its length in bytes.
    pub length: u64,
}

/// A derivation, which may be recorded already.
#[derive(Debug, Clone)]
pub struct NewDerivation {
    /// The 32 characters of its store path.
    pub hash: String,
    /// The rest of its store path, without `.drv`.
    pub name: String,
    /// The system that it is built on.
    pub system: String,
    /// Its outputs: name, and base name of the store path.
    pub outputs: Vec<(String, String)>,
    /// Hashes of the derivations that it needs.
    pub inputs: Vec<String>,
}

/// A job that an evaluation found.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NewJob {
    /// The name of the job.
    pub name: String,
    /// The hash of its derivation.
    pub derivation: String,
    /// The job's metadata.
    pub metadata: JobMetadata,
}

/// Numbers of derivations by their hashes.
pub(in crate::db) type Numbers = HashMap<String, DerivationId>;

/// Numbers of derivations: those known before, and those that this transaction adds.
pub(in crate::db) struct Known<'a> {
    pub(in crate::db) before: &'a Numbers,
    pub(in crate::db) added: Numbers,
}

impl Known<'_> {
    fn has(&self, hash: &str) -> bool {
        self.before.contains_key(hash) || self.added.contains_key(hash)
    }

    pub(in crate::db) fn number(&self, hash: &str, user: &str) -> Result<DerivationId> {
        let number = self.before.get(hash).or_else(|| self.added.get(hash));
        let unknown = || Error::UnknownDerivation { hash: hash.to_owned(), user: user.to_owned() };
        number.copied().ok_or_else(unknown)
    }

    /// Loads the numbers of all derivations that the batch mentions and the database has.
    pub(in crate::db) async fn look_up(&mut self, tx: &mut Tx, batch: &Batch) -> Result<()> {
        let derivations = batch.derivations.iter().flat_map(|d| d.inputs.iter().chain([&d.hash]));
        let mut missing: Vec<&str> =
            derivations.chain(batch.jobs.iter().map(|job| &job.derivation)).map(String::as_str).collect();
        missing.retain(|hash| !self.has(hash));
        missing.sort_unstable();
        missing.dedup();
        if missing.is_empty() {
            return Ok(());
        }
        let wanted = rows(missing.into_iter().map(Value::from));
        let sql = sql!("of_hashes(derivation: t.hash, t.id)");
        let found: Vec<(String, DerivationId)> =
            each!(tx, tx, sql => sqlx::query_as(sql).bind(&wanted).fetch_all(&mut **tx).await?);
        self.added.extend(found);
        Ok(())
    }

    /// Stores the new derivations, with their output sets.
    pub(in crate::db) async fn store_derivations(&mut self, tx: &mut Tx, batch: &Batch) -> Result<()> {
        let new: Vec<&NewDerivation> = batch.derivations.iter().filter(|d| !self.has(&d.hash)).collect();
        if new.is_empty() {
            return Ok(());
        }
        let sets = store_output_sets(tx, &new).await?;
        let systems = store_systems(tx, &new).await?;
        let mut last: i64 = each!(tx, tx => sqlx::query_scalar("select coalesce(max(id), 0) from derivation")
            .fetch_one(&mut **tx).await?);
        let mut lines = Vec::with_capacity(new.len());
        for (derivation, set) in new.into_iter().zip(sets) {
            if self.has(&derivation.hash) {
                continue; // twice in one batch
            }
            let inputs = derivation.inputs.iter().map(|input| Ok(self.number(input, &derivation.name)?.0));
            let inputs = edges::encode(&inputs.collect::<Result<Vec<_>>>()?);
            last += 1;
            let NewDerivation { hash, name, system, .. } = derivation;
            let system = systems.get(system).copied();
            let (hash, name) = (hash.as_str().into(), name.as_str().into());
            lines.push([last.into(), hash, name, system.into(), set.into(), Cell::Bytes(inputs)]);
            self.added.insert(derivation.hash.clone(), DerivationId(last));
        }
        insert(tx, "derivation", ["id", "hash", "name", "system_id", "output_set_id", "inputs"], &lines).await
    }
}

/// Numbers of the systems of `derivations`; new ones are stored.
async fn store_systems(tx: &mut Tx, derivations: &[&NewDerivation]) -> Result<HashMap<String, i64>> {
    let systems: BTreeSet<&str> = derivations.iter().map(|derivation| derivation.system.as_str()).collect();
    for system in systems {
        execute!(tx, "insert into system (name) values ($1) on conflict do nothing", system);
    }
    let known: Vec<(String, i64)> =
        each!(tx, tx => sqlx::query_as("select name, id from system").fetch_all(&mut **tx).await?);
    Ok(known.into_iter().collect())
}

/// An output set: its number, its outputs, and the name of one of the derivations that make it.
type OutputSet = (i64, String, String);

/// Numbers of the output sets of `derivations`, in the same order; new ones are stored. A set is
/// identified by its paths, not by the names of its outputs. It is found by the beginning of any of
/// its paths.
///
/// The set stores `*` in place of its derivations' name, as long as all of them have the same name.
/// No store path contains `*`.
async fn store_output_sets(tx: &mut Tx, derivations: &[&NewDerivation]) -> Result<Vec<i64>> {
    const LAST: &str = "select coalesce(max(id), 0) from output_set";
    let mut known = known_output_sets(tx, derivations).await?;
    let mut last: i64 = each!(tx, tx => sqlx::query_scalar(LAST).fetch_one(&mut **tx).await?);
    let mut lines: Vec<[Cell; 2]> = Vec::new();
    let mut named = Vec::new();
    let mut sets = Vec::with_capacity(derivations.len());
    for derivation in derivations {
        let paths = path_set(derivation.outputs.iter().map(|(_, path)| path.as_str()));
        let (id, outputs, name) = known.entry(paths).or_insert_with(|| {
            let outputs = output_lines(&derivation.outputs);
            last += 1;
            lines.push([last.into(), outputs.replace(&format!("-{}", derivation.name), "-*").into()]);
            (last, outputs, derivation.name.clone())
        });
        if *name != derivation.name {
            named.push((*id, outputs.clone()));
        }
        sets.push(*id);
    }
    insert(tx, "output_set", ["id", "outputs"], &lines).await?;
    for (id, outputs) in named {
        execute!(tx, "update output_set set outputs = $2 where id = $1", id, outputs);
    }
    Ok(sets)
}

/// The stored output sets that may be those of `derivations`, by their identifying paths.
async fn known_output_sets(
    tx: &mut Tx,
    derivations: &[&NewDerivation],
) -> Result<HashMap<String, OutputSet>> {
    let sql = [
        "select o.id, o.outputs, (select name from derivation where output_set_id = o.id limit 1)
         from json_each($1) w cross join output_set o
           on substr(o.outputs, instr(o.outputs, ' ') + 1, 12) = w.value",
        "select o.id, o.outputs, (select name from derivation where output_set_id = o.id limit 1)
         from json_array_elements_text($1::json) w (value) cross join lateral (select id, outputs from output_set
           where substr(outputs, position(' ' in outputs) + 1, 12) = w.value offset 0) o",
    ];
    let paths = derivations.iter().flat_map(|derivation| &derivation.outputs).map(|(_, path)| path);
    let beginnings: BTreeSet<&str> = paths.map(|path| path.get(..12).unwrap_or(path)).chain([""]).collect();
    let wanted = rows(beginnings.into_iter().map(Value::from));
    let found: Vec<OutputSet> =
        each!(tx, tx, sql => sqlx::query_as(sql).bind(&wanted).fetch_all(&mut **tx).await?);
    let known = found.into_iter().map(|(id, stored, name)| {
        let outputs = stored.replace('*', &name);
        (path_set(paths_of(&outputs)), (id, outputs, name))
    });
    Ok(known.collect())
}

/// The identity of a build: its output paths.
fn path_set<'a>(paths: impl Iterator<Item = &'a str>) -> String {
    let sorted: BTreeSet<&str> = paths.collect();
    sorted.into_iter().collect::<Vec<_>>().join("\n")
}

/// The paths in a text from [`output_lines`].
fn paths_of(outputs: &str) -> impl Iterator<Item = &str> {
    outputs.lines().filter_map(|line| Some(line.split_once(' ')?.1))
}

pub(in crate::db) fn output_lines(outputs: &[(String, String)]) -> String {
    let sorted: BTreeMap<_, _> = outputs.iter().map(|(name, path)| (name, path)).collect();
    sorted.into_iter().map(|(name, path)| format!("{name} {path}")).collect::<Vec<_>>().join("\n")
}

/// Stores the new items, and their packs.
pub(in crate::db) async fn store_packs(tx: &mut Tx, spec: SpecId, packs: &[Pack]) -> Result<()> {
    const OWN: &str = "insert into pack_owner (pack_id, spec_id, bytes) values ($1, $2, $3)";
    const LAST: &str = "select coalesce(max(id), 0) from store_pack";
    let items = || packs.iter().flat_map(|pack| &pack.items);
    if items().next().is_none() {
        return Ok(());
    }
    let wanted = rows(items().map(|item| Value::from(item.hash.as_str())));
    let sql = sql!("of_hashes(store_item: t.hash)");
    let found: Vec<String> =
        each!(tx, tx, sql => sqlx::query_scalar(sql).bind(&wanted).fetch_all(&mut **tx).await?);
    let mut known: HashSet<&str> = found.iter().map(String::as_str).collect();
    let mut last: i64 = each!(tx, tx => sqlx::query_scalar(LAST).fetch_one(&mut **tx).await?);
    let mut lines: Vec<[Cell; 7]> = Vec::new();
    for pack in packs {
        let new: Vec<&Item> = pack.items.iter().filter(|item| known.insert(&item.hash)).collect();
        if new.is_empty() {
            continue;
        }
        last += 1;
        execute!(tx, "insert into store_pack (id, contents) values ($1, $2)", last, &pack.contents);
        execute!(tx, OWN, last, spec, i64::try_from(pack.contents.len()).unwrap_or(i64::MAX));
        lines.extend(new.into_iter().map(|item| {
            let [start, length] = [item.start, item.length].map(|bytes| bytes.cast_signed().into());
            let (hash, name) = (item.hash.as_str().into(), item.name.as_str().into());
            [hash, name, item.kind.word().into(), item.refs.join(" ").into(), last.into(), start, length]
        }));
    }
    insert(tx, "store_item", ["hash", "name", "kind", "refs", "pack_id", "start", "length"], &lines).await
}

/// Stores the new errors, and returns how many were new.
pub(in crate::db) async fn store_errors(
    tx: &mut Tx,
    evaluation: crate::db::EvaluationId,
    errors: &[JobError],
) -> Result<u64> {
    let lines = rows(
        errors
            .iter()
            .map(|error| json!({ "name": error.name, "cause": error.cause, "message": error.message })),
    );
    let sql = sql!(
        "insert into evaluation_error (evaluation_id, name, cause, message)
         select $2, name, cause, message from records($1: name text, cause text, message text) as new
         except select evaluation_id, name, cause, message from evaluation_error where evaluation_id = $2"
    );
    Ok(execute!(tx, sql, &lines, evaluation))
}
