//! From what an evaluation adds and finds to what the database keeps.

use crate::db::{self, Item, ItemKind, JobError, NewDerivation, NewJob, Pack, compress};
use crate::evaluator::Outcome;
use crate::guix::base32;
use crate::guix::recording_store::{Kind, RecordedItem};
use crate::guix::store_path::StorePath;

/// Store items are compressed together up to about this size, in bytes: similar ones stand near each
/// other, and one of them can still be had without unpacking much.
const PACK_SIZE: usize = 1 << 20;
/// zstd's: the default, a good balance for text.
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

/// Packs the contents of `items`, except those that are known already.
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
            // A large item has a pack of its own: it is not copied, and its neighbours can be had without it.
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

/// What the database keeps of an item whose contents begin here in its pack.
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

/// Jobs and errors of `outcomes`.
pub(super) fn outcomes(outcomes: Vec<Outcome>, batch: &mut db::Batch) {
    for outcome in outcomes {
        match outcome {
            Outcome::Job { name, derivation, mut facts, .. } => {
                facts.texts_mut().for_each(|text| *text = storable(std::mem::take(text)));
                let derivation = derivation.hash_text();
                batch.jobs.push(NewJob { name: storable(name), derivation, facts });
            }
            Outcome::Error { name, cause, message } => {
                let [name, cause, message] = [name, cause, message].map(storable);
                batch.errors.push(JobError { name, cause, message });
            }
            // Counted in the metrics; what is kept is what keeps jobs from being known.
            Outcome::Warning { name, cause, message } => {
                tracing::info!(name, cause, message, "a module does not load, and no job is missing");
            }
        }
    }
}

/// PostgreSQL takes no NUL in a text.
fn storable(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "␀") } else { text }
}
