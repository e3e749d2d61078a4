//! The farm's checks of what an evaluator reports.

use std::sync::Arc;

use super::super::outcome::Outcome;
use super::super::supervisor::{LONGEST_MESSAGE, LONGEST_METADATA, LONGEST_NAME, MOST_JOBS};
use super::messages::{Found, Item};
use crate::domain::job::JobMetadata;
use crate::guix::nar;
use crate::guix::recording_store::{Kind, RecordedItem, Recording};
use crate::guix::sexp::shortened;
use crate::guix::store_path::StorePath;

/// Items above this size, in bytes, are passed on before their batch is complete.
const FULL: usize = 32 << 20;
/// What an outcome counts as, beside its texts, in bytes.
const BESIDE_TEXTS: usize = 256;

/// An evaluator reported something impossible.
#[derive(Debug, thiserror::Error)]
#[error("the evaluator sent an impossible report: {0}")]
pub(super) struct InvalidReport(String);

#[expect(clippy::needless_pass_by_value, reason = "it maps errors")]
pub(super) fn invalid(what: impl ToString) -> InvalidReport {
    InvalidReport(what.to_string())
}

/// The farm's own view of what one evaluation added.
#[derive(Debug, Clone)]
pub(super) struct Checked {
    added: Arc<Recording>,
    /// How many more bytes outcomes may take.
    left: usize,
    /// How many more jobs there may be.
    jobs: usize,
}

impl Checked {
    /// An empty view. `keep_contents` says whether the contents of items are passed on. Items may
    /// take `most_bytes`, and outcomes as much again.
    pub(super) fn new(keep_contents: bool, most_bytes: usize) -> Self {
        Self {
            added: Arc::new(Recording::of_copies(keep_contents, most_bytes)),
            left: most_bytes,
            jobs: MOST_JOBS,
        }
    }

    /// Adds an item: recomputes its path, and reads a derivation from its text.
    pub(super) fn add(&self, item: Item) -> Result<(), InvalidReport> {
        let claimed = StorePath::parse(item.path.as_bytes()).map_err(invalid)?;
        let path = match item.kind {
            Kind::Text => {
                let references = item.references.split_terminator('\n');
                let references: Vec<_> = references.map(|path| path.as_bytes().to_vec()).collect();
                self.added
                    .copy_text(claimed.name().as_bytes(), item.contents, &references)
                    .map_err(invalid)?
            }
            Kind::Nar => {
                let archive = nar::read(&mut &item.contents[..], item.contents.len()).map_err(invalid)?;
                // The hash of a single file does not cover bytes after its archive.
                if archive.len() < item.contents.len() {
                    return Err(invalid(format!("{claimed} has bytes after its archive")));
                }
                self.added.copy_nar(&claimed, archive).map_err(invalid)?
            }
        };
        if path == claimed { Ok(()) } else { Err(invalid(format!("{claimed} is {path}"))) }
    }

    /// Whether items should be passed on now.
    pub(super) fn is_full(&self) -> bool {
        self.added.pending_bytes() > FULL
    }

    /// Whether items were added since the last time.
    pub(super) fn has_items(&self) -> bool {
        self.added.pending_bytes() > 0
    }

    /// Takes the items that were added since the last time, in order.
    pub(super) fn drain(&self) -> Vec<RecordedItem> {
        self.added.drain()
    }

    /// The outcome of a unit, with the outputs that its derivation names.
    pub(super) fn outcome(&mut self, found: Found) -> Result<Outcome, InvalidReport> {
        let texts = match &found {
            Found::Job { name, derivation, metadata } => name.len() + derivation.len() + texts(metadata),
            Found::Error { name, cause, message } | Found::Warning { name, cause, message } => {
                name.len() + cause.len() + message.len()
            }
        };
        let left = self.left.checked_sub(texts + BESIDE_TEXTS);
        self.left = left.ok_or_else(|| invalid("more jobs and errors than an evaluation may have"))?;
        Ok(match found {
            Found::Job { name, derivation, mut metadata } => {
                self.jobs = self.jobs.checked_sub(1).ok_or_else(|| invalid("too many jobs"))?;
                metadata
                    .texts_mut()
                    .for_each(|text| *text = shortened(std::mem::take(text), LONGEST_METADATA));
                let name = shortened(name, LONGEST_NAME);
                let path = StorePath::parse(derivation.as_bytes()).map_err(invalid)?;
                let known = self.added.derivation(derivation.as_bytes());
                let (outputs, substitutable) =
                    known.ok_or_else(|| invalid(format!("{path} was never added")))?;
                metadata.substitutable = substitutable;
                Outcome::Job { name, derivation: path, outputs, metadata }
            }
            Found::Error { name, cause, message } => {
                let [name, cause, message] = short([name, cause, message]);
                Outcome::Error { name, cause, message }
            }
            Found::Warning { name, cause, message } => {
                let [name, cause, message] = short([name, cause, message]);
                Outcome::Warning { name, cause, message }
            }
        })
    }
}

