//! `gorget release`: what a coordinator has that is no more.

use super::{Exit, open_db, output, user_error};
use crate::clock::Clock;
use crate::config::Config;

/// Takes back what was given to a coordinator that is no longer in the configuration
///
/// A build that was given to a coordinator stays there until it ends or is given up, so that nothing is
/// built twice. This gives up all that one has: what is still wanted goes to those that serve it now.
#[derive(Debug, clap::Args)]
pub(super) struct Release {
    /// Name of the coordinator, as `gorget status` shows it
    coordinator: String,
}

pub(super) async fn run(args: &Release, config: Config) -> anyhow::Result<Exit> {
    let db = open_db::open(&config).await?;
    let name = &args.coordinator;
    if config.routes().0.iter().any(|route| route.coordinator == *name) {
        return Err(user_error(format!(
            "{name} is in the configuration, and may go on with its builds\nhint: remove it there first, and restart `gorget run`"
        )));
    }
    let builds = db.builds_at(name).await?;
    if builds.is_empty() {
        return Err(user_error(format!("{name} has nothing\nhint: `gorget status` shows who has what")));
    }
    db.record_loss(&builds, Clock::System.now()).await?;
    output::note(&format!(
        "{} taken back from {name}",
        output::count(builds.len(), "build is", "builds are")
    ));
    Ok(Exit::Done)
}
