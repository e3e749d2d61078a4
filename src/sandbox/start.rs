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

/// The descriptor from which bubblewrap reads the system call filter.
pub(super) const FILTER_FD: i32 = 3;
/// The descriptor on which it reports the process that it has started.
pub(super) const INFO_FD: i32 = 4;
/// The descriptor on which that process waits for a byte before it runs the program.
pub(super) const RELEASE_FD: i32 = 5;

/// The running program itself, even if its file has been replaced.
pub const THIS_PROGRAM: &str = "/proc/self/exe";

/// The program to start, and its limits.
pub(super) struct Start<'a> {
    pub(super) program: &'a Path,
    pub(super) args: &'a [OsString],
    pub(super) env: &'a [(OsString, OsString)],
    pub(super) directory: Option<&'a Path>,
    pub(super) limits: Limits,
}

/// The kind of a subprocess.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SubprocessKind {
    /// It starts no processes. Its standard error is kept, to say why it ended.
    Alone,
    /// It starts sandboxes, each in a cgroup of its own. It has no cgroup itself, because theirs
    /// would be below it. It logs to our standard error.
    WithSandboxes,
}

impl Start<'_> {
    /// Starts a trusted program. Its limits apply some microseconds after it has started. With
    /// `reading`, its output is left for the caller to read.
    pub(super) fn tool(&self, reading: bool) -> io::Result<(Process, Option<ChildStdout>)> {
        let cgroup = Cgroup::new(&self.limits)?;
        let mut child = self.spawn(&mut self.command())?;
        if let Some(pid) = child.id() {
            self.hold(pid, cgroup.as_ref())?;
        }
        let stdout = if reading { child.stdout.take() } else { None };
        Ok((Process::watched(child, self.limits, cgroup, false)?, stdout))
    }

    /// Starts a process whose standard input and output are `socket`. Its limits apply some
    /// microseconds after it has started.
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

    /// Starts bubblewrap, whose arguments name the three descriptors. Its limits apply before it
    /// runs the program.
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
        // This closes our copies of bubblewrap's ends of the pipes.
        drop(command);
        // Without an answer, bubblewrap has failed. Waiting for it tells why.
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
            // A process of Gorget is named after its command.
            let is_ours = self.program == Path::new(THIS_PROGRAM);
            alive::add(group, self.args.first().filter(|_| is_ours).map_or(self.program, Path::new));
        }
        Ok(child)
    }

    /// Makes the kernel enforce the limits that it supports on a process and its descendants.
    fn hold(&self, pid: u32, cgroup: Option<&Cgroup>) -> io::Result<()> {
        if let Some(cgroup) = cgroup {
            cgroup.enter(pid)?;
        }
        let Limits { memory, cpu, descriptors, file_size, .. } = self.limits;
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let each = [
            // `Watch` measures CPU time too. It acts before this limit does, and records the
            // reason.
            (Resource::Cpu, cpu.as_secs() + 5),
            (Resource::Nofile, descriptors),
            (Resource::Fsize, file_size),
            // Bounds page tables, where nothing else counts them.
            (Resource::As, memory.saturating_mul(4)),
            (Resource::Msgqueue, 0),
            (Resource::Core, 0),
        ];
        for (resource, most) in each {
            let ours = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX);
            if most >= ours {
                // The process inherited a limit that is as low, and may have lowered it further by
                // now.
                continue;
            }
            let most = Some(most);
            match prlimit(pid, resource, Rlimit { current: most, maximum: most }) {
                // The process has ended.
                Ok(_) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// A pipe that contains `bytes`, which must fit into its buffer.
fn full(bytes: &[u8]) -> io::Result<io::PipeReader> {
    let (reader, mut writer) = io::pipe()?;
    writer.write_all(bytes)?;
    Ok(reader)
}

/// The process id that bubblewrap reports; `None` if bubblewrap ends without a report.
fn inner_process(mut info: io::PipeReader) -> io::Result<Option<u32>> {
    let (mut text, mut buffer) = (Vec::new(), [0; 1024]);
    // Bubblewrap would be killed for writing to a closed pipe, so the whole report is read.
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
