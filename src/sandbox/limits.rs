use std::fmt;
use std::time::Duration;

/// Limits of a program and all its descendants, counted together.
///
/// Every program gets them. When one is exceeded, the whole tree is killed with `SIGKILL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Memory in bytes: of processes, shared memory, files in `/tmp`, page tables and socket
    /// buffers.
    pub memory: u64,
    /// Concurrent processes. Together they may have [`Limits::threads`] threads.
    pub processes: usize,
    /// CPU time of all processes.
    pub cpu: Duration,
    /// Time from the start to the end.
    pub wall: Duration,
    /// Open file descriptors of one process.
    pub descriptors: u64,
    /// Size of a file that it writes, in bytes.
    pub file_size: u64,
    /// How much of each output stream is kept, in bytes: its end.
    pub output: usize,
    /// Total size of files in `/tmp`, in bytes. A sandbox can write nowhere else. A
    /// [`Tool`](super::Tool) is not bound by this: it writes where it is told to.
    pub writable: u64,
    /// Applies where the kernel limits memory: whether it kills the whole tree when memory is used
    /// up, and not only the process that uses most.
    pub all_at_once: bool,
}

/// Threads per process: Guile's garbage collector starts up to 16.
const THREADS: usize = 20;

impl Limits {
    /// The limits of a sandbox with this much memory and time, and one process at work.
    pub fn sandbox(memory: u64, wall: Duration) -> Self {
        Self {
            memory,
            processes: 128,
            cpu: wall * 2,
            wall,
            descriptors: 512,
            file_size: 256 << 20,
            output: 1 << 20,
            // A whole number of mebibytes is a whole number of pages.
            writable: (memory / 16).clamp(64 << 20, 512 << 20) >> 20 << 20,
            all_at_once: true,
        }
    }

    /// The limits of a trusted program, such as git, that reads untrusted data.
    pub fn tool() -> Self {
        let day = Duration::from_hours(24);
        Self { processes: 64, descriptors: 1024, file_size: 64 << 30, ..Self::sandbox(4 << 30, day) }
    }

    /// Threads of all processes together.
    pub fn threads(&self) -> usize {
        self.processes * THREADS
    }
}

/// The limit for which a program was killed.
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
    /// [`Limits::wall`], or the shorter limit of [`Process::finish`](super::Process::finish).
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
