//! What a channel says about itself: the file `.guix-channel` at its top.
//!
//! Its form is that of Guix ("Writing Channels" in its manual). Here it is hostile: it may not name
//! what its writer could not reach, nor lead out of its repository.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use git2::{ErrorCode, FileMode, ObjectType, Oid, Repository, Tree};

use super::{blocking, is_commit};
use crate::sexp::Sexp;
use crate::spec::{Introduction, check_branch, check_url, is_inside, is_name};

/// The biggest file that is read, in bytes.
const BIGGEST: usize = 64 << 10;
/// The most channels that one may need.
const MOST_DEPENDENCIES: usize = 32;

/// What a channel says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// The directory of its modules, relative to its top; `None` for the top itself.
    pub directory: Option<String>,
    /// The branch that has the keys of its signers.
    pub keyring: String,
    /// The file with its news, relative to its top.
    pub news: Option<String>,
    /// Channels that it needs.
    pub dependencies: Vec<Dependency>,
}

/// A channel that another one needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// Its branch.
    pub branch: String,
    /// The commit, if it has to be one.
    pub commit: Option<String>,
    /// What authenticates it.
    pub introduction: Option<Introduction>,
}

/// Why a channel's description cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// It says something that it may not, or makes no sense.
    #[error(".guix-channel of commit {commit}: {reason}")]
    Wrong {
        /// Of the channel.
        commit: String,
        /// What is wrong.
        reason: String,
    },
    /// The repository cannot be read.
    #[error("cannot read commit {commit} in {}: {source}", .repository.display())]
    Repository {
        /// The repository's directory.
        repository: PathBuf,
        /// The commit.
        commit: String,
        /// What libgit2 says.
        source: git2::Error,
    },
}

impl Default for Metadata {
    /// What Guix takes for granted of a channel without a description.
    fn default() -> Self {
        Self { directory: None, keyring: "keyring".to_owned(), news: None, dependencies: Vec::new() }
    }
}

/// Reads the description in `commit` of the repository at `repository`, a mirror of `url`.
pub async fn metadata(repository: &Path, url: &str, commit: &str) -> Result<Metadata, MetadataError> {
    let (repository, url, commit) = (repository.to_owned(), url.to_owned(), commit.to_owned());
    blocking(move || {
        let wrong = |reason| MetadataError::Wrong { commit: commit.clone(), reason };
        let unreadable = |source| MetadataError::Repository {
            repository: repository.clone(),
            commit: commit.clone(),
            source,
        };
        let git = Repository::open_bare(&repository).map_err(unreadable)?;
        let tree = Oid::from_str(&commit).and_then(|id| git.find_commit(id)?.tree()).map_err(unreadable)?;
        match text(&git, &tree).map_err(unreadable)? {
            None => Ok(Metadata::default()),
            Some(text) => text.and_then(|text| read(&text, &url, &tree)).map_err(wrong),
        }
    })
    .await
}

/// The text of the description, or why there is none; `None` without such a file.
fn text(git: &Repository, tree: &Tree<'_>) -> Result<Option<Result<String, String>>, git2::Error> {
    let Some(entry) = tree.get_name(".guix-channel") else { return Ok(None) };
    if !matches!(entry.filemode(), 0o100_644 | 0o100_664 | 0o100_755) {
        return Ok(Some(Err("it is no file".to_owned())));
    }
    let (size, _) = git.odb()?.read_header(entry.id())?;
    if size > BIGGEST {
        return Ok(Some(Err(format!("it is bigger than {BIGGEST} bytes"))));
    }
    let content = git.find_blob(entry.id())?.content().to_owned();
    Ok(Some(String::from_utf8(content).map_err(|_| "it is not UTF-8".to_owned())))
}

fn read(text: &str, url: &str, tree: &Tree<'_>) -> Result<Metadata, String> {
    let datum = Sexp::read(text).map_err(|error| error.to_string())?;
    let properties = versioned(&datum, "channel")?;
    let mut metadata = Metadata::default();
    if let Some(directory) = one(&properties, "directory")? {
        metadata.directory = self::directory(directory, tree)?;
    }
    if let Some(keyring) = one(&properties, "keyring-reference")? {
        check_branch(keyring).map_err(|error| format!("keyring-reference {keyring:?}: {error}"))?;
        keyring.clone_into(&mut metadata.keyring);
    }
    if let Some(news) = one(&properties, "news-file")? {
        let inside = is_inside(news).then(|| news.to_owned());
        metadata.news = Some(inside.ok_or_else(|| format!("news-file {news:?} is not inside the channel"))?);
    }
    let dependencies = properties.get("dependencies").copied().unwrap_or_default();
    if dependencies.len() > MOST_DEPENDENCIES {
        return Err(format!("it needs more than {MOST_DEPENDENCIES} channels"));
    }
    metadata.dependencies = dependencies.iter().map(|one| dependency(one, url)).collect::<Result<_, _>>()?;
    Ok(metadata)
}

