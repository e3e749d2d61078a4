//! Copies what another store has recorded, without trusting any of it.

use std::borrow::Cow;

use sha2::{Digest as _, Sha256};

use super::super::item::{
    Kind, RecordedDerivation, RecordedItem, StoreError, check_system, record_derivation,
};
use super::{KnownDerivation, Recording, Referred};
use crate::guix::derivation::{Derivation, ModuloHash};
use crate::guix::store_path::StorePath;

impl Recording {
    /// An empty recording for copies only. The task that copies also drains, so adding never waits.
    pub fn of_copies(keep_contents: bool, most_bytes: usize) -> Self {
        let mut copies = Self::new(keep_contents, most_bytes);
        copies.most_pending = usize::MAX;
        copies
    }

    /// Adds a text like [`Recording::add_text`]. The references of a derivation are taken from its
    /// text.
    pub fn copy_text(
        &self,
        name: &[u8],
        contents: Vec<u8>,
        references: &[Vec<u8>],
    ) -> Result<StorePath, StoreError> {
        let is_derivation = name.ends_with(b".drv");
        let parsed = is_derivation.then(|| Derivation::parse(&contents)).transpose().map_err(|error| {
            StorePath::of_text(name, &contents, references)
                .map_or_else(StoreError::Path, |path| StoreError::NotADerivation(path, error))
        })?;
        let mut named: Vec<&[u8]> = match &parsed {
            None => references.iter().map(Vec::as_slice).collect(),
            Some(parsed) => {
                let inputs = parsed.inputs.iter().map(|(input, _)| &input[..]);
                inputs.chain(parsed.sources.iter().map(|source| &source[..])).collect()
            }
        };
        named.sort_unstable();
        named.dedup();
        let referred = named.iter().map(|path| StorePath::parts(path)).collect::<Result<Vec<_>, _>>()?;
        let path = StorePath::of_text(name, &contents, &named)?;
        let Some(Referred { modulo_hashes, .. }) = self.referred(&path, &referred, &named)? else {
            return Ok(path);
        };
        let learnt = match (path.derivation_name(), &parsed) {
            (Some(name), Some(parsed)) => {
                Some(check_derivation(&path, name, parsed, &named, &modulo_hashes)?)
            }
            _ => None,
        };
        let (derivation, known) = learnt.map_or((None, None), |(said, known)| (Some(said), Some(known)));
        let references = match &derivation {
            Some(_) => Vec::new(),
            None => named.iter().map(|path| StorePath::parse(path)).collect::<Result<_, _>>()?,
        };
        drop(parsed);
        let item = RecordedItem {
            path: path.clone(),
            kind: Kind::Text,
            contents: Vec::new(),
            references,
            derivation,
        };
        self.push(item, Cow::Owned(contents), known.map(Box::new), None)?;
        Ok(path)
    }

    /// Adds a NAR that claims this path. Its path is computed from the hash of the NAR or of the
    /// single file in it.
    pub fn copy_nar(&self, claimed: &StorePath, nar: Vec<u8>) -> Result<StorePath, StoreError> {
        let whole = StorePath::of_fixed(claimed.name().as_bytes(), "sha256", &Sha256::digest(&nar), true)?;
        self.add_nar(claimed.name().as_bytes(), whole == *claimed, b"sha256", nar)
    }
}

/// Parses what is needed of the derivation at `path`, after checking the paths of its outputs.
/// `references` are sorted; `modulo_hashes` has the [`ModuloHash`] of each reference that is a derivation.
pub(super) fn check_derivation(
    path: &StorePath,
    name: &str,
    parsed: &Derivation<'_>,
    references: &[&[u8]],
    modulo_hashes: &[Option<ModuloHash>],
) -> Result<(RecordedDerivation, KnownDerivation), StoreError> {
    let modulo_hash_of = |input: &[u8]| modulo_hashes[references.binary_search(&input).ok()?];
    let modulo_hash = parsed
        .check_outputs(name, modulo_hash_of)
        .map_err(|error| StoreError::Outputs(path.clone(), Box::new(error)))?;
    let recorded = record_derivation(parsed)?;
    check_system(path, &recorded.system)?;
    let (outputs, substitutable) = (recorded.outputs.as_slice().into(), recorded.substitutable);
    Ok((recorded, KnownDerivation { modulo_hash, outputs, substitutable }))
}
