//! What is recorded for an evaluation, and why a request is refused.

use crate::guix::derivation::{Derivation, OutputError, ParseError};
use crate::guix::store_path::{Hash, PathError, StorePath};

/// The memory that a name takes besides its text, in bytes, roughly.
const NAME: usize = 48;
/// The longest system name that a derivation may have, in bytes.
const LONGEST_SYSTEM: usize = 100;

/// The format of an item's contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Kind {
    /// The file's own bytes: a derivation or a builder.
    Text,
    /// A NAR.
    Nar,
}

/// A store item that the evaluation added. Items that are added again are not recorded.
#[derive(Debug)]
pub struct RecordedItem {
    /// Its path.
    pub path: StorePath,
    /// The format of [`RecordedItem::contents`].
    pub kind: Kind,
    /// Its contents; empty unless the store keeps them.
    pub contents: Vec<u8>,
    /// Its references, sorted; empty for a derivation, whose contents name them.
    pub references: Vec<StorePath>,
    /// The parsed derivation, if it is one. Its inputs were recorded earlier.
    pub derivation: Option<RecordedDerivation>,
}

/// The parts of a derivation that Gorget uses.
#[derive(Debug, Clone)]
pub struct RecordedDerivation {
    /// Its system: `x86_64-linux`, …
    pub system: String,
    /// Name and path of each output, sorted by name.
    pub outputs: Vec<(String, StorePath)>,
    /// Hash parts of its input derivations.
    pub inputs: Vec<Hash>,
    /// Whether a substitute server may provide its outputs.
    pub substitutable: bool,
}

/// Why a request was refused.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The name, or a reference, is not valid in a store path.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A reference is not in the evaluation's store.
    #[error("{0} refers to {1}, which is not in the store of this evaluation")]
    UnknownReference(StorePath, StorePath),
    /// The name ends in `.drv`, but the text is not a derivation.
    #[error("{0}: {1}")]
    NotADerivation(StorePath, ParseError),
    /// The derivation has wrong outputs, or unknown inputs.
    #[error("{0}: {1}")]
    Outputs(StorePath, Box<OutputError>),
    /// The given references are not the inputs and sources of the derivation.
    #[error("{0}: its references are not its inputs and sources")]
    References(StorePath),
    /// The name of its system is not valid.
    #[error("{0}: its system has no name, or one that is too long")]
    System(StorePath),
    /// The hash algorithm is not supported, or the archive does not fit it.
    #[error("cannot add {0:?} with the hash {1:?}")]
    Hash(String, String),
    /// The evaluation reached its limit on what it may add.
    #[error(
        "this evaluation added more than {} MiB to the store\nhint: if it needs that, raise `most-stored` in [evaluate] of gorget.toml",
        .0 >> 20
    )]
    Full(usize),
    /// The item could not be stored for builds.
    #[error("cannot keep {0}: {1}")]
    Keep(StorePath, std::io::Error),
    /// The evaluation is over.
    #[error("the evaluation is over")]
    Closed,
}

impl RecordedItem {
    /// The approximate memory of all names in it, in bytes.
    pub(super) fn names_len(&self) -> usize {
        let inputs = self.derivation.as_ref().map_or(0, |derivation| derivation.inputs.len());
        self.references_len() + self.outputs_len() + inputs * size_of::<Hash>()
    }

    /// The part of that for references.
    pub(super) fn references_len(&self) -> usize {
        self.references.iter().map(|path| path.name().len() + NAME).sum()
    }

    /// The part of that for outputs.
    pub(super) fn outputs_len(&self) -> usize {
        let outputs = self.derivation.iter().flat_map(|derivation| &derivation.outputs);
        outputs.map(|(name, path)| name.len() + path.name().len() + 2 * NAME).sum()
    }
}

pub(super) fn check_references(
    path: &StorePath,
    derivation: &Derivation<'_>,
    references: &[&[u8]],
) -> Result<(), StoreError> {
    let mut named: Vec<&[u8]> = derivation.inputs.iter().map(|(input, _)| &input[..]).collect();
    named.extend(derivation.sources.iter().map(|source| &source[..]));
    named.sort_unstable();
    named.dedup();
    if named == references { Ok(()) } else { Err(StoreError::References(path.clone())) }
}

/// Checks the name of a system. A database has these names in an index, so their length is limited.
pub(super) fn check_system(path: &StorePath, system: &str) -> Result<(), StoreError> {
    let good = system.len() <= LONGEST_SYSTEM && system.bytes().all(|byte| byte.is_ascii_graphic());
    if good { Ok(()) } else { Err(StoreError::System(path.clone())) }
}

pub(super) fn record_derivation(derivation: &Derivation<'_>) -> Result<RecordedDerivation, PathError> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut outputs = derivation
        .outputs
        .iter()
        .map(|output| Ok((text(&output.name), StorePath::parse(&output.path)?)))
        .collect::<Result<Vec<_>, PathError>>()?;
    outputs.sort();
    let inputs = derivation.inputs.iter().map(|(path, _)| Ok(StorePath::parts(path)?.0));
    Ok(RecordedDerivation {
        system: text(&derivation.system),
        outputs,
        inputs: inputs.collect::<Result<_, PathError>>()?,
        substitutable: derivation.is_substitutable(),
    })
}
