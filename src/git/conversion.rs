//! Converts files of a checkout as the attributes of the tree say: `eol=crlf` and `ident`.
//!
//! Guix checks channels out with libgit2, so libgit2 itself converts these files. It checks them
//! out into a repository of their own, which has only the configuration that is written here.
//! Symbolic links are left out, so nothing is written or read through one. libgit2 knows no other
//! conversion and runs no program: `filter`, `working-tree-encoding` and `export-subst` have no
//! effect.
//!
//! libgit2 holds such a file in memory up to three times, and cannot be stopped. So it gets only
//! small files, a few at a time; it does not get the others at all. The result of a conversion is
//! at most twice as long as the file, plus the length of one `$Id$`.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use std::os::unix::ffi::OsStrExt;

use git2::build::CheckoutBuilder;
use git2::{AttrCheckFlags, AttrValue, ErrorClass, IndexEntry, IndexTime, ObjectType, Oid};
use git2::{Repository, RepositoryInitOptions};
use tokio_util::sync::CancellationToken;

use super::tree::{
    BIGGEST_CONVERTED, CheckoutError, Entry, Kind, MOST_CONVERTED, Refusal, Source, refuse_stopped,
};

/// The most bytes that all `.gitattributes` of a commit may have together.
const MOST_ATTRIBUTES: usize = 64 << 10;
/// The most steps that matching all paths against all patterns may take: this takes some seconds.
const MOST_STEPS: f64 = 1e10;
/// The most `*` that a pattern may have.
const MOST_STARS: usize = 8;

/// How many files, and roughly how many bytes, libgit2 gets at a time at most: it cannot be stopped
/// in between.
const FILES_AT_ONCE: usize = 20_000;
const BYTES_AT_ONCE: usize = BIGGEST_CONVERTED;

/// The paths of converted files, by the hashes of their new contents.
pub(super) type Converted = HashMap<Oid, PathBuf>;

/// Converts the files of a commit that its attributes apply to, in a new `directory`. Sets the
/// hashes of their entries to those of the new contents.
///
/// Most commits have no such attributes. Then nothing is done.
pub(super) fn convert(
    source: &Source,
    entries: &mut [Entry],
    directory: &Path,
    stop: &CancellationToken,
) -> Result<Converted, CheckoutError> {
    let mut converted = Converted::new();
    if !may_convert(source, entries)? {
        return Ok(converted);
    }
    let explained = |failure| explain(source, failure);
    let git = scratch(source, directory).map_err(explained)?;
    let affected = affected(source, &git, entries, stop).map_err(explained)?;
    let groups = groups(source, &affected)?;
    // Opens the repository again: this instance must not know attributes before libgit2 has written
    // them.
    let git = Repository::open(git.path()).map_err(|error| explained(error.into()))?;
    for group in groups {
        refuse_stopped(stop)?;
        check_out(source, &git, group).map_err(explained)?;
    }
    let affected: HashSet<PathBuf> = affected.into_iter().map(|entry| entry.path.clone()).collect();
    for entry in entries.iter_mut().filter(|entry| affected.contains(&entry.path)) {
        refuse_stopped(stop)?;
        let path = directory.join(&entry.path);
        let id = Oid::hash_file(ObjectType::Blob, &path).map_err(|error| source.unreadable(error))?;
        if id != entry.id {
            entry.id = id;
            converted.insert(id, path);
        }
    }
    Ok(converted)
}

fn explain(source: &Source, failure: Failure) -> CheckoutError {
    match failure {
        Failure::Git(error) if is_damage(&error) => source.unreadable(error),
        Failure::Git(error) if error.class() == ErrorClass::Os => std::io::Error::other(error).into(),
        Failure::Git(_) => source.refused(".gitattributes", Refusal::Attributes),
        Failure::Io(error) => error.into(),
    }
}

/// Whether objects of the commit are missing or damaged.
fn is_damage(error: &git2::Error) -> bool {
    matches!(error.class(), ErrorClass::Odb | ErrorClass::Object | ErrorClass::Zlib | ErrorClass::Sha1)
}

fn is_attributes(entry: &Entry) -> bool {
    is_file(entry) && entry.path.file_name().is_some_and(|name| name == ".gitattributes")
}

fn is_file(entry: &Entry) -> bool {
    matches!(entry.kind, Kind::File | Kind::Executable)
}

/// Whether any attribute may change a file.
fn may_convert(source: &Source, entries: &[Entry]) -> Result<bool, CheckoutError> {
    let (mut found, mut size, mut lines) = (false, 0, Vec::new());
    for entry in entries.iter().filter(|entry| is_attributes(entry)) {
        size += source.size(entry)?;
        if size > MOST_ATTRIBUTES {
            return Err(source.refused(&entry.path, Refusal::Attributes));
        }
        let blob = source.repository.find_blob(entry.id).map_err(|error| source.unreadable(error))?;
        let says = |word: &[u8]| blob.content().windows(word.len()).any(|part| part == word);
        found |= says(b"eol=crlf") || says(b"ident");
        lines.extend(blob.content().split(|byte| *byte == b'\n').map(pattern_cost));
    }
    if found && steps(&lines, entries) > MOST_STEPS {
        return Err(source.refused(".gitattributes", Refusal::Attributes));
    }
    Ok(found)
}

