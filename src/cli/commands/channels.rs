//! `gorget channels`: what repeats an evaluation.

use crate::cli::{Exit, open_db, output, user_error};
use crate::config::Config;
use crate::db::EvaluationId;
use crate::view::channels as view;

/// Print the channels of an evaluation, for `guix time-machine -C FILE`
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Channels {
    /// Number of the evaluation, as `gorget status` shows it
    evaluation: i64,
    /// Write one JSON object
    #[arg(long)]
    json: bool,
}

pub(in crate::cli) async fn run(args: &Channels, config: Config) -> anyhow::Result<Exit> {
    let db = open_db::for_report(&config).await?;
    let evaluation = db.evaluation(EvaluationId(args.evaluation)).await?;
    let missing = || format!("there is no evaluation {}\nhint: `gorget status` lists them", args.evaluation);
    let evaluation = evaluation.ok_or_else(|| user_error(missing()))?;
    if args.json {
        output::json(&view::Channels::new(&evaluation))?;
    } else {
        output::text(&view::channel_file(&evaluation))?;
    }
    Ok(Exit::Done)
}
