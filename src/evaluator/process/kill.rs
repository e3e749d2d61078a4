//! Kills a process of the sandbox, and never another process that got its number.

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

/// Most generations between the sandbox and a process in it.
const MOST_GENERATIONS: usize = 10_000;

/// Kills the process `pid` if it descends from `ancestor`. The process may have ended since its
/// number was read, and another process may have the number by now.
pub(super) fn kill_below(ancestor: u32, pid: u32) {
    let Some(number) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
    // A pidfd keeps referring to the same process. While that process lives, no other process gets
    // its number, so `descends` examines the same process.
    match pidfd_open(number, PidfdFlags::empty()) {
        Ok(process) if descends(pid, ancestor) => {
            let _ = pidfd_send_signal(process, Signal::KILL);
        }
        // A kernel without pidfds.
        Err(Errno::NOSYS) if descends(pid, ancestor) => {
            let _ = kill_process(number, Signal::KILL);
        }
        _ => {}
    }
}

fn descends(pid: u32, ancestor: u32) -> bool {
    std::iter::successors(parent(pid), |pid| parent(*pid))
        .take(MOST_GENERATIONS)
        .take_while(|pid| *pid > 1)
        .any(|pid| pid == ancestor)
}

/// The parent of the process `pid`.
fn parent(pid: u32) -> Option<u32> {
    let text = fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses, and may contain some itself.
    let (_, fields) = text.rsplit_once(')')?;
    fields.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Child, Command, id};

    use super::*;

    #[expect(
        clippy::disallowed_methods,
        reason = "its number is known to be nobody's once it was waited for"
    )]
    fn sleeper() -> Child {
        Command::new("sleep").arg("1000").spawn().unwrap()
    }

    #[test]
    fn only_descendants_are_killed() {
        let (mut one, mut other) = (sleeper(), sleeper());
        kill_below(one.id(), other.id());
        kill_below(other.id(), other.id());
        kill_below(id(), id());
        assert!(other.try_wait().unwrap().is_none());
        kill_below(id(), other.id());
        assert_eq!(other.wait().unwrap().signal(), Some(9));
        // No process has its number now.
        kill_below(id(), other.id());
        one.kill().unwrap();
        one.wait().unwrap();
    }
}
