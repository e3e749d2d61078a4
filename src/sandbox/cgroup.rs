use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::limits::Limits;

/// The controllers that have to be delegated.
const NEEDED: [&str; 2] = ["memory", "pids"];
/// The name of the cgroup that Gorget itself moves to, below the one that was delegated to it.
const LEAF: &str = "gorget";
/// How often the removal of a cgroup is tried, every 20 ms: the kernel needs a moment to end its
/// processes.
const TRIES: u32 = 250;

/// A cgroup (v2) of one program and all its descendants.
#[derive(Debug)]
pub(super) struct Cgroup {
    directory: PathBuf,
}

impl Cgroup {
    /// Creates a cgroup with `limits`; `None` where the machine has not delegated cgroups to us.
    pub(super) fn new(limits: &Limits) -> io::Result<Option<Self>> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let Some(base) = base() else { return Ok(None) };
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let cgroup = Self { directory: base.join(format!("sandbox-{}-{number}", std::process::id())) };
        // A killed process may have left a cgroup of this name: the kernel reuses process ids.
        let _ = fs_err::remove_dir(&cgroup.directory);
        fs_err::create_dir(&cgroup.directory)?;
        cgroup.set("memory.max", &limits.memory.to_string())?;
        cgroup.set("pids.max", &limits.threads().to_string())?;
        cgroup.set("memory.oom.group", if limits.all_at_once { "1" } else { "0" })?;
        if cgroup.directory.join("memory.swap.max").exists() {
            cgroup.set("memory.swap.max", "0")?;
        }
        Ok(Some(cgroup))
    }

    fn set(&self, file: &str, value: &str) -> io::Result<()> {
        fs_err::write(self.directory.join(file), value)
    }

    /// Moves a process into the cgroup. It should not have started others yet.
    pub(super) fn enter(&self, pid: u32) -> io::Result<()> {
        self.set("cgroup.procs", &pid.to_string())
    }

    /// Kills every process in the cgroup.
    pub(super) fn kill(&self) {
        let _ = self.set("cgroup.kill", "1");
    }

    /// How often the kernel has killed in the cgroup for lack of memory; `None` when that cannot be
    /// read.
    pub(super) fn out_of_memory(&self) -> Option<u64> {
        let events = fs_err::read_to_string(self.directory.join("memory.events")).ok()?;
        let count =
            |name| events.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        count("oom_group_kill ").filter(|count| *count > 0).or_else(|| count("oom_kill "))
    }

    /// The memory charged to the cgroup that cannot be reclaimed, in bytes; `None` when that cannot
    /// be read.
    pub(super) fn memory(&self) -> Option<u64> {
        let text = fs_err::read_to_string(self.directory.join("memory.stat")).ok()?;
        let field = |name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse::<u64>().ok())
        };
        Some(field("anon")? + field("shmem")? + field("kernel").unwrap_or(0) + field("sock").unwrap_or(0))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        self.kill();
        let directory = std::mem::take(&mut self.directory);
        thread::spawn(move || {
            for _ in 0..TRIES {
                // A cgroup is removed like a directory, even though it contains files.
                match fs_err::remove_dir(&directory) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        thread::sleep(Duration::from_millis(20));
                    }
                    _ => return,
                }
            }
        });
    }
}

/// Whether the machine has delegated cgroups to us.
pub fn is_available() -> bool {
    base().is_some()
}

/// The cgroup below which we create others: our own, if it was delegated to us and holds no other
/// process.
fn base() -> Option<&'static Path> {
    static BASE: OnceLock<Option<PathBuf>> = OnceLock::new();
    BASE.get_or_init(|| {
        let own = own();
        let base = own.as_deref().and_then(above_leaf);
        let base = base.or_else(|| own.filter(|own| take_over(own).is_ok()));
        if let Some(base) = &base {
            tracing::debug!("sandboxes have cgroups below {}", base.display());
        } else {
            tracing::debug!("no cgroup is delegated: memory of sandboxes is measured");
        }
        base
    })
    .as_deref()
}

/// Our own cgroup, if the controllers that we need are available in it.
fn own() -> Option<PathBuf> {
    let groups = fs_err::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mounts = fs_err::read_to_string("/proc/self/mountinfo").ok()?;
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "))?.split(' ').nth(4)?;
    let own = Path::new(mount).join(path);
    let controllers = fs_err::read_to_string(own.join("cgroup.controllers")).ok()?;
    NEEDED.iter().all(|needed| controllers.split_whitespace().any(|one| one == *needed)).then_some(own)
}

/// The parent of our own cgroup, if another process of Gorget took it over and started us in its
/// leaf.
fn above_leaf(own: &Path) -> Option<PathBuf> {
    let above = own.parent().filter(|_| own.ends_with(LEAF))?;
    let given = fs_err::read_to_string(above.join("cgroup.subtree_control")).ok()?;
    NEEDED.iter().all(|needed| given.split_whitespace().any(|one| one == *needed)).then(|| above.to_owned())
}

/// Moves this process to a leaf, because a cgroup that enables controllers for others must have no
/// processes of its own.
fn take_over(own: &Path) -> io::Result<()> {
    let us = std::process::id().to_string();
    let processes_inside = fs_err::read_to_string(own.join("cgroup.procs"))?;
    if processes_inside.lines().any(|pid| pid != us) {
        return Err(io::Error::other("other processes are in the cgroup"));
    }
    let leaf = own.join(LEAF);
    match fs_err::create_dir(&leaf) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    fs_err::write(leaf.join("cgroup.procs"), us)?;
    fs_err::write(own.join("cgroup.subtree_control"), "+memory +pids")
}
