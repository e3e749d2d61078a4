//! `gorget status`: what the farm knows, and what is wrong.

mod channels;
mod coordinators;
mod evaluation;
mod evaluations;
mod hosts;
mod problems;

use super::queue;
use crate::cli::filter::Filter;
use crate::cli::{Exit, open_db, output};
use crate::clock::{Clock, Seconds};
use crate::config::Config;
use crate::db::{Db, EvaluationId};
use crate::view::build::BuildCount;
use crate::view::status::{Rows, Status as View};
use crate::view::trouble;

/// How many evaluations are listed.
const EVALUATIONS: i64 = 12;

/// Show the state and problems of the farm, or of one evaluation
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Status {
    /// Number of an evaluation: shows all of its errors, and its time and memory
    evaluation: Option<i64>,
    #[command(flatten)]
    filter: Filter,
    /// Write one JSON object
    #[arg(long)]
    json: bool,
}

pub(in crate::cli) async fn run(args: &Status, config: Config) -> anyhow::Result<Exit> {
    let db = open_db::for_report(&config).await?;
    if let Some(number) = args.evaluation {
        return evaluation::show(&db, EvaluationId(number), args.json).await;
    }
    args.filter.check(&db).await?;
    let now = Clock::System.now();
    let rows = Rows::load(&db, config.routes(), &args.filter.view(), EVALUATIONS, now).await?;
    let status = View::new(&rows, now);
    if args.json {
        output::json(&status)?;
    } else {
        show(&status, &rows, &db, &args.filter, now).await?;
    }
    Ok(Exit::Done)
}

async fn show(status: &View<'_>, rows: &Rows, db: &Db, filter: &Filter, now: Seconds) -> anyhow::Result<()> {
    hosts::show(&status.hosts, now)?;
    let mut newest = db.newest_evaluations().await?;
    newest.retain(|evaluation| filter.admits(&evaluation.spec, evaluation.system.as_str()));
    channels::show(rows, &newest, now)?;
    channels::show_warnings(&newest)?;
    problems::show(&trouble::list(rows, status, &newest, now), now)?;
    output::line("")?;
    evaluations::show(db, &status.evaluations, now).await?;
    output::line("")?;
    let builds = status.builds.iter().map(|BuildCount { count, spec, state, system }| {
        vec![(*spec).to_owned(), (*system).to_owned(), state.word().to_owned(), count.to_string()]
    });
    output::table(&["SPEC", "SYSTEM", "BUILDS", "COUNT"], builds.collect())?;
    coordinators::show(&status.coordinators)?;
    Ok(queue::show_blockers(&status.blockers)?)
}
