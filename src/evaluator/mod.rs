//! One evaluation: runs Guix on a revision in a sandbox, for one system after the other.
//!
//! Imports `domain`, `guix`, `sandbox` and the rest of what steps stand on, but no database:
//! results leave through a channel of `Event`s. Owns no table.
//!
//! # Guarantees
//!
//! * A package that cannot be evaluated costs that package. It becomes an error with its cause.
//! * What kills a worker costs the unit in flight, after one retry alone.
//! * The derivations are those that `(gnu ci)` of the same Guix computes.
//! * Everything is evaluated. What a commit changes only comes first.
//!
//! # Design
//!
//! A farm starts a process of its own for each revision, the *evaluator* (`evaluator_process`), in which
//! the supervisor and the recording store run.
//!
//! The supervisor starts a sandbox with a *loader*. The loader loads modules and manifests, and
//! computes what is the same for all systems. For each system it forks a *parent*, with an empty
//! store. The parent lists the units: a package, a tuned variant, a cross build, a manifest entry,
//! or what only `(gnu ci)` knows. It lowers the units that most others have among their inputs,
//! and forks *workers*. When the parent ends, everything that its system took is gone, in its heap
//! and in the store's. The loader has lowered nothing, so each system starts from the same state.
//!
//! A module that does not load, or a package with a field that raises, costs only itself. A forked
//! process opens connections of its own and moves them onto the inherited ports, so that the
//! caches, which belong to the connection, stay valid. It does not wait for the store's answers:
//! it computes the paths of texts itself, sends many texts at a time, and compares the answers
//! before it sends the results that depend on them.
//!
//! # Speed
//!
//! What takes most of the time is done by code of our own, with the same results: the texts of
//! builders and of derivations, and hashes. Our code for derivations is used only where Guix's own
//! procedures read as they did when their results were compared. Some packages are made anew by
//! Guix whenever they are asked for, and would be lowered anew each time. They are lowered once.
//! They cannot simply stand for each other, because Guix drops identical inputs.
//!
//! These files are compiled once for each Guile; the rest is interpreted. Code that makes
//! thousands of weak references or finalizers is expensive even with ample memory: the collector
//! runs whenever its tables of them are full. Interpreted code makes one for each closure with a
//! name, so what is called often is in the compiled files.
//!
//! # Which jobs
//!
//! What is fast, or needs an error for each package, is our own code, and `make parity` holds it
//! to `(gnu ci)`: packages, tuned variants, cross builds, the core. The revision's own `(gnu ci)`
//! computes images, system tests, the tarball and Guix itself, because these lists change from
//! version to version. It is loaded from its source once more, since the compiled form may have
//! sealed what is private to it, and is made to delay its images, so that each is a unit of its
//! own.
//!
//! # The Scheme code in `worker/`
//!
//! | files | what they do |
//! |---|---|
//! | `worker` | loader, parent and worker: messages with the supervisor |
//! | `units`, `ci` | list the units: packages; manifests and what only `(gnu ci)` knows |
//! | `uses` | say what each package uses |
//! | `faults`, `diagnosis` | modules that do not load, fields that raise, and their causes |
//! | `files` | which files evaluated code can add to the store |
//! | `store`, `pipeline` | the connection to the recording store, without waiting for answers |
//! | `writer`, `derivations`, `hash`, `lists`, `buffer` | faster code with the same results |
//! | `alike` | packages that Guix makes anew whenever they are asked for |
//! | `jobs` | the metadata of a job |

mod evaluator_process;
#[cfg(fuzzing)]
pub mod fuzzed;
mod outcome;
mod partition;
mod process;
mod protocol;
mod request;
pub mod runtime;
mod sandboxed;
mod supervisor;
mod warm;
mod work_queue;

pub use evaluator_process::{COMMAND as SUPERVISE, EvaluatorProcess, serve as supervise};
pub use outcome::{Batch, Event, Failure, Outcome, Summary, milliseconds};
pub use request::{Channel, Daemon, Limits, Request, Target};
pub use warm::Warm;
