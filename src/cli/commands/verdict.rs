//! `gorget verdict`: whether branches may be merged.

use crate::cli::{Exit, open_db, output, user_error};
use crate::clock::utc;
use crate::config::Config;
use crate::db::{self, Db};
use crate::domain::verdict::{Cause, Class, SystemReport, Word};
use crate::view::verdict::Verdict;

/// Say whether a branch may be merged into its base, and what keeps it from that
///
/// A spec with `[verdict]` is judged by a running farm. Exit codes: 0 ready, 3 waiting or needs
/// action, 4 must change, 5 cannot be judged.
#[derive(Debug, clap::Args)]
#[command(name = "verdict")]
pub(in crate::cli) struct VerdictArgs {
    /// The spec of the branch; without, all branches in short
    spec: Option<String>,
    /// List how the verdict on the branch changed, the newest first
    #[arg(long, requires = "spec")]
    history: bool,
    /// Write one JSON object for every verdict
    #[arg(long)]
    json: bool,
}

pub(in crate::cli) async fn run(args: &VerdictArgs, config: Config) -> anyhow::Result<Exit> {
    let db = open_db::for_report(&config).await?;
    let rows = match &args.spec {
        None => db.current_verdicts().await?,
        Some(name) => of_spec(&db, name, args.history).await?,
    };
    let verdicts: Vec<Verdict<'_>> = rows.iter().map(Verdict::new).collect();
    if args.json {
        verdicts.iter().try_for_each(output::json)?;
    } else if let (Some(_), false, [verdict]) = (&args.spec, args.history, &verdicts[..]) {
        show(verdict)?;
    } else {
        list(&verdicts)?;
    }
    Ok(match (&args.spec, verdicts.first()) {
        (None, _) => Exit::Done,
        (Some(_), Some(_)) if args.history => Exit::Done,
        (Some(_), None) => Exit::Unknown,
        (Some(_), Some(newest)) => exit(newest.word),
    })
}

fn exit(word: Word) -> Exit {
    match word {
        Word::Ready => Exit::Done,
        Word::Waiting | Word::NeedsAction => Exit::NotReady,
        Word::MustChange => Exit::No,
        Word::Unknown => Exit::Unknown,
    }
}

/// The newest verdict on a branch, or all of them.
async fn of_spec(db: &Db, name: &str, history: bool) -> anyhow::Result<Vec<db::Verdict>> {
    let specs = db.specs().await?;
    let Some(stored) = specs.iter().find(|stored| stored.spec.name == name) else {
        let names: Vec<&str> = specs.iter().map(|stored| stored.spec.name.as_str()).collect();
        return Err(user_error(format!("there is no spec {name}\nhint: there are {}", names.join(", "))));
    };
    if stored.spec.verdict.is_none() {
        let hint = "hint: name the spec of the branch to merge into: `[verdict]` with `base = \"…\"`";
        return Err(user_error(format!("spec {name} has no base to be merged into\n{hint}")));
    }
    let rows = db.verdicts_of(stored.id, if history { i64::MAX } else { 1 }).await?;
    if rows.is_empty() {
        output::note(&format!("there is no verdict on {name} yet\nhint: a running farm makes it"));
    }
    Ok(rows)
}

fn list(verdicts: &[Verdict<'_>]) -> std::io::Result<()> {
    let row = |verdict: &Verdict<'_>| {
        let reasons: Vec<&str> = verdict.deciding().map(|reason| reason.code.as_str()).collect();
        vec![
            verdict.spec.to_owned(),
            verdict.base.to_owned(),
            verdict.word.word().to_owned(),
            utc(verdict.since),
            reasons.join(", "),
        ]
    };
    output::table(&["SPEC", "BASE", "VERDICT", "SINCE", "REASONS"], verdicts.iter().map(row).collect())
}

fn show(verdict: &Verdict<'_>) -> std::io::Result<()> {
    output::line(&format!("{} into {}: {}", verdict.spec, verdict.base, verdict.word.word()))?;
    output::paragraph(&verdict.sentence())?;
    let reason = |reason: &crate::domain::verdict::Reason| {
        let system = reason.system.clone().unwrap_or_default();
        vec![reason.word.word().to_owned(), system, reason.code.clone(), reason.text.clone()]
    };
    if !verdict.reasons.is_empty() {
        let rows = verdict.reasons.iter().map(reason).collect();
        output::table(&["VERDICT", "SYSTEM", "REASON", ""], rows)?;
    }
    verdict.systems.iter().try_for_each(|system| show_system(verdict, system))?;
    output::line(&format!("judged at {}, unchanged since {}", utc(verdict.judged_at), utc(verdict.since)))
}

fn show_system(verdict: &Verdict<'_>, report: &SystemReport) -> std::io::Result<()> {
    let side = |evaluation: Option<i64>, revision: &Option<String>| match (evaluation, revision) {
        (Some(id), Some(revision)) => format!("evaluation {id} ({revision})"),
        _ => "no evaluation".to_owned(),
    };
    output::line("")?;
    output::line(&format!(
        "{}{}: {} against {} of {}",
        report.system,
        if report.required { "" } else { ", not required" },
        side(report.evaluation, &report.revision),
        side(report.base, &report.base_revision),
        verdict.base,
    ))?;
    if !report.classes.is_empty() {
        output::line(&format!("  {}", counts(report)))?;
    }
    if !report.causes.is_empty() {
        output::line("  causes:")?;
    }
    report.causes.iter().try_for_each(|one| output::line(&format!("    {}", cause(one))))?;
    for (class, jobs) in &report.jobs {
        output::line(&format!("  {}:", class.word()))?;
        jobs.iter().try_for_each(|job| output::line(&format!("    {job}")))?;
        let more = report.classes.get(class).copied().unwrap_or(0).saturating_sub(jobs.len());
        if more > 0 {
            output::line(&format!("    and {more} more"))?;
        }
    }
    Ok(())
}

/// How many jobs there are of each class.
fn counts(report: &SystemReport) -> String {
    let present = Class::ALL.into_iter().filter_map(|class| Some((class, *report.classes.get(&class)?)));
    present.map(|(class, count)| format!("{} {count}", class.word())).collect::<Vec<_>>().join(", ")
}

fn cause(cause: &Cause) -> String {
    let classes: Vec<String> =
        cause.classes.iter().map(|(class, count)| format!("{} {count}", class.word())).collect();
    format!("{} of {} (build {}): {}", cause.job, cause.spec, cause.build, classes.join(", "))
}
