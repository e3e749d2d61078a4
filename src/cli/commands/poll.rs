//! `gorget poll`: branches are polled now.

use crate::cli::author::{ActionContext, refused};
use crate::cli::{Exit, output};
use crate::config::Config;

/// Poll branches now, whatever their period
///
/// This is for people who wait, and for hooks of repositories. Two polls of a branch are at least ten
/// seconds apart, however often they are requested.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Poll {
    /// Name of a spec; without one, all branches
    spec: Option<String>,
}

pub(in crate::cli) async fn run(args: &Poll, config: Config) -> anyhow::Result<Exit> {
    let context = ActionContext::open(&config).await?;
    output::note(&context.actions().poll(args.spec.as_deref()).await.map_err(refused)?);
    Ok(Exit::Done)
}
