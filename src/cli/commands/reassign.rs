//! `gorget reassign`: the builds of a coordinator that is gone go to others.

use crate::cli::{Exit, open_db, output, user_error};
use crate::clock::Clock;
use crate::config::Config;

/// Give the builds of a coordinator that is gone to others
///
/// A build stays at its coordinator until it ends or is canceled, so that nothing is built twice. This takes all
/// builds from that one: those that are still wanted go to the coordinators that serve them now.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Reassign {
    /// Name of the coordinator, as `gorget status` shows it
    coordinator: String,
}

pub(in crate::cli) async fn run(args: &Reassign, config: Config) -> anyhow::Result<Exit> {
    let db = open_db::open(&config).await?;
    let name = &args.coordinator;
    if config.routes().0.iter().any(|route| route.coordinator == *name) {
        return Err(user_error(format!(
            "{name} is in the configuration, and may go on with its builds\nhint: remove it there first, and restart `gorget run`"
        )));
    }
    let builds = db.builds_at(name).await?;
    if builds.is_empty() {
        return Err(user_error(format!(
            "{name} has no builds\nhint: `gorget status` shows which coordinator has which"
        )));
    }
    db.record_loss(&builds, Clock::System.now()).await?;
    output::note(&format!("{} taken from {name}", output::count(builds.len(), "build is", "builds are")));
    Ok(Exit::Done)
}
