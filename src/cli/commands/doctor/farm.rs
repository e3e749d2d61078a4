//! Checks of the farm's data: database and keys.

use std::path::Path;
use std::time::Duration;

use crate::cli::open_db;
use crate::clock::Clock;
use crate::config::{Config, Kind};
use crate::db::Db;
use crate::guix::signature::{AuthorizedKeys, SigningKey};
use crate::view::doctor::Check;
use crate::web::Token;

/// The time limit for the database to answer.
const LIMIT: Duration = Duration::from_secs(30);
/// The largest difference between clocks, in seconds.
const DRIFT: i64 = 30;

pub(super) async fn checks(config: &Config) -> Vec<Check> {
    let mut checks = database(config).await;
    checks.push(signing_key(config));
    checks.extend(authorized_keys(config));
    checks.extend(event_tokens(config));
    checks
}

async fn database(config: &Config) -> Vec<Check> {
    const NAME: &str = "database";
    let place = config.database.to_string();
    if !place.contains("://") && !Path::new(config.database.as_str()).exists() {
        let text = format!("{place} does not exist yet\nhint: the first `gorget run` creates it");
        return vec![Check::warning(NAME, &text)];
    }
    let opened = tokio::time::timeout(LIMIT, open_db::open(config)).await;
    let db = match opened {
        Ok(Ok(db)) => db,
        Ok(Err(error)) => return vec![Check::fault(NAME, &with_hint(&format!("{error:#}")))],
        Err(_) => {
            let text = with_hint(&format!("{place} does not answer within {} s", LIMIT.as_secs()));
            return vec![Check::fault(NAME, &text)];
        }
    };
    let checks = vec![Check::ok(NAME, place), clock(&db).await, hosts(&db).await];
    db.close().await;
    checks
}

fn with_hint(text: &str) -> String {
    if text.contains("\nhint:") {
        return text.to_owned();
    }
    format!("{text}\nhint: `database` in gorget.toml says where it is")
}

async fn clock(db: &Db) -> Check {
    const NAME: &str = "clock";
    match db.time().await {
        Ok(None) => Check::ok(NAME, "the database is on this machine"),
        Ok(Some(time)) => {
            let drift = Clock::System.now() - time;
            if drift.abs() <= DRIFT {
                return Check::ok(NAME, "this machine's and the database's agree");
            }
            let text =
                format!("this machine's is {drift} s from the database's\nhint: run an NTP client on both");
            Check::warning(NAME, &text)
        }
        Err(error) => Check::fault(NAME, &error.to_string()),
    }
}

/// Whether any host of the farm is alive.
async fn hosts(db: &Db) -> Check {
    const NAME: &str = "hosts";
    let hosts = match db.hosts().await {
        Ok(hosts) => hosts,
        Err(error) => return Check::fault(NAME, &error.to_string()),
    };
    let now = Clock::System.now();
    let alive = hosts.iter().filter(|host| host.stopped_at.is_none() && !host.is_silent(now));
    let names: Vec<&str> = alive.map(|host| host.name.as_str()).collect();
    if names.is_empty() {
        return Check::warning(NAME, "no host is running\nhint: start `gorget run`");
    }
    Check::ok(NAME, names.join(", "))
}

fn signing_key(config: &Config) -> Check {
    const NAME: &str = "signing key";
    let file = &config.web.signing_key;
    if !file.exists() {
        let text = format!(
            "{} does not exist\nhint: `gorget key generate` creates it; without it, derivations are served unsigned",
            file.display()
        );
        return Check::warning(NAME, &text);
    }
    match SigningKey::load(file) {
        Ok(_) => Check::ok(NAME, file.display().to_string()),
        Err(error) => Check::fault(NAME, &error.to_string()),
    }
}

/// The keys that substitutes are signed with.
fn authorized_keys(config: &Config) -> Option<Check> {
    const NAME: &str = "authorized keys";
    if config.substitutes.servers.is_empty() {
        return None;
    }
    let file = &config.substitutes.acl;
    Some(match AuthorizedKeys::load(file) {
        Ok(_) => Check::ok(NAME, file.display().to_string()),
        Err(error) => Check::fault(NAME, &format!("{error}\nhint: set `acl` in [substitutes]")),
    })
}

/// The tokens with which coordinators report events.
fn event_tokens(config: &Config) -> Vec<Check> {
    let named =
        config.coordinators.iter().filter(|one| matches!(one.kind, Kind::GuixBuildCoordinator { .. }));
    let token = |coordinator: &crate::config::Coordinator| {
        let name = format!("events of {}", coordinator.serves.coordinator);
        let file = coordinator.events_token.as_ref()?;
        if !file.exists() {
            let text = format!("{} does not exist yet\nhint: `gorget run` creates it", file.display());
            return Some(Check::warning(name, &text));
        }
        Some(match Token::load(file) {
            Ok(_) => Check::ok(name, file.display().to_string()),
            Err(error) => Check::fault(name, &format!("{error:#}")),
        })
    };
    named.filter_map(token).collect()
}
