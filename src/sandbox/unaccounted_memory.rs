//! Memory of a sandbox that is charged to none of its processes.

use std::io;
use std::path::PathBuf;

use rustix::fs::StatVfs;

/// What the kernel keeps for each file of a tmpfs, whatever its contents, in bytes.
const FILE: u64 = 1024;
/// The buffers of one socket, in bytes: the kernel's default, because the filter does not let a
/// sandbox change it.
const SOCKET: u64 = 256 << 10;

/// The bytes of files in `/tmp`, including deleted ones that are still open, and of socket buffers,
/// in the sandbox of the process `pid`. Its `/tmp` has `size` bytes. `None` when the sandbox has
/// ended or is not complete yet.
///
/// There is no other such memory: the filter refuses the system calls that would make it. Only
/// pipes remain, and the kernel bounds them for each user.
pub(super) fn bytes(pid: u32, size: u64) -> Option<u64> {
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
        // A link is removed, not followed.
        if entry.file_type()?.is_dir() {
            fs_err::remove_dir_all(entry.path())?;
        } else {
            fs_err::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The file system of the sandbox's `/tmp`. While a sandbox starts, the path still leads to this
/// machine's own `/tmp`; the size tells them apart.
fn files(pid: u32, size: u64) -> Option<StatVfs> {
    let files = rustix::fs::statvfs(temporary(pid)).ok()?;
    (files.f_blocks * files.f_frsize == size).then_some(files)
}

/// The sandbox's `/tmp` as this machine sees it.
fn temporary(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/root/tmp"))
}