/// The length of a line's pattern, and the number of `*` in it, with `**` counted as one.
fn pattern_cost(line: &[u8]) -> (usize, usize) {
    let line = line.trim_ascii_start();
    if line.starts_with(b"#") {
        return (0, 0);
    }
    // Where the end of the pattern is not obvious, the whole line counts as the pattern.
    let is_plain = !line.starts_with(b"\"") && !line.contains(&b'\\');
    let end = line.iter().position(|byte| is_plain && byte.is_ascii_whitespace());
    let pattern = &line[..end.unwrap_or(line.len())];
    let is_star = |at: usize| pattern.get(at) == Some(&b'*');
    (pattern.len(), (0..pattern.len()).filter(|at| is_star(*at) && !is_star(at + 1)).count())
}

/// The most steps that libgit2 takes to match all files against these patterns. It tries every way
/// in which the `*` of a pattern can divide up a path. The number of ways grows exponentially with
/// the number of `*`.
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

/// The files that may be converted, and all attribute files, in the order in which libgit2 writes
/// them.
///
/// libgit2 knows only the attributes that it has written so far. So a file that comes before the
/// `.gitattributes` of one of its directories may be converted even if those forbid it.
fn affected<'a>(
    source: &Source,
    git: &Repository,
    entries: &'a [Entry],
    stop: &CancellationToken,
) -> Result<Vec<&'a Entry>, Failure> {
    let mut places = HashSet::new();
    let mut index = git.index()?;
    for entry in entries.iter().filter(|entry| is_attributes(entry)) {
        index.add(&indexed(entry, source.size(entry).unwrap_or_default()))?;
        places.extend(entry.path.parent());
    }
    let is_early = |path: &Path| {
        let late = |place: &&Path| path.as_os_str() < place.join(".gitattributes").as_os_str();
        path.ancestors().skip(1).filter(|place| places.contains(place)).any(|place| late(&place))
    };
    let mut affected = Vec::new();
    for entry in entries.iter().filter(|entry| is_file(entry)) {
        refuse_stopped(stop)?;
        if is_attributes(entry) || is_early(&entry.path) || is_converted(git, &entry.path)? {
            affected.push(entry);
        }
    }
    affected.sort_unstable_by_key(|entry| entry.path.as_os_str());
    Ok(affected)
}

/// The index entry of a regular file.
fn indexed(entry: &Entry, size: usize) -> IndexEntry {
    IndexEntry {
        ctime: IndexTime::new(0, 0),
        mtime: IndexTime::new(0, 0),
        dev: 0,
        ino: 0,
        mode: 0o100_644,
        uid: 0,
        gid: 0,
        file_size: u32::try_from(size).unwrap_or(u32::MAX),
        id: entry.id,
        flags: 0,
        flags_extended: 0,
        path: entry.path.as_os_str().as_bytes().to_vec(),
    }
}

/// Whether the attributes in the index ask for a conversion of the file.
fn is_converted(git: &Repository, path: &Path) -> Result<bool, git2::Error> {
    let attribute = |name| {
        let value = git.get_attr_bytes(path, name, AttrCheckFlags::INDEX_ONLY)?;
        Ok::<_, git2::Error>(AttrValue::always_bytes(value))
    };
    Ok(attribute("eol")? == AttrValue::Bytes(b"crlf") || attribute("ident")? == AttrValue::True)
}

/// Divides files into groups, each of which libgit2 may check out at once.
fn groups<'a>(source: &Source, affected: &'a [&'a Entry]) -> Result<Vec<&'a [&'a Entry]>, CheckoutError> {
    let (mut groups, mut start, mut bytes, mut total) = (Vec::new(), 0, 0, 0);
    for (place, entry) in affected.iter().enumerate() {
        let size = source.size(entry)?;
        (bytes, total) = (bytes + size, total + size);
        if size > BIGGEST_CONVERTED || total > MOST_CONVERTED {
            return Err(source.refused(&entry.path, Refusal::Conversion));
        }
        if bytes > BYTES_AT_ONCE || place - start == FILES_AT_ONCE {
            groups.push(&affected[start..place]);
            (start, bytes) = (place, size);
        }
    }
    groups.push(&affected[start..]);
    Ok(groups)
}

/// An error of the temporary repository.
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

/// Makes a repository at `directory` that borrows the objects of `source` and ignores this
/// machine's configuration.
fn scratch(source: &Source, directory: &Path) -> Result<Repository, Failure> {
    let mut options = RepositoryInitOptions::new();
    options.external_template(false).no_reinit(true);
    let git = Repository::init_opts(directory, &options)?;
    let objects = fs_err::canonicalize(source.repository.path().join("objects"))?;
    let mut alternates = objects.into_os_string();
    alternates.push("\n");
    fs_err::write(git.path().join("objects/info/alternates"), alternates.as_encoded_bytes())?;
    // Guix sets the first; the others override this machine's configuration.
    let mut config = git.config()?.open_level(git2::ConfigLevel::Local)?;
    config.set_str("core.autocrlf", "input")?;
    config.set_str("core.eol", "lf")?;
    config.set_str("core.attributesFile", "/dev/null")?;
    config.set_bool("core.fileMode", true)?;
    Ok(Repository::open(git.path())?)
}

/// Makes libgit2 check out some files of the commit.
fn check_out(source: &Source, git: &Repository, entries: &[&Entry]) -> Result<(), Failure> {
    let tree = git.find_commit(source.id()?)?.into_object();
    let mut checkout = CheckoutBuilder::new();
    checkout.force().disable_pathspec_match(true);
    for entry in entries {
        checkout.path(&entry.path);
    }
    Ok(git.checkout_tree(&tree, Some(&mut checkout))?)
}
