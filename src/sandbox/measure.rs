use std::collections::VecDeque;

/// One measurement of a process.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// Its process id.
    pub pid: u32,
    /// The process that started it or, if that has ended, the first process of its sandbox.
    pub parent: u32,
    /// Memory that it holds, in bytes. Shared pages count in full for each process that holds them.
    pub resident: u64,
    /// CPU time that it has used, in milliseconds.
    pub cpu_ms: u64,
    /// CPU time of its ended children and their descendants, in milliseconds.
    pub reaped_cpu_ms: u64,
    /// The number of its threads.
    pub threads: usize,
}

/// The memory of a process, in bytes, by kind of page.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessMemory {
    /// Its proportional share: a shared page is divided among the processes that hold it. Page
    /// tables count as its own.
    pub share: u64,
    /// The part of `share` that cannot be read again from files.
    pub unreclaimable: u64,
    /// Memory that no other process holds, which its end would free.
    pub exclusive: u64,
}

impl Measured {
    /// Measures its memory by kind of page. The kernel walks all its pages, which takes some 20 ms
    /// for a gigabyte.
    pub fn memory(&self) -> ProcessMemory {
        let text = fs_err::read_to_string(format!("/proc/{}/smaps_rollup", self.pid)).unwrap_or_default();
        let tables = self.page_tables();
        let share = field(&text, "Pss:");
        let unreclaimable = share.saturating_sub(field(&text, "Pss_File:"));
        ProcessMemory {
            share: share + tables,
            unreclaimable: unreclaimable + tables,
            exclusive: field(&text, "Private_Dirty:") + field(&text, "Private_Clean:") + tables,
        }
    }

    /// The size of its page tables. Reading pages that were never written fills page tables, and no
    /// other count includes that.
    fn page_tables(&self) -> u64 {
        let status = fs_err::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        field(&status, "VmPTE:")
    }

    /// Memory that cannot be read again from files, in bytes. Shared pages count in full for each
    /// process that holds them.
    pub(super) fn unreclaimable(&self) -> u64 {
        let status = fs_err::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        ["RssAnon:", "RssShmem:", "VmPTE:"].iter().map(|name| field(&status, name)).sum()
    }
}

/// The number of kibibytes after `name` at the beginning of a line, converted to bytes.
fn field(text: &str, name: &str) -> u64 {
    let number =
        text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
    number.unwrap_or(0_u64) * 1024
}

/// The peak memory of this program itself since [`forget_own_peak`], in bytes.
pub fn own_peak() -> u64 {
    field(&fs_err::read_to_string("/proc/self/status").unwrap_or_default(), "VmHWM:")
}

/// Resets [`own_peak`] to what is held now. Has no effect where the kernel refuses that.
pub fn forget_own_peak() {
    let _ = fs_err::write("/proc/self/clear_refs", "5");
}

/// Measures `pid` and all its descendants, parents before their children.
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

/// The children of all threads of a process; empty if it has ended.
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

/// CPU time (user and system) of the process, the same of its ended children, and its number of
/// threads. The kernel counts time in hundredths of a second.
fn statistics(pid: u32) -> [u64; 3] {
    let text = fs_err::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The second field is the name, in parentheses. It may contain anything.
    let Some((_, rest)) = text.rsplit_once(')') else { return [0; 3] };
    let fields: Vec<u64> = rest.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
    let field = |number: usize| fields.get(number).copied().unwrap_or(0);
    [(field(11) + field(12)) * 10, (field(13) + field(14)) * 10, field(17)]
}
