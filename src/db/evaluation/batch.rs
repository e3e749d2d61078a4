//! A batch of an evaluation's results: store items, derivations (inputs first), jobs and errors,
//! written in one transaction.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::{Value, json};

use crate::db::bulk::{Cell, insert};
use crate::db::{DerivationId, Error, ItemKind, JobError, Result, SpecId, Tx, rows};
use crate::domain::job::JobMetadata;
use crate::guix::edges;

/// What an evaluation found since the last batch.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Store items.
    pub packs: Vec<Pack>,
    /// Derivations, each after its inputs, unless those were recorded before.
    pub derivations: Vec<NewDerivation>,
    /// Jobs, also those that did not change.
    pub jobs: Vec<NewJob>,
    /// Jobs and modules that could not be evaluated.
    pub errors: Vec<JobError>,
    /// How much of the total is done, this batch included.
    pub done: i64,
}

/// Store items, compressed together.
#[derive(Debug, Clone)]
pub struct Pack {
    /// Their contents one after the other, compressed with zstd.
    pub contents: Vec<u8>,
    /// What is in it, and where.
    pub items: Vec<Item>,
}

/// One store item of a [`Pack`].
#[derive(Debug, Clone)]
pub struct Item {
    /// The 32 characters of its store path.
    pub hash: String,
    /// What follows them in its store path.
    pub name: String,
    /// How its contents are to be understood.
    pub kind: ItemKind,
    /// Base names of the store items that it refers to; empty for a derivation, whose contents name
    /// them.
    pub refs: Vec<String>,
    /// The place of its first byte in the unpacked contents.
    pub start: u64,
    /// Its length in bytes.
    pub length: u64,
}

/// A derivation, perhaps known already.
#[derive(Debug, Clone)]
pub struct NewDerivation {
    /// The 32 characters of its store path.
    pub hash: String,
    /// What follows them in its store path, without `.drv`.
    pub name: String,
    /// Where it is built.
    pub system: String,
    /// Its outputs: name, and base name of the store path.
    pub outputs: Vec<(String, String)>,
    /// Hashes of the derivations that it needs.
    pub inputs: Vec<String>,
}

/// A job that was evaluated.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NewJob {
    /// Its name.
    pub name: String,
    /// The hash of its derivation.
    pub derivation: String,
    /// What else is known of it.
    pub facts: JobMetadata,
}

/// Numbers of derivations by their hashes.
pub(in crate::db) type Numbers = HashMap<String, DerivationId>;

/// Numbers of derivations: those known for long, and those that this transaction adds.
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

    /// Learns the numbers of everything that the batch mentions and the database has.
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

    /// Stores the derivations that are new, with their output sets.
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

/// Numbers of the output sets of `derivations`, in the same order; new ones are stored. What identifies a
/// set are its paths, whatever the outputs are called; it is looked for by the beginning of any of them.
///
/// For the name of the derivations that make a set stands `*` in it, which is in no store path, as long as
/// all of them have one name.
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

/// The output sets that may be those of `derivations`, by what identifies them.
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

/// What identifies a build: its output paths.
fn path_set<'a>(paths: impl Iterator<Item = &'a str>) -> String {
    let sorted: BTreeSet<&str> = paths.collect();
    sorted.into_iter().collect::<Vec<_>>().join("\n")
}

/// The paths that [`output_lines`] wrote.
fn paths_of(outputs: &str) -> impl Iterator<Item = &str> {
    outputs.lines().filter_map(|line| Some(line.split_once(' ')?.1))
}

pub(in crate::db) fn output_lines(outputs: &[(String, String)]) -> String {
    let sorted: BTreeMap<_, _> = outputs.iter().map(|(name, path)| (name, path)).collect();
    sorted.into_iter().map(|(name, path)| format!("{name} {path}")).collect::<Vec<_>>().join("\n")
}

/// Stores those items that are new, and their packs.
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

/// Stores errors that are not stored yet, and gives their number.
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
