//! The sandbox of an evaluation, and the scripts that run in it.

use std::io;
use std::path::{Path, PathBuf};

use super::request::Request;
use crate::sandbox::Confined;

/// The scripts of the processes. The first one is the entry point.
const SCRIPTS: [(&str, &str); 10] = [
    ("worker.scm", include_str!("worker/worker.scm")),
    ("diagnosis.scm", include_str!("worker/diagnosis.scm")),
    ("overrides.scm", include_str!("worker/overrides.scm")),
    ("files.scm", include_str!("worker/files.scm")),
    ("store.scm", include_str!("worker/store.scm")),
    ("jobs.scm", include_str!("worker/jobs.scm")),
    ("faults.scm", include_str!("worker/faults.scm")),
    ("units.scm", include_str!("worker/units.scm")),
    ("uses.scm", include_str!("worker/uses.scm")),
    ("ci.scm", include_str!("worker/ci.scm")),
];

/// Writes the scripts to `directory`, which the sandbox shows.
pub(super) fn write_scripts(directory: &Path) -> io::Result<()> {
    SCRIPTS.iter().try_for_each(|(name, script)| fs_err::write(directory.join(name), script))
}

/// The sandbox of an evaluation: Guix, the channels, the scripts and sockets in `directory`, and
/// the socket of the store. With builds while evaluating, it also has the real store, for their
/// results.
pub(super) fn confined(request: &Request, directory: &Path, store: PathBuf) -> io::Result<Confined> {
    let mut confined = request.environment.confine(&request.root, request.limits.sandbox());
    if let Some(daemon) = &request.daemon {
        let real = fs_err::canonicalize(&daemon.store).map_err(|error| {
            let hint = "say in gorget.toml where the daemon's store is: `daemon-store` in [evaluate]";
            io::Error::new(
                error.kind(),
                format!("builds while evaluating need a store: {error}\nhint: {hint}"),
            )
        })?;
        confined = confined.readable(real, "/gnu/store");
    }
    Ok(confined
        .readable(directory, "/run/gorget")
        .readable(store, "/run/store")
        .env("GUIX_DAEMON_SOCKET", "/run/store")
        // The heap only grows: rare collections cost memory, and save a quarter of the time.
        .env("GC_INITIAL_HEAP_SIZE", request.limits.heap().to_string())
        .env("GC_FREE_SPACE_DIVISOR", "1")
        .args(["--no-auto-compile", "/run/gorget/worker.scm"]))
}
