use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::builds::Builds;
use super::requests::{Counting, Requests};
use crate::store::derivation::{Derivation, Modulo, OutputError, ParseError};
use crate::store::nar::single_file;
use crate::store::path::{Hash, PathError, StorePath};

/// Clients wait while more bytes than this have been recorded and not yet drained.
const MOST_PENDING: usize = 32 << 20;
/// What a recorded item takes beside its contents, in bytes, roughly.
const BOOKKEEPING: usize = 512;
/// What all clients together may have on its way to the store, in bytes.
pub(super) const MOST_ARRIVING: usize = 768 << 20;

/// How an item's contents are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The file's own bytes: a derivation or a builder.
    Text,
    /// A NAR.
    Nar,
}

/// A store item that the evaluation added, once.
#[derive(Debug)]
pub struct Recorded {
    /// Its path.
    pub path: StorePath,
    /// What [`Recorded::contents`] is.
    pub kind: Kind,
    /// Its contents; empty unless the store keeps them.
    pub contents: Vec<u8>,
    /// What it refers to, sorted; empty for a derivation, whose contents name that.
    pub references: Vec<StorePath>,
    /// What the derivation says, if it is one. Its inputs were recorded earlier.
    pub derivation: Option<RecordedDerivation>,
}

/// The part of a derivation that Gorget works with.
#[derive(Debug, Clone)]
pub struct RecordedDerivation {
    /// `x86_64-linux`, …
    pub system: String,
    /// Name and path of each output, sorted by name.
    pub outputs: Vec<(String, StorePath)>,
    /// Hash parts of its input derivations.
    pub inputs: Vec<Hash>,
    /// Whether its outputs may be had from a substitute server.
    pub substitutable: bool,
}

/// Why a request was refused.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The name or a reference is no store path.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A reference is to something that the evaluation did not add.
    #[error("{0} refers to {1}, which is not in the store of this evaluation")]
    UnknownReference(StorePath, StorePath),
    /// The text is called `.drv`, but is no derivation.
    #[error("{0}: {1}")]
    NotADerivation(StorePath, ParseError),
    /// The derivation lies about its outputs, or its inputs are not known.
    #[error("{0}: {1}")]
    Outputs(StorePath, Box<OutputError>),
    /// The references that were given are not the inputs and sources of the derivation.
    #[error("{0}: its references are not its inputs and sources")]
    References(StorePath),
    /// The hash algorithm is unknown, or the archive does not fit it.
    #[error("cannot add {0:?} with the hash {1:?}")]
    Hash(String, String),
    /// More was added than the evaluation may add.
    #[error("this evaluation added more than {0} bytes to the store")]
    Full(usize),
    /// It could not be kept for builds.
    #[error("cannot keep {0}: {1}")]
    Keep(StorePath, std::io::Error),
    /// The evaluation is over.
    #[error("the evaluation is over")]
    Closed,
}

/// What all connections of one evaluation share.
#[derive(Debug)]
pub struct Memory {
    state: Mutex<State>,
    drained: Condvar,
    pub(super) asked: Counting,
    cpu_ns: AtomicU64,
    arriving: AtomicUsize,
    pub(super) keep_contents: bool,
    most_bytes: usize,
    pub(super) builds: Option<Builds>,
}

#[derive(Debug, Default)]
struct State {
    known: HashMap<Hash, Known>,
    pending: Vec<Recorded>,
    pending_bytes: usize,
    bytes: usize,
    closed: bool,
}

#[derive(Debug)]
struct Known {
    name: Box<str>,
    derivation: Option<Box<KnownDerivation>>,
}

/// What later requests need of a derivation.
#[derive(Debug)]
struct KnownDerivation {
    modulo: Modulo,
    outputs: Outputs,
    substitutable: bool,
}

/// Names and paths.
type Outputs = Vec<(String, StorePath)>;

