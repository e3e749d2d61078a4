//! One evaluation: runs Guix on a revision in a sandbox, for one system after the other.
//!
//! Imports `domain`, `guix`, `sandbox` and the rest of what steps stand on, but no database:
//! results leave through a channel of `Event`s. Owns no table.
//!
//! # Guarantees
//!
//! * A package that cannot be evaluated affects no other. Its result is an error with its cause.
//! * When a worker dies, the unit in flight is retried once, alone. If that worker dies too, the
//!   result of the unit is an error.
//! * The derivations are those that `(gnu ci)` of the same Guix computes.
//! * Every unit is evaluated. The units that a commit likely changed only come first.
//!
//! # Design
//!
//! A farm starts a separate process for each revision, the *evaluator* (`evaluator_process`). It
//! runs the supervisor and the recording store.
//!
//! The supervisor starts a sandbox with a *loader*. The loader loads modules and manifests, and
//! computes what is the same for all systems. For each system it forks a *parent*, with an empty
//! store. The parent lists the units: a package, a tuned variant, a cross build, a manifest entry,
//! or what only `(gnu ci)` knows. It lowers the units that most others have among their inputs, and
//! forks *workers*. When the parent ends, all memory that its system used is freed, in its heap and
//! in the store. The loader never lowers a unit, so each system starts from the same state.
//!
//! A module that does not load, or a package with a field that raises, affects no others. A forked
//! process opens its own connections and moves them onto the inherited ports: the caches belong to
//! the connection, and stay valid this way. It does not wait for the store's answers: it computes
//! the paths of texts itself, sends many texts at a time, and compares the answers before it sends
//! the results that depend on them.
//!
//! # Speed
//!
//! Gorget's own code does what takes most of the time, with the same results: it writes builders
//! and derivations, and computes hashes. The code for derivations is used only where the source of
//! Guix's own procedures equals the source whose results were compared. Guix creates some packages
//! anew each time they are requested, and would lower each copy. Equal copies are lowered once. One
//! copy cannot simply replace the others, because Guix drops identical inputs.
//!
//! These files are compiled once for each Guile; the rest is interpreted. Code that makes thousands
//! of weak references or finalizers is expensive even with ample memory, because the collector runs
//! whenever its tables of them are full. Interpreted code makes one for each named closure, so
//! procedures that are called often are in the compiled files.
//!
//! # Which jobs
//!
//! Gorget's own code computes the jobs that must be fast or need one error per package: packages,
//! tuned variants, cross builds, the core. `make parity` compares them with `(gnu ci)`. The
//! revision's own `(gnu ci)` computes images, system tests, the tarball and Guix itself, because
//! these lists change from version to version. It is loaded a second time, from source, because
//! compilation may have sealed its private bindings. It is made to delay its images, so each image
//! is a unit of its own.
//!
//! # The Scheme code in `worker/`
//!
//! | files | what they do |
//! |---|---|
//! | `worker` | loader, parent and worker: messages with the supervisor |
//! | `units`, `ci` | list the units: packages; manifests and what only `(gnu ci)` knows |
//! | `uses` | say what each package uses, by number |
//! | `faults`, `diagnosis` | modules that do not load, fields that raise, and their causes |
//! | `files` | which files evaluated code can add to the store |
//! | `store`, `pipeline` | the connection to the recording store, without waiting for answers |
//! | `writer`, `derivations`, `hash`, `lists`, `buffer` | faster code with the same results |
//! | `alike` | packages that Guix creates anew each time they are requested |
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
pub use warm::WarmStart;
