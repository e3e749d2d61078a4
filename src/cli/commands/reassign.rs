//! `gorget reassign`: the builds of a coordinator that is gone go to others.

use crate::cli::author::{ActionContext, refused};
use crate::cli::{Exit, output};
use crate::config::Config;

/// Reassign the builds of a removed coordinator
///
/// A build stays at its coordinator until it ends or is canceled, so that nothing is built twice. This takes all
/// builds from that one: those that are still wanted go to the coordinators that serve them now.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Reassign {
    /// Name of the coordinator, as `gorget status` shows it
    coordinator: String,
}

pub(in crate::cli) async fn run(args: &Reassign, config: Config) -> anyhow::Result<Exit> {
    let context = ActionContext::open(&config).await?;
    output::note(&context.actions().reassign(&args.coordinator, &config.routes()).await.map_err(refused)?);
    Ok(Exit::Done)
}
