//! The part of `gorget status` about hosts.

use crate::cli::output;
use crate::clock::{Seconds, readable_span};
use crate::view::host::Host;

/// Shows running and stopped hosts.
pub(super) fn show(hosts: &[Host<'_>], now: Seconds) -> std::io::Result<()> {
    let rows = hosts.iter().map(|host| {
        let evaluates: Vec<String> = host.evaluates.iter().map(ToString::to_string).collect();
        vec![
            host.host.to_owned(),
            roles(host),
            if host.systems.is_empty() { "all".to_owned() } else { host.systems.join(" ") },
            format!("{} in {} MiB", host.workers, host.memory >> 20),
            life(host, now),
            evaluates.join(" "),
        ]
    });
    output::table(&["HOST", "ROLES", "SYSTEMS", "WORKERS", "HEARTBEAT", "EVALUATES"], rows.collect())?;
    if hosts.is_empty() { Ok(()) } else { output::line("") }
}

/// What a host does. One that may schedule but does not hold the lease stands by.
fn roles(host: &Host<'_>) -> String {
    let word = |role: &&str| match *role {
        "schedule" if host.schedules => "schedules".to_owned(),
        "schedule" => "stands by".to_owned(),
        other => format!("{other}s"),
    };
    host.roles.iter().map(word).collect::<Vec<_>>().join(", ")
}

fn life(host: &Host<'_>, now: Seconds) -> String {
    let ago = readable_span(now - host.heartbeat_at);
    match host.stopped_at {
        Some(_) => format!("stopped {ago} ago"),
        None if host.is_silent => format!("none for {ago}"),
        None => format!("{ago} ago"),
    }
}
