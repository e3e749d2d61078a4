//! The only place that starts processes.
//!
//! Two kinds: a [`Tool`] is a trusted program (git) with a scrubbed environment; a [`Confined`]
//! program runs strangers' code inside bubblewrap, without network, without the real store daemon,
//! with nothing writable but what is listed. Both end up as a [`Process`], whose whole tree dies
//! when its time is over, when it is dropped, or when Gorget dies.

mod alive;
mod confined;
mod guix;
mod measure;
mod process;
mod tool;

pub use alive::kill_all;
pub use confined::Confined;
pub use guix::find_guix;
pub use measure::{Held, Measured, forget_own_peak, measure_tree, own_peak};
pub use process::{Finished, Process, describe_exit};
pub use tool::Tool;
