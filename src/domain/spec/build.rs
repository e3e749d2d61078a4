//! Reads which jobs a spec asks for.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::Diagnostic;
use super::location::is_inside;
use super::section::{Section, Value, boolean, strings, unknown, wrong_type};
use super::{Build, Channel, Subset};

/// Subsets that are one word.
const WORDS: [Subset; 7] = [
    Subset::All,
    Subset::Core,
    Subset::Guix,
    Subset::Hello,
    Subset::Images,
    Subset::SystemTests,
    Subset::Tarball,
];
/// Subsets that list something.
const LISTS: [&str; 4] = ["packages", "manifests", "channels", "custom"];
/// Characters that no name of a package, and no pattern for names, contains.
const NOT_IN_NAMES: &str = "\"'`,;\\()[]{}|#:";

/// Reads `build` and its options. `channels` are the spec's channels, or `None` if they have
/// faults.
pub(super) fn build(
    section: &mut Section<'_>,
    channels: Option<&[Channel]>,
    faults: &mut Vec<Diagnostic>,
) -> Option<Build> {
    let hint = "for example `build = \"all\"` or `build = { packages = [\"hello\"] }`";
    let value = section.require("build", hint, faults);
    let subset = value.and_then(|value| subset(value, channels, faults));
    let builds = section.take("builds-while-evaluating");
    let mut option = |key, subsets| {
        let value = section.take(key)?;
        refuse_needless(key, value, subset.as_ref(), subsets, faults);
        Some(value)
    };
    let tuned = option("tuned", &["all"]);
    let cross = option("cross", &["all", "core"]);
    let cross_targets = option("cross-targets", &["all", "core", "hello", "packages"]);
    let exclude = option("exclude", &["all", "core", "channels", "manifests"]);
    let tuned = tuned.map_or(Some(true), |value| boolean(value, faults));
    let cross = cross.map_or(Some(true), |value| boolean(value, faults));
    let builds = builds.map_or(Some(false), |value| boolean(value, faults));
    let cross_targets = cross_targets.map_or(Some(Vec::new()), |value| strings(value, faults, target));
    let exclude = exclude.map_or(Some(Vec::new()), |value| strings(value, faults, pattern));
    Some(Build {
        subset: subset?,
        tuned: tuned?,
        cross: cross?,
        cross_targets: cross_targets?,
        exclude: exclude?,
        builds_while_evaluating: builds?,
    })
}

/// Refuses an option that has no effect: it shows a misunderstanding.
fn refuse_needless(
    key: &str,
    value: Value<'_>,
    subset: Option<&Subset>,
    subsets: &[&str],
    faults: &mut Vec<Diagnostic>,
) {
    let Some(word) = subset.map(word).filter(|word| !subsets.contains(word)) else { return };
    let names: Vec<String> = subsets.iter().map(|name| format!("`{name}`")).collect();
    let fault = Diagnostic::fault(value.span(), format!("`{key}` changes nothing about the build `{word}`"));
    faults.push(fault.hint(format!("leave it out; it goes with {}", names.join(", "))));
}

/// The word for a subset in a spec.
fn word(subset: &Subset) -> &'static str {
    match subset {
        Subset::All => "all",
        Subset::Core => "core",
        Subset::Guix => "guix",
        Subset::Hello => "hello",
        Subset::Images => "images",
        Subset::SystemTests => "system-tests",
        Subset::Tarball => "tarball",
        Subset::Custom(_) => "custom",
        Subset::Channels(_) => "channels",
        Subset::Packages(_) => "packages",
        Subset::Manifests(_) => "manifests",
    }
}

fn subset(value: Value<'_>, channels: Option<&[Channel]>, faults: &mut Vec<Diagnostic>) -> Option<Subset> {
    match value.get_ref() {
        DeValue::Table(table) => list(table, value.span(), channels, faults),
        DeValue::String(text) => {
            let subset = simple(&Spanned::new(value.span(), &**text), faults)?;
            let of_guix = matches!(subset, Subset::Guix | Subset::Images | Subset::SystemTests);
            if of_guix && channels.is_some_and(|channels| channels.iter().all(|c| c.name != "guix")) {
                let fault = Diagnostic::fault(value.span(), "this needs a channel called `guix`");
                faults.push(fault.hint("add it: these jobs build what that channel has"));
            }
            Some(subset)
        }
        _ => {
            wrong_type(value, "a string or a table", faults);
            None
        }
    }
}

/// Reads a subset that is one word.
fn simple(text: &Spanned<&str>, faults: &mut Vec<Diagnostic>) -> Option<Subset> {
    let found = WORDS.into_iter().find(|subset| word(subset) == *text.get_ref());
    if found.is_none() && LISTS.contains(text.get_ref()) {
        let word = text.get_ref();
        let fault = Diagnostic::fault(text.span(), format!("which {word}?"));
        faults.push(fault.hint(format!("write `build = {{ {word} = [\"…\"] }}`")));
    } else if found.is_none() {
        let known: Vec<&str> = WORDS.iter().map(word).chain(LISTS).collect();
        unknown(text, &known, faults);
    }
    found
}

