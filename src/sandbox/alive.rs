//! The processes that run now, so that this program can kill them when it has to exit at once.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, kill_process_group};

/// Names of running programs, by process group.
static ALIVE: Mutex<BTreeMap<u32, String>> = Mutex::new(BTreeMap::new());

fn alive() -> MutexGuard<'static, BTreeMap<u32, String>> {
    ALIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn add(group: u32, program: &Path) {
    let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    alive().insert(group, name);
}

pub(super) fn remove(group: u32) {
    alive().remove(&group);
}

/// Kills every process that was started and has not ended; returns their names and process groups.
pub fn kill_all() -> Vec<String> {
    let all = std::mem::take(&mut *alive());
    for group in all.keys().filter_map(|group| Pid::from_raw(i32::try_from(*group).ok()?)) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    all.into_iter().map(|(group, name)| format!("{name} (process {group})")).collect()
}
