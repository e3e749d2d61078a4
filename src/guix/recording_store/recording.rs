//! What an evaluation added, until it is handed over to the results.
//!
//! It is limited in bytes and items. Everything is handed over in the order in which it was added:
//! inputs first.

mod copy;
mod handover;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use super::builds::Builds;
use super::item::{Kind, RecordedItem, StoreError, check_references};
use super::requests::Counting;
use super::unreadable::Unreadable;
use crate::guix::derivation::{Derivation, ModuloHash};
use crate::guix::nar::single_file;
use crate::guix::store_path::{Hash, StorePath};

use copy::check_derivation;
pub use handover::DrainGuard;

/// Clients wait while more bytes than this are recorded but not yet in a database.
const MOST_PENDING: usize = 64 << 20;
/// The memory that a recorded item takes besides its contents, in bytes, roughly.
const BOOKKEEPING: usize = 512;
/// How much an item counts towards the limit of the evaluation, in addition to its contents, in
/// bytes. The memory for what is known of it is a fourth of that.
const COUNTED: usize = 1 << 10;
/// The factor for names of outputs in that count: they stay in memory until the evaluation ends.
const OUTPUTS: usize = 4;
/// How many bytes of unfinished requests all clients together may have sent: a little more than the
/// largest archive.
pub(super) const MOST_ARRIVING: usize = 320 << 20;

/// The state that all connections of one evaluation share.
#[derive(Debug)]
pub struct Recording {
    state: Mutex<State>,
    drained: Condvar,
    pub(super) request_counts: Counting,
    cpu_ns: AtomicU64,
    arriving: AtomicUsize,
    pub(super) keep_contents: bool,
    most_bytes: usize,
    /// Clients wait while more bytes than this are pending.
    most_pending: usize,
    pub(super) builds: Option<Builds>,
}

#[derive(Debug, Default)]
struct State {
    known: HashMap<Hash, Known>,
    pending: Vec<RecordedItem>,
    pending_bytes: usize,
    /// Bytes that are about to become pending.
    reserved_bytes: usize,
    /// Bytes that were drained and are still held.
    held_bytes: usize,
    bytes: usize,
    /// The count towards `most_bytes`: `bytes`, plus what is known of all items until the
    /// evaluation ends.
    counted: usize,
    closed: bool,
}

#[derive(Debug)]
struct Known {
    name: Box<str>,
    derivation: Option<Box<KnownDerivation>>,
    /// An unreadable object in the item or in anything that it needs.
    unreadable: Option<Arc<Unreadable>>,
}

/// What is known of the references of a text.
struct Referred {
    /// The [`ModuloHash`] of each reference that is a derivation.
    modulo_hashes: Vec<Option<ModuloHash>>,
    unreadable: Option<Arc<Unreadable>>,
}

/// What later requests need to know of a derivation.
#[derive(Debug)]
struct KnownDerivation {
    modulo_hash: ModuloHash,
    outputs: Outputs,
    substitutable: bool,
}

/// Names and paths. All jobs of the derivation share them: there may be many.
type Outputs = Arc<[(String, StorePath)]>;

impl Recording {
    /// An empty recording. `keep_contents`: record contents, not only paths and derivations.
    /// `most_bytes` limits what the evaluation may add, with or without contents.
    pub fn new(keep_contents: bool, most_bytes: usize) -> Self {
        Self {
            state: Mutex::default(),
            drained: Condvar::new(),
            request_counts: Counting::default(),
            cpu_ns: AtomicU64::new(0),
            arriving: AtomicUsize::new(0),
            keep_contents,
            most_bytes,
            most_pending: MOST_PENDING,
            builds: None,
        }
    }

    /// Whether `path` was added, or built.
    pub(super) fn is_valid(&self, path: &[u8]) -> bool {
        self.knows(path) || self.builds.as_ref().is_some_and(|builds| builds.has_built(path))
    }

