//! The compiled part of the evaluator's own code, made once for each Guile.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::{Host, RuntimeError, host};

/// Where evaluations find it: a directory.
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
/// What some of them include.
const INCLUDED: (&str, &str) = ("buffer", include_str!("../worker/buffer.scm"));
/// Compiling takes some seconds.
const LIMIT: Duration = Duration::from_mins(2);

/// The directory of the compiled forms in `directory`, which are made where they are missing.
///
/// # Errors
/// When Guile cannot compile them, or files cannot be written.
pub(super) async fn compiled(installed: &Host, directory: &Path) -> Result<PathBuf, RuntimeError> {
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
    let mut script = "(use-modules (system base compile))".to_owned();
    fs_err::write(sources.join(INCLUDED.0).with_extension("scm"), INCLUDED.1)?;
    for (name, source) in SOURCES {
        fs_err::write(sources.join(name).with_extension("scm"), source)?;
        let _ = write!(
            script,
            "(compile-file \"/gorget/sources/{name}.scm\" #:output-file \"/gorget/out/{name}.go\")"
        );
    }
    let finished = host(installed, &[])?
        .confine(&installed.root)
        .args(["--no-auto-compile", "-c", &script])
        .readable(sources, "/gorget/sources")
        .writable(&out, "/gorget/out")
        .spawn()?
        .finish(LIMIT)
        .await?;
    let made = SOURCES.iter().all(|(name, _)| out.join(name).with_extension("go").is_file());
    if !finished.success() || !made {
        return Err(RuntimeError::Probe { root: installed.root.clone(), reason: finished.reason() });
    }
    match fs_err::rename(out, &path) {
        // Somebody else has made the same meanwhile.
        Err(error) if !path.is_dir() => Err(error.into()),
        _ => Ok(path),
    }
}
