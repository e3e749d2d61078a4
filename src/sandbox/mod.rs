//! The only place that starts processes.
//!
//! There are three kinds. A `Tool` is a trusted program (git) with a scrubbed environment. A
//! `Confined` program runs untrusted code inside bubblewrap, without network or the real store
//! daemon, and can write to memory only. A `Subprocess` is Gorget itself without its secrets. Each
//! has `Limits` and becomes a `Process`. Its whole tree is killed when it exceeds them, when it is
//! dropped, or when Gorget dies. `docs/security.md` lists which process may do what.

mod alive;
mod cgroup;
mod confined;
mod guix;
mod limits;
mod measure;
mod process;
mod reading;
mod seccomp;
mod spawner;
mod start;
mod subprocess;
mod tool;
mod unaccounted_memory;
mod watch;

pub use alive::kill_all;
pub use cgroup::is_available as has_cgroups;
pub use confined::Confined;
pub use guix::find_guix;
pub use limits::{Exceeded, Limits};
pub use measure::{Measured, ProcessMemory, forget_own_peak, measure_tree, own_peak};
pub use process::{Finished, Process, describe_exit};
pub use reading::{has_landlock, restrict_to_reads};
pub use start::THIS_PROGRAM;
pub use subprocess::Subprocess;
pub use tool::Tool;
