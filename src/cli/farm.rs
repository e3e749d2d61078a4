//! What commands create from the configuration.

use std::path::Path;

use crate::clock::Clock;
use crate::config::{Config, DEFAULT, Kind};
use crate::db::Db;
use crate::farm::bell::Bells;
pub(super) use crate::farm::pipeline::parts::{checkouts, daemon, limits, logs, resolver, runtimes};
use crate::guix::signature::SigningKey;
use crate::web::{EventSource, Hook, Pages, Token, Web};

/// The data and settings of the HTTP server.
pub(super) fn web(config: &Config, db: &Db, bells: Bells) -> anyhow::Result<Web> {
    let file = &config.web.signing_key;
    let key = if file.exists() {
        Some(SigningKey::load(file)?)
    } else {
        tracing::warn!(
            "there is no key in {}, so derivations are served without a signature; `gorget key generate` creates one",
            file.display()
        );
        None
    };
    Ok(Web {
        db: db.clone(),
        clock: Clock::System,
        key,
        event_sources: event_sources(config)?,
        hooks: hooks(config)?,
        pages: Pages { routes: config.routes(), logs: logs(config) },
        anonymous: config.web.anonymous.may_read(),
        bells,
    })
}

fn hooks(config: &Config) -> anyhow::Result<Vec<Hook>> {
    config.hooks.iter().map(|hook| Hook::load(&hook.name, hook.kind, &hook.secret)).collect()
}

/// The senders of build events: coordinators or, if there are none, any program that works on the
/// queue.
fn event_sources(config: &Config) -> anyhow::Result<Vec<EventSource>> {
    let default = |token: &Path| -> anyhow::Result<EventSource> {
        let (coordinator, token) = (DEFAULT.to_owned(), Token::load(token)?);
        Ok(EventSource { coordinator, id: None, token, asks_about_failures: false })
    };
    if config.coordinators.is_empty() {
        return Ok(vec![default(&config.web.events_token)?]);
    }
    let mut sources = Vec::new();
    for coordinator in &config.coordinators {
        let (name, id) = (&coordinator.serves.coordinator, coordinator.events_id);
        let Some(file) = &coordinator.events_token else { continue };
        let asks_about_failures = matches!(&coordinator.kind,
            Kind::GuixBuildCoordinator { retries, .. } if !retries.emulating.is_empty());
        if name == DEFAULT {
            sources.push(EventSource { asks_about_failures, ..default(file)? });
        } else {
            let (coordinator, token) = (name.clone(), Token::load(file)?);
            sources.push(EventSource { coordinator, id, token, asks_about_failures });
        }
    }
    Ok(sources)
}
