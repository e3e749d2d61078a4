//! Reads the spec files of a directory. A bad file does not stop the others.

use std::collections::HashMap;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::diagnostic::Diagnostic;
use super::parse::{Checked, parse};

/// Most bytes of a spec file. The longest sensible ones have some thousand.
const MOST_BYTES: u64 = 256 << 10;

/// A spec file as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecFile {
    /// The path of the file.
    pub path: PathBuf,
    /// The text of the file; the spans of diagnostics point into it.
    pub source: String,
    /// The spec, or all that is wrong with it.
    pub outcome: Result<Checked, Vec<Diagnostic>>,
}

/// Reads all `*.toml` files of a directory except hidden ones, in the order of their names.
///
/// A bad file does not stop the others. When several files give their specs the same name, each of
/// them is at fault, because Gorget cannot know which one is meant.
///
/// # Errors
/// Only when the directory itself cannot be read.
pub fn load_directory(directory: &Path) -> io::Result<Vec<SpecFile>> {
    load_directory_again(directory, &mut Vec::new())
}

/// Does the same, but does not parse files whose text is the same as `before`.
///
/// # Errors
/// Only when the directory itself cannot be read.
pub fn load_directory_again(directory: &Path, before: &mut Vec<SpecFile>) -> io::Result<Vec<SpecFile>> {
    let mut paths = Vec::new();
    for entry in fs_err::read_dir(directory)? {
        let path = entry?.path();
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !is_hidden && path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    let former: HashMap<&Path, &SpecFile> = before.iter().map(|file| (file.path.as_path(), file)).collect();
    let mut files: Vec<SpecFile> =
        paths.iter().map(|path| load_unless(path, former.get(path.as_path()).copied())).collect();
    before.clone_from(&files);
    refuse_equal_names(&mut files);
    Ok(files)
}

/// Reads one spec file. An unreadable file is a fault like any other.
pub fn load_file(path: &Path) -> SpecFile {
    load_unless(path, None)
}

/// Reads one spec file; returns the result in `before` if the text is the same.
fn load_unless(path: &Path, before: Option<&SpecFile>) -> SpecFile {
    let (source, outcome) = match read(path) {
        Err(error) => (String::new(), Err(vec![Diagnostic::fault(0..0, error.to_string())])),
        Ok(bytes) => match String::from_utf8(bytes) {
            Err(error) => not_utf8(&error),
            Ok(source) => {
                // The `source` of an unreadable file is empty. An empty text never counts as
                // unchanged.
                if let Some(before) = before.filter(|before| !source.is_empty() && before.source == source) {
                    return before.clone();
                }
                let stem = path.file_stem().unwrap_or_default().to_string_lossy();
                let outcome = parse(&source, &stem);
                (source, outcome)
            }
        },
    };
    SpecFile { path: path.to_owned(), source, outcome }
}

/// Reads a regular file of at most [`MOST_BYTES`].
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let wrong = |what: String| Err(io::Error::new(io::ErrorKind::InvalidData, what));
    // Opening a FIFO would wait for a writer.
    if !fs_err::metadata(path)?.is_file() {
        return wrong(format!("{} is not a regular file", path.display()));
    }
    let mut bytes = Vec::new();
    fs_err::File::open(path)?.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BYTES {
        return wrong(format!(
            "{} has more than {} KiB, which is the most that a spec may have",
            path.display(),
            MOST_BYTES >> 10
        ));
    }
    Ok(bytes)
}

fn not_utf8(error: &std::string::FromUtf8Error) -> (String, Result<Checked, Vec<Diagnostic>>) {
    let start = error.utf8_error().valid_up_to();
    let source = String::from_utf8_lossy(error.as_bytes()).into_owned();
    let span = start..start + char::REPLACEMENT_CHARACTER.len_utf8();
    let fault = Diagnostic::fault(span, "this is not UTF-8").hint("save the file as UTF-8");
    (source, Err(vec![fault]))
}

/// Makes equal names of specs in one directory a fault of each file.
pub fn refuse_equal_names(files: &mut [SpecFile]) {
    let mut faults = Vec::new();
    let mut named: HashMap<(&str, Option<&Path>), Vec<&Path>> = HashMap::new();
    for file in files.iter() {
        if let Ok(checked) = &file.outcome {
            named.entry((&checked.spec.name, file.path.parent())).or_default().push(&file.path);
        }
    }
    for (index, file) in files.iter().enumerate() {
        let Ok(checked) = &file.outcome else { continue };
        let name = &checked.spec.name;
        let namesakes = named[&(name.as_str(), file.path.parent())].iter().filter(|path| **path != file.path);
        let paths: Vec<String> = namesakes.map(|path| path.display().to_string()).collect();
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

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "build = \"hello\"\n[[channel]]\nname = \"guix\"\nurl = \"/srv/guix\"\n";

    #[test]
    fn a_file_that_is_too_long_or_no_file_is_at_fault_and_holds_nobody_up() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name);
        let filling = format!("#{}\n", "x".repeat(1023)).repeat(10 << 10);
        fs_err::write(file("long.toml"), format!("{filling}{GOOD}")).unwrap();
        fs_err::write(file("fits.toml"), format!("{}\n{GOOD}", &filling[..255 << 10])).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            file("pipe.toml"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .unwrap();
        let files = load_directory(directory.path()).unwrap();
        let told: Vec<String> = files
            .iter()
            .map(|file| match &file.outcome {
                Ok(checked) => checked.spec.name.clone(),
                Err(faults) => faults[0].message.rsplit('/').next().unwrap().to_owned(),
            })
            .collect();
        let long = "long.toml has more than 256 KiB, which is the most that a spec may have";
        assert_eq!(told, ["fits", long, "pipe.toml is not a regular file"]);
    }

    #[test]
    fn what_reads_as_before_is_taken_as_it_was_and_equal_names_are_refused_anew() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name);
        let mut before = Vec::new();
        let names = |before: &mut Vec<SpecFile>| -> Vec<Option<String>> {
            let files = load_directory_again(directory.path(), before).unwrap();
            files.into_iter().map(|file| Some(file.outcome.ok()?.spec.name)).collect()
        };
        fs_err::write(file("a.toml"), GOOD).unwrap();
        fs_err::write(file("b.toml"), format!("name = \"a\"\n{GOOD}")).unwrap();
        assert_eq!(names(&mut before), [None, None], "they have the same name");
        fs_err::write(file("b.toml"), format!("name = \"c\"\n{GOOD}")).unwrap();
        assert_eq!(names(&mut before), [Some("a".to_owned()), Some("c".to_owned())]);
        // An unchanged file is not parsed again. The change to the spec held here shows that.
        let Ok(checked) = &mut before[0].outcome else { panic!("it is a spec") };
        checked.spec.name = "former".to_owned();
        assert_eq!(names(&mut before)[0].as_deref(), Some("former"));
    }
}