    /// Adds a text; returns its store path.
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
        let Some(known) = self.referred(&path, &referred, &references)? else { return Ok(path) };
        let Referred { modulo_hashes, unreadable } = known;
        let unreadable = Unreadable::find(path.name(), contents).or(unreadable);
        let mut derivation = None;
        let mut known = None;
        if let Some(drv_name) = path.derivation_name() {
            let parsed =
                Derivation::parse(contents).map_err(|e| StoreError::NotADerivation(path.clone(), e))?;
            check_references(&path, &parsed, &references)?;
            let learnt = check_derivation(&path, drv_name, &parsed, &references, &modulo_hashes)?;
            (derivation, known) = (Some(learnt.0), Some(Box::new(learnt.1)));
            references.clear();
        }
        let references = references.iter().map(|path| StorePath::parse(path)).collect::<Result<_, _>>()?;
        let item = RecordedItem {
            path: path.clone(),
            kind: Kind::Text,
            contents: Vec::new(),
            references,
            derivation,
        };
        self.push(item, Cow::Borrowed(contents), known, unreadable)?;
        Ok(path)
    }

    /// What is known of the references of a text; `None` if the text itself is known already.
    fn referred(
        &self,
        path: &StorePath,
        referred: &[(Hash, &str)],
        references: &[&[u8]],
    ) -> Result<Option<Referred>, StoreError> {
        let mut result = Referred { modulo_hashes: Vec::with_capacity(referred.len()), unreadable: None };
        let state = self.lock()?;
        if state.knows(path) {
            return Ok(None);
        }
        for ((hash, name), reference) in referred.iter().zip(references) {
            let Some(known) = state.find(hash, name) else {
                return Err(StoreError::UnknownReference(path.clone(), StorePath::parse(reference)?));
            };
            result.modulo_hashes.push(known.derivation.as_ref().map(|derivation| derivation.modulo_hash));
            if let Some(unreadable) = &known.unreadable {
                // Of several, always take the same one, whatever the hashes are.
                let other = result.unreadable.take_if(|other| *other < *unreadable);
                result.unreadable = other.or_else(|| Some(unreadable.clone()));
            }
        }
        Ok(Some(result))
    }

    /// Adds a file tree in the form of a NAR. It is named after the hash `algorithm` of the NAR
    /// (`recursive`) or of the single file in it.
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
        if self.lock()?.knows(&path) {
            return Ok(path);
        }
        let item = RecordedItem {
            path: path.clone(),
            kind: Kind::Nar,
            contents: Vec::new(),
            references: Vec::new(),
            derivation: None,
        };
        self.push(item, Cow::Owned(nar), None, None)?;
        Ok(path)
    }

    /// Whether `path` was added.
    pub fn knows(&self, path: &[u8]) -> bool {
        StorePath::parse(path).is_ok_and(|path| self.lock().is_ok_and(|state| state.knows(&path)))
    }

    /// The name and path of each output of the derivation at `path`, and whether a substitute
    /// server may provide them. `None` if it was not added.
    pub fn derivation(&self, path: &[u8]) -> Option<(Outputs, bool)> {
        let (hash, name) = StorePath::parts(path).ok()?;
        let state = self.lock().ok()?;
        let known = state.find(&hash, name)?;
        known.derivation.as_ref().map(|derivation| (derivation.outputs.clone(), derivation.substitutable))
    }

    /// The unreadable object in the derivation at `path`, or in anything that it needs, that makes
    /// the derivation differ in each evaluation.
    pub fn unreadable(&self, path: &StorePath) -> Option<Arc<Unreadable>> {
        self.lock().ok()?.find(path.hash(), path.name())?.unreadable.clone()
    }

    fn lock(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.closed { Err(StoreError::Closed) } else { Ok(state) }
    }

    /// Records an item with these contents, unless another client has added it meanwhile. Space is
    /// reserved before the contents are copied, so that little is in memory twice when many clients
    /// send at the same time.
    fn push(
        &self,
        mut item: RecordedItem,
        contents: Cow<'_, [u8]>,
        derivation: Option<Box<KnownDerivation>>,
        unreadable: Option<Arc<Unreadable>>,
    ) -> Result<(), StoreError> {
        let size = contents.len();
        let counted = size + COUNTED + item.references_len() + OUTPUTS * item.outputs_len();
        let kept = if self.keep_contents { contents.len() } else { 0 };
        let weight = kept + BOOKKEEPING + item.names_len();
        self.reserve(counted, weight)?;
        if self.keep_contents {
            item.contents = contents.into_owned();
        }
        let kept = self.builds.as_ref().map_or(Ok(()), |builds| builds.archive(&item));
        let known = Known { name: item.path.name().into(), derivation, unreadable };
        let mut state = self.lock()?;
        state.reserved_bytes -= weight;
        if kept.is_err() || state.knows(&item.path) {
            state.counted -= counted;
            self.drained.notify_all();
            return kept.map_err(|error| StoreError::Keep(item.path.clone(), error));
        }
        state.bytes += size;
        state.pending_bytes += weight;
        state.known.insert(*item.path.hash(), known);
        state.pending.push(item);
        Ok(())
    }

    /// Waits until there is room to record more. Only clients may wait; the draining side must not.
    /// The lock is never held during a computation, because the draining side is an async task.
    fn reserve(&self, counted: usize, weight: usize) -> Result<(), StoreError> {
        let mut state = self.lock()?;
        while state.pending_bytes + state.reserved_bytes + state.held_bytes > self.most_pending
            && !state.closed
        {
            state = self.drained.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return Err(StoreError::Closed);
        }
        if state.counted + counted > self.most_bytes {
            return Err(StoreError::Full(self.most_bytes));
        }
        state.counted += counted;
        state.reserved_bytes += weight;
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
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    fn add(recording: &Recording, number: usize, references: &[Vec<u8>]) -> StorePath {
        recording.add_text(b"x", number.to_string().as_bytes(), references).unwrap()
    }

    /// Items that are small in the store may take much memory here.
    #[test]
    fn references_and_inputs_are_counted() {
        let recording = Recording::new(false, 1 << 30);
        let known: Vec<Vec<u8>> =
            (0..1000).map(|number| add(&recording, number, &[]).to_string().into_bytes()).collect();
        recording.drain();
        for number in 1000..1100 {
            add(&recording, number, &known);
        }
        let pending = recording.pending_bytes();
        let names = 100 * 1000 * size_of::<StorePath>();
        assert!(recording.drain().len() == 100 && pending > names, "{pending}, {names}");
        assert!(recording.state.lock().unwrap().counted > names);
    }

    #[test]
    fn clients_wait_until_what_was_drained_is_no_longer_held() {
        let recording = Arc::new(Recording::new(true, 1 << 30));
        recording.add_text(b"large", &vec![b'x'; MOST_PENDING], &[]).unwrap();
        let (items, guard) = recording.clone().drain_guarded();
        assert_eq!(items.len(), 1);
        let client = recording.clone();
        let waiting = thread::spawn(move || add(&client, 1, &[]));
        thread::sleep(Duration::from_millis(100));
        assert!(!waiting.is_finished() && recording.pending_bytes() == 0);
        drop(guard);
        waiting.join().unwrap();
        assert_eq!(recording.drain().len(), 1);
    }

    /// The same text from several clients at the same time is one item.
    #[test]
    fn what_several_add_at_a_time_is_added_once() {
        let recording = Recording::new(true, 1 << 30);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..500).for_each(|number| drop(add(&recording, number, &[]))));
            }
        });
        let items = recording.drain();
        let bytes = items.iter().map(|item| item.contents.len()).sum::<usize>();
        assert_eq!((items.len(), recording.totals()), (500, (500, bytes)));
        assert_eq!(recording.pending_bytes(), 0);
    }

    #[test]
    fn more_than_may_be_stored_is_refused_with_a_hint() {
        let recording = Recording::new(true, 2 << 20);
        let error = recording.add_text(b"x", &vec![b'x'; 2 << 20], &[]).unwrap_err().to_string();
        assert!(error.starts_with("this evaluation added more than 2 MiB to the store\nhint: "), "{error}");
        assert_eq!(recording.totals(), (0, 0));
        add(&recording, 1, &[]);
    }
}
