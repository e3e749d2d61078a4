//! The documents: every command, path, key and state that they name exists, and they are short.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use gorget::db::{BuildState, Db, EvaluationState};
use gorget::domain::build;
use gorget::domain::spec::parse;
use gorget::domain::verdict::{Class, Word};
use sqlx::{Connection, SqliteConnection};

use crate::support::unlimited;

/// The longest line of prose.
const MOST_COLUMNS: usize = 100;
/// Directories of the repository whose paths documents name.
const DIRECTORIES: [&str; 9] =
    ["benches", "docs", "fuzz", "migrations", "packaging", "scripts", "specs", "src", "tests"];
/// Options of every command that take a value.
const GLOBAL_OPTIONS: [&str; 2] = ["--config", "--state"];

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: impl AsRef<Path>) -> String {
    let path = top().join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All documents, by their paths in the repository.
fn documents() -> BTreeMap<PathBuf, String> {
    let mut documents = BTreeMap::new();
    for directory in ["", "docs", "docs/adr"] {
        for entry in std::fs::read_dir(top().join(directory)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "md") {
                let name = path.strip_prefix(top()).unwrap().to_owned();
                documents.insert(name, std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    assert!(documents.len() > 10, "{documents:?}");
    documents
}

/// Lines with their numbers.
type Lines<'a> = Vec<(usize, &'a str)>;

/// The lines of a document: those of prose, and those of code blocks.
fn split(text: &str) -> (Lines<'_>, Lines<'_>) {
    let (mut prose, mut code) = (Vec::new(), Vec::new());
    let mut in_code = false;
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        } else if in_code {
            code.push((number, line));
        } else {
            prose.push((number, line));
        }
    }
    assert!(!in_code, "a code block does not end");
    (prose, code)
}

/// What stands between backticks in prose; a line break inside is a blank.
fn code_spans(text: &str) -> Vec<String> {
    let prose: Vec<&str> = split(text).0.into_iter().map(|(_, line)| line).collect();
    let mut spans = Vec::new();
    for paragraph in prose.split(|line| line.is_empty()) {
        let parts = paragraph.join(" ");
        let parts: Vec<&str> = parts.split('`').collect();
        assert!(parts.len() % 2 == 1, "a backtick has no partner: {paragraph:?}");
        let inside = parts.into_iter().skip(1).step_by(2);
        spans.extend(inside.map(|span| span.split_whitespace().collect::<Vec<_>>().join(" ")));
    }
    spans
}

/// Everything in a document that is code: spans, lines of code blocks, headings.
fn code(text: &str) -> Vec<String> {
    let (prose, code) = split(text);
    let headings = prose.into_iter().filter_map(|(_, line)| line.strip_prefix('#'));
    let headings = headings.map(|line| line.trim_start_matches('#').trim().to_owned());
    let lines = code.into_iter().map(|(_, line)| line.trim().to_owned());
    code_spans(text).into_iter().chain(lines).chain(headings).collect()
}

fn is_word(text: &str) -> bool {
    text.starts_with(|char: char| char.is_ascii_lowercase())
        && text.chars().all(|char| char.is_ascii_lowercase() || char == '-')
}

/// What a line of code calls `gorget` with: the words of the command.
fn command(line: &str) -> Option<Vec<&str>> {
    let line = line.strip_prefix("$ ").unwrap_or(line);
    let mut words = line.split_whitespace().peekable();
    let program = words.next()?;
    let program = program.strip_prefix("ExecStart=").unwrap_or(program);
    if program.rsplit('/').next() != Some("gorget") {
        return None;
    }
    while let Some(option) = words.next_if(|word| word.starts_with("--")) {
        if GLOBAL_OPTIONS.contains(&option) {
            words.next();
        }
    }
    let command: Vec<&str> = words.take_while(|word| is_word(word)).collect();
    (!command.is_empty()).then_some(command)
}

/// What `gorget generate` writes.
async fn generated() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let generate = unlimited(env!("CARGO_BIN_EXE_gorget")).arg("generate").arg(directory.path());
    let generated = generate.spawn().unwrap().finish(Duration::from_mins(5)).await.unwrap();
    assert!(generated.success(), "{}", generated.reason());
    directory
}

