//! Computes store paths from contents.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};

use crate::guix::derivation::Derivation;
use crate::guix::nar;
use crate::guix::store_path::{PathError, STORE, StorePath};

/// The store path of a plain file with these contents. `references` are base names; for a
/// derivation, the references come from its text.
pub(in crate::db) fn text_path<'a>(
    name: &str,
    contents: &[u8],
    references: impl Iterator<Item = &'a str>,
) -> std::result::Result<StorePath, String> {
    let mut all: BTreeSet<Vec<u8>> = BTreeSet::new();
    if name.strip_suffix(".drv").is_some() {
        let parsed = Derivation::parse(contents).map_err(|error| error.to_string())?;
        let inputs = parsed.inputs.iter().map(|(path, _)| path).chain(&parsed.sources);
        all.extend(inputs.map(|path| path.to_vec()));
    } else {
        all.extend(store_paths(references));
    }
    let all: Vec<Vec<u8>> = all.into_iter().collect();
    StorePath::of_text(name.as_bytes(), contents, &all).map_err(|error| error.to_string())
}

/// The same, from the hash of a text that is no derivation.
pub(in crate::db) fn name_of_text<'a>(
    name: &str,
    hash: &[u8; 32],
    references: impl Iterator<Item = &'a str>,
) -> std::result::Result<StorePath, PathError> {
    let all: BTreeSet<Vec<u8>> = store_paths(references).collect();
    StorePath::of_text_hash(name.as_bytes(), hash, &Vec::from_iter(all))
}

fn store_paths<'a>(base_names: impl Iterator<Item = &'a str>) -> impl Iterator<Item = Vec<u8>> {
    base_names.map(|base_name| format!("{STORE}/{base_name}").into_bytes())
}

/// The store path of an archive, which `path` may be. It follows from the hash of the archive or,
/// if the archive is a single file and `path` agrees, from the hash of that file.
pub(in crate::db) fn nar_path(path: &StorePath, archive: &[u8]) -> std::result::Result<StorePath, String> {
    let file = nar::single_file(archive).map(|file| Sha256::digest(file).into());
    name_of_nar(path, &Sha256::digest(archive).into(), file).map_err(|error| error.to_string())
}

/// The same, from the hashes of the archive and of its single file.
pub(in crate::db) fn name_of_nar(
    path: &StorePath,
    whole: &[u8; 32],
    file: Option<[u8; 32]>,
) -> std::result::Result<StorePath, PathError> {
    let name = path.name().as_bytes();
    let file = file.map(|hash| StorePath::of_fixed(name, "sha256", &hash, false));
    match file {
        Some(Ok(found)) if found == *path => Ok(found),
        _ => StorePath::of_source(name, whole),
    }
}
