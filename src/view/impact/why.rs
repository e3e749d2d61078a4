//! Why a package is rebuilt: the chain of derivations from the package to the change, and the first
//! difference there.
//!
//! Two derivations of one package differ in an input or in a field of their own. While an input
//! that both have, by name, differs, the chain continues with that input. Names are compared
//! without versions, so the chain also follows updates. The last link has the change itself.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::db::{Db, ItemKind, Result};
use crate::guix::derivation::Derivation;
use crate::guix::store_path::{STORE, StorePath};

/// The maximum number of links of a chain.
const LONGEST: usize = 1000;
/// How much of a value is shown, in characters.
const SHOWN: usize = 200;
/// The number of characters of the hash in a store path.
const HASH: usize = 32;

/// Why a package is rebuilt.
#[derive(Debug, Serialize)]
pub struct Why {
    /// The links from the package to the change.
    pub chain: Vec<Link>,
    /// The first difference in the last link; `None` if the base does not have the package.
    pub difference: Option<Difference>,
    /// The name of the package's job.
    pub job: String,
    /// The system.
    pub system: String,
}

/// An old and a new derivation of the same thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Link {
    /// The store path of the new derivation.
    pub after: String,
    /// The store path of the old derivation.
    pub before: String,
}

/// A difference between two derivations.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The value in the new derivation.
    pub after: String,
    /// The value in the old derivation.
    pub before: String,
    /// The name of the field.
    pub field: String,
}

impl Why {
    /// The result for a package that the base does not have.
    pub fn new_package(system: &str, job: &str) -> Self {
        Self { chain: Vec::new(), difference: None, job: job.to_owned(), system: system.to_owned() }
    }

    /// Follows the change of a job from its old and new derivation.
    pub async fn load(db: &Db, system: &str, job: &str, first: Link) -> Result<Self> {
        let (mut chain, mut difference) = (vec![first.clone()], None);
        let mut link = first;
        while chain.len() < LONGEST {
            let (Some(before), Some(after)) = (text(db, &link.before).await?, text(db, &link.after).await?)
            else {
                break;
            };
            let (Ok(before), Ok(after)) = (Derivation::parse(&before), Derivation::parse(&after)) else {
                break;
            };
            let next = next(&before, &after).filter(|next| !chain.contains(next));
            let Some(next) = next else {
                difference = differs(db, &link, &before, &after).await?;
                break;
            };
            chain.push(next.clone());
            link = next;
        }
        Ok(Self { chain, difference, job: job.to_owned(), system: system.to_owned() })
    }
}

/// The contents of a store item, if it is a text.
async fn text(db: &Db, path: &str) -> Result<Option<Vec<u8>>> {
    let Ok(path) = StorePath::parse(path.as_bytes()) else { return Ok(None) };
    let item = db.item(&path.hash_text()).await?;
    Ok(item.filter(|item| item.kind == ItemKind::Text).map(|item| item.contents))
}

/// An input that both derivations have and that differs.
fn next(before: &Derivation<'_>, after: &Derivation<'_>) -> Option<Link> {
    let paths = |derivation: &Derivation<'_>| -> BTreeSet<String> {
        derivation.inputs.iter().map(|(path, _)| lossy(path)).collect()
    };
    pair(&paths(before), &paths(after)).into_iter().next()
}

/// Paths in one set only, each paired with the path of the same name in the other set.
fn pair(before: &BTreeSet<String>, after: &BTreeSet<String>) -> Vec<Link> {
    let mut gone: BTreeMap<&str, &String> = BTreeMap::new();
    for path in before.difference(after) {
        gone.entry(unversioned(path)).or_insert(path);
    }
    let come = after.difference(before).filter_map(|path| {
        let before = gone.get(unversioned(path))?;
        Some(Link { after: path.clone(), before: (*before).clone() })
    });
    come.collect()
}

/// The name in a store path, without the version.
fn unversioned(path: &str) -> &str {
    let name = name(path);
    let version =
        name.match_indices('-').find(|(at, _)| name[at + 1..].starts_with(|c: char| c.is_ascii_digit()));
    version.map_or(name, |(at, _)| &name[..at])
}

/// The first difference between two derivations whose common inputs are equal.
async fn differs(
    db: &Db,
    link: &Link,
    before: &Derivation<'_>,
    after: &Derivation<'_>,
) -> Result<Option<Difference>> {
    let (gone, come) = (names(before), names(after));
    if gone != come {
        let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| {
            a.difference(b).cloned().collect::<Vec<_>>().join(", ")
        };
        return Ok(Some(difference("inputs", &only(&gone, &come), &only(&come, &gone))));
    }
    let hash = |derivation: &Derivation<'_>| {
        derivation.outputs.iter().map(|output| lossy(&output.hash)).collect::<Vec<_>>().join(" ")
    };
    let [old, new] = [hash(before), hash(after)];
    if old != new {
        return Ok(Some(difference("hash of the output", &old, &new)));
    }
    let [old, new] = [name(&link.before), name(&link.after)];
    if old != new {
        return Ok(Some(difference("name", old, new)));
    }
    if let Some(file) = differing_file(db, before, after).await? {
        return Ok(Some(file));
    }
    // A derivation can name outputs of others that are not its inputs: those that it must not refer
    // to.
    let (old, new) = (fields(before), fields(after));
    Ok(first_field(&old, &new, |a, b| unhashed(a) == unhashed(b))
        .or_else(|| first_field(&old, &new, |a, b| a == b)))
}

