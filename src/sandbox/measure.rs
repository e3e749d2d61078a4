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
}

impl Measured {
    /// Its proportional share of memory, in bytes: shared pages are split between their holders.
    /// Costs the kernel a walk through all its pages, some 20 ms for a gigabyte.
    pub fn share(&self) -> u64 {
        let text = fs_err::read_to_string(format!("/proc/{}/smaps_rollup", self.pid)).unwrap_or_default();
        text.lines()
            .find_map(|line| line.strip_prefix("Pss:"))
            .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
            .map_or(0, |kib| kib * 1024)
    }
}

/// Measures `pid` and everything that it started, parents before their children.
pub fn measure_tree(pid: u32) -> Vec<Measured> {
    let mut queue = VecDeque::from([(pid, 0)]);
    let mut seen = Vec::new();
    while let Some((pid, parent)) = queue.pop_front() {
        seen.push(Measured { pid, parent, resident: resident(pid), cpu_ms: cpu_ms(pid) });
        queue.extend(children(pid).into_iter().map(|child| (child, pid)));
    }
    seen
}

/// The children of all threads of a process. Who is gone has none.
fn children(pid: u32) -> Vec<u32> {
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

/// User and system time; the kernel counts in hundredths of a second.
fn cpu_ms(pid: u32) -> u64 {
    let text = fs_err::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The second field is the name, in parentheses, and may hold anything.
    let Some((_, rest)) = text.rsplit_once(')') else { return 0 };
    let fields: Vec<u64> = rest.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
    (fields.get(11).unwrap_or(&0) + fields.get(12).unwrap_or(&0)) * 10
}