/// Reads `{ packages = […] }` and the other lists.
fn list<'a>(
    table: &'a DeTable<'a>,
    span: Range<usize>,
    channels: Option<&[Channel]>,
    faults: &mut Vec<Diagnostic>,
) -> Option<Subset> {
    let mut section = Section::new("`build`", table, span.clone());
    let values = LISTS.map(|key| section.take(key));
    section.finish(faults);
    let [packages, manifests, of_channels, custom] = values;
    let given = LISTS.iter().zip(&values).filter(|(_, value)| value.is_some());
    let given: Vec<String> = given.map(|(key, _)| (*key).to_owned()).collect();
    if given.len() > 1 {
        let fault = Diagnostic::fault(span, format!("`build` lists {}", given.join(" and ")));
        faults.push(fault.hint("make a spec for each"));
        return None;
    }
    if table.is_empty() {
        let fault = Diagnostic::fault(span, "`build` is empty");
        faults.push(fault.hint("write `{ packages = [\"…\"] }` or `{ manifests = [\"…\"] }`"));
    }
    let mut read = |value: Option<Value<'_>>, one: Reader<'_>| strings(value?, faults, one);
    let packages = read(packages, &package).map(Subset::Packages);
    let manifests = read(manifests, &manifest).map(Subset::Manifests);
    let of_channels = read(of_channels, &|text, faults| channel(text, channels, faults));
    let custom = read(custom, &module).map(Subset::Custom);
    packages.or(manifests).or(of_channels.map(Subset::Channels)).or(custom)
}

/// Reads an item of a list.
type Reader<'a> = &'a dyn Fn(&Spanned<&str>, &mut Vec<Diagnostic>) -> Option<String>;

fn is_name(name: &str) -> bool {
    let readable = |char: char| char.is_ascii_graphic() && !NOT_IN_NAMES.contains(char);
    !name.is_empty() && name.chars().all(readable) && !name.starts_with(['-', '@'])
}

fn package(text: &Spanned<&str>, faults: &mut Vec<Diagnostic>) -> Option<String> {
    let hint = "write `NAME` or `NAME@VERSION`; all outputs of a package are built together";
    checked(text, is_name(text.get_ref()), "this is not the name of a package", hint, faults)
}

fn manifest(text: &Spanned<&str>, faults: &mut Vec<Diagnostic>) -> Option<String> {
    let hint = "write it from the top of the repository, without `..`";
    checked(text, is_inside(text.get_ref()), "this is not a path inside a channel", hint, faults)
}

fn channel(
    text: &Spanned<&str>,
    channels: Option<&[Channel]>,
    faults: &mut Vec<Diagnostic>,
) -> Option<String> {
    if let Some(channels) = channels
        && channels.iter().all(|channel| channel.name != *text.get_ref())
    {
        let names: Vec<&str> = channels.iter().map(|channel| channel.name.as_str()).collect();
        unknown(text, &names, faults);
        return None;
    }
    Some((*text.get_ref()).to_owned())
}

/// Reads the name of a module, such as `(my ci)`.
fn module(text: &Spanned<&str>, faults: &mut Vec<Diagnostic>) -> Option<String> {
    let words = text.get_ref().strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    let is_module = words.is_some_and(|words| {
        !words.trim().is_empty() && words.split_whitespace().all(is_name) && !words.contains(char::is_control)
    });
    let hint = "write it as Guile does: `(my-channel ci)`";
    checked(text, is_module, "this is not the name of a module", hint, faults)
}

fn target(text: &Spanned<&str>, faults: &mut Vec<Diagnostic>) -> Option<String> {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "_-.".contains(char);
    let target = *text.get_ref();
    let is_target =
        target.starts_with(|char: char| char.is_ascii_alphanumeric()) && target.chars().all(is_plain);
    let hint = "write a triplet that `guix build --list-targets` shows, such as `aarch64-linux-gnu`";
    checked(text, is_target, "this is not a target", hint, faults)
}

fn pattern(text: &Spanned<&str>, faults: &mut Vec<Diagnostic>) -> Option<String> {
    let pattern = *text.get_ref();
    let hint = "write `NAME`, or a part of it and `*` for the rest, such as `texlive-*`";
    if pattern.chars().all(|char| char == '*') && !pattern.is_empty() {
        return checked(text, false, "this leaves out everything", hint, faults);
    }
    checked(text, is_name(pattern), "this is not a pattern for names of packages", hint, faults)
}

/// Returns the text if it is right, and notes a fault if not.
fn checked(
    text: &Spanned<&str>,
    is_right: bool,
    message: &str,
    hint: &str,
    faults: &mut Vec<Diagnostic>,
) -> Option<String> {
    if is_right {
        return Some((*text.get_ref()).to_owned());
    }
    faults.push(Diagnostic::fault(text.span(), message).hint(hint));
    None
}
