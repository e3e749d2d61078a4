use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::path::PathBuf;

use tokio::net::UnixStream;

use super::limits::Limits;
use super::process::Process;
use super::start::{Start, SubprocessKind};

/// Another process of Gorget, for work that should not be done where the secrets are. Its
/// environment has only what it is given. Its one socket is both its standard input and its
/// standard output.
#[derive(Debug, Clone)]
pub struct Subprocess {
    program: PathBuf,
    args: [OsString; 1],
    env: Vec<(OsString, OsString)>,
    limits: Limits,
    kind: SubprocessKind,
}

impl Subprocess {
    /// Describes a run of `program`, which is Gorget, with the subcommand `command`.
    pub fn new(program: impl Into<PathBuf>, command: &str, limits: Limits) -> Self {
        Self {
            program: program.into(),
            args: [command.into()],
            env: Vec::new(),
            limits,
            kind: SubprocessKind::Alone,
        }
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Lets the subprocess start sandboxes and log what becomes of them.
    #[must_use]
    pub fn with_sandboxes(self) -> Self {
        Self { kind: SubprocessKind::WithSandboxes, ..self }
    }

    /// Starts the subprocess. Returns our end of the socket.
    pub fn spawn(&self) -> io::Result<(Process, UnixStream)> {
        let (ours, theirs) = StdStream::pair()?;
        ours.set_nonblocking(true)?;
        let (program, args, env, limits) = (&self.program, &self.args, &self.env, self.limits);
        let start = Start { program, args, env, directory: None, limits };
        let process = start.subprocess(OwnedFd::from(theirs), self.kind)?;
        Ok((process, UnixStream::from_std(ours)?))
    }
}
