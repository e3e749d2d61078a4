//! What each step does now, and since when. It is cheap to write. Another thread can read it even
//! when nothing else runs any more.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Longest time that one poll of a step may take. Meanwhile no other task runs on its thread.
pub(super) const LONGEST_POLL: Duration = Duration::from_secs(5);

static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);
static STEPS: Mutex<Vec<Weak<Step>>> = Mutex::new(Vec::new());

tokio::task_local! {
    static CURRENT: Arc<Step>;
}

/// The step of one reconciler. Times are in milliseconds since the start; 0 means not running.
#[derive(Debug)]
pub(super) struct Step {
    name: &'static str,
    /// Longest time without progress.
    limit: Duration,
    progressed: AtomicU64,
    polled: AtomicU64,
}

/// A step that is stuck.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stuck {
    /// The name of the reconciler.
    pub name: &'static str,
    /// How long the step has been stuck.
    pub time: Duration,
    /// Whether it occupies a thread of the runtime.
    pub blocks: bool,
}

/// Milliseconds since the start, never 0.
pub(super) fn now() -> u64 {
    u64::try_from(STARTED.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}

fn steps() -> MutexGuard<'static, Vec<Weak<Step>>> {
    STEPS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Step {
    pub(super) fn new(name: &'static str, limit: Duration) -> Arc<Self> {
        let (progressed, polled) = (AtomicU64::default(), AtomicU64::default());
        let step = Arc::new(Self { name, limit, progressed, polled });
        let mut steps = steps();
        steps.retain(|step| step.strong_count() > 0);
        steps.push(Arc::downgrade(&step));
        step
    }

    /// Runs the step, and records its times.
    pub(super) async fn run<F: Future>(self: &Arc<Self>, work: F) -> F::Output {
        /// Clears the times when the step ends, also when it is dropped.
        struct Over<'a>(&'a Step);
        impl Drop for Over<'_> {
            fn drop(&mut self) {
                self.0.progressed.store(0, Ordering::Relaxed);
                self.0.polled.store(0, Ordering::Relaxed);
            }
        }
        self.progressed.store(now(), Ordering::Relaxed);
        let _over = Over(self);
        let mut work = pin!(CURRENT.scope(Arc::clone(self), work));
        poll_fn(|cx| {
            self.polled.store(now(), Ordering::Relaxed);
            let result = work.as_mut().poll(cx);
            self.polled.store(0, Ordering::Relaxed);
            result
        })
        .await
    }

    fn stuck(&self, now: u64) -> Option<Stuck> {
        let since = |time: &AtomicU64| match time.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            then => Duration::from_millis(now.saturating_sub(then)),
        };
        let (polling, waiting) = (since(&self.polled), since(&self.progressed));
        let stuck = |time, blocks| Some(Stuck { name: self.name, time, blocks });
        if polling >= LONGEST_POLL {
            stuck(polling, true)
        } else if waiting >= self.limit {
            stuck(waiting, false)
        } else {
            None
        }
    }
}

/// Notes that the step under way makes progress. A step may take any time as long as it does.
pub fn progress() {
    let _ = CURRENT.try_with(|step| step.progressed.store(now(), Ordering::Relaxed));
}

/// The steps that are stuck.
pub fn stuck() -> Vec<Stuck> {
    let now = now();
    steps().iter().filter_map(|step| step.upgrade()?.stuck(now)).collect()
}

/// The steps under way, each with the time since its last progress.
pub(super) fn under_way() -> Vec<String> {
    let now = now();
    let mut names = HashMap::new();
    for step in steps().iter().filter_map(Weak::upgrade) {
        let then = step.progressed.load(Ordering::Relaxed);
        if then != 0 {
            names.insert(step.name, now.saturating_sub(then) / 1000);
        }
    }
    let mut words: Vec<String> =
        names.into_iter().map(|(name, seconds)| format!("step `{name}` (for {seconds} s)")).collect();
    words.sort_unstable();
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stuck_of(name: &str) -> Option<Stuck> {
        stuck().into_iter().find(|stuck| stuck.name == name)
    }

    #[tokio::test]
    async fn a_step_that_waits_too_long_is_stuck_until_it_makes_progress() {
        let step = Step::new("waits", Duration::from_millis(200));
        step.run(async {
            assert_eq!(stuck_of("waits"), None);
            tokio::time::sleep(Duration::from_millis(250)).await;
            let found = stuck_of("waits").unwrap();
            assert!(!found.blocks && found.time >= Duration::from_millis(200), "{found:?}");
            assert!(under_way().iter().any(|words| words.starts_with("step `waits`")));
            progress();
            assert_eq!(stuck_of("waits"), None);
        })
        .await;
        tokio::time::sleep(Duration::from_millis(250)).await;
        assert_eq!(stuck_of("waits"), None, "it is over");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_step_that_blocks_its_thread_is_named() {
        let step = Step::new("blocks", Duration::from_hours(1));
        let working = tokio::spawn(async move {
            step.run(async { std::thread::sleep(LONGEST_POLL + Duration::from_secs(1)) }).await;
        });
        let found = async {
            loop {
                if let Some(found) = stuck_of("blocks") {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        assert!(tokio::time::timeout(2 * LONGEST_POLL, found).await.unwrap().blocks);
        working.await.unwrap();
        assert_eq!(stuck_of("blocks"), None);
    }
}
