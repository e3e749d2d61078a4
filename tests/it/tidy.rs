//! The repository checks itself: what its map says about rooms is so.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use gorget::sandbox::{Limits, Tool};

/// Pure, and formats of Guix: they import each other at most.
const PURE: [&str; 1] = ["domain"];
/// What steps stand on. It imports what is pure, and its like.
const GROUND: [&str; 9] =
    ["clock", "config", "db", "evaluator", "farm", "git", "guix", "sandbox", "telemetry"];
/// Modules of `guix` that do I/O; the others are pure.
const GUIX_IO: [&str; 2] = ["daemon", "recording_store"];
/// What views are computed from, besides what is pure.
const UNDER_VIEWS: [&str; 3] = ["clock", "db", "view"];
/// The module of `farm` that is made of steps, so it stands above them. Only what people see imports it.
const PIPELINE: &str = "pipeline";
/// What people see: imports anything. Only these import `view`.
const FRONT: [&str; 4] = ["cli", "lib", "main", "web"];

/// Longest source file, in lines, without the page at its top and the tests at its end. A line that begins with
/// [`LONG`] and says why lifts that.
const MOST_LINES: usize = 300;
const LONG: &str = "// Long: ";

/// Most entries of `src/`.
const MOST_ROOMS: usize = 17;

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every source file, by its path below `src`, without the tests at its end.
pub(crate) fn sources() -> BTreeMap<PathBuf, String> {
    let mut sources = BTreeMap::new();
    let mut waiting = vec![top().join("src")];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned();
                sources.insert(path.strip_prefix(top().join("src")).unwrap().to_owned(), code);
            }
        }
    }
    assert!(sources.len() > 20);
    sources
}

/// The room that a source file belongs to.
fn room(path: &Path) -> &str {
    path.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs")
}

/// The room and the module in it that a text imports, as often as it does.
fn imports(code: &str) -> BTreeSet<(&str, &str)> {
    let word = |rest: &'_ str| rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    // The word for a time is no way to read one, and nor is its text.
    let is_pure =
        |rest: &&str| ["clock::Seconds", "clock::readable_span"].iter().any(|name| rest.starts_with(name));
    let named = code.split("crate::").skip(1).filter(|rest| !is_pure(rest));
    let parts = named.map(|rest| {
        let (room, rest) = rest.split_at(word(rest));
        let module = rest.strip_prefix("::").unwrap_or_default();
        (room, &module[..word(module)])
    });
    parts.collect()
}

/// Whether a file may import a module of a room.
fn may_import(path: &Path, (to, module): (&str, &str)) -> bool {
    let room = room(path);
    let is_pure =
        |room: &str, module: &str| PURE.contains(&room) || room == "guix" && !GUIX_IO.contains(&module);
    let own = path.iter().nth(1).map_or("", |name| name.to_str().unwrap().trim_end_matches(".rs"));
    match room {
        room if FRONT.contains(&room) => true,
        "farm" if own == PIPELINE => !FRONT.contains(&to),
        // Braces hide the module.
        _ if to == "farm" && ["", PIPELINE].contains(&module) => false,
        "steps" if to == "steps" => own == module,
        "steps" => !["cli", "view", "web"].contains(&to),
        "view" => is_pure(to, module) || UNDER_VIEWS.contains(&to),
        room if is_pure(room, own) => is_pure(to, module),
        room if GROUND.contains(&room) => PURE.contains(&to) || GROUND.contains(&to),
        room => panic!("{room} is new: say above what it may import"),
    }
}

/// Where any of `words` stands outside of comments.
fn places(words: &[&str], allowed: &[&str]) -> Vec<String> {
    let mut places = Vec::new();
    for (path, code) in sources().iter().filter(|(path, _)| !allowed.contains(&room(path))) {
        for (number, line) in code.lines().enumerate().filter(|(_, line)| !line.trim().starts_with("//")) {
            if words.iter().any(|word| line.contains(word)) {
                places.push(format!("src/{}:{}: {line}", path.display(), number + 1));
            }
        }
    }
    places
}