fn short(texts: [String; 3]) -> [String; 3] {
    texts.map(|text| shortened(text, LONGEST_MESSAGE))
}

fn texts(metadata: &JobMetadata) -> usize {
    let JobMetadata { package, version, target, channel, location, .. } = metadata;
    let texts = [package, version, target, channel].into_iter().flatten().map(String::len);
    texts.sum::<usize>() + location.as_ref().map_or(0, |location| location.file.len())
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    fn text(name: &str, contents: &str) -> Item {
        let path = StorePath::of_text(name.as_bytes(), contents.as_bytes(), &[] as &[&[u8]]).unwrap();
        let contents = contents.as_bytes().to_vec();
        Item { path: path.to_string(), kind: Kind::Text, contents, references: String::new() }
    }

    fn nar(name: &str, contents: Vec<u8>, recursive: bool) -> Item {
        let path = StorePath::of_fixed(name.as_bytes(), "sha256", &Sha256::digest(&contents), recursive);
        Item { path: path.unwrap().to_string(), kind: Kind::Nar, contents, references: String::new() }
    }

    #[test]
    fn everything_is_computed_anew() {
        let checked = Checked::new(true, 1 << 20);
        let archive = nar::of_file(b"x");
        checked.add(text("builder", "(exit 0)")).unwrap();
        checked.add(nar("file", archive.clone(), true)).unwrap();
        let flat = || Item { contents: archive.clone(), ..nar("flat", b"x".to_vec(), false) };
        checked.add(flat()).unwrap();
        let items = checked.drain();
        assert_eq!(
            items.iter().map(|item| item.path.name()).collect::<Vec<_>>(),
            ["builder", "file", "flat"]
        );
        assert_eq!(items[0].contents, b"(exit 0)");

        let other = text("builder", "other").path;
        for (what, wrong) in [
            ("another path", Item { path: other, ..text("builder", "(exit 1)") }),
            ("no derivation", text("x.drv", "Derive(")),
            ("no archive", nar("x", b"nix-archive".to_vec(), true)),
            ("bytes after the archive", Item { contents: [&archive[..], b"x"].concat(), ..flat() }),
            ("another archive", Item { contents: archive.clone(), ..nar("y", nar::of_file(b"y"), true) }),
            (
                "what was never added",
                Item { references: text("never", "added").path, ..text("builder", "(exit 2)") },
            ),
            ("no path", Item { path: "/etc/passwd".to_owned(), ..text("builder", "(exit 3)") }),
        ] {
            checked.add(wrong).expect_err(what);
        }
    }

    #[test]
    fn no_job_has_a_derivation_that_was_never_added_and_jobs_are_bounded() {
        let mut checked = Checked::new(true, 1 << 20);
        let job = |derivation: &str| Found::Job {
            name: "evil".to_owned(),
            derivation: derivation.to_owned(),
            metadata: JobMetadata::default(),
        };
        checked.add(text("text", "no derivation")).unwrap();
        checked.outcome(job(&text("text", "no derivation").path)).unwrap_err();
        checked.outcome(job("/gnu/store/00000000000000000000000000000000-x.drv")).unwrap_err();
        let error = || Found::Error { name: "x".repeat(1000), cause: String::new(), message: String::new() };
        let taken = (0..2000).take_while(|_| checked.outcome(error()).is_ok()).count();
        assert!((500..1000).contains(&taken), "{taken}");
    }
}
