//! No two entries of one folder of `src` import each other, directly or by way of others.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::tidy::sources;

type Module = Vec<String>;

/// The module that a file is, by its path below `src`.
fn module(path: &Path) -> Module {
    let mut names: Module =
        path.with_extension("").iter().map(|name| name.to_str().unwrap().to_owned()).collect();
    if ["mod", "lib", "main"].contains(&names.last().unwrap().as_str()) {
        names.pop();
    }
    raised(names)
}

/// The pipeline is made of steps, which import the rest of `farm`: it counts as an entry of `src`.
fn raised(mut names: Module) -> Module {
    if names.starts_with(&["farm".to_owned(), "pipeline".to_owned()]) {
        names.splice(..2, ["farm/pipeline".to_owned()]);
    }
    names
}

/// The paths that begin at the start of `text`: more than one where braces stand.
fn paths(text: &str) -> Vec<Module> {
    let text = text.trim_start();
    if let Some(inside) = text.strip_prefix('{') {
        let (mut depth, mut start, mut found) = (0, 0, Vec::new());
        for (at, char) in inside.char_indices() {
            match char {
                '{' => depth += 1,
                '}' if depth == 0 => {
                    found.extend(paths(&inside[start..at]));
                    return found;
                }
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    found.extend(paths(&inside[start..at]));
                    start = at + 1;
                }
                _ => {}
            }
        }
        return found;
    }
    let end = text.find(|char: char| !char.is_alphanumeric() && char != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let rest = rest.strip_prefix("::").map_or_else(|| vec![Module::new()], paths);
    rest.into_iter().map(|path| [vec![name.to_owned()], path].concat()).collect()
}

/// Everything that the code of `own` names by a path.
fn named(own: &Module, code: &str) -> BTreeSet<Module> {
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    let code = code.lines().filter(is_code).collect::<Vec<_>>().join("\n");
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        found.extend(paths(&code[at + "crate::".len()..]));
    }
    let mut rest = code.as_str();
    while let Some(at) = rest.find("super::") {
        let mut base = own.clone();
        rest = &rest[at..];
        while let Some(after) = rest.strip_prefix("super::") {
            base.pop();
            rest = after;
        }
        found.extend(paths(rest).into_iter().map(|path| [base.clone(), path].concat()));
    }
    found
}

/// Which entries of a folder import which others of it.
type Imports = BTreeMap<String, BTreeSet<String>>;

/// The imports of each folder that lead from one of its entries to another.
fn folders() -> BTreeMap<Module, Imports> {
    let sources = sources();
    let modules: BTreeSet<Module> = sources.keys().map(|path| module(path)).collect();
    let mut folders: BTreeMap<Module, Imports> = BTreeMap::new();
    for (path, code) in &sources {
        let own = module(path);
        for mut target in named(&own, code).into_iter().map(raised) {
            while !modules.contains(&target) {
                target.pop();
            }
            let common = own.iter().zip(&target).take_while(|(one, other)| one == other).count();
            if let (Some(from), Some(to)) = (own.get(common), target.get(common)) {
                let imports = folders.entry(own[..common].to_vec()).or_default();
                imports.entry(from.clone()).or_default().insert(to.clone());
            }
        }
    }
    folders
}

/// What can be reached from an entry.
fn reach(imports: &Imports, start: &str) -> BTreeSet<String> {
    let (mut seen, mut waiting) = (BTreeSet::new(), vec![start]);
    while let Some(next) = waiting.pop() {
        for to in imports.get(next).into_iter().flatten() {
            if seen.insert(to.clone()) {
                waiting.push(to);
            }
        }
    }
    seen
}

#[test]
fn entries_of_a_folder_import_each_other_in_one_direction_only() {
    let folders = folders();
    assert!(folders[&vec!["git".to_owned()]]["mirror"].contains("remote"), "{folders:?}");
    let mut wrong = Vec::new();
    for (folder, imports) in &folders {
        let in_cycle: Vec<&String> =
            imports.keys().filter(|entry| reach(imports, entry).contains(*entry)).collect();
        if !in_cycle.is_empty() {
            wrong.push(format!("src/{}: {in_cycle:?}", folder.join("/")));
        }
    }
    assert_eq!(wrong, [""; 0]);
}