/// The first difference in the sources of two derivations.
async fn differing_file(
    db: &Db,
    before: &Derivation<'_>,
    after: &Derivation<'_>,
) -> Result<Option<Difference>> {
    let sources = |derivation: &Derivation<'_>| -> BTreeSet<String> {
        derivation.sources.iter().map(|source| lossy(source)).collect()
    };
    for link in pair(&sources(before), &sources(after)) {
        let field = format!("file {}", unversioned(&link.after));
        match (text(db, &link.before).await?, text(db, &link.after).await?) {
            (Some(a), Some(b)) => {
                if let Some((a, b)) = first_line(&lossy(&a), &lossy(&b)) {
                    return Ok(Some(difference(&field, &a, &b)));
                }
            }
            _ => return Ok(Some(difference(&field, &link.before, &link.after))),
        }
    }
    Ok(None)
}

/// The other fields of a derivation, without its output paths.
fn fields(derivation: &Derivation<'_>) -> Vec<(String, String)> {
    let arguments = derivation.arguments.iter().map(|argument| lossy(argument));
    let fields = [
        ("system".to_owned(), lossy(&derivation.system)),
        ("builder".to_owned(), lossy(&derivation.builder)),
        ("arguments".to_owned(), arguments.collect::<Vec<_>>().join(" ")),
    ];
    let is_output = |name: &[u8]| derivation.outputs.iter().any(|output| *output.name == *name);
    let variables = derivation.environment.iter().filter(|(name, _)| !is_output(name));
    let variables = variables.map(|(name, value)| (format!("variable {}", lossy(name)), lossy(value)));
    fields.into_iter().chain(variables).collect()
}

/// The first field that differs.
fn first_field(
    before: &[(String, String)],
    after: &[(String, String)],
    is_same: impl Fn(&str, &str) -> bool,
) -> Option<Difference> {
    let value = |fields: &[(String, String)], name: &str| {
        fields.iter().find(|(other, _)| other == name).map_or(String::new(), |(_, value)| value.clone())
    };
    let names = before.iter().chain(after).map(|(name, _)| name);
    names
        .map(|name| (name, value(before, name), value(after, name)))
        .find_map(|(name, old, new)| (!is_same(&old, &new)).then(|| difference(name, &old, &new)))
}

/// The names of the inputs.
fn names(derivation: &Derivation<'_>) -> BTreeSet<String> {
    derivation.inputs.iter().map(|(path, _)| name(&lossy(path)).to_owned()).collect()
}

/// The name in a store path: the part after the hash.
fn name(path: &str) -> &str {
    path.get(STORE.len() + HASH + 2..).unwrap_or(path)
}

/// The first line that differs in more than hashes of store paths.
fn first_line(before: &str, after: &str) -> Option<(String, String)> {
    let (mut old, mut new) = (before.lines(), after.lines());
    loop {
        match (old.next(), new.next()) {
            (None, None) => return None,
            (a, b) if a.map(unhashed) == b.map(unhashed) => {}
            (a, b) => return Some(around(a.unwrap_or_default(), b.unwrap_or_default())),
        }
    }
}

/// Both lines from shortly before their first difference: a builder is one long line.
fn around(before: &str, after: &str) -> (String, String) {
    const CONTEXT: usize = 40;
    let (old, new) = (unhashed(before), unhashed(after));
    let same = old.chars().zip(new.chars()).take_while(|(a, b)| a == b).count();
    let from = |line: &str| line.chars().skip(same.saturating_sub(CONTEXT)).collect();
    (from(&old), from(&new))
}

/// A text without the hashes of its store paths.
fn unhashed(text: &str) -> String {
    let store = format!("{STORE}/");
    let mut parts = text.split(&store);
    let mut all = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        all.push('/');
        all.push_str(part.get(HASH..).unwrap_or(part));
    }
    all
}

fn difference(field: &str, before: &str, after: &str) -> Difference {
    let shown = |text: &str| {
        let mut shown: String = text.chars().take(SHOWN).collect();
        if text.chars().nth(SHOWN).is_some() {
            shown.push('…');
        }
        shown
    };
    Difference { after: shown(after), before: shown(before), field: field.to_owned() }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_is_followed_by_its_name() {
        let path = |hash: char, name: &str| format!("{STORE}/{}-{name}", hash.to_string().repeat(HASH));
        let old =
            BTreeSet::from([path('a', "click-8.1.tar.gz.drv"), path('b', "sed-4.drv"), path('c', "x-1.drv")]);
        let new =
            BTreeSet::from([path('d', "click-8.2.tar.gz.drv"), path('b', "sed-4.drv"), path('e', "y-1.drv")]);
        let links = pair(&old, &new);
        assert_eq!(links.len(), 1);
        assert!(
            links[0].before.ends_with("click-8.1.tar.gz.drv")
                && links[0].after.ends_with("click-8.2.tar.gz.drv")
        );
    }

    #[test]
    fn hashes_are_no_difference_and_words_are() {
        let line = |hash: char, word: &str| {
            format!("(begin (load \"{STORE}/{}-x\") {word})", hash.to_string().repeat(HASH))
        };
        assert_eq!(first_line(&line('a', "one"), &line('b', "one")), None);
        let (before, after) = first_line(&line('a', "one"), &line('b', "two")).unwrap();
        assert!(before.ends_with("one)") && after.ends_with("two)"), "{before} {after}");
    }
}
