use std::collections::{BTreeMap, HashMap};

use data_encoding::HEXLOWER;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{DerivationId, Error, ItemKind, JobError, Result, Tx, as_rows, rows};
use crate::job::Facts;
use crate::store::edges;

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
    pub facts: Facts,
}

/// A new row of `derivation`.
#[derive(Serialize)]
struct DerivationLine<'a> {
    id: i64,
    hash: &'a str,
    name: &'a str,
    system: &'a str,
    output_set: i64,
    inputs: String,
}

/// A new row of `output_set`.
#[derive(Serialize)]
struct OutputLine {
    id: i64,
    key: String,
    outputs: String,
}

/// A row of `store_item`, but for its pack.
#[derive(Serialize)]
struct ItemLine<'a> {
    hash: &'a str,
    name: &'a str,
    kind: ItemKind,
    refs: String,
    start: u64,
    length: u64,
}

/// Numbers of derivations by their hashes.
pub(super) type Numbers = HashMap<String, DerivationId>;

/// Numbers of derivations: those known for long, and those that this transaction adds.
pub(super) struct Known<'a> {
    pub(super) before: &'a Numbers,
    pub(super) added: Numbers,
}

impl Known<'_> {
    fn has(&self, hash: &str) -> bool {
        self.before.contains_key(hash) || self.added.contains_key(hash)
    }

    pub(super) fn number(&self, hash: &str, user: &str) -> Result<DerivationId> {
        let number = self.before.get(hash).or_else(|| self.added.get(hash));
        let unknown = || Error::UnknownDerivation { hash: hash.to_owned(), user: user.to_owned() };
        number.copied().ok_or_else(unknown)
    }

    /// Learns the numbers of everything that the batch mentions and the database has.
    pub(super) async fn look_up(&mut self, tx: &mut Tx, batch: &Batch) -> Result<()> {
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
        let found: Vec<(String, DerivationId)> = each!(tx, tx, sql:
            "select hash, id from derivation where hash in (select value from json_each($1))",
            "select hash, id from derivation where hash in (select json_array_elements_text($1::json))"
            => sqlx::query_as(sql).bind(&wanted).fetch_all(&mut **tx).await?);
        self.added.extend(found);
        Ok(())
    }

    /// Stores the derivations that are new, with their output sets.
    pub(super) async fn store_derivations(&mut self, tx: &mut Tx, batch: &Batch) -> Result<()> {
        let new: Vec<&NewDerivation> = batch.derivations.iter().filter(|d| !self.has(&d.hash)).collect();
        if new.is_empty() {
            return Ok(());
        }
        let sets = store_output_sets(tx, &new).await?;
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
            let inputs = HEXLOWER.encode(&inputs);
            lines.push(DerivationLine { id: last, hash, name, system, output_set: set, inputs });
            self.added.insert(derivation.hash.clone(), DerivationId(last));
        }
        execute!(
            tx,
            [
                "insert into derivation (id, hash, name, system, output_set_id, inputs)
                 select value->>'id', value->>'hash', value->>'name', value->>'system', value->>'output_set',
                   unhex(value->>'inputs') from jsonb_each($1)",
                "insert into derivation (id, hash, name, system, output_set_id, inputs)
                 select id, hash, name, system, output_set, decode(inputs, 'hex') from json_to_recordset($1::json)
                   as new (id bigint, hash text, name text, system text, output_set bigint, inputs text)"
            ],
            as_rows(lines)
        );
        Ok(())
    }
}

