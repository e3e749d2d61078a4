//! The items that an evaluation added, kept for builds in an unnamed file.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::item::{Kind, RecordedItem};
use crate::guix::derivation::Derivation;
use crate::guix::store_path::{Hash, StorePath};

/// All added items, by the hash parts of their paths.
#[derive(Debug)]
pub(super) struct Archive {
    file: File,
    end: u64,
    entries: HashMap<Hash, Entry>,
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) path: StorePath,
    pub(super) kind: Kind,
    /// Its references; for a derivation, its inputs and sources.
    pub(super) references: Vec<StorePath>,
    start: u64,
    length: usize,
}

impl Archive {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { file: tempfile::tempfile()?, end: 0, entries: HashMap::new() })
    }

    pub(super) fn append(&mut self, item: &RecordedItem) -> io::Result<()> {
        self.file.write_all_at(&item.contents, self.end)?;
        let entry = Entry {
            path: item.path.clone(),
            kind: item.kind,
            references: item.references.clone(),
            start: self.end,
            length: item.contents.len(),
        };
        self.end += item.contents.len() as u64;
        self.entries.insert(*item.path.hash(), entry);
        Ok(())
    }

    pub(super) fn contents(&self, entry: &Entry) -> io::Result<Vec<u8>> {
        let mut contents = vec![0; entry.length];
        self.file.read_exact_at(&mut contents, entry.start)?;
        Ok(contents)
    }

    fn find(&self, path: &StorePath) -> io::Result<Option<Entry>> {
        let Some(entry) = self.entries.get(path.hash()).filter(|entry| entry.path == *path) else {
            return Ok(None);
        };
        let mut entry = entry.clone();
        if path.derivation_name().is_some() {
            let contents = self.contents(&entry)?;
            let Ok(derivation) = Derivation::parse(&contents) else { return Ok(None) };
            let inputs = derivation.inputs.iter().map(|(input, _)| input).chain(&derivation.sources);
            entry.references = inputs.filter_map(|path| StorePath::parse(path).ok()).collect();
        }
        Ok(Some(entry))
    }

    /// The closure of `wanted`: each item once, after its references; `None` when a part of it was
    /// never added.
    pub(super) fn closure(&self, wanted: &[StorePath]) -> io::Result<Option<Vec<Entry>>> {
        let mut seen = HashSet::new();
        let mut closure = Vec::new();
        for path in wanted {
            let mut waiting = Vec::new();
            let mut next = Some(path.clone());
            loop {
                if let Some(path) = next.take().filter(|path| seen.insert(*path.hash())) {
                    let Some(entry) = self.find(&path)? else { return Ok(None) };
                    waiting.push((entry, 0));
                }
                let Some((entry, done)) = waiting.last_mut() else { break };
                next = entry.references.get(*done).cloned();
                *done += 1;
                if next.is_none() {
                    closure.extend(waiting.pop().map(|(entry, _)| entry));
                }
            }
        }
        Ok(Some(closure))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closure_has_everything_once_and_inputs_first() {
        let mut archive = Archive::new().unwrap();
        let mut add = |name: &str, references: &[&StorePath]| {
            let references: Vec<String> = references.iter().map(ToString::to_string).collect();
            let path = StorePath::of_text(name.as_bytes(), name.as_bytes(), &references).unwrap();
            let references =
                references.iter().map(|path| StorePath::parse(path.as_bytes()).unwrap()).collect();
            let contents = name.as_bytes().to_vec();
            let item = RecordedItem { path, kind: Kind::Text, contents, references, derivation: None };
            archive.append(&item).unwrap();
            item.path
        };
        let [leaf, other] = ["leaf", "other"].map(|name| add(name, &[]));
        let (left, right) = (add("left", &[&leaf]), add("right", &[&leaf]));
        let top = add("top", &[&right, &left, &leaf]);
        let missing = StorePath::of_text(b"missing", b"", &[""; 0]).unwrap();
        let broken = add("broken", &[&leaf, &missing]);
        let names = |wanted: &[StorePath]| {
            let closure = archive.closure(wanted).unwrap()?;
            let names = closure.iter().map(|entry| {
                assert_eq!(archive.contents(entry).unwrap(), entry.path.name().as_bytes());
                entry.path.name().to_owned()
            });
            Some(names.collect::<Vec<_>>().join(" "))
        };
        assert_eq!(names(std::slice::from_ref(&top)).unwrap(), "leaf right left top");
        assert_eq!(names(&[left, top, other]).unwrap(), "leaf left right top other");
        assert_eq!(names(&[broken]), None);
    }
}
