use std::io;
use std::path::{Path, PathBuf};

use super::diagnostic::Diagnostic;
use super::written::{Checked, parse};

/// A spec file as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it holds: the text that the spans of diagnostics point into.
    pub source: String,
    /// The spec, or all that is wrong with it.
    pub outcome: Result<Checked, Vec<Diagnostic>>,
}

/// Reads all `*.toml` files of a directory except hidden ones, in the order of their names.
///
/// A bad file does not stop the others. When several files give the same name to their specs, each
/// of them is at fault: which one is meant is not Gorget's to guess.
///
/// # Errors
/// Only when the directory itself cannot be read.
pub fn load_directory(directory: &Path) -> io::Result<Vec<SpecFile>> {
    let mut paths = Vec::new();
    for entry in fs_err::read_dir(directory)? {
        let path = entry?.path();
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !is_hidden && path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    let mut files: Vec<SpecFile> = paths.iter().map(|path| load_file(path)).collect();
    refuse_equal_names(&mut files);
    Ok(files)
}

/// Reads one spec file. That it cannot be read is a fault of the file like any other.
pub fn load_file(path: &Path) -> SpecFile {
    let (source, outcome) = match fs_err::read(path) {
        Err(error) => (String::new(), Err(vec![Diagnostic::fault(0..0, error.to_string())])),
        Ok(bytes) => match String::from_utf8(bytes) {
            Err(error) => not_utf8(&error),
            Ok(source) => {
                let stem = path.file_stem().unwrap_or_default().to_string_lossy();
                let outcome = parse(&source, &stem);
                (source, outcome)
            }
        },
    };
    SpecFile { path: path.to_owned(), source, outcome }
}

fn not_utf8(error: &std::string::FromUtf8Error) -> (String, Result<Checked, Vec<Diagnostic>>) {
    let start = error.utf8_error().valid_up_to();
    let source = String::from_utf8_lossy(error.as_bytes()).into_owned();
    let span = start..start + char::REPLACEMENT_CHARACTER.len_utf8();
    let fault = Diagnostic::fault(span, "this is not UTF-8").hint("save the file as UTF-8");
    (source, Err(vec![fault]))
}

/// Faults all specs of a directory that have the same name.
pub fn refuse_equal_names(files: &mut [SpecFile]) {
    let mut faults = Vec::new();
    for (index, file) in files.iter().enumerate() {
        let Ok(checked) = &file.outcome else { continue };
        let name = &checked.spec.name;
        let namesakes = files.iter().filter(|other| {
            let has_name = other.outcome.as_ref().is_ok_and(|other| other.spec.name == *name);
            has_name && other.path != file.path && other.path.parent() == file.path.parent()
        });
        let paths: Vec<String> = namesakes.map(|other| other.path.display().to_string()).collect();
        if !paths.is_empty() {
            let message = format!("`{name}` is also the name of the spec in {}", paths.join(", "));
            let fault = Diagnostic::fault(checked.name_span.clone(), message);
            faults.push((index, fault.hint("give each spec a name of its own")));
        }
    }
    for (index, fault) in faults {
        files[index].outcome = Err(vec![fault]);
    }
}
