//! Converts the results of an evaluation to rows of the database.

use crate::db::{self, Item, ItemKind, JobError, NewDerivation, NewJob, Pack, compress};
use crate::evaluator::Outcome;
use crate::guix::base32;
use crate::guix::recording_store::{Kind, RecordedItem};
use crate::guix::store_path::StorePath;

/// Store items are compressed together up to about this size, in bytes. Similar items are near each
/// other, and one of them can be read without unpacking much.
const PACK_SIZE: usize = 1 << 20;
/// The compression level of zstd: the default, a good balance for text.
const LEVEL: i32 = 3;

/// The derivations among `items`, in order.
pub(super) fn derivations(items: &[RecordedItem]) -> Vec<NewDerivation> {
    let of = |item: &RecordedItem| {
        let derivation = item.derivation.as_ref()?;
        Some(NewDerivation {
            hash: item.path.hash_text(),
            name: item.path.derivation_name()?.to_owned(),
            system: derivation.system.clone(),
            outputs: derivation.outputs.iter().map(|(name, path)| (name.clone(), path.base_name())).collect(),
            inputs: derivation.inputs.iter().map(|hash| base32::encode(hash)).collect(),
        })
    };
    items.iter().filter_map(of).collect()
}

/// Packs the contents of `items`, except those that the database already has.
pub(super) fn packs(items: &[RecordedItem], known: impl Fn(&str) -> bool) -> std::io::Result<Vec<Pack>> {
    let mut packs = Vec::new();
    let mut contents = Vec::with_capacity(2 * PACK_SIZE);
    let mut packed = Vec::new();
    for item in items {
        let hash = item.path.hash_text();
        if known(&hash) {
            continue;
        }
        if item.contents.len() >= PACK_SIZE {
            // A large item gets a pack of its own: it is not copied, and its neighbors can be read
            // without unpacking it.
            let contents = compress(&item.contents, LEVEL)?;
            packs.push(Pack { contents, items: vec![row(item, hash, 0)] });
            continue;
        }
        packed.push(row(item, hash, contents.len()));
        contents.extend_from_slice(&item.contents);
        if contents.len() >= PACK_SIZE {
            packs.push(Pack { contents: compress(&contents, LEVEL)?, items: std::mem::take(&mut packed) });
            contents.clear();
        }
    }
    if !packed.is_empty() {
        packs.push(Pack { contents: compress(&contents, LEVEL)?, items: packed });
    }
    Ok(packs)
}

/// The row of an item whose contents start at `start` in its pack.
fn row(item: &RecordedItem, hash: String, start: usize) -> Item {
    Item {
        hash,
        name: item.path.name().to_owned(),
        kind: match item.kind {
            Kind::Text => ItemKind::Text,
            Kind::Nar => ItemKind::Nar,
        },
        refs: item.references.iter().map(StorePath::base_name).collect(),
        start: start as u64,
        length: item.contents.len() as u64,
    }
}

/// Adds the jobs and errors of `outcomes` to `batch`.
pub(super) fn outcomes(outcomes: Vec<Outcome>, batch: &mut db::Batch) {
    for outcome in outcomes {
        match outcome {
            Outcome::Job { name, derivation, mut metadata, .. } => {
                metadata.texts_mut().for_each(|text| *text = storable(std::mem::take(text)));
                let derivation = derivation.hash_text();
                batch.jobs.push(NewJob { name: storable(name), derivation, metadata });
            }
            Outcome::Error { name, cause, message } => {
                let [name, cause, message] = [name, cause, message].map(storable);
                batch.errors.push(JobError { name, cause, message });
            }
            // The metrics count warnings. Only errors, which keep jobs from being known, are
            // stored.
            Outcome::Warning { name, cause, message } => {
                tracing::info!(name, cause, message, "a module does not load, and no job is missing");
            }
        }
    }
}

/// PostgreSQL does not accept NUL in a text.
fn storable(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "␀") } else { text }
}
