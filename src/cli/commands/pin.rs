//! `gorget pin`: evaluations that are never forgotten.

use crate::cli::{Exit, open_db, user_error};
use crate::clock::Clock;
use crate::config::Config;
use crate::db::EvaluationId;

/// Keep an evaluation for ever, whatever its spec says
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Pin {
    /// Number of the evaluation, as `gorget status` shows it
    evaluation: i64,
    /// Let it go again
    #[arg(long)]
    remove: bool,
}

pub(in crate::cli) async fn run(args: &Pin, config: Config) -> anyhow::Result<Exit> {
    let db = open_db::open(&config).await?;
    let since = (!args.remove).then(|| Clock::System.now());
    if db.pin(EvaluationId(args.evaluation), since).await? {
        return Ok(Exit::Done);
    }
    let number = args.evaluation;
    Err(user_error(format!("there is no evaluation {number}\nhint: `gorget status` lists the latest")))
}