/// The directory of modules, one of the tree's own. Where links lead to is seen in the checkout.
fn directory(written: &str, tree: &Tree<'_>) -> Result<Option<String>, String> {
    let path = written.trim_matches('/');
    if path.is_empty() || path == "." {
        return Ok(None);
    }
    let not_there = || format!("directory {written:?} is no directory of the channel");
    if !is_inside(path) || path.contains(':') {
        return Err(not_there());
    }
    match tree.get_path(Path::new(path)) {
        Ok(entry) if entry.kind() == Some(ObjectType::Tree) => Ok(Some(path.to_owned())),
        _ if leads_through_link(tree, path) => Ok(Some(path.to_owned())),
        Err(error) if error.code() != ErrorCode::NotFound => Err(error.message().to_owned()),
        _ => Err(not_there()),
    }
}

/// Whether `path`, or a directory that it is in, is a link.
fn leads_through_link(tree: &Tree<'_>, path: &str) -> bool {
    Path::new(path)
        .ancestors()
        .filter_map(|part| tree.get_path(part).ok())
        .any(|entry| entry.filemode() == i32::from(FileMode::Link))
}

fn dependency(datum: &Sexp, asked_by: &str) -> Result<Dependency, String> {
    let properties = fields(datum, "channel")?;
    let need = |key| one(&properties, key)?.ok_or_else(|| format!("a dependency has no {key}"));
    let (name, url) = (need("name")?, need("url")?);
    if !is_name(name) {
        return Err(format!("{name:?} does not do as a channel's name"));
    }
    let about = |reason: String| format!("dependency {name}: {reason}");
    check_url(url).map_err(|error| about(error.to_string()))?;
    if reach(url) > reach(asked_by) {
        return Err(about(format!("{url} is not for a channel that comes from {asked_by}")));
    }
    let branch = one(&properties, "branch")?.unwrap_or("master");
    check_branch(branch).map_err(|error| about(error.to_string()))?;
    let commit = one(&properties, "commit")?.map(str::to_owned);
    if commit.as_ref().is_some_and(|commit| !is_commit(commit)) {
        return Err(about("its commit is not a full hash".to_owned()));
    }
    let introduction = properties.get("introduction").and_then(|values| values.first());
    Ok(Dependency {
        name: name.to_owned(),
        url: url.to_owned(),
        branch: branch.to_owned(),
        commit,
        introduction: introduction.map(introduced).transpose().map_err(about)?,
    })
}

fn introduced(datum: &Sexp) -> Result<Introduction, String> {
    let properties = versioned(datum, "channel-introduction")?;
    let need = |key| one(&properties, key)?.ok_or_else(|| format!("its introduction has no {key}"));
    Introduction::new(need("commit")?, need("signer")?).ok_or("its introduction makes no sense".to_owned())
}

/// What fetching from a URL can get at. A channel may not have us fetch for it what only we can read.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    /// What anybody can read.
    Network,
    /// What our SSH keys open.
    Keys,
    /// This machine's own files.
    Machine,
}

fn reach(url: &str) -> Reach {
    match url.split_once("://") {
        Some(("http" | "https" | "git", _)) => Reach::Network,
        Some(("ssh", _)) => Reach::Keys,
        None if !url.starts_with('/') => Reach::Keys,
        _ => Reach::Machine,
    }
}

type Properties<'a> = HashMap<&'a str, &'a [Sexp]>;

/// The fields of `(NAME (version 0) (KEY VALUE ...) ...)`.
fn versioned<'a>(datum: &'a Sexp, name: &str) -> Result<Properties<'a>, String> {
    let properties = fields(datum, name)?;
    match properties.get("version") {
        Some([Sexp::Integer(0)]) => Ok(properties),
        _ => Err(format!("`{name}` of another version than 0")),
    }
}

/// The fields of `(NAME (KEY VALUE ...) ...)`. Of equal keys, the first counts.
fn fields<'a>(datum: &'a Sexp, name: &str) -> Result<Properties<'a>, String> {
    let expected = || format!("expected `({name} …)`");
    let (head, rest) = datum.list().and_then(<[Sexp]>::split_first).ok_or_else(expected)?;
    if head.symbol() != Some(name) {
        return Err(expected());
    }
    let mut properties = HashMap::new();
    for field in rest {
        let field = field.list().and_then(<[Sexp]>::split_first);
        let (key, values) = field.ok_or_else(|| format!("`{name}` has something that is no field"))?;
        let key = key.symbol().ok_or_else(|| format!("`{name}` has a field without a name"))?;
        properties.entry(key).or_insert(values);
    }
    Ok(properties)
}

/// The one value of a field: a string or a symbol.
fn one<'a>(properties: &Properties<'a>, key: &str) -> Result<Option<&'a str>, String> {
    let Some(values) = properties.get(key) else { return Ok(None) };
    let value = values.first().and_then(|value| value.string().or_else(|| value.symbol()));
    value.map(Some).ok_or_else(|| format!("{key} is not a text"))
}
