//! The meaning of a `.guix-channel`: exactly what Guix's `read-channel-metadata` makes of it, minus
//! what is refused because the file is hostile.
//!
//! Fields are looked up as `assoc-ref` does: an item that is not a pair is skipped, the first of
//! several equal keys counts, and `#f` means no value.

use std::path::Path;

use git2::{ErrorCode, FileMode, ObjectType, Tree};

use super::is_commit;
use crate::domain::spec::{Introduction, check_branch, check_url, is_inside, is_name};
use crate::guix::guile::{Datum, Fault, Value};

/// The most channels that one channel may need.
const MOST_DEPENDENCIES: usize = 32;

/// The form of an introduction.
const INTRODUCTION: &str =
    "write `(introduction (channel-introduction (version 0) (commit \"…\") (signer \"…\")))`, in this order";
const FORM: &str = "the file has one datum, `(channel (version 0) …)`, and `(version 0)` comes first";

/// The description of a channel, from its `.guix-channel`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// The directory of its modules, relative to its top directory; `None` for the top itself.
    pub directory: Option<String>,
    /// The branch that has the keys of its signers.
    pub keyring: String,
    /// The file with its news, relative to its top directory.
    pub news: Option<String>,
    /// Channels that it needs.
    pub dependencies: Vec<Dependency>,
}

/// A channel that another one needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// Its name.
    pub name: String,
    /// Its URL.
    pub url: String,
    /// Its branch.
    pub branch: String,
    /// Its commit, if a certain one is needed.
    pub commit: Option<String>,
    /// What authenticates it.
    pub introduction: Option<Introduction>,
}

impl Default for Metadata {
    /// Guix's defaults for a channel without a description.
    fn default() -> Self {
        Self { directory: None, keyring: "keyring".to_owned(), news: None, dependencies: Vec::new() }
    }
}

/// Reads the description in `datum` of a channel that comes from `url` and has the files in `tree`.
pub(super) fn describe(datum: &Datum, url: &str, tree: &Tree<'_>) -> Result<Metadata, Fault> {
    let properties = properties(datum)?;
    let mut metadata = Metadata::default();
    // Guix refuses a `url` without a value.
    value(properties, "url")?;
    if let Some(field) = value(properties, "directory")? {
        metadata.directory = directory(field, text(field, "directory")?, tree)?;
    }
    if let Some(field) = value(properties, "keyring-reference")? {
        let keyring = text(field, "keyring-reference")?;
        check_branch(keyring)
            .map_err(|error| Fault::new(field.at, format!("keyring-reference {keyring:?}: {error}")))?;
        keyring.clone_into(&mut metadata.keyring);
    }
    if let Some(field) = value(properties, "news-file")? {
        let news = text(field, "news-file")?.trim_start_matches('/');
        if !is_inside(news) {
            return Err(Fault::new(field.at, format!("news-file {news:?} is not inside the channel")));
        }
        metadata.news = Some(news.to_owned());
    }
    let Some(field) = assoc(properties, "dependencies").filter(|field| !field.is_false()) else {
        return Ok(metadata);
    };
    if field.tail.is_some() {
        return Err(Fault::new(field.at, "`dependencies` is not a list"));
    }
    if field.values.len() > MOST_DEPENDENCIES {
        return Err(Fault::new(field.at, format!("it needs more than {MOST_DEPENDENCIES} channels")));
    }
    metadata.dependencies =
        field.values.iter().map(|item| dependency(item, url)).collect::<Result<_, _>>()?;
    Ok(metadata)
}

/// The fields of `(channel (version 0) FIELD ...)`.
fn properties(datum: &Datum) -> Result<&[Datum], Fault> {
    let expected = || Fault::new(datum.at, "expected `(channel (version 0) …)`").hint(FORM);
    let [head, version, properties @ ..] = datum.list().ok_or_else(expected)? else { return Err(expected()) };
    if !head.is("channel") {
        return Err(Fault { at: head.at, ..expected() });
    }
    is_version_0(version).then_some(properties).ok_or_else(|| match version.list() {
        Some([head, _]) if head.is("version") => {
            Fault::new(version.at, "another version than 0 is not supported")
        }
        _ => Fault::new(version.at, "expected `(version 0)`").hint(FORM),
    })
}

fn is_version_0(datum: &Datum) -> bool {
    matches!(datum.list(), Some([head, Datum { value: Value::Zero, .. }]) if head.is("version"))
}

/// `(KEY VALUES ... . TAIL)`, found by its key.
struct Field<'a> {
    at: usize,
    values: &'a [Datum],
    tail: Option<&'a Datum>,
}

impl Field<'_> {
    /// Whether the field is `(KEY . #f)`.
    fn is_false(&self) -> bool {
        self.values.is_empty() && self.tail.is_some_and(Datum::is_false)
    }
}

fn assoc<'a>(fields: &'a [Datum], key: &str) -> Option<Field<'a>> {
    fields.iter().find_map(|field| match &field.value {
        Value::List(items, tail) => match &items[..] {
            [head, values @ ..] if head.is(key) => {
                Some(Field { at: field.at, values, tail: tail.as_deref() })
            }
            _ => None,
        },
        _ => None,
    })
}

