//! `gorget diff`: two evaluations of a spec compared, for each system.

use crate::cli::{Exit, open_db, output, user_error};
use crate::config::Config;
use crate::domain::diff;
use crate::view::diff::{Comparison, Rows};
use crate::view::evaluation::JobError;
use crate::view::evaluation_ref::{NoPair, pairs};

/// Compare two evaluations: jobs, versions, errors and rebuilds
///
/// A and B are each the number of an evaluation, the beginning of a commit, the name of a spec or a
/// branch (its last complete evaluation), or a date (what was complete by then). Every system that both
/// have is compared.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Diff {
    /// The first: a number, a commit, a spec, a branch or a date
    a: String,
    /// The second
    b: String,
    /// Which spec is meant, when several have that branch, commit or date
    #[arg(long, value_name = "NAME")]
    spec: Option<String>,
    /// Write one JSON object for every system
    #[arg(long)]
    json: bool,
}

pub(in crate::cli) async fn run(args: &Diff, config: Config) -> anyhow::Result<Exit> {
    let db = open_db::for_report(&config).await?;
    let (pairs, alone) = match pairs(&db, [&args.a, &args.b], args.spec.as_deref()).await {
        Err(NoPair::Wrong(text)) => return Err(user_error(text)),
        pairs => pairs?,
    };
    let several = pairs.len() > 1;
    for pair in pairs {
        let rows = Rows::load(&db, pair).await?;
        let comparison = Comparison::of(rows.jobs, &rows.evaluations, &rows.errors);
        if args.json {
            output::json(&comparison)?;
        } else {
            if several {
                output::line(&format!("{}:", comparison.b.system))?;
            }
            show(&comparison)?;
        }
    }
    for system in alone {
        output::note(&format!("{system} is evaluated in only one of them"));
    }
    Ok(Exit::Done)
}

fn show(comparison: &Comparison<'_>) -> std::io::Result<()> {
    let Comparison { diff, new_errors, gone_errors, rebuilds, .. } = comparison;
    let mut lines = lines(diff);
    lines.extend(new_errors.iter().flat_map(|error| error_lines("!", error)));
    lines.extend(gone_errors.iter().flat_map(|error| error_lines("no longer:", error)));
    lines.push(format!(
        "{} changed, {} added, {} removed, {} broken, {} fixed; {} new, {} gone",
        diff.changed.len(),
        diff.added.len(),
        diff.removed.len(),
        diff.broken.len(),
        diff.fixed.len(),
        output::count(new_errors.len(), "error", "errors"),
        gone_errors.len(),
    ));
    lines.push(format!("{} ({})", output::count(rebuilds.count, "rebuild", "rebuilds"), rebuilds.range));
    output::lines(&lines)
}

/// An error, with each line of what was said.
fn error_lines(mark: &str, error: &JobError<'_>) -> Vec<String> {
    let text = format!("{mark} {} ({}): {}", error.name, error.cause, error.message);
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default().to_owned();
    std::iter::once(first).chain(lines.map(|line| format!("    {line}"))).collect()
}

/// A line for each job that differs.
fn lines(diff: &diff::Diff) -> Vec<String> {
    let named = |job: &str, version: &Option<String>| match version {
        Some(version) => format!("{job} {version}"),
        None => job.to_owned(),
    };
    let come = diff.added.iter().chain(&diff.fixed).map(|job| format!("+ {}", named(&job.job, &job.version)));
    let gone = diff.removed.iter().map(|job| format!("- {}", named(&job.job, &job.version)));
    let broken = diff.broken.iter().map(|job| format!("! {} could not be evaluated", job.job));
    let changed = diff.changed.iter().map(|change| {
        let what = match (&change.versions, change.same_outputs) {
            (Some((before, after)), _) => format!(" {before} -> {after}"),
            (None, true) => " (same outputs, nothing to build)".to_owned(),
            (None, false) => String::new(),
        };
        format!("~ {}{what}", change.job)
    });
    come.chain(gone).chain(broken).chain(changed).collect()
}
