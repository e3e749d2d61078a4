//! Logs: to standard error, as much as `GORGET_LOG` says.

use std::io::{IsTerminal as _, stderr};

use tracing_subscriber::EnvFilter;

/// Begins to log. `quiet` leaves only warnings and errors, unless `GORGET_LOG` is set.
pub fn begin(quiet: bool) {
    let default = if quiet { "gorget=warn" } else { "gorget=info" };
    let filter = EnvFilter::try_from_env("GORGET_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .with_writer(stderr)
        .init();
}
