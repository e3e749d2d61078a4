//! The compiled part of the evaluator's own code, made once for each Guile.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::{Host, RuntimeError, host};

/// Where evaluations find it.
pub(super) const INSIDE: &str = "/gorget/faster.go";

const SOURCE: &str = include_str!("../worker/faster.scm");
const COMPILE: &str = "(use-modules (system base compile))
(compile-file \"/gorget/faster.scm\" #:output-file \"/gorget/out/faster.go\")";
/// Compiling takes a second.
const LIMIT: Duration = Duration::from_mins(2);

/// The compiled form in `directory`, which is made where it is missing.
///
/// # Errors
/// When Guile cannot compile it, or files cannot be written.
pub(super) async fn compiled(installed: &Host, directory: &Path) -> Result<PathBuf, RuntimeError> {
    let key = Sha256::new_with_prefix(&installed.compiler.identity).chain_update([0]).chain_update(SOURCE);
    let name = format!("{}.go", data_encoding::HEXLOWER.encode(&key.finalize()));
    let path = directory.join("evaluator").join(name);
    if path.is_file() {
        return Ok(path);
    }
    fs_err::create_dir_all(directory.join("evaluator"))?;
    let work = tempfile::Builder::new().prefix("work-").tempdir_in(directory.join("evaluator"))?;
    let (source, out) = (work.path().join("faster.scm"), work.path().join("out"));
    fs_err::write(&source, SOURCE)?;
    fs_err::create_dir(&out)?;
    let finished = host(installed, &[])?
        .confine(&installed.root)
        .args(["--no-auto-compile", "-c", COMPILE])
        .readable(source, "/gorget/faster.scm")
        .writable(&out, "/gorget/out")
        .spawn()?
        .finish(LIMIT)
        .await?;
    let made = out.join("faster.go");
    if !finished.success() || !made.is_file() {
        return Err(RuntimeError::Probe { root: installed.root.clone(), reason: finished.reason() });
    }
    fs_err::rename(made, &path)?;
    Ok(path)
}
