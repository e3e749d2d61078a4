//! `gorget waiver`: what does not count against a branch, because somebody answers for it.

use crate::cli::author::{ActionContext, refused};
use crate::cli::{Exit, open_db, output};
use crate::clock::{Clock, readable};
use crate::config::Config;
use crate::farm::actions::WantedWaiver;
use crate::view::verdict::Waiver;

/// Create, list or end waivers: jobs that do not count against a branch
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Waivers {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Creates a waiver, so that jobs do not count against a branch
    Create(Create),
    /// Lists the waivers that are in force
    List {
        /// Write one JSON object for every waiver
        #[arg(long)]
        json: bool,
    },
    /// Ends a waiver early
    End {
        /// Number of the waiver, as `gorget waiver list` shows it
        waiver: i64,
    },
}

#[derive(Debug, clap::Args)]
struct Create {
    /// The spec of the branch
    spec: String,
    /// The reason: evaluation-errors, regressions, new-broken or unattributed
    reason: String,
    /// The name of a job, or a pattern; `*` stands for any text
    job: String,
    /// Only for this system
    #[arg(long)]
    system: Option<String>,
    /// Why the jobs do not count; this is shown beside the verdict
    #[arg(long, value_name = "TEXT")]
    why: String,
    /// For so many days, 90 at most
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    days: i64,
}

pub(in crate::cli) async fn run(args: &Waivers, config: Config) -> anyhow::Result<Exit> {
    match &args.action {
        Action::Create(Create { spec, reason, job, system, why, days }) => {
            let context = ActionContext::open(&config).await?;
            let wanted = WantedWaiver { reason, job, system: system.as_deref(), why, days: *days };
            output::note(&context.actions().waive(spec, &wanted).await.map_err(refused)?);
        }
        Action::List { json } => list(*json, &config).await?,
        Action::End { waiver } => {
            let context = ActionContext::open(&config).await?;
            output::note(&context.actions().end_waiver(*waiver).await.map_err(refused)?);
        }
    }
    Ok(Exit::Done)
}

async fn list(json: bool, config: &Config) -> anyhow::Result<()> {
    let db = open_db::open(config).await?;
    let rows = db.waivers(Clock::System.now()).await?;
    let waivers: Vec<Waiver<'_>> = rows.iter().map(Waiver::new).collect();
    if json {
        return waivers.iter().try_for_each(output::json);
    }
    let lines = waivers.iter().map(|waiver| {
        vec![
            waiver.id.to_string(),
            waiver.spec.to_owned(),
            waiver.reason.to_owned(),
            waiver.job.to_owned(),
            waiver.system.unwrap_or("any").to_owned(),
            waiver.author.to_owned(),
            readable(waiver.until),
            waiver.why.to_owned(),
        ]
    });
    output::table(&["NO.", "SPEC", "REASON", "JOB", "SYSTEM", "AUTHOR", "UNTIL", "WHY"], lines.collect())?;
    Ok(())
}
