//! The compiled part of the evaluator's own code, made once for each Guile.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::{InstalledGuix, RuntimeError, installed_environment};
use crate::sandbox::Limits;

/// The directory in the sandbox where evaluations find the compiled modules.
pub(super) const INSIDE: &str = "/gorget/faster";

/// The modules, in the order in which they are compiled and loaded.
const SOURCES: [(&str, &str); 6] = [
    ("hash", include_str!("../worker/hash.scm")),
    ("alike", include_str!("../worker/alike.scm")),
    ("lists", include_str!("../worker/lists.scm")),
    ("writer", include_str!("../worker/writer.scm")),
    ("pipeline", include_str!("../worker/pipeline.scm")),
    ("derivations", include_str!("../worker/derivations.scm")),
];
/// A file that some of them include.
const INCLUDED: (&str, &str) = ("buffer", include_str!("../worker/buffer.scm"));
/// Time limit for compiling, which takes some seconds.
const LIMIT: Duration = Duration::from_mins(2);
/// Memory for compiling, in bytes.
const MEMORY: u64 = 2 << 30;
/// Most bytes of all compiled forms together.
const MOST_COMPILED: usize = 32 << 20;
/// Prints a compiled file.
const PRINTER: &str = r#"
(use-modules (system base compile) (ice-9 binary-ports) (rnrs bytevectors))
(define (print name)
  (let ((bytes (call-with-input-file (string-append "/tmp/" name ".go") get-bytevector-all #:binary #t)))
    (format #t "~a~%" (bytevector-length bytes))
    (force-output)
    (put-bytevector (current-output-port) bytes)
    (force-output)))
"#;

/// The directory of the compiled forms, below `directory`. Compiles them if they are missing.
///
/// # Errors
/// When Guile cannot compile them, or files cannot be written.
pub(super) async fn compiled(installed: &InstalledGuix, directory: &Path) -> Result<PathBuf, RuntimeError> {
    let key = Sha256::new_with_prefix(&installed.compiler.identity);
    let key = SOURCES
        .iter()
        .chain([&INCLUDED])
        .fold(key, |key, (_, source)| key.chain_update([0]).chain_update(source));
    let evaluator = directory.join("evaluator");
    let path = evaluator.join(data_encoding::HEXLOWER.encode(&key.finalize()));
    if path.is_dir() {
        return Ok(path);
    }
    fs_err::create_dir_all(&evaluator)?;
    let work = tempfile::Builder::new().prefix("work-").tempdir_in(&evaluator)?;
    let (sources, out) = (work.path().join("sources"), work.path().join("out"));
    fs_err::create_dir(&sources)?;
    fs_err::create_dir(&out)?;
    compile(installed, sources, &out).await?;
    rustix::fs::syncfs(fs_err::File::open(&out)?.file()).map_err(std::io::Error::from)?;
    match fs_err::rename(out, &path) {
        // Another process has made the same meanwhile.
        Err(error) if !path.is_dir() => Err(error.into()),
        _ => Ok(path),
    }
}

/// Writes the modules to `sources` and their compiled forms to `out`.
async fn compile(installed: &InstalledGuix, sources: PathBuf, out: &Path) -> Result<(), RuntimeError> {
    // The compiled files are printed, because the sandbox can write no file that outlives it.
    let mut script = PRINTER.to_owned();
    fs_err::write(sources.join(INCLUDED.0).with_extension("scm"), INCLUDED.1)?;
    for (name, source) in SOURCES {
        fs_err::write(sources.join(name).with_extension("scm"), source)?;
        let _ = write!(
            script,
            "(compile-file \"/gorget/sources/{name}.scm\" #:output-file \"/tmp/{name}.go\")(print \"{name}\")"
        );
    }
    let finished = installed_environment(installed, &[])?
        .confine(&installed.root, Limits { output: MOST_COMPILED, ..Limits::sandbox(MEMORY, LIMIT) })
        .args(["--no-auto-compile", "-c", &script])
        .readable(sources, "/gorget/sources")
        .spawn()?
        .finish(LIMIT)
        .await?;
    let made = finished.success().then(|| split(&finished.stdout)).flatten();
    let Some(made) = made.filter(|made| made.len() == SOURCES.len()) else {
        return Err(RuntimeError::Probe { root: installed.root.clone(), reason: finished.reason() });
    };
    for ((name, _), bytes) in SOURCES.iter().zip(made) {
        fs_err::write(out.join(name).with_extension("go"), bytes)?;
    }
    Ok(())
}

/// Splits the output into files. Each is its length on a line, then its bytes.
fn split(mut printed: &[u8]) -> Option<Vec<&[u8]>> {
    let mut files = Vec::new();
    while !printed.is_empty() {
        let end = printed.iter().position(|byte| *byte == b'\n')?;
        let (line, rest) = printed.split_at(end);
        let length = std::str::from_utf8(line).ok()?.parse().ok()?;
        let (file, rest) = rest.get(1..)?.split_at_checked(length)?;
        files.push(file);
        printed = rest;
    }
    Some(files)
}
