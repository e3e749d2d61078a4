//! Restricts a process of Gorget before it reads untrusted data.

use std::io;
use std::path::PathBuf;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus,
    Scope, path_beneath_rules,
};

use super::seccomp;

/// The newest Landlock version that we know. Everything that it can refuse is refused; older
/// kernels refuse less.
const NEWEST: ABI = ABI::V6;

/// From now on, this thread and the threads that it starts can only read what is below `readable`:
/// no other file, no network, no other process. A kernel without Landlock does not restrict files;
/// everything else is restricted on any kernel.
///
/// # Errors
/// Returns an error when the kernel refuses the restriction.
pub fn restrict_to_reads(readable: &[PathBuf]) -> io::Result<()> {
    landlock(readable)?;
    seccompiler::apply_filter(&seccomp::filter_of_reading()).map_err(io::Error::other)
}

/// Whether the kernel can restrict a process to some files.
pub fn has_landlock() -> bool {
    // Landlock restricts the calling thread, so a thread of its own asks.
    let asked = std::thread::spawn(|| landlock(&[]).is_ok_and(|status| status != RulesetStatus::NotEnforced));
    asked.join().unwrap_or(false)
}

fn landlock(readable: &[PathBuf]) -> io::Result<RulesetStatus> {
    let rules = path_beneath_rules(readable, AccessFs::from_read(NEWEST) & !AccessFs::Execute);
    let restricted = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))
        .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(NEWEST)))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(NEWEST)))
        .and_then(Ruleset::create)
        .and_then(|ruleset| ruleset.add_rules(rules))
        .and_then(landlock::RulesetCreated::restrict_self);
    Ok(restricted.map_err(io::Error::other)?.ruleset)
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::TcpListener;
    use std::thread;

    use rustix::fs::Mode;
    use rustix::process::{Resource, Rlimit, prlimit};

    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "it shows that nothing can be started")]
    fn who_is_restricted_to_reading_can_do_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let (inside, outside) = (directory.path().join("inside"), directory.path().join("outside"));
        for directory in [&inside, &outside] {
            fs_err::create_dir(directory).unwrap();
            fs_err::write(directory.join("file"), "text").unwrap();
        }
        let begun = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = begun.local_addr().unwrap();
        let restricted = thread::spawn(move || {
            restrict_to_reads(std::slice::from_ref(&inside)).unwrap();
            assert_eq!(fs_err::read_to_string(inside.join("file")).unwrap(), "text");
            assert_eq!(thread::spawn(|| 1).join().unwrap(), 1, "threads can be started");
            let refused = |error: io::Error| {
                assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
            };
            refused(std::net::TcpStream::connect(address).unwrap_err());
            refused(std::os::unix::net::UnixStream::pair().unwrap_err());
            refused(std::process::Command::new("/bin/true").status().unwrap_err());
            let itself = rustix::process::getpid();
            refused(rustix::process::test_kill_process(itself).unwrap_err().into());
            let files = Rlimit { current: Some(64), maximum: Some(64) };
            let parent = rustix::process::getppid().unwrap();
            refused(prlimit(Some(parent), Resource::Nofile, files).unwrap_err().into());
            refused(rustix::fs::chmod(inside.join("file"), Mode::empty()).unwrap_err().into());
            if has_landlock() {
                refused(fs_err::read(outside.join("file")).unwrap_err());
                refused(fs_err::read("/proc/self/environ").unwrap_err());
                refused(fs_err::write(inside.join("new"), "").unwrap_err());
                refused(fs_err::remove_file(inside.join("file")).unwrap_err());
            }
        });
        restricted.join().unwrap();
    }
}
