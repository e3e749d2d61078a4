//! `gorget diff`: two evaluations of a spec compared, for each system.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::{Exit, evaluation_ref, open_db, output};
use crate::config::Config;
use crate::db::{Db, Evaluation, JobError};
use crate::domain::diff::{self, compare, rebuild_range};

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
    let db = open_db::open(&config).await?;
    let (pairs, alone) = evaluation_ref::pairs(&db, [&args.a, &args.b], args.spec.as_deref()).await?;
    let several = pairs.len() > 1;
    for [a, b] in pairs {
        let comparison = Comparison::of(&db, a, b).await?;
        if args.json {
            output::json(&comparison.object())?;
        } else {
            if several {
                output::line(&format!("{}:", comparison.b.system))?;
            }
            comparison.show()?;
        }
    }
    for system in alone {
        output::note(&format!("{system} is evaluated in only one of them"));
    }
    Ok(Exit::Done)
}

struct Comparison {
    a: Evaluation,
    b: Evaluation,
    diff: diff::Diff,
    new_errors: Vec<JobError>,
    gone_errors: Vec<JobError>,
}

/// A comparison as JSON.
#[derive(Serialize)]
struct Object<'a> {
    a: Value,
    b: Value,
    diff: &'a diff::Diff,
    new_errors: Value,
    gone_errors: Value,
    rebuilds: Value,
}

impl Comparison {
    async fn of(db: &Db, a: Evaluation, b: Evaluation) -> anyhow::Result<Self> {
        let (first, second) = db.changed_jobs(a.id, b.id).await?;
        let (failed_first, failed_second) = (db.errors(a.id).await?, db.errors(b.id).await?);
        let names = |errors: &[JobError]| errors.iter().map(|e| e.name.clone()).collect::<BTreeSet<_>>();
        let diff = compare(first, second, &names(&failed_first), &names(&failed_second));
        let only = |these: &[JobError], others: &[JobError]| {
            let others: BTreeSet<_> = others.iter().collect();
            these.iter().filter(|error| !others.contains(error)).cloned().collect()
        };
        let new_errors = only(&failed_second, &failed_first);
        let gone_errors = only(&failed_first, &failed_second);
        Ok(Self { a, b, diff, new_errors, gone_errors })
    }

    fn object(&self) -> impl Serialize {
        let side = |e: &Evaluation| json!({ "evaluation": e.id.0, "spec": e.spec, "revision": e.revision, "system": e.system });
        let errors = |errors: &[JobError]| -> Value {
            errors.iter().map(|e| json!({ "name": e.name, "cause": e.cause, "message": e.message })).collect()
        };
        Object {
            a: side(&self.a),
            b: side(&self.b),
            diff: &self.diff,
            new_errors: errors(&self.new_errors),
            gone_errors: errors(&self.gone_errors),
            rebuilds: json!({ "count": self.diff.rebuilds, "range": rebuild_range(self.diff.rebuilds) }),
        }
    }

    fn show(&self) -> std::io::Result<()> {
        let Self { diff, new_errors, gone_errors, .. } = self;
        let mut lines = lines(diff);
        lines.extend(new_errors.iter().flat_map(|error| told("!", error)));
        lines.extend(gone_errors.iter().flat_map(|error| told("no longer:", error)));
        lines.push(format!(
            "{} changed, {} added, {} removed, {} broken, {} mended; {} new, {} gone",
            diff.changed.len(),
            diff.added.len(),
            diff.removed.len(),
            diff.broken.len(),
            diff.mended.len(),
            output::count(new_errors.len(), "error", "errors"),
            gone_errors.len(),
        ));
        let rebuilds = output::count(diff.rebuilds, "rebuild", "rebuilds");
        lines.push(format!("{rebuilds} ({})", rebuild_range(diff.rebuilds)));
        output::lines(&lines)
    }
}

/// An error, with each line of what was said.
fn told(mark: &str, error: &JobError) -> Vec<String> {
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
    let come =
        diff.added.iter().chain(&diff.mended).map(|job| format!("+ {}", named(&job.job, &job.version)));
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