/// Every command of the program, such as `db copy`: each has a man page.
async fn commands() -> BTreeSet<String> {
    let directory = generated().await;
    let names = std::fs::read_dir(directory.path()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let commands: BTreeSet<String> = names
        .filter_map(|name| Some(name.strip_prefix("gorget-")?.strip_suffix(".1")?.replace('-', " ")))
        .collect();
    assert!(commands.contains("run") && commands.contains("db copy"), "{commands:?}");
    // For packagers only: `--help` and man pages leave it out.
    commands.into_iter().chain(["generate".to_owned()]).collect()
}

#[tokio::test]
async fn every_command_in_a_document_is_one_of_the_program() {
    let commands = commands().await;
    let mut wrong = Vec::new();
    let mut count = 0;
    for (name, text) in documents() {
        for line in code(&text) {
            let Some(words) = command(&line) else { continue };
            count += 1;
            let is_group = commands.iter().any(|command| command.starts_with(&format!("{} ", words[0])));
            let is_known = if is_group && words.len() > 1 {
                commands.contains(&words[..2].join(" "))
            } else {
                commands.contains(words[0])
            };
            if !is_known {
                wrong.push(format!("{}: {line}", name.display()));
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
    assert!(count > 50, "{count}");
}

#[tokio::test]
async fn the_list_of_commands_is_what_help_says() {
    let directory = generated().await;
    let expected = std::fs::read_to_string(directory.path().join("commands.md")).unwrap();
    let hint = "hint: run `gorget generate DIRECTORY`, and copy commands.md from there to docs/";
    assert!(read("docs/commands.md") == expected, "docs/commands.md is not what --help says\n{hint}");
}

#[test]
fn every_target_of_make_in_a_document_exists() {
    let makefile = read("Makefile");
    let targets: BTreeSet<&str> =
        makefile.lines().filter_map(|line| line.split_once(':')).map(|(target, _)| target).collect();
    let mut wrong = Vec::new();
    for (name, text) in documents() {
        for line in code(&text) {
            let Some(words) = line.strip_prefix("make ") else { continue };
            let words = words.split_whitespace().take_while(|word| is_word(word));
            wrong.extend(
                words
                    .filter(|word| !targets.contains(word))
                    .map(|word| format!("{}: make {word}", name.display())),
            );
        }
    }
    assert_eq!(wrong, [""; 0]);
}

/// Whether a word of a document is a path of the repository.
fn is_path(word: &str) -> bool {
    let Some((first, _)) = word.split_once('/') else { return false };
    let is_plain = word.chars().all(|char| char.is_ascii_alphanumeric() || "_-./".contains(char));
    let is_source = !first.is_empty() && Path::new(word).extension().is_some_and(|ending| ending == "rs");
    is_plain && (is_source || DIRECTORIES.contains(&first))
}

#[test]
fn every_path_in_a_document_exists() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for (name, text) in documents() {
        for line in code(&text) {
            for word in line.split_whitespace() {
                let word = word.trim_matches(|char| ",;:()\"'".contains(char)).trim_end_matches('.');
                if is_path(word) {
                    count += 1;
                    if !top().join(word).exists() {
                        wrong.push(format!("{}: {word}", name.display()));
                    }
                }
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
    assert!(count > 20, "{count}");
}

/// What a heading is called in a link, as forges do it.
fn anchor(heading: &str) -> String {
    let plain = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = plain.chars().filter(|char| char.is_alphanumeric() || " -_".contains(*char));
    kept.map(|char| if char == ' ' { '-' } else { char }).collect()
}

#[test]
fn every_link_in_a_document_leads_somewhere() {
    let mut wrong = Vec::new();
    let documents = documents();
    for (name, text) in &documents {
        let directory = name.parent().unwrap();
        let prose: Vec<&str> = split(text).0.into_iter().map(|(_, line)| line).collect();
        let prose = prose.join("\n");
        let targets = prose.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        for (target, _) in targets.filter(|(target, _)| !target.contains("://")) {
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() { name.clone() } else { directory.join(file) };
            let Ok(aimed) = std::fs::canonicalize(top().join(&path)) else {
                wrong.push(format!("{}: {target}", name.display()));
                continue;
            };
            if !heading.is_empty() {
                let aimed = std::fs::read_to_string(aimed).unwrap();
                let (lines, _) = split(&aimed);
                let mut headings = lines.into_iter().filter(|(_, line)| line.starts_with('#'));
                if !headings.any(|(_, line)| anchor(line) == heading) {
                    wrong.push(format!("{}: {target}: no such heading", name.display()));
                }
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
}

/// The keys in tables whose first column is called `key`, by the name of their section.
fn documented_keys(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let (mut section, mut in_table) = (String::new(), false);
    for (_, line) in split(text).0 {
        if let Some(heading) = line.strip_prefix("## ") {
            heading.trim_matches(|char| "`[]".contains(char)).clone_into(&mut section);
        }
        if !line.starts_with('|') {
            in_table = false;
            continue;
        }
        let cell = line.split('|').nth(1).unwrap_or_default().trim();
        if cell == "key" {
            in_table = true;
        } else if in_table && let Some(key) = cell.strip_prefix('`').and_then(|cell| cell.strip_suffix('`')) {
            keys.entry(section.clone()).or_default().insert(key.to_owned());
        }
    }
    keys
}

/// The key that a line of TOML sets, `#` before it or not.
fn key_of(line: &str) -> Option<&str> {
    let (key, _) = line.strip_prefix('#').unwrap_or(line).split_once(" = ")?;
    is_word(key).then_some(key)
}

#[test]
fn the_document_and_the_example_have_the_same_keys_of_the_configuration() {
    let mut expected: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut section = "Top level".to_owned();
    for line in read("gorget.toml.example").lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            name.clone_into(&mut section);
        } else if let Some(key) = key_of(line) {
            expected.entry(section.clone()).or_default().insert(key.to_owned());
        }
    }
    assert!(expected["evaluate"].contains("workers"), "{expected:?}");
    assert_eq!(documented_keys(&read("docs/configuration.md")), expected);
}

/// Whether a spec can have this key, at its top or in one of its tables.
fn is_key_of_specs(key: &str) -> bool {
    let missing = format!("has no key `{key}`");
    let texts = [
        format!("{key} = 0\n"),
        format!("keep = {{ {key} = 0 }}\n"),
        format!("[verdict]\n{key} = 0\n"),
        format!("[[channel]]\n{key} = 0\n"),
    ];
    texts.iter().any(|text| {
        let faults = parse(text, "some").err().unwrap_or_default();
        faults.iter().all(|fault| !fault.message.ends_with(&missing))
    })
}

#[test]
fn every_key_in_the_document_about_specs_is_one() {
    let documented: BTreeSet<String> =
        documented_keys(&read("docs/specs.md")).into_values().flatten().collect();
    let wrong: Vec<&String> = documented.iter().filter(|key| !is_key_of_specs(key)).collect();
    assert_eq!(wrong, [""; 0]);
    assert!(!is_key_of_specs("nonsense"));
    let mut missing = Vec::new();
    for entry in std::fs::read_dir(top().join("specs")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        missing.extend(
            text.lines().filter_map(key_of).filter(|key| !documented.contains(*key)).map(str::to_owned),
        );
    }
    assert_eq!(missing, [""; 0]);
}

/// The tables of the database.
async fn tables() -> BTreeSet<String> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gorget.db");
    Db::open(file.to_str().unwrap()).await.unwrap().close().await;
    let mut connection = SqliteConnection::connect(&format!("sqlite:{}", file.display())).await.unwrap();
    let sql = "select name from sqlite_schema where type = 'table' and name not like '\\_sqlx%' escape '\\'
        and name not like 'sqlite\\_%' escape '\\'";
    sqlx::query_scalar(sql).fetch_all(&mut connection).await.unwrap().into_iter().collect()
}

#[tokio::test]
async fn every_table_belongs_to_one_folder_and_documents_name_no_others() {
    let tables = tables().await;
    let map = read("ARCHITECTURE.md");
    let mut listed = Vec::new();
    for entry in std::fs::read_dir(top().join("src/db")).unwrap().map(|entry| entry.unwrap()) {
        let folder = entry.file_name().into_string().unwrap();
        let Ok(page) = std::fs::read_to_string(entry.path().join("mod.rs")) else { continue };
        let line = page.lines().find_map(|line| line.strip_prefix("//! Tables: ")).unwrap();
        let own = code_spans(line);
        let start = format!("| `{folder}/` | ");
        let row =
            map.lines().find_map(|line| line.strip_prefix(&start)).unwrap_or_else(|| panic!("{folder}"));
        assert_eq!(code_spans(row), own, "{folder}");
        listed.extend(own);
    }
    let unique: BTreeSet<String> = listed.iter().cloned().collect();
    assert_eq!((unique.len(), &unique), (listed.len(), &tables));
    let is_name =
        |span: &String| span.contains('_') && span.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    for (name, text) in documents() {
        if ["ARCHITECTURE.md", "docs/performance.md", "docs/glossary.md"]
            .map(Path::new)
            .contains(&name.as_path())
            || name.starts_with("docs/adr")
        {
            let unknown: Vec<String> = code_spans(&text)
                .into_iter()
                .filter(|span| is_name(span) && !tables.contains(span))
                .collect();
            assert_eq!(unknown, [""; 0], "{}", name.display());
        }
    }
}

#[test]
fn the_glossary_has_every_state() {
    let glossary = read("docs/glossary.md");
    let states = |heading: &str| -> BTreeSet<String> {
        let (_, rest) = glossary.split_once(&format!("## {heading}\n")).unwrap();
        let section = rest.split("\n## ").next().unwrap();
        let cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        cells.map(str::to_owned).collect()
    };
    assert_eq!(states("States of a build"), BuildState::ALL.map(|state| state.word().to_owned()).into());
    assert_eq!(
        states("States of an evaluation"),
        EvaluationState::ALL.map(|state| state.word().to_owned()).into()
    );
    assert_eq!(states("Verdicts"), Word::ALL.map(|word| word.word().to_owned()).into());
    let verdicts = read("docs/verdicts.md");
    for class in Class::ALL {
        assert!(verdicts.contains(&format!("| `{}` |", class.word())), "docs/verdicts.md lacks {class:?}");
    }
}

#[test]
fn the_diagram_of_states_is_that_of_the_code() {
    let text = read("docs/builds.md");
    let diagram =
        text.split("```mermaid\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap_or_default();
    assert_eq!(diagram, build::diagram(), "docs/builds.md");
}

#[test]
fn the_first_documents_are_short() {
    let words = |name: &str| read(name).split_whitespace().count();
    assert!(words("README.md") < 600, "README.md has {} words", words("README.md"));
    assert!(words("ARCHITECTURE.md") < 2500, "ARCHITECTURE.md has {} words", words("ARCHITECTURE.md"));
}

#[test]
fn prose_is_wrapped() {
    let mut long = Vec::new();
    for (name, text) in documents() {
        let lines = split(&text).0.into_iter().filter(|(_, line)| !line.starts_with('|'));
        for (number, line) in lines.filter(|(_, line)| line.chars().count() > MOST_COLUMNS) {
            long.push(format!("{}:{number}: {line}", name.display()));
        }
    }
    assert_eq!(long, [""; 0]);
}
