use std::path::Path;

use crate::sandbox::Tool;

/// Faults of commits and trees in real histories, made by old programs, that neither Git nor libgit2
/// stumbles over. Guix takes them, too.
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

/// Begins a run of git on the repository at `directory`, which may be missing.
///
/// Keys, credential helpers and proxies of the user count; nothing asks questions, runs hooks, or
/// speaks another protocol than these five (`ext::` would run commands).
pub(super) fn git(directory: &Path) -> Tool {
    let settings = [
        "core.hooksPath=/dev/null",
        "core.fsmonitor=false",
        // One fetch, one pack: packs are written durably and end in a checksum.
        "fetch.unpackLimit=1",
        "fetch.fsckObjects=true",
        "fetch.recurseSubmodules=no",
        "gc.autoDetach=false",
        "maintenance.autoDetach=false",
        // Of large files and of deltas, little is in memory at a time.
        "core.bigFileThreshold=32m",
        "core.deltaBaseCacheLimit=64m",
        "pack.windowMemory=128m",
        "pack.threads=2",
        // A server that trickles makes way for others.
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
