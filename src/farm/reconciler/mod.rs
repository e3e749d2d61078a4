//! Runs the reconcilers until told to stop.
//!
//! A reconciler reads one table, does at most one unit of work, and writes the next table in one
//! transaction. Its bell and its interval wake it.

mod steps;
mod stop;
mod watchdog;

use std::future::Future;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

pub use steps::{Stuck, progress, stuck};
pub use stop::stop_on_signals;
pub use watchdog::watch;

use crate::farm::bell::Bell;
use crate::farm::fault::MachineFault;
use crate::telemetry::counters;
use steps::Step;

/// Longest pause after failures.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);
/// Longest pause after a fault of the machine. The fault says nothing about the work, so the step
/// is retried soon after the fault is gone.
const FAULT_PAUSE: Duration = Duration::from_secs(15);

/// One kind of work the daemon keeps doing until there is none left.
///
/// A step takes no input and decides only from the database. It can be repeated: after a crash the
/// same rows lead to the same step.
pub trait Reconciler: Send {
    /// The reconciler's name in logs.
    const NAME: &'static str;
    /// Pause when there is nothing to do and no bell rings.
    const PERIOD: Duration;
    /// How long a step may take without [`progress`] before it is reported as stuck.
    const LONGEST: Duration = Duration::from_mins(15);
    /// Does at most one unit of work.
    fn step(&mut self) -> impl Future<Output = anyhow::Result<StepOutcome>> + Send;
}

/// The result of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepOutcome {
    /// Something was done; there may be more.
    Worked,
    /// There is nothing to do now.
    Idle,
}

/// Runs one reconciler until `stop` is cancelled; the step under way is then dropped.
pub async fn run_until_stopped<R: Reconciler>(mut reconciler: R, bell: Bell, stop: CancellationToken) {
    let mut failures = 0;
    let current = Step::new(R::NAME, R::LONGEST);
    let mut fault: Option<MachineFault> = None;
    loop {
        let result = tokio::select! {
            () = stop.cancelled() => return,
            result = current.run(reconciler.step()) => counted(R::NAME, result),
        };
        if result.is_ok() && fault.take().is_some() {
            tracing::info!(step = R::NAME, "the fault is gone");
        }
        let pause = match result {
            Ok(StepOutcome::Worked) => {
                failures = 0;
                continue;
            }
            Ok(StepOutcome::Idle) => {
                failures = 0;
                R::PERIOD
            }
            Err(error) => {
                let found = MachineFault::of(&error);
                if found.is_none() || found != fault {
                    failures += 1;
                    tracing::error!(step = R::NAME, failures, "{error:#}");
                }
                let pause = Duration::from_secs(1 << failures.min(8)).min(LONGEST_PAUSE);
                let pause = if found.is_some() { pause.min(FAULT_PAUSE) } else { pause };
                fault = found;
                pause
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = bell.heard() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Counts the result of a step.
fn counted(name: &'static str, result: anyhow::Result<StepOutcome>) -> anyhow::Result<StepOutcome> {
    let outcome = match &result {
        Ok(StepOutcome::Worked) => "worked",
        Ok(StepOutcome::Idle) => "idle",
        Err(_) => "failed",
    };
    counters::step(name, outcome);
    result
}

/// Runs one reconciler until it has nothing left to do; returns whether it did anything.
pub async fn run_until_idle<R: Reconciler>(reconciler: &mut R) -> anyhow::Result<bool> {
    let mut worked = false;
    while reconciler.step().await? == StepOutcome::Worked {
        worked = true;
    }
    Ok(worked)
}

/// Seconds until the next retry after `failures` failures: about 15 s, 30 s, … one hour. Each
/// `what` gets up to a quarter less, so that things that failed together are not retried together.
pub fn retry_delay(failures: i64, what: &str) -> i64 {
    let longest = (15 << failures.clamp(0, 8)).min(3600);
    longest - jitter(&format!("{what} {failures}"), longest / 4)
}

/// A pseudo-random number from 0 to `most`, always the same for the same `what`.
pub fn jitter(what: &str, most: i64) -> i64 {
    let digest = Sha256::digest(what);
    let number = digest[..4].iter().fold(0, |number, byte| number << 8 | i64::from(*byte));
    number % (most.max(0) + 1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_failed_together_comes_back_spread_out_and_ever_later() {
        for failures in 0..12 {
            let longest = (15 << failures.min(8)).min(3600);
            let pauses: BTreeSet<i64> =
                (0..50).map(|number| retry_delay(failures, &format!("https://{number}/"))).collect();
            assert!(pauses.iter().all(|pause| (longest * 3 / 4..=longest).contains(pause)), "{pauses:?}");
            assert!(pauses.len() > 2, "{pauses:?}");
        }
        assert_eq!(jitter("x", 0), 0);
    }
}
