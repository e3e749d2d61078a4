//! `gorget acknowledge`: a push that leads away from what was evaluated before is meant.

use crate::cli::author::{ActionContext, refused};
use crate::cli::{Exit, output};
use crate::config::Config;
use crate::db::PushId;

/// Allow a push that leads away from what was evaluated
///
/// A branch of an authenticated channel may only move forward, because an older commit could bring
/// back old vulnerabilities. A spec whose branch moved elsewhere is blocked until this command
/// allows it. The commit must be authentic in any case.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Acknowledge {
    /// Number of the push, as `gorget status` and `gorget pushes` show it
    push: i64,
}

pub(in crate::cli) async fn run(args: &Acknowledge, config: Config) -> anyhow::Result<Exit> {
    let context = ActionContext::open(&config).await?;
    output::note(&context.actions().acknowledge(PushId(args.push)).await.map_err(refused)?);
    Ok(Exit::Done)
}