/// The first value of a field, unless it is `#f`.
fn value<'a>(fields: &'a [Datum], key: &str) -> Result<Option<&'a Datum>, Fault> {
    let Some(field) = assoc(fields, key).filter(|field| !field.is_false()) else { return Ok(None) };
    let value = field.values.first().ok_or_else(|| Fault::new(field.at, format!("`{key}` has no value")))?;
    Ok(Some(value).filter(|value| !value.is_false()))
}

fn text<'a>(datum: &'a Datum, key: &str) -> Result<&'a str, Fault> {
    let expected = || Fault::new(datum.at, format!("expected a string as `{key}`"));
    datum.string().ok_or_else(|| match datum.symbol() {
        Some(_) => expected().hint("write it between double quotes"),
        None => expected(),
    })
}

/// The directory of modules, which must be in the tree. The target of a link is only known in the
/// checkout.
fn directory(field: &Datum, written: &str, tree: &Tree<'_>) -> Result<Option<String>, Fault> {
    let parts: Vec<&str> = written.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    let path = parts.join("/");
    if path.is_empty() {
        return Ok(None);
    }
    let not_there = || Fault::new(field.at, format!("{written:?} is not a directory of the channel"));
    if !is_inside(&path) || path.contains(':') {
        return Err(not_there());
    }
    match tree.get_path(Path::new(&path)) {
        Ok(entry) if entry.kind() == Some(ObjectType::Tree) => Ok(Some(path)),
        _ if leads_through_link(tree, &path) => Ok(Some(path)),
        Err(error) if error.code() != ErrorCode::NotFound => Err(Fault::new(field.at, error.message())),
        _ => Err(not_there()),
    }
}

/// Whether `path`, or a directory above it, is a link.
fn leads_through_link(tree: &Tree<'_>, path: &str) -> bool {
    Path::new(path)
        .ancestors()
        .filter_map(|part| tree.get_path(part).ok())
        .any(|entry| entry.filemode() == i32::from(FileMode::Link))
}

fn dependency(datum: &Datum, asked_by: &str) -> Result<Dependency, Fault> {
    let fields = match &datum.value {
        Value::List(fields, _) => &fields[..],
        _ => return Err(Fault::new(datum.at, "expected `(channel (name …) (url …))`")),
    };
    let need =
        |key| value(fields, key)?.ok_or_else(|| Fault::new(datum.at, format!("a dependency has no `{key}`")));
    let written = need("name")?;
    let name = written.symbol().ok_or_else(|| {
        Fault::new(written.at, "expected a symbol as `name`").hint("write `(name NAME)`, without quotes")
    })?;
    if !is_name(name) {
        return Err(Fault::new(written.at, format!("{name:?} is not a valid name of a channel")));
    }
    let about = |at, reason: String| Fault::new(at, format!("dependency {name}: {reason}"));
    let place = need("url")?;
    let url = text(place, "url")?;
    check_url(url).map_err(|error| about(place.at, error.to_string()))?;
    if reach(url) > reach(asked_by) {
        return Err(about(place.at, format!("{url} is not for a channel that comes from {asked_by}")));
    }
    let branch = match value(fields, "branch")? {
        None => "master",
        Some(field) => branch(field)?,
    };
    let commit = match value(fields, "commit")? {
        None => None,
        Some(field) => Some(commit(field)?),
    };
    let introduction = value(fields, "introduction")?.map(introduction).transpose()?;
    let (name, url, branch) = (name.to_owned(), url.to_owned(), branch.to_owned());
    Ok(Dependency { name, url, branch, commit, introduction })
}

/// The name of a branch. Guix also accepts a full reference.
fn branch(field: &Datum) -> Result<&str, Fault> {
    let written = text(field, "branch")?;
    let branch = written.strip_prefix("refs/heads/").unwrap_or(written);
    check_branch(branch).map(|()| branch).map_err(|error| Fault::new(field.at, error.to_string()))
}

fn commit(field: &Datum) -> Result<String, Fault> {
    let commit = text(field, "commit")?.to_ascii_lowercase();
    let fault = || Fault::new(field.at, "this is not a full commit hash");
    is_commit(&commit).then_some(commit).ok_or_else(|| fault().hint("write all 40 hexadecimal digits"))
}

fn introduction(datum: &Datum) -> Result<Introduction, Fault> {
    let expected = |at| Fault::new(at, "expected `(channel-introduction (version 0) …)`").hint(INTRODUCTION);
    let Some([head, version, commit, signer, ..]) = datum.list() else { return Err(expected(datum.at)) };
    if !head.is("channel-introduction") || !is_version_0(version) {
        return Err(expected(datum.at));
    }
    let field = |field: &Datum, key: &str| match field.list() {
        Some([head, value]) if head.is(key) => text(value, key).map(str::to_owned),
        _ => Err(Fault::new(field.at, format!("expected `({key} \"…\")`")).hint(INTRODUCTION)),
    };
    let (commit, signer) = (field(commit, "commit")?, field(signer, "signer")?);
    // Guix takes the hexadecimal digits and ignores all other characters.
    let signer: String = signer.chars().filter(char::is_ascii_hexdigit).collect();
    Introduction::new(&commit, &signer).ok_or_else(|| {
        Fault::new(datum.at, "this introduction has no full commit hash or no full fingerprint")
            .hint(INTRODUCTION)
    })
}

/// Who else can read what we can fetch from a URL. A channel must not make us fetch what only we
/// can read.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    /// Anybody can read it.
    Network,
    /// Our SSH keys may be needed.
    Keys,
    /// It is a file of this machine.
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