#[test]
fn rooms_import_only_what_they_may() {
    let mut wrong = Vec::new();
    for (path, code) in &sources() {
        let to_others = imports(code).into_iter().filter(|import| !may_import(path, *import));
        wrong.extend(to_others.map(|(to, module)| format!("src/{} imports {to}::{module}", path.display())));
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn what_one_room_does_no_other_does() {
    let sql = ["sqlx", "\"select ", "\"insert into ", "\"update ", "\"delete from "];
    assert_eq!(places(&sql, &["db"]), [""; 0]);
    let writes = ["update build ", "insert into build ", "insert into build\n", "delete from build "];
    let is_elsewhere = |place: &String| !place.starts_with("src/db/build/");
    assert_eq!(places(&writes, &[]).into_iter().filter(is_elsewhere).collect::<Vec<_>>(), [""; 0]);
    assert_eq!(places(&["process::Command", "Command::new"], &["sandbox"]), [""; 0]);
    assert_eq!(places(&["println!", "print!", "dbg!"], &["cli", "main"]), [""; 0]);
    assert_eq!(places(&["SystemTime::now", "Utc::now", "Local::now"], &["clock"]), [""; 0]);
}

#[test]
fn every_room_is_in_the_table_of_contents() {
    let sources = sources();
    let table = &sources[Path::new("lib.rs")];
    let rooms: BTreeSet<&str> = sources.keys().map(|path| room(path)).collect();
    assert!(rooms.len() <= MOST_ROOMS, "{rooms:?}");
    for room in rooms.into_iter().filter(|room| !["lib", "main"].contains(room)) {
        let (before, _) = table.split_once(&format!("pub mod {room};")).unwrap_or_else(|| panic!("{room}"));
        let doc = before.trim_end().lines().last().unwrap();
        assert!(doc.starts_with("/// ") && doc.ends_with('.'), "{room}: {doc}");
    }
    for (path, code) in sources.iter().filter(|(path, _)| path.ends_with("mod.rs")) {
        assert!(code.starts_with("//! "), "{} says nothing about itself", path.display());
    }
}

#[test]
fn files_are_short() {
    let sources = sources();
    let long: Vec<String> = sources
        .iter()
        .filter(|(_, code)| !code.contains(LONG))
        .map(|(path, code)| (path, code.lines().filter(|line| !line.starts_with("//!")).count()))
        .filter(|(_, lines)| *lines > MOST_LINES)
        .map(|(path, lines)| format!("{}: {lines} lines", path.display()))
        .collect();
    assert_eq!(long, [""; 0]);
}

#[test]
fn both_databases_have_the_same_migrations() {
    let names = |database: &str| -> BTreeSet<String> {
        let directory = top().join("migrations").join(database);
        let files = std::fs::read_dir(directory).unwrap();
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
    };
    assert_eq!(names("sqlite"), names("postgres"));
    assert!(!names("sqlite").is_empty());
}

/// What Cargo says of every package that the program and its tests are made of.
async fn packages() -> Vec<serde_json::Value> {
    let arguments = ["metadata", "--format-version=1", "--locked", "--offline"];
    let host = format!("--filter-platform={}-unknown-linux-gnu", std::env::consts::ARCH);
    let limits = Limits { output: 16 << 20, ..Limits::tool() };
    let cargo = Tool::new(env!("CARGO")).limits(limits).args(arguments).arg(host).directory(top());
    let told = cargo.spawn().unwrap().finish(Duration::from_mins(1)).await.unwrap();
    assert!(told.success(), "{}", told.reason());
    let metadata: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

#[tokio::test]
async fn dependencies_have_licences_and_sources_that_deny_toml_allows() {
    let rules: toml::Table =
        toml::from_str(&std::fs::read_to_string(top().join("deny.toml")).unwrap()).unwrap();
    let list = |section: &str, key: &str| -> Vec<String> {
        let all = rules[section][key].as_array().unwrap().iter();
        all.map(|one| one.as_str().unwrap().to_owned()).collect()
    };
    let (licences, registries) = (list("licenses", "allow"), list("sources", "allow-registry"));
    let mut wrong = Vec::new();
    for package in packages().await {
        let text = package["license"].as_str().unwrap_or_default();
        let allowed = spdx::Expression::parse_mode(text, spdx::ParseMode::LAX).is_ok_and(|expression| {
            expression
                .evaluate(|needed| licences.iter().any(|licence| needed.license.to_string() == *licence))
        });
        let source = package["source"].as_str();
        let is_known = source.is_none_or(|source| {
            source.strip_prefix("registry+").is_some_and(|url| registries.iter().any(|known| known == url))
        });
        if !allowed || !is_known {
            wrong.push(format!("{} has the licence {text:?}, and comes from {source:?}", package["name"]));
        }
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn the_licence_is_stated() {
    let manifest = std::fs::read_to_string(top().join("Cargo.toml")).unwrap();
    assert!(manifest.lines().any(|line| line == "license = \"GPL-3.0-or-later\""));
}

/// Nothing in the repository depends on where it was written.
#[tokio::test]
async fn no_file_names_a_place_of_one_machine() {
    if !top().join(".git").exists() {
        return;
    }
    let places = [concat!("/wo", "rk/"), concat!("index.crates", ".io"), concat!("static.crates", ".io")];
    let mut git = Tool::new("git").args(["ls-files", "-z"]).directory(top()).spawn().unwrap();
    let listed = git.finish(Duration::from_secs(30)).await.unwrap();
    assert!(listed.success(), "{}", listed.reason());
    let names = String::from_utf8(listed.stdout).unwrap();
    assert!(names.contains("Cargo.toml"));
    let mut found = Vec::new();
    for name in names.split_terminator('\0') {
        let Ok(bytes) = std::fs::read(top().join(name)) else { continue };
        for (number, line) in String::from_utf8_lossy(&bytes).lines().enumerate() {
            if places.iter().any(|place| line.contains(place)) {
                found.push(format!("{name}:{}: {line}", number + 1));
            }
        }
    }
    assert_eq!(found, [""; 0]);
}
