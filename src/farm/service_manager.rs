//! What the service manager is told of this process: systemd, or another one that sets
//! `NOTIFY_SOCKET`. Without that variable, nothing is sent.

use std::time::Duration;

use sd_notify::NotifyState::{Ready, Status, Stopping, Watchdog};
use sd_notify::{NotifyState, notify, watchdog_enabled};

/// The interval of messages while the watchdog of the service manager asks for no shorter one.
const INTERVAL: Duration = Duration::from_secs(10);

/// How often a message has to be sent: at least three times in the time limit of the watchdog.
pub fn interval() -> Duration {
    watchdog_enabled().map_or(INTERVAL, |limit| INTERVAL.min(limit / 3))
}

/// The service works.
pub fn ready() {
    send(&[Ready]);
}

/// The service is ending.
pub fn stopping() {
    send(&[Stopping, Status("stopping")]);
}

/// What the service does now, in one line.
pub fn status(text: &str) {
    send(&[Status(text)]);
}

/// The same, and that the service is well. Its watchdog expects that within a time limit.
pub fn feed_watchdog(text: &str) {
    send(&[Status(text), Watchdog]);
}

fn send(message: &[NotifyState<'_>]) {
    if let Err(error) = notify(message) {
        tracing::debug!("the service manager is not told: {error}");
    }
}
