//! `gorget queue`: the builds that are wanted.

use crate::cli::filter::Filter;
use crate::cli::{Exit, open_db, output};
use crate::clock::{Clock, Seconds, readable_span};
use crate::config::Config;
use crate::db::{self, BuildState, Db, QueueFilter};
use crate::view::build::{Blocker, Build, BuildCount, totals};

/// Most builds that are listed for a person.
const LINES: i64 = 40;

/// Most failed builds that are listed for others wait for them.
const BLOCKERS: usize = 10;

/// In which states builds are listed: those that are to be built, or need not be.
const LISTED: [BuildState; 8] = [
    BuildState::Pending,
    BuildState::AwaitingApproval,
    BuildState::Queued,
    BuildState::Submitted,
    BuildState::Building,
    BuildState::Canceling,
    BuildState::Rejected,
    BuildState::Substituted,
];
/// The same for a person.
const SHOWN: [BuildState; 5] = [
    BuildState::Queued,
    BuildState::Pending,
    BuildState::AwaitingApproval,
    BuildState::Rejected,
    BuildState::Substituted,
];

/// List wanted builds in the order of submission
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Queue {
    #[command(flatten)]
    filter: Filter,
    /// Write one JSON object for every build
    #[arg(long)]
    json: bool,
}

pub(in crate::cli) async fn run(args: &Queue, config: Config) -> anyhow::Result<Exit> {
    let db = open_db::for_report(&config).await?;
    args.filter.check(&db).await?;
    let mut blockers = db.blockers().await?;
    blockers.retain(|blocker| args.filter.admits(&blocker.build.spec, blocker.build.system.as_str()));
    if args.json {
        show_json(args, &db, &blockers).await?;
    } else {
        show(args, &db, &blockers).await?;
    }
    Ok(Exit::Done)
}

impl Queue {
    /// What is asked for of one state.
    fn of_state(&self, state: BuildState) -> QueueFilter {
        let Filter { spec, system } = self.filter.clone();
        QueueFilter { spec, system, state: Some(state), ..QueueFilter::default() }
    }
}

async fn show_json(args: &Queue, db: &Db, blockers: &[db::Blocker]) -> anyhow::Result<()> {
    for state in LISTED {
        for build in db.queue(&args.of_state(state), i64::MAX).await? {
            output::json(&Build::new(&build).blocked(blockers))?;
        }
    }
    Ok(())
}

async fn show(args: &Queue, db: &Db, blockers: &[db::Blocker]) -> anyhow::Result<()> {
    let now = Clock::System.now();
    let mut rows = Vec::new();
    for state in SHOWN {
        let builds = db.queue(&args.of_state(state), LINES).await?;
        rows.extend(builds.iter().map(|build| row(&Build::new(build), now)));
    }
    output::table(&["JOB", "SPEC", "STATE", "FOR", "DERIVATION", "ANSWER"], rows)?;
    let mut counts = db.build_counts().await?;
    counts.retain(|count| args.filter.admits(&count.spec, &count.system));
    let counts: Vec<BuildCount<'_>> = counts.iter().map(BuildCount::new).collect();
    let counts: Vec<String> =
        totals(&counts).iter().map(|(state, count)| format!("{count} {}", state.word())).collect();
    output::line(&if counts.is_empty() { "no builds".to_owned() } else { counts.join(", ") })?;
    let blockers: Vec<Blocker<'_>> = blockers.iter().map(Blocker::new).collect();
    Ok(show_blockers(&blockers)?)
}

/// Shows what failed and keeps other builds from being made.
pub(super) fn show_blockers(blockers: &[Blocker<'_>]) -> std::io::Result<()> {
    let rows = blockers.iter().take(BLOCKERS).map(|blocker| {
        let Blocker { blocks, derivation, job, spec, state } = blocker;
        let (job, spec, derivation) = ((*job).to_owned(), (*spec).to_owned(), (*derivation).to_owned());
        vec![blocks.to_string(), job, spec, state.word().to_owned(), derivation]
    });
    let rows: Vec<_> = rows.collect();
    if !rows.is_empty() {
        output::line("")?;
    }
    output::table(&["WAITING", "FOR", "SPEC", "STATE", "DERIVATION"], rows)
}

fn row(build: &Build<'_>, now: Seconds) -> Vec<String> {
    vec![
        build.job.to_owned(),
        build.spec.to_owned(),
        build.state.word().to_owned(),
        readable_span(now - build.created_at),
        build.derivation.to_owned(),
        build.reason().to_owned(),
    ]
}
