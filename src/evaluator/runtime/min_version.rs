//! Whether a Guix is one that the evaluator works with.
//!
//! A Guix that is too old is refused before anything is compiled. The oldest is 1.2.0: before it,
//! the place of a package was described elsewhere, and channels could not be authenticated.
//! Everything else that differs between versions is looked for by name, never by number. Guix
//! 1.2 has the version in the names of jobs; Gorget has not, so that a new version is a change and
//! not another job.

use std::path::Path;

use super::RuntimeError;
use super::layer_reader::{LayerReader, Unreadable};
use super::sources::MAX_SOURCE;

/// Files of Guix's sources that the evaluator needs, and a name in each. The newest is the place of
/// a package in `(guix diagnostics)`, from July 2020; the first release with it is 1.2.0, which is
/// also the oldest one that was tried, and the first whose channels can be authenticated.
const NEEDED: [(&str, &str); 4] = [
    ("guix/discovery.scm", "all-modules"),
    ("guix/gexp.scm", "lower-object"),
    ("guix/grafts.scm", "%graft?"),
    ("guix/diagnostics.scm", "location-file"),
];

/// # Errors
/// When `sources`, the modules of a Guix, lack what the evaluator needs. `whose` says in messages which
/// Guix that is.
pub(super) fn refuse_too_old(sources: &LayerReader, whose: &str) -> Result<(), RuntimeError> {
    for (file, name) in NEEDED {
        let text = match sources.read(Path::new(file), MAX_SOURCE) {
            Err(Unreadable::Io(error)) => return Err(error.into()),
            text => text.unwrap_or_default(),
        };
        if !text.windows(name.len()).any(|window| window == name.as_bytes()) {
            return Err(RuntimeError::TooOld {
                whose: whose.to_owned(),
                file: file.to_owned(),
                name: name.to_owned(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::layer::{Kind, Layer};
    use super::*;

    #[test]
    fn a_guix_without_what_is_needed_is_too_old_and_the_error_says_what_would_do() {
        let directory = tempfile::tempdir().unwrap();
        fs_err::create_dir(directory.path().join("guix")).unwrap();
        let sources = LayerReader::new(&Layer::alone(directory.path().to_owned(), Kind::Guix)).unwrap();
        for (file, name) in NEEDED {
            let error = refuse_too_old(&sources, "of the channel `guix`").unwrap_err().to_string();
            assert!(error.contains(file) && error.contains("hint: ") && error.contains("1.2.0"), "{error}");
            fs_err::write(directory.path().join(file), format!("#:export ({name})")).unwrap();
        }
        refuse_too_old(&sources, "of the channel `guix`").unwrap();
    }
}
