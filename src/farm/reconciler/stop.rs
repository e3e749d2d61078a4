//! Ends the program on a signal within a time limit, even if something hangs. It runs on threads of
//! its own, which need neither the runtime nor a lock of Gorget.

use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::exit;
use tokio_util::sync::CancellationToken;

use super::steps;
use crate::sandbox::kill_all;

/// How long stopping may take before the program is ended.
const LIMIT: Duration = Duration::from_secs(8);
/// How long the last log line may take.
const LAST_LOG_TIMEOUT: Duration = Duration::from_millis(500);
/// The exit code when stopping fails: Gorget or the machine is at fault.
const STUCK: i32 = 2;

/// From now on, the first SIGTERM or SIGINT cancels `stop`, and the second ends the program at once.
pub fn stop_on_signals(stop: CancellationToken) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let heed = move || {
        let mut stopping = false;
        for signal in &mut signals {
            if stopping {
                end("a second signal arrived".to_owned(), 128 + signal);
            }
            stopping = true;
            let limited = thread::Builder::new().name("stop".into()).spawn(|| {
                thread::sleep(LIMIT);
                end(format!("not stopped after {} s", LIMIT.as_secs()), STUCK);
            });
            stop.cancel();
            if limited.is_err() {
                end("no thread can be started".to_owned(), STUCK);
            }
        }
    };
    thread::Builder::new().name("signals".into()).spawn(heed).map(drop)
}

/// Ends the program and all its child processes. Sandboxes die with it anyway, but git would not.
fn end(reason: String, code: i32) -> ! {
    let (logged, done) = mpsc::channel();
    // Writing to the log may hang.
    let log = move || {
        let mut running = steps::under_way();
        running.extend(kill_all());
        tracing::error!("{reason}; ending now, still running: {}", running.join(", "));
        let _ = logged.send(());
    };
    if thread::Builder::new().spawn(log).is_ok() {
        let _ = done.recv_timeout(LAST_LOG_TIMEOUT);
    }
    exit(code)
}
