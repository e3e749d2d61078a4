use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;

use command_fds::{CommandFdExt as _, FdMapping};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokio::process::{Child, ChildStdout, Command};

use super::alive;
use super::cgroup::Cgroup;
use super::limits::Limits;
use super::process::Process;

/// Where bubblewrap reads the filter of system calls.
pub(super) const FILTER_FD: i32 = 3;
/// Where it says which process it has started.
pub(super) const INFO_FD: i32 = 4;
/// Where that process waits for a byte before it runs the program.
pub(super) const RELEASE_FD: i32 = 5;

/// The program that runs, also when its file has been replaced.
pub const THIS_PROGRAM: &str = "/proc/self/exe";

/// What is to be started, and what it may use.
pub(super) struct Start<'a> {
    pub(super) program: &'a Path,
    pub(super) args: &'a [OsString],
    pub(super) env: &'a [(OsString, OsString)],
    pub(super) directory: Option<&'a Path>,
    pub(super) limits: Limits,
}

/// What a subprocess does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SubprocessKind {
    /// It starts nothing. What it prints on standard error says why it ended.
    Alone,
    /// It starts sandboxes, which have cgroups of their own: it has none, as they would be below that. It logs to
    /// where we log.
    WithSandboxes,
}

impl Start<'_> {
    /// Starts a trusted program. Its limits hold some microseconds after it has begun. `reading`: what it
    /// prints is left to the caller to read.
    pub(super) fn tool(&self, reading: bool) -> io::Result<(Process, Option<ChildStdout>)> {
        let cgroup = Cgroup::new(&self.limits)?;
        let mut child = self.spawn(&mut self.command())?;
        if let Some(pid) = child.id() {
            self.hold(pid, cgroup.as_ref())?;
        }
        let stdout = if reading { child.stdout.take() } else { None };
        Ok((Process::watched(child, self.limits, cgroup, false)?, stdout))
    }

    /// Starts a process whose standard input and output are `socket`. Its limits hold some microseconds after it has
    /// begun.
    pub(super) fn subprocess(&self, socket: OwnedFd, kind: SubprocessKind) -> io::Result<Process> {
        let mut command = self.command();
        command.arg0("gorget").stdin(socket.try_clone()?).stdout(socket);
        let cgroup = match kind {
            SubprocessKind::Alone => Cgroup::new(&self.limits)?,
            SubprocessKind::WithSandboxes => {
                command.stderr(Stdio::inherit());
                None
            }
        };
        let child = self.spawn(&mut command)?;
        if let Some(pid) = child.id() {
            self.hold(pid, cgroup.as_ref())?;
        }
        Process::watched(child, self.limits, cgroup, false)
    }

    /// Starts bubblewrap, whose arguments name the three descriptors. Its limits hold before the program
    /// in it begins.
    pub(super) fn sandbox(&self, filter: &[u8]) -> io::Result<Process> {
        let cgroup = Cgroup::new(&self.limits)?;
        let (info, their_info) = io::pipe()?;
        let (their_release, release) = io::pipe()?;
        let mappings = [
            (full(filter)?.into(), FILTER_FD),
            (their_info.into(), INFO_FD),
            (their_release.into(), RELEASE_FD),
        ];
        let mappings = mappings.map(|(parent_fd, child_fd)| FdMapping { parent_fd, child_fd });
        let mut command = self.command();
        command.fd_mappings(mappings.into()).map_err(io::Error::other)?;
        let child = self.spawn(&mut command)?;
        // Our copies of its ends of the pipes go with this.
        drop(command);
        // Without an answer, it has failed, and says why when it is waited for.
        if let Some(pid) = inner_process(info)? {
            self.hold(pid, cgroup.as_ref())?;
        }
        let process = Process::watched(child, self.limits, cgroup, true)?;
        let _ = (&release).write_all(b".");
        Ok(process)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the room that starts processes")]
    fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        command
            .args(self.args)
            .env_clear()
            .envs(self.env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        if let Some(directory) = self.directory {
            command.current_dir(directory);
        }
        command
    }

    fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        let child = command.spawn().map_err(|error| {
            io::Error::new(error.kind(), format!("cannot start {}: {error}", self.program.display()))
        })?;
        if let Some(group) = child.id() {
            // What we start of ourselves is known by what it does.
            let is_ours = self.program == Path::new(THIS_PROGRAM);
            alive::add(group, self.args.first().filter(|_| is_ours).map_or(self.program, Path::new));
        }
        Ok(child)
    }

    /// Has the kernel hold a process, and all that it starts, to the limits that it knows.
    fn hold(&self, pid: u32, cgroup: Option<&Cgroup>) -> io::Result<()> {
        if let Some(cgroup) = cgroup {
            cgroup.enter(pid)?;
        }
        let Limits { memory, cpu, descriptors, file_size, .. } = self.limits;
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let each = [
            // Whoever measures is first, and says why it was killed.
            (Resource::Cpu, cpu.as_secs() + 5),
            (Resource::Nofile, descriptors),
            (Resource::Fsize, file_size),
            // Where nothing else counts page tables, this bounds them.
            (Resource::As, memory.saturating_mul(4)),
            (Resource::Msgqueue, 0),
            (Resource::Core, 0),
        ];
        for (resource, most) in each {
            let ours = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX);
            if most >= ours {
                // It has inherited a limit that is as low, and may have lowered it further by now.
                continue;
            }
            let most = Some(most);
            match prlimit(pid, resource, Rlimit { current: most, maximum: most }) {
                // It has ended.
                Ok(_) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// A pipe with `bytes`, which fit in.
fn full(bytes: &[u8]) -> io::Result<io::PipeReader> {
    let (reader, mut writer) = io::pipe()?;
    writer.write_all(bytes)?;
    Ok(reader)
}

/// The process that bubblewrap says it has started; `None` when it ends without having said that.
fn inner_process(mut info: io::PipeReader) -> io::Result<Option<u32>> {
    let (mut text, mut buffer) = (Vec::new(), [0; 1024]);
    // It would be killed for writing to a closed pipe, so all of it is read.
    while !text.contains(&b'}') {
        let count = info.read(&mut buffer)?;
        if count == 0 {
            return Ok(None);
        }
        text.extend_from_slice(&buffer[..count]);
    }
    let said: serde_json::Value = serde_json::from_slice(&text)?;
    Ok(said["child-pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()))
}
