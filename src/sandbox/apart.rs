//! Memory that a sandbox takes and no process of it is charged for.

use std::io;
use std::path::PathBuf;

use rustix::fs::StatVfs;

/// What the kernel keeps for a file of a tmpfs, whatever is in it, in bytes.
const FILE: u64 = 1024;
/// What a socket can hold, in bytes: the kernel's default, as the filter refuses to change it.
const SOCKET: u64 = 256 << 10;

/// The bytes of files in `/tmp`, deleted ones that are still open included, and of what sockets can
/// hold, in the sandbox of the process `pid`, whose `/tmp` has `size` bytes. `None` when it has ended or
/// the sandbox is not complete yet.
///
/// Other such memory cannot be made, because the system calls for it are refused, or is bounded
/// by the kernel for each user: pipes.
pub(super) fn memory(pid: u32, size: u64) -> Option<u64> {
    let files = files(pid, size)?;
    let blocks = (files.f_blocks - files.f_bfree) * files.f_frsize;
    let count = files.f_files - files.f_ffree;
    let sockets = fs_err::read_to_string(format!("/proc/{pid}/net/sockstat")).ok()?;
    let sockets = sockets.lines().next()?.rsplit(' ').next()?.parse::<u64>().ok()?;
    Some(blocks + count * FILE + sockets * SOCKET)
}

/// Removes all files in `/tmp`.
pub(super) fn remove_files(pid: u32, size: u64) -> io::Result<()> {
    if files(pid, size).is_none() {
        return Ok(());
    }
    for entry in fs_err::read_dir(temporary(pid))? {
        let entry = entry?;
        // Links are removed, not followed.
        if entry.file_type()?.is_dir() {
            fs_err::remove_dir_all(entry.path())?;
        } else {
            fs_err::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The file system of `/tmp`. While a sandbox begins, this machine's own is there: it is told by its size.
fn files(pid: u32, size: u64) -> Option<StatVfs> {
    let files = rustix::fs::statvfs(temporary(pid)).ok()?;
    (files.f_blocks * files.f_frsize == size).then_some(files)
}

/// The sandbox's `/tmp` as this machine sees it.
fn temporary(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/root/tmp"))
}
