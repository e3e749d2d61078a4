use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::process::Process;

/// Directories of a system root that programs need to run; the rest of it stays out of sight.
const SYSTEM: [&str; 10] = [
    "usr",
    "bin",
    "sbin",
    "lib",
    "lib32",
    "lib64",
    "gnu",
    "run/current-system",
    "etc/alternatives",
    "etc/ld.so.cache",
];

/// What `/tmp` can hold, in bytes. It is memory, and nobody's: no process is charged for it.
const TMP_SIZE: u64 = 512 << 20;

/// A program that may run strangers' code: no network, no real daemon, own processes, own `/tmp`,
/// no credentials, nothing writable but what [`Confined::writable`] lists. It cannot make
/// namespaces of its own, in which it would be root. Takes bubblewrap 0.8.
#[derive(Debug, Clone)]
pub struct Confined {
    root: PathBuf,
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    binds: Vec<(&'static str, PathBuf, PathBuf)>,
}

impl Confined {
    /// Describes a run of `program`, a path inside the system root `root` (`/` for this machine's).
    pub fn new(root: impl Into<PathBuf>, program: impl Into<PathBuf>) -> Self {
        let env = [("PATH", "/usr/bin:/bin"), ("HOME", "/tmp"), ("LC_ALL", "C.UTF-8"), ("TZ", "UTC")];
        Self {
            root: root.into(),
            program: program.into(),
            args: Vec::new(),
            env: env.map(|(name, value)| (name.into(), value.into())).to_vec(),
            binds: Vec::new(),
        }
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

    /// Sets an environment variable; nothing else is inherited.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Shows `host` read-only at `inside`.
    #[must_use]
    pub fn readable(mut self, host: impl Into<PathBuf>, inside: impl Into<PathBuf>) -> Self {
        self.binds.push(("--ro-bind", host.into(), inside.into()));
        self
    }

    /// Shows `host` at `inside`, writable.
    #[must_use]
    pub fn writable(mut self, host: impl Into<PathBuf>, inside: impl Into<PathBuf>) -> Self {
        self.binds.push(("--bind", host.into(), inside.into()));
        self
    }

    /// The arguments of `bwrap`.
    fn argv(&self) -> Vec<OsString> {
        let mut argv: Vec<OsString> = Vec::new();
        let mut push = |words: &[&std::ffi::OsStr]| argv.extend(words.iter().map(Into::into));
        for flag in ["--unshare-all", "--unshare-user", "--disable-userns"] {
            push(&[flag.as_ref()]);
        }
        for flag in ["--die-with-parent", "--new-session", "--clearenv"] {
            push(&[flag.as_ref()]);
        }
        push(&["--cap-drop".as_ref(), "ALL".as_ref(), "--hostname".as_ref(), "gorget".as_ref()]);
        for name in SYSTEM {
            let host = self.root.join(name);
            push(&["--ro-bind-try".as_ref(), host.as_os_str(), Path::new("/").join(name).as_os_str()]);
        }
        push(&["--proc".as_ref(), "/proc".as_ref(), "--dev".as_ref(), "/dev".as_ref()]);
        // To the kernel, root in here is root: it could write this machine's settings in /proc/sys.
        push(&["--remount-ro".as_ref(), "/proc".as_ref(), "--remount-ro".as_ref(), "/dev".as_ref()]);
        push(&["--size".as_ref(), TMP_SIZE.to_string().as_ref(), "--tmpfs".as_ref(), "/tmp".as_ref()]);
        for (flag, host, inside) in &self.binds {
            push(&[flag.as_ref(), host.as_os_str(), inside.as_os_str()]);
        }
        for (name, value) in &self.env {
            push(&["--setenv".as_ref(), name, value]);
        }
        push(&["--chdir".as_ref(), "/tmp".as_ref(), "--remount-ro".as_ref(), "/".as_ref()]);
        push(&["--".as_ref(), self.program.as_os_str()]);
        argv.extend(self.args.iter().cloned());
        argv
    }

    /// Starts it.
    pub fn spawn(&self) -> io::Result<Process> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        Process::spawn(Path::new("bwrap"), &self.argv(), &[("PATH".into(), path)], None)
    }
}
