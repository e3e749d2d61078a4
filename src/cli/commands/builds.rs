//! `gorget builds`: all builds, or one.

use crate::cli::filter::Filter;
use crate::cli::{Exit, farm, open_db, output, user_error};
use crate::clock::{Clock, Seconds, readable, readable_span};
use crate::config::Config;
use crate::db::{BuildFilter, BuildId, BuildPlace, BuildState, Db};
use crate::view::build::Build;
use crate::view::build_report::{BuildReport, OtherBuild, Rows};

/// List builds, those of the newest evaluation first, or explain one
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Builds {
    /// Number of a build: explain only this one
    #[arg(value_name = "NUMBER", conflicts_with_all = ["spec", "system", "in_state", "name", "disturbed", "before"])]
    id: Option<i64>,
    #[command(flatten)]
    filter: Filter,
    /// Only those in this state
    #[arg(long, value_name = "STATE", value_parser = state)]
    in_state: Option<BuildState>,
    /// Only those of jobs whose names begin with this
    #[arg(long)]
    name: Option<String>,
    /// Only those whose last attempt failed perhaps because of the machine
    #[arg(long)]
    disturbed: bool,
    /// Only those after this place, which the end of a list names
    #[arg(long, value_name = "PLACE")]
    before: Option<BuildPlace>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..))]
    limit: i64,
    /// Write one JSON object for every build
    #[arg(long)]
    json: bool,
}

pub(in crate::cli) async fn run(args: &Builds, config: Config) -> anyhow::Result<Exit> {
    let db = open_db::for_report(&config).await?;
    match args.id {
        Some(id) => one(args, id, &db, &config).await?,
        None => list(args, &db).await?,
    }
    Ok(Exit::Done)
}

async fn list(args: &Builds, db: &Db) -> anyhow::Result<()> {
    args.filter.check(db).await?;
    let Filter { spec, system } = args.filter.clone();
    let (name, is_disturbed) = (args.name.clone(), args.disturbed);
    let filter = BuildFilter { spec, system, state: args.in_state, name, is_disturbed };
    let rows = db.builds(&filter, args.before, args.limit).await?;
    let mut builds = rows.iter().map(Build::new);
    if args.json {
        return builds.try_for_each(|build| output::json(&build));
    }
    let now = Clock::System.now();
    let header = ["NO.", "JOB", "SPEC", "SYSTEM", "STATE", "FOR", "EVALUATION", "ANSWER"];
    output::table(&header, builds.map(|build| row(&build, now)).collect())?;
    match rows.last() {
        None => output::line("no builds")?,
        Some(last) if i64::try_from(rows.len()) == Ok(args.limit) => {
            output::note(&format!("the list may go on: --before {}", BuildPlace::of(last)));
        }
        Some(_) => {}
    }
    Ok(())
}

fn row(build: &Build<'_>, now: Seconds) -> Vec<String> {
    vec![
        build.id.to_string(),
        build.job.to_owned(),
        build.spec.to_owned(),
        build.system.to_owned(),
        build.state.word().to_owned(),
        readable_span(now - build.created_at),
        build.evaluation.to_string(),
        build.reason().to_owned(),
    ]
}

async fn one(args: &Builds, id: i64, db: &Db, config: &Config) -> anyhow::Result<()> {
    let rows = Rows::load(db, BuildId(id), &config.routes(), &farm::logs(config)).await?;
    let missing = || user_error(format!("there is no build {id}\nhint: `gorget builds` lists them"));
    let rows = rows.ok_or_else(missing)?;
    let report = BuildReport::new(&rows);
    if args.json {
        return output::json(&report);
    }
    Ok(lines(&report).iter().try_for_each(|line| output::line(line))?)
}

fn lines(report: &BuildReport<'_>) -> Vec<String> {
    let build = &report.build;
    let mut lines = vec![
        format!(
            "build {} of {} ({}, {}): {}",
            build.id,
            build.job,
            build.spec,
            build.system,
            build.state.word()
        ),
        format!("  {}", report.because),
        format!("  derivation {} since evaluation {}", build.derivation, build.evaluation),
    ];
    let others = |word: &str, builds: &[OtherBuild<'_>]| -> Vec<String> {
        let line =
            |one: &OtherBuild<'_>| format!("  {word} {} ({}, build {})", one.job, one.state.word(), one.id);
        builds.iter().map(line).collect()
    };
    lines.extend(report.needed_by.iter().map(|user| format!("  needed by {} (build {})", user.job, user.id)));
    lines.extend(others("blocked by", &report.blocked_by));
    lines.extend(others("waits for", &report.waits_for));
    if report.waiting > 0 {
        lines.push(format!("  {} for it", output::count(report.waiting, "build waits", "builds wait")));
    }
    lines.extend(report.events.iter().map(|event| {
        let at = readable(event.happened_at.unwrap_or(event.received_at));
        format!("  {at} {} as {}", event.attempt, event.reference)
    }));
    lines.extend(report.jobs.iter().map(|job| {
        let end = if job.last_evaluation.is_some() { "was" } else { "is" };
        format!("  {end} the job {} of {} for {}", job.job, job.spec, job.system)
    }));
    lines.extend(report.log.map(|log| format!("  its log is {}", log.display())));
    lines
}

fn state(word: &str) -> Result<BuildState, String> {
    let known = || BuildState::ALL.map(BuildState::word).join(", ");
    let named = BuildState::ALL.into_iter().find(|state| state.word() == word);
    named.ok_or_else(|| format!("the states are {}", known()))
}