impl Memory {
    /// Nothing yet. `keep_contents` says whether contents are recorded or only paths and
    /// derivations; `most_bytes` bounds what an evaluation may add, kept or not.
    pub fn new(keep_contents: bool, most_bytes: usize) -> Self {
        Self {
            state: Mutex::default(),
            drained: Condvar::new(),
            asked: Counting::default(),
            cpu_ns: AtomicU64::new(0),
            arriving: AtomicUsize::new(0),
            keep_contents,
            most_bytes,
            builds: None,
        }
    }

    /// Whether `path` was added, or built.
    pub(super) fn is_valid(&self, path: &[u8]) -> bool {
        self.knows(path) || self.builds.as_ref().is_some_and(|builds| builds.has_built(path))
    }

    /// Takes a text: the store path that it has.
    pub fn add_text(
        &self,
        name: &[u8],
        contents: &[u8],
        references: &[Vec<u8>],
    ) -> Result<StorePath, StoreError> {
        let mut references: Vec<&[u8]> = references.iter().map(Vec::as_slice).collect();
        references.sort_unstable();
        references.dedup();
        let referred = references.iter().map(|path| StorePath::parts(path)).collect::<Result<Vec<_>, _>>()?;
        let path = StorePath::of_text(name, contents, &references)?;
        let state = self.lock_with_room()?;
        if state.knows(&path) {
            return Ok(path);
        }
        let is_unknown = |(hash, name): &(Hash, &str)| state.find(hash, name).is_none();
        if let Some(unknown) = referred.iter().position(is_unknown) {
            return Err(StoreError::UnknownReference(path, StorePath::parse(references[unknown])?));
        }
        let mut derivation = None;
        let mut known = None;
        if let Some(drv_name) = path.derivation_name() {
            let parsed =
                Derivation::parse(contents).map_err(|e| StoreError::NotADerivation(path.clone(), e))?;
            check_references(&path, &parsed, &references)?;
            let modulo = parsed
                .check_outputs(drv_name, |input| state.modulo(input))
                .map_err(|error| StoreError::Outputs(path.clone(), Box::new(error)))?;
            let recorded = record_derivation(&parsed)?;
            let (outputs, substitutable) = (recorded.outputs.clone(), recorded.substitutable);
            known = Some(Box::new(KnownDerivation { modulo, outputs, substitutable }));
            derivation = Some(recorded);
            references.clear();
        }
        let references = references.iter().map(|path| StorePath::parse(path)).collect::<Result<_, _>>()?;
        let size = contents.len();
        let contents = if self.keep_contents { contents.to_vec() } else { Vec::new() };
        let item = Recorded { path: path.clone(), kind: Kind::Text, contents, references, derivation };
        self.push(state, item, size, known)?;
        Ok(path)
    }

    /// Takes a file tree as a NAR, to be named by the hash `algorithm` of the NAR (`recursive`) or
    /// of the single file in it.
    pub fn add_nar(
        &self,
        name: &[u8],
        recursive: bool,
        algorithm: &[u8],
        nar: Vec<u8>,
    ) -> Result<StorePath, StoreError> {
        let wrong = || {
            StoreError::Hash(String::from_utf8_lossy(name).into(), String::from_utf8_lossy(algorithm).into())
        };
        if algorithm != b"sha256" {
            return Err(wrong());
        }
        let hashed = if recursive { &nar[..] } else { single_file(&nar).ok_or_else(wrong)? };
        let path = StorePath::of_fixed(name, "sha256", &Sha256::digest(hashed), recursive)?;
        let state = self.lock_with_room()?;
        if state.knows(&path) {
            return Ok(path);
        }
        let size = nar.len();
        let contents = if self.keep_contents { nar } else { Vec::new() };
        let item = Recorded {
            path: path.clone(),
            kind: Kind::Nar,
            contents,
            references: Vec::new(),
            derivation: None,
        };
        self.push(state, item, size, None)?;
        Ok(path)
    }