/// Numbers of the output sets of `derivations`, in the same order; new ones are stored.
async fn store_output_sets(tx: &mut Tx, derivations: &[&NewDerivation]) -> Result<Vec<i64>> {
    let keys: Vec<[u8; 20]> = derivations.iter().map(|derivation| output_key(&derivation.outputs)).collect();
    let wanted = rows(keys.iter().map(|key| Value::from(HEXLOWER.encode(key))));
    let found: Vec<(Vec<u8>, i64)> = each!(tx, tx, sql:
        "select key, id from output_set where key in (select unhex(value) from json_each($1))",
        "select key, id from output_set
         where key in (select decode(json_array_elements_text($1::json), 'hex'))"
        => sqlx::query_as(sql).bind(&wanted).fetch_all(&mut **tx).await?);
    let mut numbers: HashMap<Vec<u8>, i64> = found.into_iter().collect();
    let mut last: i64 = each!(tx, tx => sqlx::query_scalar("select coalesce(max(id), 0) from output_set")
        .fetch_one(&mut **tx).await?);
    let mut lines = Vec::new();
    let mut sets = Vec::with_capacity(keys.len());
    for (key, derivation) in keys.into_iter().zip(derivations) {
        sets.push(*numbers.entry(key.to_vec()).or_insert_with_key(|key| {
            last += 1;
            lines.push(OutputLine {
                id: last,
                key: HEXLOWER.encode(key),
                outputs: output_lines(&derivation.outputs),
            });
            last
        }));
    }
    execute!(
        tx,
        [
            "insert into output_set (id, key, outputs)
             select value->>'id', unhex(value->>'key'), value->>'outputs' from jsonb_each($1)",
            "insert into output_set (id, key, outputs)
             select id, decode(key, 'hex'), outputs from json_to_recordset($1::json)
               as new (id bigint, key text, outputs text)"
        ],
        as_rows(lines)
    );
    Ok(sets)
}

/// What identifies a build: its output paths, whatever the outputs are called.
fn output_key(outputs: &[(String, String)]) -> [u8; 20] {
    output_key_of(outputs.iter().map(|(_, path)| path.as_str()).collect())
}

/// The same of base names of output paths.
pub(super) fn output_key_of(mut paths: Vec<&str>) -> [u8; 20] {
    paths.sort_unstable();
    paths.dedup();
    let digest: [u8; 32] = Sha256::digest(paths.join("\n")).into();
    let mut key = [0; 20];
    key.copy_from_slice(&digest[..20]);
    key
}

pub(super) fn output_lines(outputs: &[(String, String)]) -> String {
    let sorted: BTreeMap<_, _> = outputs.iter().map(|(name, path)| (name, path)).collect();
    sorted.into_iter().map(|(name, path)| format!("{name} {path}")).collect::<Vec<_>>().join("\n")
}

/// Stores those items of a pack that are new, and the pack for their sake.
pub(super) async fn store_pack(tx: &mut Tx, pack: &Pack) -> Result<()> {
    const NEXT: &str = "select coalesce(max(id), 0) + 1 from store_pack";
    let id: i64 = each!(tx, tx => sqlx::query_scalar(NEXT).fetch_one(&mut **tx).await?);
    execute!(tx, "insert into store_pack (id, contents) values ($1, $2)", id, &pack.contents);
    let lines = as_rows(pack.items.iter().map(|Item { hash, name, kind, refs, start, length }| ItemLine {
        hash,
        name,
        kind: *kind,
        refs: refs.join(" "),
        start: *start,
        length: *length,
    }));
    let added = execute!(
        tx,
        [
            "insert into store_item (hash, name, kind, refs, pack_id, start, length)
             select value->>'hash', value->>'name', value->>'kind', value->>'refs', $2,
               value->>'start', value->>'length' from jsonb_each($1) where true on conflict (hash) do nothing",
            "insert into store_item (hash, name, kind, refs, pack_id, start, length)
             select hash, name, kind, refs, $2, start, length from json_to_recordset($1::json)
               as new (hash text, name text, kind text, refs text, start bigint, length bigint)
             on conflict (hash) do nothing"
        ],
        &lines,
        id
    );
    if added == 0 {
        execute!(tx, "delete from store_pack where id = $1", id);
    }
    Ok(())
}

/// Stores errors that are not stored yet, and gives their number.
pub(super) async fn store_errors(
    tx: &mut Tx,
    evaluation: super::EvaluationId,
    errors: &[JobError],
) -> Result<u64> {
    let lines = rows(
        errors
            .iter()
            .map(|error| json!({ "name": error.name, "cause": error.cause, "message": error.message })),
    );
    Ok(execute!(
        tx,
        [
            "insert into evaluation_error (evaluation_id, name, cause, message)
             select $2, value->>'name', value->>'cause', value->>'message' from json_each($1)
             except select evaluation_id, name, cause, message from evaluation_error where evaluation_id = $2",
            "insert into evaluation_error (evaluation_id, name, cause, message)
             select $2, name, cause, message from json_to_recordset($1::json)
               as new (name text, cause text, message text)
             except select evaluation_id, name, cause, message from evaluation_error where evaluation_id = $2"
        ],
        &lines,
        evaluation
    ))
}
