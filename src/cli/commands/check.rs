//! `gorget check`: what is wrong with spec files.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use chrono::DateTime;

use crate::cli::{Exit, output};
use crate::clock::{Clock, Seconds};
use crate::config::Config;
use crate::domain::spec::{
    Diagnostic, Severity, Spec, SpecFile, load_directory, load_file, refuse_equal_names, render, sanitize,
};
use crate::evaluator::runtime::{InstalledGuix, RuntimeError};
use crate::steps::evaluate::check_guix;
use crate::view::check;

/// Check spec files, and show when the good ones are due
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Check {
    /// Spec files, or directories of them; by default the specs that are evaluated
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Write one JSON object for every file
    #[arg(long)]
    pub json: bool,
}

/// Checks the files and tells about them: the good ones on standard output, faults on standard error.
///
/// # Errors
/// When nothing can be written, when no path is given and `config` is at fault, and when the Guix of this machine, as `config` has it, is one that
/// nothing can be evaluated with; a file that cannot be read is at fault itself.
pub(in crate::cli) async fn run(args: &Check, config: anyhow::Result<Config>) -> anyhow::Result<Exit> {
    let (files, config) = match &args.paths[..] {
        [] => {
            let config = config?;
            (load(std::slice::from_ref(&config.specs)), Some(config))
        }
        paths => (load(paths), config.ok()),
    };
    let now = Clock::System.now();
    if args.json {
        print_json(&files, now, &mut anstream::stdout().lock())?;
    } else {
        print(&files, now, &mut anstream::stdout().lock(), &mut anstream::stderr().lock())?;
    }
    // With paths, the command checks only the files: they may be written on a machine without Guix.
    if let Some(config) = config {
        if args.paths.is_empty() {
            check_guix(&config.guix_root).await.context("this machine cannot evaluate")?;
        } else if let Err(error @ RuntimeError::TooOld { .. }) = InstalledGuix::probe(&config.guix_root).await
        {
            return Err(error.into());
        }
    }
    Ok(if files.iter().all(|file| file.outcome.is_ok()) { Exit::Done } else { Exit::InputError })
}

/// Reads them all, each once.
fn load(paths: &[PathBuf]) -> Vec<SpecFile> {
    let mut files: Vec<SpecFile> = Vec::new();
    for path in paths {
        let found = if path.is_dir() { load_specs_of(path) } else { vec![load_file(path)] };
        for file in found {
            if files.iter().all(|other| other.path != file.path) {
                files.push(file);
            }
        }
    }
    refuse_equal_names(&mut files);
    files
}

/// That a directory cannot be read or has no specs is a fault too: who asked expected some.
fn load_specs_of(directory: &Path) -> Vec<SpecFile> {
    let fault = match load_directory(directory) {
        Ok(files) if !files.is_empty() => return files,
        Ok(_) => Diagnostic::fault(0..0, "no spec is in this directory").hint("their names end in `.toml`"),
        Err(error) => Diagnostic::fault(0..0, error.to_string()),
    };
    vec![SpecFile { path: directory.to_owned(), source: String::new(), outcome: Err(vec![fault]) }]
}

fn print(files: &[SpecFile], now: Seconds, out: &mut impl Write, err: &mut impl Write) -> io::Result<()> {
    let mut faults = 0;
    for file in files {
        let diagnostics = diagnostics(file);
        let name = file.path.display().to_string();
        if !diagnostics.is_empty() {
            writeln!(err, "{}", render(diagnostics, &name, &file.source, true))?;
        }
        match &file.outcome {
            Ok(checked) => {
                let due = due(&checked.spec, &check::SpecFile::new(file, now).due);
                writeln!(out, "{}: {due}", sanitize(&name))?;
            }
            Err(_) => faults += diagnostics.iter().filter(|one| one.severity == Severity::Fault).count(),
        }
    }
    let bad = files.iter().filter(|file| file.outcome.is_err()).count();
    if bad > 0 {
        let errors = output::count(faults, "error", "errors");
        writeln!(err, "{errors}: {bad} of {} cannot be used", output::count(files.len(), "file", "files"))?;
    }
    Ok(())
}

/// When the spec is due: `hello is due at 2026-11-23 12:00:00, …`.
fn due(spec: &Spec, times: &[Seconds]) -> String {
    if !spec.active {
        return format!("{} is not active", spec.name);
    }
    let times = times.iter().filter_map(|at| DateTime::from_timestamp(*at, 0));
    let times: Vec<String> = times.map(|time| time.format("%Y-%m-%d %H:%M:%S").to_string()).collect();
    format!("{} is due at {} (UTC)", spec.name, times.join(", "))
}