    /// Whether `path` was added.
    pub fn knows(&self, path: &[u8]) -> bool {
        StorePath::parse(path).is_ok_and(|path| self.lock().is_ok_and(|state| state.knows(&path)))
    }

    /// Name and path of each output of the derivation at `path`, if that was added, and whether they
    /// may be had from a substitute server.
    pub fn derivation(&self, path: &[u8]) -> Option<(Outputs, bool)> {
        let (hash, name) = StorePath::parts(path).ok()?;
        let state = self.lock().ok()?;
        let known = state.find(&hash, name)?;
        known.derivation.as_ref().map(|derivation| (derivation.outputs.clone(), derivation.substitutable))
    }

    /// Takes what was recorded since the last call, in the order in which it was added.
    pub fn drain(&self) -> Vec<Recorded> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.pending_bytes = 0;
        self.drained.notify_all();
        std::mem::take(&mut state.pending)
    }

    /// Bytes that wait to be drained.
    pub fn pending_bytes(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).pending_bytes
    }

    /// Counts CPU time that answering took.
    pub(super) fn count_cpu(&self, used: Duration) {
        self.cpu_ns.fetch_add(u64::try_from(used.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// CPU time that answering has taken up to now.
    pub fn cpu(&self) -> Duration {
        Duration::from_nanos(self.cpu_ns.load(Ordering::Relaxed))
    }

    /// Counts bytes that a client begins to send; false when too many are on their way.
    pub(super) fn arrive(&self, bytes: usize) -> bool {
        self.arriving.fetch_add(bytes, Ordering::Relaxed) + bytes <= MOST_ARRIVING
    }

    /// They have all been dealt with.
    pub(super) fn arrived(&self, bytes: usize) {
        self.arriving.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// How many requests were answered up to now.
    pub fn requests(&self) -> Requests {
        self.asked.so_far()
    }

    /// How many items and how many bytes were added.
    pub fn totals(&self) -> (usize, usize) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.known.len(), state.bytes)
    }

    /// Refuses everything from now on, and lets waiting clients go.
    pub(super) fn close(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.drained.notify_all();
        if let Some(builds) = &self.builds {
            builds.close();
        }
    }

    fn lock(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.closed { Err(StoreError::Closed) } else { Ok(state) }
    }

    /// Waits until more can be recorded. Only clients may wait: who drains must not.
    fn lock_with_room(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        let mut state = self.lock()?;
        while state.pending_bytes > MOST_PENDING && !state.closed {
            state = self.drained.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed { Err(StoreError::Closed) } else { Ok(state) }
    }

    fn push(
        &self,
        mut state: MutexGuard<'_, State>,
        item: Recorded,
        size: usize,
        derivation: Option<Box<KnownDerivation>>,
    ) -> Result<(), StoreError> {
        let bookkeeping = BOOKKEEPING * (state.known.len() + 1);
        if state.bytes + size + bookkeeping > self.most_bytes {
            return Err(StoreError::Full(self.most_bytes));
        }
        if let Some(builds) = &self.builds {
            builds.keep(&item).map_err(|error| StoreError::Keep(item.path.clone(), error))?;
        }
        state.bytes += size;
        state.pending_bytes += item.contents.len() + BOOKKEEPING;
        state.known.insert(*item.path.hash(), Known { name: item.path.name().into(), derivation });
        state.pending.push(item);
        Ok(())
    }
}

impl State {
    fn find(&self, hash: &Hash, name: &str) -> Option<&Known> {
        self.known.get(hash).filter(|known| *known.name == *name)
    }

    fn knows(&self, path: &StorePath) -> bool {
        self.find(path.hash(), path.name()).is_some()
    }

    fn modulo(&self, path: &[u8]) -> Option<Modulo> {
        let (hash, name) = StorePath::parts(path).ok()?;
        self.find(&hash, name)?.derivation.as_ref().map(|derivation| derivation.modulo)
    }
}

fn check_references(
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

fn record_derivation(derivation: &Derivation<'_>) -> Result<RecordedDerivation, PathError> {
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
