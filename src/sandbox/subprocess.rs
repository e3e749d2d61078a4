use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::path::PathBuf;

use tokio::net::UnixStream;

use super::limits::Limits;
use super::process::Process;
use super::start::Start;

/// Gorget itself once more, to do what should not be done where the secrets are: without any environment, and with one
/// socket, which is both its standard input and its standard output.
#[derive(Debug, Clone)]
pub struct Subprocess {
    program: PathBuf,
    args: [OsString; 1],
    limits: Limits,
}

impl Subprocess {
    /// `program` is Gorget; `command` says what it does.
    pub fn new(program: impl Into<PathBuf>, command: &str, limits: Limits) -> Self {
        Self { program: program.into(), args: [command.into()], limits }
    }

    /// Starts it. The socket is ours.
    pub fn spawn(&self) -> io::Result<(Process, UnixStream)> {
        let (ours, theirs) = StdStream::pair()?;
        ours.set_nonblocking(true)?;
        let (program, args, limits) = (&self.program, &self.args, self.limits);
        let start = Start { program, args, env: &[], directory: None, limits };
        Ok((start.subprocess(OwnedFd::from(theirs))?, UnixStream::from_std(ours)?))
    }
}
