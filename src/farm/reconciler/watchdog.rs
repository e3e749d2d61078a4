//! Checks from a thread of its own that the async runtime runs and that no step is stuck. As long as
//! that is so, it feeds the watchdog of the service manager.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::steps::{self, Stuck};
use crate::farm::service_manager;

/// Interval of the checks.
const PERIOD: Duration = Duration::from_secs(1);
/// How long the runtime may stall.
const LONGEST_STALL: Duration = Duration::from_secs(5);
/// How often the same stuck step is logged.
const AGAIN: Duration = Duration::from_mins(10);

/// The findings of earlier checks, and when they were logged.
#[derive(Default)]
struct Watch {
    stalled: bool,
    logged: HashMap<&'static str, Instant>,
}

/// Starts to watch the runtime of the caller.
pub fn watch() -> io::Result<()> {
    let ticked = Arc::new(AtomicU64::new(steps::now()));
    let ticks = Arc::clone(&ticked);
    tokio::spawn(async move {
        while Arc::strong_count(&ticks) > 1 {
            ticks.store(steps::now(), Ordering::Relaxed);
            tokio::time::sleep(PERIOD / 2).await;
        }
    });
    let look = move || {
        let mut watch = Watch::default();
        let interval = service_manager::interval();
        let mut reported: Option<Instant> = None;
        loop {
            let before = Instant::now();
            thread::sleep(PERIOD);
            // The whole program or the machine stood still. The runtime gets time to tick again.
            if before.elapsed() > 2 * PERIOD {
                thread::sleep(2 * PERIOD);
            }
            let silence = steps::now().saturating_sub(ticked.load(Ordering::Relaxed));
            let stuck = steps::stuck();
            watch.look(Duration::from_millis(silence), &stuck);
            if reported.is_none_or(|last| last.elapsed() >= interval) {
                reported = Some(Instant::now());
                watch.report(&stuck);
            }
        }
    };
    thread::Builder::new().name("watchdog".into()).spawn(look).map(drop)
}

impl Watch {
    fn look(&mut self, silence: Duration, stuck: &[Stuck]) {
        let stalled = silence >= LONGEST_STALL;
        if stalled && !self.stalled {
            let under_way = steps::under_way().join(", ");
            tracing::error!(
                "the runtime has been stalled for {} s; under way: {under_way}",
                silence.as_secs()
            );
        } else if self.stalled && !stalled {
            tracing::warn!("the runtime runs again");
        }
        self.stalled = stalled;
        self.logged.retain(|name, _| stuck.iter().any(|stuck| stuck.name == *name));
        for stuck in stuck {
            let name = stuck.name;
            if self.logged.get(name).is_some_and(|logged| logged.elapsed() < AGAIN) {
                continue;
            }
            self.logged.insert(name, Instant::now());
            tracing::error!(step = name, "{}", words(stuck));
        }
    }

    /// Tells the service manager what the steps do. Its watchdog is fed only if none of them is stuck.
    fn report(&self, stuck: &[Stuck]) {
        if self.stalled {
            service_manager::status("the runtime is stalled");
        } else if let Some(stuck) = stuck.first() {
            service_manager::status(&words(stuck));
        } else {
            let under_way = steps::under_way();
            let idle = under_way.is_empty();
            let words = if idle { "waiting for work".to_owned() } else { under_way.join(", ") };
            service_manager::feed_watchdog(&words);
        }
    }
}

fn words(Stuck { name, time, blocks }: &Stuck) -> String {
    let what = if *blocks { "blocks a thread of the runtime" } else { "makes no progress" };
    format!("stuck: step `{name}` {what} for {} s", time.as_secs())
}
