use std::collections::VecDeque;

/// A process as it was seen.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// Its process id.
    pub pid: u32,
    /// The process that started it or, when that has ended, the first one of its sandbox.
    pub parent: u32,
    /// Memory that it holds, in bytes; pages that processes share count for each of them.
    pub resident: u64,
    /// CPU time that it has used, in milliseconds.
    pub cpu_ms: u64,
    /// The same of its children that have ended, and of theirs.
    pub reaped_cpu_ms: u64,
    /// Threads.
    pub threads: usize,
}

/// The memory of a process, its pages told apart, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Held {
    /// Its proportional share: pages that processes share are split between their holders. Page tables
    /// are its own.
    pub share: u64,
    /// The part of it that cannot be read again from files.
    pub fixed: u64,
    /// What nobody else has: its end would free that.
    pub own: u64,
}

impl Measured {
    /// Tells its pages apart. Costs the kernel a walk through all of them, some 20 ms for a gigabyte.
    pub fn held(&self) -> Held {
        let text = fs_err::read_to_string(format!("/proc/{}/smaps_rollup", self.pid)).unwrap_or_default();
        let tables = self.page_tables();
        let share = field(&text, "Pss:");
        let fixed = share.saturating_sub(field(&text, "Pss_File:"));
        Held {
            share: share + tables,
            fixed: fixed + tables,
            own: field(&text, "Private_Dirty:") + field(&text, "Private_Clean:") + tables,
        }
    }

    /// Reading pages that were never written fills page tables, and nothing else is charged for that.
    fn page_tables(&self) -> u64 {
        let status = fs_err::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        field(&status, "VmPTE:")
    }

    /// What it holds that cannot be read again from files, in bytes; pages that processes share count for
    /// each of them.
    pub(super) fn fixed(&self) -> u64 {
        let status = fs_err::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        ["RssAnon:", "RssShmem:", "VmPTE:"].iter().map(|name| field(&status, name)).sum()
    }
}

/// The kibibytes that stand behind `name` at the beginning of a line, in bytes.
fn field(text: &str, name: &str) -> u64 {
    let number =
        text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
    number.unwrap_or(0_u64) * 1024
}

/// The most memory that this program itself held since [`forget_own_peak`], in bytes.
pub fn own_peak() -> u64 {
    field(&fs_err::read_to_string("/proc/self/status").unwrap_or_default(), "VmHWM:")
}

/// Has [`own_peak`] begin with what is held now. A kernel that refuses that goes on counting.
pub fn forget_own_peak() {
    let _ = fs_err::write("/proc/self/clear_refs", "5");
}

/// Measures `pid` and everything that it started, parents before their children.
pub fn measure_tree(pid: u32) -> Vec<Measured> {
    let mut queue = VecDeque::from([(pid, 0)]);
    let mut seen = Vec::new();
    while let Some((pid, parent)) = queue.pop_front() {
        let [cpu_ms, reaped_cpu_ms, threads] = statistics(pid);
        let threads = usize::try_from(threads).unwrap_or(usize::MAX);
        seen.push(Measured { pid, parent, resident: resident(pid), cpu_ms, reaped_cpu_ms, threads });
        queue.extend(children(pid).into_iter().map(|child| (child, pid)));
    }
    seen
}

/// The children of all threads of a process. Who is gone has none.
pub(super) fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = fs_err::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists =
        threads.filter_map(|thread| fs_err::read_to_string(thread.ok()?.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|child| child.parse().ok()).collect::<Vec<_>>())
        .collect()
}

fn resident(pid: u32) -> u64 {
    let text = fs_err::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages = text.split_whitespace().nth(1).and_then(|field| field.parse::<u64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}

/// User and system time, of its own and of its ended children, and threads. The kernel counts time in
/// hundredths of a second.
fn statistics(pid: u32) -> [u64; 3] {
    let text = fs_err::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The second field is the name, in parentheses, and may hold anything.
    let Some((_, rest)) = text.rsplit_once(')') else { return [0; 3] };
    let fields: Vec<u64> = rest.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
    let field = |number: usize| fields.get(number).copied().unwrap_or(0);
    [(field(11) + field(12)) * 10, (field(13) + field(14)) * 10, field(17)]
}
