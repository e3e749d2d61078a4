//! A program whose threads are all blocked says so, and ends when it is told to.

use std::time::{Duration, Instant};

use gorget::farm::bell::Bell;
use gorget::farm::reconciler::{Reconciler, StepOutcome, run_until_stopped, stop_on_signals, watch};
use gorget::sandbox::{Process, Tool};
use gorget::telemetry;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio_util::sync::CancellationToken;

use crate::service::Manager;

/// Set for the program that the stories below run, which is this one.
const BLOCKED: &str = "GORGET_TEST_BLOCKED";
/// Longer than any story takes.
const LONG: Duration = Duration::from_mins(2);

/// A step that never gives its thread back.
struct Blocks;

impl Reconciler for Blocks {
    const NAME: &'static str = "blocks";
    const PERIOD: Duration = LONG;

    async fn step(&mut self) -> anyhow::Result<StepOutcome> {
        std::thread::sleep(LONG);
        Ok(StepOutcome::Idle)
    }
}

#[test]
fn blocked_program() {
    if std::env::var_os(BLOCKED).is_none() {
        return;
    }
    telemetry::begin("gorget=info");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let stop = CancellationToken::new();
        stop_on_signals(stop.clone()).unwrap();
        watch().unwrap();
        let _child = Tool::new("sleep").arg(LONG.as_secs().to_string()).spawn().unwrap();
        for _ in 0..2 {
            tokio::spawn(run_until_stopped(Blocks, Bell::default(), stop.clone()));
        }
        std::thread::sleep(LONG);
    });
}

/// Runs it, and waits until its watchdog has had time to see what is wrong.
async fn run(manager: &Manager) -> (Process, Pid) {
    let this = std::env::current_exe().unwrap();
    let arguments = ["--exact", "stop::blocked_program", "--nocapture"];
    let process = Tool::new(this).args(arguments).env(BLOCKED, "1").env("NOTIFY_SOCKET", &manager.path);
    let process = process.env("WATCHDOG_USEC", "3000000").spawn().unwrap();
    let pid = Pid::from_raw(i32::try_from(process.id().unwrap()).unwrap()).unwrap();
    tokio::time::sleep(Duration::from_secs(9)).await;
    (process, pid)
}

#[tokio::test]
async fn what_is_stuck_is_named_and_a_signal_ends_it_with_all_that_it_started() {
    let manager = Manager::new();
    let (mut process, pid) = run(&manager).await;
    // The service manager is told, and its watchdog is no longer fed.
    while !manager.message().await.starts_with("STATUS=the runtime is stalled\n") {}
    assert!(!manager.message().await.contains("WATCHDOG=1"));
    kill_process(pid, Signal::TERM).unwrap();
    let finished = process.finish(Duration::from_secs(10)).await.unwrap();
    let log = String::from_utf8_lossy(&finished.stderr).into_owned();
    assert_eq!(finished.status.and_then(|status| status.code()), Some(2), "{log}");
    for words in [
        "the runtime has been stalled for ",
        "stuck: step `blocks` blocks a thread of the runtime for ",
        "not stopped after 8 s; ending now, still running: step `blocks` (for ",
        "sleep (process ",
    ] {
        assert!(log.contains(words), "{words}: {log}");
    }
    let child = log.split("sleep (process ").nth(1).unwrap().split(')').next().unwrap();
    let child = Pid::from_raw(child.parse().unwrap()).unwrap();
    let begun = Instant::now();
    while test_kill_process(child).is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(5), "what it started is still there");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let manager = Manager::new();
    let (mut process, pid) = run(&manager).await;
    kill_process(pid, Signal::TERM).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    kill_process(pid, Signal::TERM).unwrap();
    let finished = process.finish(Duration::from_secs(4)).await.unwrap();
    let log = String::from_utf8_lossy(&finished.stderr).into_owned();
    assert_eq!(finished.status.and_then(|status| status.code()), Some(143), "{log}");
    assert!(log.contains("a second signal arrived; ending now"), "{log}");
}
