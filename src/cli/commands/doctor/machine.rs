//! Checks of what this machine needs to evaluate.

use std::time::Duration;

use rustix::fs::statvfs;

use crate::config::Config;
use crate::evaluator::runtime::InstalledGuix;
use crate::sandbox::{Tool, has_cgroups, has_landlock};
use crate::steps::evaluate::{check_directory, check_guix};
use crate::view::doctor::Check;

/// The time limit for a program to print its version.
const LIMIT: Duration = Duration::from_secs(30);
/// With less space than this, in bytes, an evaluation of all of Guix cannot finish.
const LEAST_SPACE: u64 = 1 << 30;
/// With less space than this, in bytes, a farm cannot run for long.
const LITTLE_SPACE: u64 = 10 << 30;
/// With less memory than this, in bytes, a process with all of Guix is killed.
const LEAST_MEMORY: u64 = 2 << 30;

pub(super) async fn checks(config: &Config) -> Vec<Check> {
    let mut checks = vec![user(), state(config).await];
    checks.push(version("git", "install git").await);
    checks.push(version("bwrap", "install bubblewrap").await);
    checks.push(guix(config).await);
    checks.push(cgroups());
    checks.push(landlock());
    checks.push(memory(config));
    checks
}

fn user() -> Check {
    if rustix::process::geteuid().is_root() {
        let text = "root\nhint: run the farm as a user of its own; docs/getting-started.md shows how";
        return Check::warning("user", text);
    }
    Check::ok("user", rustix::process::geteuid().as_raw().to_string())
}

/// Whether the state directory is writable and has space.
async fn state(config: &Config) -> Check {
    const NAME: &str = "state directory";
    let place = config.state.display();
    if !config.state.exists() {
        let text = format!("{place} does not exist yet\nhint: `gorget run` creates it, if permitted");
        return Check::warning(NAME, &text);
    }
    if let Err(fault) = check_directory(&config.state).await {
        return Check::fault(NAME, &fault.to_string());
    }
    let space = match statvfs(&config.state) {
        Ok(space) => space.f_bavail.saturating_mul(space.f_frsize),
        Err(error) => return Check::fault(NAME, &format!("{place}: {error}")),
    };
    let text = format!("{} GiB free in {place}", space >> 30);
    match space {
        0..LEAST_SPACE => Check::fault(NAME, &format!("{text}\nhint: an evaluation of Guix takes 1 GiB")),
        LEAST_SPACE..LITTLE_SPACE => {
            Check::warning(NAME, &format!("{text}\nhint: a year of Guix takes 10 GiB"))
        }
        _ => Check::ok(NAME, text),
    }
}

async fn version(program: &str, hint: &str) -> Check {
    let run = async { Tool::new(program).arg("--version").spawn()?.finish(LIMIT).await };
    match run.await {
        Ok(finished) if finished.success() => {
            Check::ok(program, String::from_utf8_lossy(&finished.stdout).trim().to_owned())
        }
        Ok(finished) => Check::fault(program, &format!("{}\nhint: {hint}", finished.reason())),
        Err(error) => Check::fault(program, &format!("cannot be started: {error}\nhint: {hint}")),
    }
}

/// Whether the installed Guix runs in a sandbox.
async fn guix(config: &Config) -> Check {
    const NAME: &str = "Guix in a sandbox";
    match check_guix(&config.guix_root).await {
        Err(fault) => Check::fault(NAME, &fault.to_string()),
        Ok(InstalledGuix { guix_version, guile_version, .. }) => {
            let root = config.guix_root.display();
            Check::ok(NAME, format!("Guix {guix_version} with Guile {guile_version} below {root}"))
        }
    }
}

fn cgroups() -> Check {
    if has_cgroups() {
        return Check::ok("cgroups", "the kernel limits each sandbox");
    }
    let text = "not delegated: sandboxes are measured instead\nhint: `Delegate=yes` in the systemd unit";
    Check::warning("cgroups", text)
}

fn landlock() -> Check {
    if has_landlock() {
        return Check::ok("landlock", "the source reader can open nothing but modules");
    }
    let text = "the kernel has none: the source reader can open all files of this user\nhint: use Linux 5.13 or later, with `landlock` in its `lsm=`";
    Check::warning("landlock", text)
}

fn memory(config: &Config) -> Check {
    let (memory, workers) = (config.evaluate.memory, config.evaluate.workers.get());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let text = format!("{} MiB and {workers} workers for evaluations, on {cores} cores", memory >> 20);
    if memory < LEAST_MEMORY {
        let hint = "hint: evaluating all of Guix takes 2 GiB; set `memory` in [evaluate]";
        return Check::warning("resources", &format!("{text}\n{hint}"));
    }
    if workers > cores {
        let text = format!("{text}\nhint: more workers than cores only cost memory");
        return Check::warning("resources", &text);
    }
    Check::ok("resources", text)
}
