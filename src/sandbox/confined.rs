use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::limits::Limits;
use super::process::Process;
use super::seccomp;
use super::spawner;
use super::start::{FILTER_FD, INFO_FD, RELEASE_FD, Start};

/// Directories of a system root that programs need to run. The rest of the root is not visible.
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

/// The only devices in a sandbox.
const DEVICES: [&str; 3] = ["/dev/null", "/dev/random", "/dev/urandom"];

/// The links that programs expect next to devices.
const LINKS: [(&str, &str); 4] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
];

/// Files of `/proc` that reveal more than the sandbox.
const HIDDEN: [&str; 7] = [
    "/proc/keys",
    "/proc/key-users",
    "/proc/kcore",
    "/proc/kmsg",
    "/proc/timer_list",
    "/proc/sched_debug",
    "/proc/sysrq-trigger",
];

/// A program that may run untrusted code: without network, real daemon or credentials, with its own
/// processes, `/tmp` and session keyring, and behind a system call filter. Only `/tmp` is writable;
/// it is in memory and its size is limited, so the program can write nothing to a disk. It cannot
/// create namespaces, in which it would be root. Needs bubblewrap 0.8.
#[derive(Debug, Clone)]
pub struct Confined {
    root: PathBuf,
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    binds: Vec<(PathBuf, PathBuf)>,
    directory: PathBuf,
    limits: Limits,
}

impl Confined {
    /// Describes a run of `program`, a path inside the system root `root` (`/` for this machine's),
    /// within `limits`.
    pub fn new(root: impl Into<PathBuf>, program: impl Into<PathBuf>, limits: Limits) -> Self {
        let env = [("PATH", "/usr/bin:/bin"), ("HOME", "/tmp"), ("LC_ALL", "C.UTF-8"), ("TZ", "UTC")];
        Self {
            root: root.into(),
            program: program.into(),
            args: Vec::new(),
            env: env.map(|(name, value)| (name.into(), value.into())).to_vec(),
            binds: Vec::new(),
            directory: "/tmp".into(),
            limits,
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
        self.binds.push((host.into(), inside.into()));
        self
    }

    /// Sets the working directory, a path inside the sandbox; the default is `/tmp`.
    #[must_use]
    pub fn directory(self, directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), ..self }
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
        for (flag, fd) in [("--seccomp", FILTER_FD), ("--info-fd", INFO_FD), ("--block-fd", RELEASE_FD)] {
            push(&[flag.as_ref(), fd.to_string().as_ref()]);
        }
        for name in SYSTEM {
            let host = self.root.join(name);
            push(&["--ro-bind-try".as_ref(), host.as_os_str(), Path::new("/").join(name).as_os_str()]);
        }
        push(&["--proc".as_ref(), "/proc".as_ref()]);
        for name in HIDDEN.iter().filter(|name| Path::new(name).exists()) {
            push(&["--ro-bind".as_ref(), "/dev/null".as_ref(), name.as_ref()]);
        }
        // To the kernel, root in the sandbox is root: it could write this machine's settings in
        // /proc/sys.
        push(&["--remount-ro".as_ref(), "/proc".as_ref()]);
        // We do not use bubblewrap's own /dev: mapping its /dev/zero makes memory that is charged
        // to no process, and its terminals have buffers.
        for device in DEVICES {
            push(&["--dev-bind".as_ref(), device.as_ref(), device.as_ref()]);
        }
        for (target, link) in LINKS {
            push(&["--symlink".as_ref(), target.as_ref(), link.as_ref()]);
        }
        let size = self.limits.writable.to_string();
        push(&["--size".as_ref(), size.as_ref(), "--tmpfs".as_ref(), "/tmp".as_ref()]);
        for (host, inside) in &self.binds {
            push(&["--ro-bind".as_ref(), host.as_os_str(), inside.as_os_str()]);
        }
        for (name, value) in &self.env {
            push(&["--setenv".as_ref(), name, value]);
        }
        push(&["--chdir".as_ref(), self.directory.as_os_str(), "--remount-ro".as_ref(), "/".as_ref()]);
        push(&["--".as_ref(), self.program.as_os_str()]);
        argv.extend(self.args.iter().cloned());
        argv
    }

    /// Starts the program.
    pub fn spawn(&self) -> io::Result<Process> {
        let env = [("PATH".into(), std::env::var_os("PATH").unwrap_or_default())];
        let (args, limits, filter) = (self.argv(), self.limits, seccomp::filter());
        let runtime = tokio::runtime::Handle::current();
        spawner::in_new_session(move || {
            let _runtime = runtime.enter();
            let program = Path::new("bwrap");
            Start { program, args: &args, env: &env, directory: None, limits }.sandbox(&filter)
        })
    }
}
