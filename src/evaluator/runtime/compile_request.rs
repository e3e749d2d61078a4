//! What `compile.scm` is asked to do, as it reads that.

use std::fmt::Write as _;

use super::compile::{Compiling, Job};

/// One file may take so much processor time, in seconds.
const FILE_SECONDS: u64 = 900;

/// The request that `compile.scm` reads.
pub(super) fn written(jobs: &[Job], compiling: &Compiling) -> String {
    let mut text = "((".to_owned();
    for (number, job) in jobs.iter().enumerate() {
        let (path, source) = (quoted(&job.path), quoted(&job.source.display().to_string()));
        let _ = write!(text, "(\"{number}\" {path} {source} {}) ", job.level);
    }
    let _ = write!(text, ") {} {FILE_SECONDS})", compiling.jobs.max(1));
    text
}

/// `text` as Scheme reads a string.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
