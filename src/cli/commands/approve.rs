//! `gorget approve`: queues builds that await approval.

use crate::cli::author::{ActionContext, refused};
use crate::cli::{Exit, output};
use crate::config::Config;
use crate::farm::actions::Which;
use crate::view::approval::Approved;

/// Queue builds that await approval
///
/// A spec can have a budget of new builds for each evaluation, and be staged: then other systems wait
/// for the first one. `gorget status` shows what awaits approval. Builds that an approved
/// evaluation wants later are queued as well.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Approve {
    /// Name of a spec, or number of an evaluation, as `gorget status` shows them. An evaluation
    /// includes builds of earlier evaluations of its spec and system that still await approval
    which: String,
    /// Only what awaits approval for this system
    #[arg(long)]
    system: Option<String>,
    /// Write one JSON object for every evaluation of which builds awaited approval
    #[arg(long)]
    json: bool,
}

pub(in crate::cli) async fn run(args: &Approve, config: Config) -> anyhow::Result<Exit> {
    let context = ActionContext::open(&config).await?;
    let actions = context.actions();
    let number: Option<i64> = args.which.parse().ok();
    let held = actions.db.awaiting_approval().await?;
    let named = held.iter().map(|held| held.evaluation).find(|id| Some(id.0) == number);
    let which = named.map_or(Which::Spec(&args.which), Which::Evaluation);
    let meant = actions.approve(which, args.system.as_deref()).await.map_err(refused)?;
    for approved in meant.iter().map(Approved::new) {
        if args.json {
            output::json(&approved)?;
            continue;
        }
        let Approved { count, evaluation, spec, system } = approved;
        let builds = output::count(usize::try_from(count)?, "build", "builds");
        output::note(&format!("{builds} of evaluation {evaluation} ({spec}, {system}) approved"));
    }
    Ok(Exit::Done)
}
