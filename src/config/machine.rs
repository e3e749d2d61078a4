use std::io;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use super::{ConfigError, is_host_name};

/// What the defaults depend on.
pub(super) struct Machine {
    /// The host name, or `localhost` if a farm does not accept it.
    pub(super) name: String,
    /// Whether Gorget runs as root.
    pub(super) is_root: bool,
    pub(super) home: Option<PathBuf>,
    /// `XDG_STATE_HOME`.
    pub(super) state_home: Option<PathBuf>,
    /// `XDG_CONFIG_HOME`.
    pub(super) config_home: Option<PathBuf>,
    pub(super) cores: NonZeroUsize,
    /// In bytes.
    pub(super) memory: u64,
}

impl Machine {
    /// Reads this machine and the user that Gorget runs as.
    pub(super) fn here() -> io::Result<Self> {
        // The XDG specification says to ignore relative paths.
        let directory = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Ok(Self {
            name: if is_host_name(&name) { name } else { "localhost".to_owned() },
            is_root: rustix::process::geteuid().is_root(),
            home: directory("HOME"),
            state_home: directory("XDG_STATE_HOME"),
            config_home: directory("XDG_CONFIG_HOME"),
            cores: std::thread::available_parallelism()?,
            memory: memory()?,
        })
    }

    /// The default state directory.
    pub(super) fn state_directory(&self) -> Result<PathBuf, ConfigError> {
        self.directory("/var/lib", self.state_home.as_ref(), ".local/state")
    }

    /// The default directory of `gorget.toml` and the specs.
    pub(super) fn config_directory(&self) -> Result<PathBuf, ConfigError> {
        self.directory("/etc", self.config_home.as_ref(), ".config")
    }

    fn directory(&self, root: &str, xdg: Option<&PathBuf>, at_home: &str) -> Result<PathBuf, ConfigError> {
        let parent = match (xdg, &self.home) {
            _ if self.is_root => root.into(),
            (Some(directory), _) => directory.clone(),
            (None, Some(home)) => home.join(at_home),
            (None, None) => return Err(ConfigError::NoHome),
        };
        Ok(parent.join("gorget"))
    }
}

fn memory() -> io::Result<u64> {
    const FILE: &str = "/proc/meminfo";
    let text = fs_err::read_to_string(FILE)?;
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other(format!("{FILE} does not tell MemTotal")))
}
