//! `gorget pin`: evaluations that are never forgotten.

use crate::cli::author::{ActionContext, refused};
use crate::cli::{Exit, output};
use crate::config::Config;
use crate::db::EvaluationId;

/// Keep an evaluation for ever, whatever its spec says
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Pin {
    /// Number of the evaluation, as `gorget status` shows it
    evaluation: i64,
    /// Unpin it
    #[arg(long)]
    remove: bool,
}

pub(in crate::cli) async fn run(args: &Pin, config: Config) -> anyhow::Result<Exit> {
    let context = ActionContext::open(&config).await?;
    output::note(&context.actions().pin(EvaluationId(args.evaluation), !args.remove).await.map_err(refused)?);
    Ok(Exit::Done)
}
