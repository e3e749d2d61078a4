//! `gorget retry`: an evaluation, or failed builds, once more.

use crate::cli::author::{ActionContext, refused};
use crate::cli::filter::system;
use crate::cli::{Exit, output};
use crate::config::Config;
use crate::db::{BuildFilter, EvaluationId};
use crate::domain::spec::System;

/// Evaluate a revision again, for one system, or queue failed builds again
///
/// Other systems of the revision stay as they are. An evaluation that fails for reasons outside of
/// its revision is retried automatically, three times, and one that is interrupted is started five
/// times. Use this command when the cause is fixed, such as too little memory, or an agent with a
/// full disk.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["evaluation", "builds"]))]
pub(in crate::cli) struct Retry {
    /// Number of the evaluation, as `gorget status` shows it: the newest of its spec and system
    evaluation: Option<i64>,
    /// Queue failed and rejected builds again, of all specs and systems or of those given
    #[arg(long)]
    builds: bool,
    /// Only builds that this spec wanted first
    #[arg(long, requires = "builds")]
    spec: Option<String>,
    /// Only builds for this system
    #[arg(long, requires = "builds", value_parser = system)]
    system: Option<System>,
    /// Only builds of jobs whose names begin with this
    #[arg(long, requires = "builds")]
    name: Option<String>,
    /// Only builds whose last attempt failed perhaps because of the machine
    #[arg(long, requires = "builds")]
    disturbed: bool,
}

pub(in crate::cli) async fn run(args: &Retry, config: Config) -> anyhow::Result<Exit> {
    let context = ActionContext::open(&config).await?;
    let actions = context.actions();
    let done = match args.evaluation {
        Some(evaluation) => actions.retry(EvaluationId(evaluation)).await,
        None => actions.retry_builds(&filter(args)).await,
    };
    output::note(&done.map_err(refused)?);
    Ok(Exit::Done)
}

fn filter(args: &Retry) -> BuildFilter {
    let Retry { spec, system, name, disturbed, .. } = args;
    BuildFilter {
        spec: spec.clone(),
        system: system.clone(),
        state: None,
        name: name.clone(),
        is_disturbed: *disturbed,
    }
}
