//! The machines of a farm, as `gorget status` shows them.

use serde_json::json;

use crate::cli::output;
use crate::clock::{Seconds, readable, readable_span};
use crate::db::Host;

/// All that is known of one.
pub(super) fn object(host: &Host) -> serde_json::Value {
    json!({
        "host": host.name, "roles": host.roles.split_whitespace().collect::<Vec<_>>(), "schedules": host.schedules,
        "systems": host.systems.split_whitespace().collect::<Vec<_>>(), "workers": host.workers,
        "memory": host.memory, "started_at": host.started_at, "heartbeat_at": host.heartbeat_at,
        "stopped_at": host.stopped_at, "paused_at": host.paused_at, "paused_reason": host.paused_reason,
        "evaluates": host.evaluates,
    })
}

/// Shows those that work, and those that did.
pub(super) fn show(hosts: &[Host], now: Seconds) -> std::io::Result<()> {
    let rows = hosts.iter().map(|host| {
        let evaluates: Vec<String> = host.evaluates.iter().map(ToString::to_string).collect();
        vec![
            host.name.clone(),
            roles(host),
            if host.systems.is_empty() { "all".to_owned() } else { host.systems.clone() },
            format!("{} in {} MiB", host.workers, host.memory >> 20),
            life(host, now),
            evaluates.join(" "),
        ]
    });
    output::table(&["HOST", "ROLES", "SYSTEMS", "WORKERS", "HEARTBEAT", "EVALUATES"], rows.collect())?;
    for host in hosts.iter().filter(|host| host.stopped_at.is_none()) {
        let Some((since, reason)) = host.paused_at.zip(host.paused_reason.as_ref()) else { continue };
        let what = format!("{} is paused since {} because:", host.name, readable(since));
        output::paragraph(&format!("{what}\n{reason}"))?;
    }
    if hosts.is_empty() { Ok(()) } else { output::line("") }
}

/// What it does; one that could schedule, and does not, stands by.
fn roles(host: &Host) -> String {
    let word = |role: &str| match role {
        "schedule" if host.schedules => "schedules".to_owned(),
        "schedule" => "stands by".to_owned(),
        other => format!("{other}s"),
    };
    host.roles.split_whitespace().map(word).collect::<Vec<_>>().join(", ")
}

fn life(host: &Host, now: Seconds) -> String {
    let ago = readable_span(now - host.heartbeat_at);
    match host.stopped_at {
        Some(_) => format!("stopped {ago} ago"),
        None if host.is_silent(now) => format!("none for {ago}"),
        None => format!("{ago} ago"),
    }
}
