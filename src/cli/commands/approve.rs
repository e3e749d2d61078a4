//! `gorget approve`: queues builds that await approval.

use crate::cli::{Exit, open_db, output, user_error};
use crate::clock::Clock;
use crate::config::Config;
use crate::db::AwaitingApproval;
use crate::view::approval::Approved;

/// Queue builds that await approval
///
/// A spec can have a budget of new builds for each evaluation, and be staged: then other systems wait
/// for the first one. `gorget status` shows what awaits approval. What an approved evaluation comes to want
/// later is queued as well.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Approve {
    /// Name of a spec, or number of an evaluation, as `gorget status` shows them. What awaits approval of
    /// earlier evaluations of the same spec and system, and still wanted, goes with an evaluation
    which: String,
    /// Only what awaits approval for this system
    #[arg(long)]
    system: Option<String>,
    /// Write one JSON object for every evaluation of which builds awaited approval
    #[arg(long)]
    json: bool,
}

pub(in crate::cli) async fn run(args: &Approve, config: Config) -> anyhow::Result<Exit> {
    let db = open_db::open(&config).await?;
    let held = db.awaiting_approval().await?;
    let number: Option<i64> = args.which.parse().ok();
    let named = held.iter().find(|held| Some(held.evaluation.0) == number);
    let is_meant = |held: &&AwaitingApproval| {
        let is_of = match named {
            Some(named) => {
                (&held.spec, &held.system) == (&named.spec, &named.system)
                    && held.evaluation <= named.evaluation
            }
            None => held.spec == args.which,
        };
        is_of && args.system.as_ref().is_none_or(|system| *system == held.system)
    };
    let meant: Vec<&AwaitingApproval> = held.iter().filter(is_meant).collect();
    if meant.is_empty() {
        let of_system = args.system.as_ref().map(|system| format!(" for {system}")).unwrap_or_default();
        let hint = "hint: `gorget status` shows what awaits approval";
        return Err(user_error(format!("nothing of {}{of_system} awaits approval\n{hint}", args.which)));
    }
    let evaluations: Vec<_> = meant.iter().map(|held| held.evaluation).collect();
    db.approve(&evaluations, Clock::System.now()).await?;
    for approved in meant.into_iter().map(Approved::new) {
        if args.json {
            output::json(&approved)?;
            continue;
        }
        let Approved { count, evaluation, spec, system } = approved;
        let builds = output::count(usize::try_from(count)?, "build", "builds");
        output::note(&format!("{builds} of evaluation {evaluation} ({spec}, {system}) may be built"));
    }
    Ok(Exit::Done)
}
