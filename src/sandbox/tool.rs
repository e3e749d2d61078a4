use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use tokio::process::ChildStdout;

use super::limits::Limits;
use super::process::Process;
use super::start::Start;

/// A trusted program, run with a scrubbed environment and without standard input.
#[derive(Debug, Clone)]
pub struct Tool {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
    limits: Limits,
}

/// The variables that a tool inherits from Gorget's environment: paths of programs, keys and
/// proxies.
const KEPT: [&str; 14] = [
    "PATH",
    "HOME",
    "USER",
    "TMPDIR",
    "SSH_AUTH_SOCK",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
];

impl Tool {
    /// Describes a run of `program`, with [`Limits::tool`].
    pub fn new(program: impl Into<PathBuf>) -> Self {
        let env =
            KEPT.iter().filter_map(|name| Some((OsString::from(*name), std::env::var_os(name)?))).collect();
        Self { program: program.into(), args: Vec::new(), env, directory: None, limits: Limits::tool() }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds several arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Keeps these variables of Gorget's environment from being inherited.
    #[must_use]
    pub fn without(mut self, names: &[&str]) -> Self {
        self.env.retain(|(name, _)| names.iter().all(|without| name != without));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Runs in `directory`.
    #[must_use]
    pub fn directory(mut self, directory: impl AsRef<Path>) -> Self {
        self.directory = Some(directory.as_ref().to_owned());
        self
    }

    /// Sets the limits of the program and all its descendants.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Starts the program.
    pub fn spawn(&self) -> io::Result<Process> {
        Ok(self.start().tool(false)?.0)
    }

    /// Starts the program. The caller reads its standard output.
    pub fn spawn_reading(&self) -> io::Result<(Process, ChildStdout)> {
        let (process, stdout) = self.start().tool(true)?;
        Ok((process, stdout.ok_or_else(|| io::Error::other("no standard output"))?))
    }

    fn start(&self) -> Start<'_> {
        let (program, args, env) = (&self.program, &self.args, &self.env);
        Start { program, args, env, directory: self.directory.as_deref(), limits: self.limits }
    }
}