fn diagnostics(file: &SpecFile) -> &[Diagnostic] {
    match &file.outcome {
        Ok(checked) => &checked.warnings,
        Err(diagnostics) => diagnostics,
    }
}

fn print_json(files: &[SpecFile], now: Seconds, out: &mut impl Write) -> io::Result<()> {
    for file in files {
        writeln!(out, "{}", serde_json::to_string(&check::SpecFile::new(file, now))?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Monday, 23 November 2026, 12:00:00 UTC.
    const NOON: Seconds = 1_795_435_200;

    const CHANNEL: &str = "[[channel]]\nname = \"guix\"\nurl = \"/srv/guix\"\n";

    /// A directory with one good spec, one that sleeps, and one with two faults.
    fn farm() -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let write = |name: &str, head: &str| {
            let text = format!("{head}\n{CHANNEL}");
            fs_err::write(directory.path().join(name), text).expect("a file can be written");
        };
        write("nightly.toml", "build = \"all\"\nperiod = \"0 3 * * mon-fri\"");
        write("asleep.toml", "build = \"hello\"\nactive = false");
        write("wrong.toml", "bulid = \"hello\"");
        directory
    }

    fn told(files: &[SpecFile], directory: &Path) -> (String, String) {
        let (mut out, mut err) =
            (anstream::StripStream::new(Vec::new()), anstream::StripStream::new(Vec::new()));
        print(files, NOON, &mut out, &mut err).expect("memory can be written to");
        let text = |stream: anstream::StripStream<Vec<u8>>| {
            String::from_utf8_lossy(&stream.into_inner()).replace(&directory.display().to_string(), "FARM")
        };
        (text(out), text(err))
    }

    #[test]
    fn good_files_are_told_with_their_next_times_and_bad_ones_with_their_faults() {
        let farm = farm();
        let (out, err) = told(&load(&[farm.path().to_owned()]), farm.path());
        insta::assert_snapshot!(out, @r#"
        FARM/asleep.toml: asleep is not active
        FARM/nightly.toml: nightly is due at 2026-11-24 03:00:00, 2026-11-25 03:00:00, 2026-11-26 03:00:00 (UTC)
        "#);
        insta::assert_snapshot!(err, @r#"
        error: a spec needs `build`
         --> FARM/wrong.toml:1:1
          |
        1 | bulid = "hello"
          | ^
          |
        hint: for example `build = "all"` or `build = { packages = ["hello"] }`

        error: a spec has no key `bulid`
         --> FARM/wrong.toml:1:1
          |
        1 | bulid = "hello"
          | ^^^^^
          |
        hint: did you mean `build`?

        2 errors: 1 of 3 files cannot be used
        "#);
    }

    #[test]
    fn json_tells_the_same() {
        let farm = farm();
        let mut out = Vec::new();
        print_json(&load(&[farm.path().to_owned()]), NOON, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap().replace(&farm.path().display().to_string(), "FARM");
        insta::assert_snapshot!(text, @r#"
        {"file":"FARM/asleep.toml","name":"asleep","due":[],"diagnostics":[]}
        {"file":"FARM/nightly.toml","name":"nightly","due":[1795489200,1795575600,1795662000],"diagnostics":[]}
        {"file":"FARM/wrong.toml","name":null,"due":[],"diagnostics":[{"severity":"fault","message":"a spec needs `build`","hint":"for example `build = \"all\"` or `build = { packages = [\"hello\"] }`","line":1,"column":1},{"severity":"fault","message":"a spec has no key `bulid`","hint":"did you mean `build`?","line":1,"column":1}]}
        "#);
    }

    #[test]
    fn only_a_farm_without_faults_passes() {
        let farm = farm();
        let check = |paths: &[&Path]| {
            let paths: Vec<PathBuf> = paths.iter().map(|path| path.to_path_buf()).collect();
            load(&paths).iter().all(|file| file.outcome.is_ok())
        };
        let file = |name: &str| farm.path().join(name);
        assert!(!check(&[farm.path()]));
        assert!(!check(&[&file("missing")]));
        assert!(check(&[&file("nightly.toml"), &file("asleep.toml"), &file("nightly.toml")]));
        fs_err::write(file("twin.toml"), format!("name = \"asleep\"\nbuild = \"all\"\n{CHANNEL}")).unwrap();
        assert!(check(&[&file("twin.toml")]));
        assert!(!check(&[&file("twin.toml"), &file("asleep.toml")]), "the two have one name");
        let empty = tempfile::tempdir().unwrap();
        assert!(!check(&[empty.path()]), "nothing was checked");
    }
}
