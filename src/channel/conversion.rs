//! Files that attributes of the tree change on their way into a checkout: `eol=crlf` and `ident`.
//!
//! Guix checks channels out with libgit2, and so these are converted by libgit2 itself: it checks the
//! files out into a repository of their own that has no configuration but what is written here. Symbolic
//! links are left out, so nothing is written or read through one. libgit2 knows no other conversion
//! and runs no program: `filter`, `working-tree-encoding` and `export-subst` change nothing.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use git2::build::CheckoutBuilder;
use git2::{ErrorClass, ObjectType, Oid, Repository, RepositoryInitOptions};

use super::checkout::{BIGGEST_FILE, MOST_WRITTEN};
use super::tree::{CheckoutError, Entry, Kind, Refusal, Source};

/// The most that all `.gitattributes` of a commit may hold, in bytes.
const MOST_ATTRIBUTES: usize = 64 << 10;
/// The most steps that matching all paths against all patterns may take: some seconds.
const MOST_STEPS: f64 = 1e10;
/// The most `*` that a pattern may have.
const MOST_STARS: usize = 8;

/// Where the new contents of converted files are, by their hashes.
pub(super) type Converted = HashMap<Oid, PathBuf>;

/// Converts the files of a commit for which its attributes say so, with the help of a new directory.
/// Their entries get the hashes of their new contents.
///
/// Most commits have no such attributes, and then nothing is done.
pub(super) fn convert(
    source: &Source,
    entries: &mut [Entry],
    directory: &Path,
) -> Result<Converted, CheckoutError> {
    let mut converted = Converted::new();
    if !may_convert(source, entries)? {
        return Ok(converted);
    }
    check_size(source, entries)?;
    check_out(source, entries, directory).map_err(|error| match error {
        Failure::Git(error) if is_damage(&error) => source.unreadable(error),
        Failure::Git(error) if error.class() == ErrorClass::Os => std::io::Error::other(error).into(),
        Failure::Git(_) => source.refused(".gitattributes", Refusal::Attributes),
        Failure::Io(error) => error.into(),
    })?;
    for entry in entries.iter_mut().filter(|entry| is_file(entry)) {
        let path = directory.join(&entry.path);
        let id = Oid::hash_file(ObjectType::Blob, &path).map_err(|error| source.unreadable(error))?;
        if id != entry.id {
            entry.id = id;
            converted.insert(id, path);
        }
    }
    Ok(converted)
}

/// Whether the repository lacks what a commit is made of.
fn is_damage(error: &git2::Error) -> bool {
    matches!(error.class(), ErrorClass::Odb | ErrorClass::Object | ErrorClass::Zlib | ErrorClass::Sha1)
}

fn is_file(entry: &Entry) -> bool {
    matches!(entry.kind, Kind::File | Kind::Executable)
}

/// Whether any attributes may change a file.
fn may_convert(source: &Source, entries: &[Entry]) -> Result<bool, CheckoutError> {
    let (mut found, mut size, mut lines) = (false, 0, Vec::new());
    let is_attributes = |entry: &&Entry| entry.path.file_name().is_some_and(|name| name == ".gitattributes");
    for entry in entries.iter().filter(|entry| is_file(entry)).filter(is_attributes) {
        size += source.size(entry)?;
        if size > MOST_ATTRIBUTES {
            return Err(source.refused(&entry.path, Refusal::Attributes));
        }
        let blob = source.repository.find_blob(entry.id).map_err(|error| source.unreadable(error))?;
        let says = |word: &[u8]| blob.content().windows(word.len()).any(|part| part == word);
        found |= says(b"eol=crlf") || says(b"ident");
        lines.extend(blob.content().split(|byte| *byte == b'\n').map(shape));
    }
    if found && steps(&lines, entries) > MOST_STEPS {
        return Err(source.refused(".gitattributes", Refusal::Attributes));
    }
    Ok(found)
}

/// The length of the pattern of a line of attributes, and how many `*` it has, `**` being one.
fn shape(line: &[u8]) -> (usize, usize) {
    let line = line.trim_ascii_start();
    if line.starts_with(b"#") {
        return (0, 0);
    }
    // Where the end of the pattern is not plain to see, all of the line is taken for it.
    let is_plain = !line.starts_with(b"\"") && !line.contains(&b'\\');
    let end = line.iter().position(|byte| is_plain && byte.is_ascii_whitespace());
    let pattern = &line[..end.unwrap_or(line.len())];
    let is_star = |at: usize| pattern.get(at) == Some(&b'*');
    (pattern.len(), (0..pattern.len()).filter(|at| is_star(*at) && !is_star(at + 1)).count())
}

/// How many steps libgit2 takes at most to match all files against these patterns. It tries all ways in
/// which the `*` of a pattern can share a path, whose number grows exponentially with that of the `*`.
#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn steps(lines: &[(usize, usize)], entries: &[Entry]) -> f64 {
    let mut ways = [0.0; MOST_STARS + 1];
    for entry in entries.iter().filter(|entry| is_file(entry)) {
        let length = entry.path.as_os_str().len() as f64;
        let mut choices = 1.0;
        for (stars, sum) in ways.iter_mut().enumerate() {
            if stars > 0 {
                choices *= (length / stars as f64).max(1.0);
            }
            *sum += choices.max(length);
        }
    }
    let of_line = |(length, stars): &(usize, usize)| match ways.get(*stars) {
        Some(ways) => *length as f64 * ways,
        None => f64::INFINITY,
    };
    lines.iter().map(of_line).sum()
}

fn check_size(source: &Source, entries: &[Entry]) -> Result<(), CheckoutError> {
    let mut bytes = 0_usize;
    for entry in entries.iter().filter(|entry| is_file(entry)) {
        let size = source.size(entry)?;
        bytes = bytes.saturating_add(size);
        if size > BIGGEST_FILE || bytes > MOST_WRITTEN {
            return Err(source.refused(&entry.path, Refusal::TooBig));
        }
    }
    Ok(())
}

/// What can go wrong with a repository that is made for this.
#[derive(Debug)]
enum Failure {
    Git(git2::Error),
    Io(std::io::Error),
}

impl From<git2::Error> for Failure {
    fn from(error: git2::Error) -> Self {
        Self::Git(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

/// Has libgit2 check out all files into `directory`.
fn check_out(source: &Source, entries: &[Entry], directory: &Path) -> Result<(), Failure> {
    let mut options = RepositoryInitOptions::new();
    options.external_template(false).no_reinit(true);
    let git = Repository::init_opts(directory, &options)?;
    let objects = fs_err::canonicalize(source.repository.path().join("objects"))?;
    let mut alternates = objects.into_os_string();
    alternates.push("\n");
    fs_err::write(git.path().join("objects/info/alternates"), alternates.as_encoded_bytes())?;
    // Guix sets the first; the others keep this machine's configuration away.
    let mut config = git.config()?.open_level(git2::ConfigLevel::Local)?;
    config.set_str("core.autocrlf", "input")?;
    config.set_str("core.eol", "lf")?;
    config.set_str("core.attributesFile", "/dev/null")?;
    config.set_bool("core.fileMode", true)?;
    let git = Repository::open(git.path())?;
    let tree = git.find_commit(source.id()?)?.into_object();
    let mut checkout = CheckoutBuilder::new();
    checkout.force().disable_pathspec_match(true);
    entries.iter().filter(|entry| is_file(entry)).for_each(|entry| {
        checkout.path(&entry.path);
    });
    Ok(git.checkout_tree(&tree, Some(&mut checkout))?)
}
