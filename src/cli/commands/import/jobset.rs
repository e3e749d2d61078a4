//! A specification of Cuirass, and the spec file for it.

use std::fmt::Write as _;

use toml::Value;

use crate::domain::spec::{GUIX_URL, Introduction, guix_introduction, is_guix_url, is_name, sanitize};

/// The priority of a specification that names none.
const PRIORITY: i64 = 9;
/// Subsets that are one word.
const WORDS: [&str; 7] = ["all", "core", "guix", "hello", "images", "system-tests", "tarball"];
/// Subsets that list something.
const LISTS: [&str; 4] = ["packages", "manifests", "channels", "custom"];
/// Units of time, the longest first.
const UNITS: [(i64, char); 4] = [(86_400, 'd'), (3600, 'h'), (60, 'm'), (1, 's')];

/// The keys of a channel called `guix` that its specification does not authenticate.
const NOT_AUTHENTICATED: &str =
    "# Its specification has no introduction. Add one, so that its commits are authenticated.
authenticate = false
";
/// What such a channel has if it is unknown whether it is authenticated.
const NO_INTRODUCTION: &str =
    "# Cuirass does not tell its introduction. Add it: `gorget check` refuses the channel without one.
# introduction = { commit = \"…\", signer = \"…\" }
";

/// A specification of Cuirass.
#[derive(Debug)]
pub(super) struct Jobset {
    /// The name of the spec.
    pub(super) name: String,
    /// Where it was found.
    pub(super) place: String,
    /// The value of `build`.
    build: Value,
    channels: Vec<Channel>,
    priority: i64,
    systems: Vec<String>,
    active: bool,
    /// Seconds; 0 for none.
    period: i64,
    /// Whether a channel without an introduction has none in Cuirass.
    lists_introductions: bool,
    /// Settings without a counterpart in Gorget, for comments.
    pub(super) notes: Vec<String>,
}

/// A channel of a specification.
#[derive(Debug, Clone)]
pub(super) struct Channel {
    pub(super) name: String,
    pub(super) url: String,
    pub(super) branch: String,
    pub(super) commit: Option<String>,
    pub(super) introduction: Option<Introduction>,
}

impl Channel {
    /// Guix's own channel.
    pub(super) fn guix() -> Self {
        let [name, url, branch] = ["guix", GUIX_URL, "master"].map(ToOwned::to_owned);
        Self { name, url, branch, commit: None, introduction: Some(guix_introduction()) }
    }
}

impl Jobset {
    /// A specification with this name and Cuirass's defaults.
    pub(super) fn new(name: &str, place: String) -> Result<Self, String> {
        let plain: String = name
            .chars()
            .map(|char| if char.is_ascii_alphanumeric() || "._-".contains(char) { char } else { '-' })
            .collect();
        if !is_name(&plain) {
            return Err(format!("{place} cannot be imported: no spec can be called {name:?}"));
        }
        let notes = if plain == name { Vec::new() } else { vec![format!("In Cuirass it is called {name}.")] };
        let (channels, build) = (vec![Channel::guix()], Value::from("all"));
        let (priority, systems, active, period) = (PRIORITY, Vec::new(), true, 0);
        let lists_introductions = true;
        Ok(Self {
            name: plain,
            place,
            build,
            channels,
            priority,
            systems,
            active,
            period,
            lists_introductions,
            notes,
        })
    }

    /// Sets which jobs there are: a word, or a word and what it lists.
    pub(super) fn build(&mut self, word: &str, listed: Option<Vec<String>>) -> Result<(), String> {
        self.build = match listed {
            None if WORDS.contains(&word) => Value::from(word),
            Some(items) if LISTS.contains(&word) => {
                let items = items.into_iter().map(Value::from).collect();
                Value::Table([(word.to_owned(), Value::Array(items))].into_iter().collect())
            }
            _ => return Err(format!("`{word}` is no `build` that Gorget has")),
        };
        Ok(())
    }

    pub(super) fn channels(&mut self, channels: Vec<Channel>) {
        self.channels = channels;
    }

    pub(super) fn priority(&mut self, priority: i64) {
        self.priority = priority;
    }

    pub(super) fn systems(&mut self, systems: Vec<String>) {
        self.systems = systems;
    }

    pub(super) fn active(&mut self, active: bool) {
        self.active = active;
    }

    pub(super) fn period(&mut self, seconds: i64) {
        self.period = seconds;
    }

    /// Notes that the source never has the introductions of channels.
    pub(super) fn lists_no_introductions(&mut self) {
        self.lists_introductions = false;
        self.note("Cuirass does not list the introductions of channels: add them.");
    }

    /// Notes that something has no counterpart.
    pub(super) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// The text of the spec file. It may lack introductions, which have to be added.
    pub(super) fn spec_file(&self) -> String {
        self.text(if self.lists_introductions { NOT_AUTHENTICATED } else { NO_INTRODUCTION })
    }

    /// The spec file, to check it: it does not lack introductions.
    pub(super) fn complete_spec_file(&self) -> String {
        self.text(NOT_AUTHENTICATED)
    }

    fn text(&self, unauthenticated: &str) -> String {
        let mut text = format!("# Imported from Cuirass: {}\n", sanitize(&self.place));
        for note in &self.notes {
            line(&mut text, format_args!("# {}", sanitize(note)));
        }
        line(&mut text, format_args!("build = {}", inline(&self.build)));
        if self.build.as_str() == Some("guix") {
            text.push_str("# This subset builds while it is evaluated.\nbuilds-while-evaluating = true\n");
        }
        if !self.systems.is_empty() {
            let systems = self.systems.iter().cloned().map(Value::from).collect();
            line(&mut text, format_args!("systems = {}", Value::Array(systems)));
        }
        if self.period > 0 {
            let unit = UNITS.iter().find(|(size, _)| self.period % size == 0);
            let (size, letter) = unit.copied().unwrap_or((1, 's'));
            line(&mut text, format_args!("every = \"{}{letter}\"", self.period / size));
        }
        line(&mut text, format_args!("priority = {}", self.priority));
        if !self.active {
            text.push_str("active = false\n");
        }
        for channel in &self.channels {
            add_channel(&mut text, channel, unauthenticated);
        }
        text
    }
}

/// Adds a channel. `unauthenticated` is what one called `guix` has instead of an introduction.
fn add_channel(text: &mut String, channel: &Channel, unauthenticated: &str) {
    let Channel { name, url, branch, commit, introduction } = channel;
    text.push_str("\n[[channel]]\n");
    for (key, value) in [("name", name), ("url", url), ("branch", branch)] {
        line(text, format_args!("{key} = {}", Value::from(value.as_str())));
    }
    if let Some(commit) = commit {
        line(text, format_args!("commit = {}", Value::from(commit.as_str())));
    }
    match introduction {
        // Gorget knows it.
        Some(given) if is_guix_url(url) && *given == guix_introduction() => {}
        Some(Introduction { commit, signer }) => {
            let (commit, signer) = (Value::from(commit.as_str()), Value::from(signer.as_str()));
            line(text, format_args!("introduction = {{ commit = {commit}, signer = {signer} }}"));
        }
        None if name == "guix" && !is_guix_url(url) => text.push_str(unauthenticated),
        None => {}
    }
}

fn line(text: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{what}");
}

/// A value on one line.
fn inline(value: &Value) -> String {
    match value {
        Value::Table(table) => {
            let pairs: Vec<String> = table.iter().map(|(key, value)| format!("{key} = {value}")).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        value => value.to_string(),
    }
}
