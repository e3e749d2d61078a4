//! The reconcilers of the coordinators that the configuration names.

use super::parts;
use crate::config::{Config, Kind};
use crate::farm::context::Context;
use crate::steps::coordinator::{
    FollowEvents, GuixBuildCoordinator, LocalBuilder, LocalBuilderSettings, PollBuilds, Submit,
};

/// The reconcilers of one Guix Build Coordinator.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) poll: PollBuilds,
    pub(super) follow: FollowEvents,
    pub(super) submit: Submit,
}

/// The reconcilers of each Guix Build Coordinator.
pub(super) fn remotes(context: &Context, config: &Config) -> anyhow::Result<Vec<Remote>> {
    let mut remotes = Vec::new();
    for coordinator in &config.coordinators {
        let Kind::GuixBuildCoordinator { url, substitute_urls, retries } = &coordinator.kind else {
            continue;
        };
        let name = &coordinator.serves.coordinator;
        let own_url = config.web.public_url.iter().map(|url| url.as_str().to_owned());
        let substitute_urls = own_url.chain(substitute_urls.iter().cloned()).collect();
        let coordinator = GuixBuildCoordinator::new(url.as_str())?;
        let coordinator = coordinator.with_emulating_agents(retries.emulating.clone());
        remotes.push(Remote {
            poll: PollBuilds::new(context, name.clone(), coordinator.clone()),
            follow: FollowEvents::new(context, name.clone(), coordinator.clone()),
            submit: Submit::new(context, name.clone(), coordinator, config.routes())
                .with_substitute_urls(substitute_urls)
                .with_retry_tags(retries.tags.clone()),
        });
    }
    Ok(remotes)
}

/// The names of the coordinators that cancel builds.
pub(super) fn names(config: &Config) -> Vec<String> {
    let all = config.coordinators.iter().filter(|coordinator| coordinator.kind != Kind::None);
    all.map(|coordinator| coordinator.serves.coordinator.clone()).collect()
}

/// The reconciler that builds, if this machine builds.
pub(super) fn local_builder(context: &Context, config: &Config) -> Option<LocalBuilder> {
    let (name, at_once, log_size) = config.coordinators.iter().find_map(|coordinator| {
        let Kind::GuixDaemon { at_once, log_size } = coordinator.kind else { return None };
        Some((coordinator.serves.coordinator.clone(), at_once, log_size))
    })?;
    let settings = LocalBuilderSettings {
        socket: config.evaluate.daemon_socket.clone(),
        logs: parts::logs(config),
        roots: parts::roots(config),
        log_size,
        at_once: at_once.get(),
    };
    Some(LocalBuilder::new(context, name, config.routes(), settings))
}
