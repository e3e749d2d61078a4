use std::path::Path;

use crate::sandbox::Tool;

/// Mistakes in commits and trees of real histories. Old programs made them; neither Git, libgit2
/// nor Guix has trouble with them.
const FORGIVEN: [&str; 17] = [
    "badDate",
    "badDateOverflow",
    "badEmail",
    "badFilemode",
    "badName",
    "badTimezone",
    "gitmodulesBlob",
    "gitmodulesName",
    "gitmodulesParse",
    "gitmodulesPath",
    "gitmodulesSymlink",
    "gitmodulesUrl",
    "missingEmail",
    "missingSpaceBeforeDate",
    "missingSpaceBeforeEmail",
    "zeroPaddedDate",
    "zeroPaddedFilemode",
];

/// Describes a run of git on the repository at `directory`, which need not exist.
///
/// Keys, credential helpers and proxies of the user apply. git asks no questions, runs no hooks,
/// and speaks no other protocol than these five (`ext::` would run commands).
pub(super) fn git(directory: &Path) -> Tool {
    let settings = [
        "core.hooksPath=/dev/null",
        "core.fsmonitor=false",
        // One fetch makes one pack: packs are written durably and end in a checksum.
        "fetch.unpackLimit=1",
        "fetch.fsckObjects=true",
        "fetch.recurseSubmodules=no",
        "gc.autoDetach=false",
        "maintenance.autoDetach=false",
        // These bound the memory for large files and for deltas.
        "core.bigFileThreshold=32m",
        "core.deltaBaseCacheLimit=64m",
        "pack.windowMemory=128m",
        "pack.threads=2",
        // Give up on a server that is too slow, so that others get their turn.
        "http.lowSpeedLimit=1000",
        "http.lowSpeedTime=120",
    ];
    let settings = settings.iter().map(|setting| (*setting).to_owned());
    let forgiven = FORGIVEN.iter().map(|fault| format!("fetch.fsck.{fault}=ignore"));
    Tool::new("git")
        .args(settings.chain(forgiven).flat_map(|setting| ["-c".to_owned(), setting]))
        .env("GIT_DIR", directory)
        .env("GIT_ALLOW_PROTOCOL", "file:git:http:https:ssh")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_ADVICE", "0")
        .env("SSH_ASKPASS", "false")
        .env("SSH_ASKPASS_REQUIRE", "force")
        .env("LC_ALL", "C")
}
