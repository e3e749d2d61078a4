use std::fmt;
use std::time::Duration;

/// What a program and everything that it starts may use together.
///
/// Nothing starts without them. What exceeds one of them is killed with `SIGKILL`, all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Memory in bytes: of processes, shared memory, files in `/tmp`, page tables and buffers of
    /// sockets.
    pub memory: u64,
    /// Processes that exist at the same time. They may have [`Limits::threads`] threads.
    pub processes: usize,
    /// CPU time of all processes.
    pub cpu: Duration,
    /// Time from the start to the end.
    pub wall: Duration,
    /// Open file descriptors of one process.
    pub descriptors: u64,
    /// Bytes in one file that it writes.
    pub file_size: u64,
    /// Bytes that are kept of each output stream: its end.
    pub output: usize,
    /// Bytes that files in `/tmp` can have, which is the only place that a sandbox can write to. A
    /// [`Tool`](super::Tool) writes where it is told to.
    pub writable: u64,
    /// Where the kernel limits memory: whether it kills everything when that is used up, and not only
    /// the process that has most.
    pub all_at_once: bool,
}

/// Threads for each process: Guile's garbage collector starts up to 16.
const THREADS: usize = 20;

impl Limits {
    /// For a sandbox with so much memory and time, and one process at work.
    pub fn sandbox(memory: u64, wall: Duration) -> Self {
        Self {
            memory,
            processes: 128,
            cpu: wall * 2,
            wall,
            descriptors: 512,
            file_size: 256 << 20,
            output: 1 << 20,
            // Whole mebibytes, hence whole pages.
            writable: (memory / 16).clamp(64 << 20, 512 << 20) >> 20 << 20,
            all_at_once: true,
        }
    }

    /// For a trusted program, such as git, that reads what strangers send.
    pub fn tool() -> Self {
        let day = Duration::from_hours(24);
        Self { processes: 64, descriptors: 1024, file_size: 64 << 30, ..Self::sandbox(4 << 30, day) }
    }

    /// Threads of all processes together.
    pub fn threads(&self) -> usize {
        self.processes * THREADS
    }
}

/// The limit that something was killed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exceeded {
    /// [`Limits::memory`]
    Memory(u64),
    /// [`Limits::processes`]
    Processes(usize),
    /// [`Limits::threads`]
    Threads(usize),
    /// [`Limits::cpu`]
    Cpu(Duration),
    /// [`Limits::wall`], or a shorter time that was given for waiting.
    Wall(Duration),
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(bytes) => write!(f, "memory limit of {} MiB reached", bytes >> 20),
            Self::Processes(most) => write!(f, "limit of {most} processes reached"),
            Self::Threads(most) => write!(f, "limit of {most} threads reached"),
            Self::Cpu(time) => write!(f, "CPU time limit of {time:?} reached"),
            Self::Wall(time) => write!(f, "time limit of {time:?} reached"),
        }
    }
}
