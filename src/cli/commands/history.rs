//! `gorget history`: what a job, or a package, was over the evaluations of a branch.

use serde_json::json;

use crate::cli::{Exit, open_db, output, user_error};
use crate::clock::readable;
use crate::config::Config;
use crate::db::Span;
use crate::domain::spec::sanitize;

/// List versions and derivations of a package or job over time
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct History {
    /// A package, such as `hello`, or a job, such as `hello.x86_64-linux`
    #[arg(value_name = "PACKAGE|JOB")]
    word: String,
    /// Only over the evaluations of this spec
    #[arg(long, value_name = "NAME")]
    spec: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..))]
    limit: i64,
    /// Write one JSON object for every derivation
    #[arg(long)]
    json: bool,
}

pub(in crate::cli) async fn run(args: &History, config: Config) -> anyhow::Result<Exit> {
    let db = open_db::open(&config).await?;
    if let Some(name) = &args.spec
        && !db.specs().await?.iter().any(|stored| stored.spec.name == *name)
    {
        return Err(user_error(format!("there is no spec {name}\nhint: `gorget status` lists specs")));
    }
    let history = db.history(&args.word, args.spec.as_deref(), args.limit).await?;
    if history.is_empty() {
        let alike = db.jobs_like(&args.word, 5).await?;
        let hint = match &alike[..] {
            [] => "`gorget explain` says why a job is not there".to_owned(),
            names => format!(
                "there are {}",
                names.iter().map(|name| sanitize(name)).collect::<Vec<_>>().join(", ")
            ),
        };
        let word = sanitize(&args.word);
        return Err(user_error(format!("no evaluation has a package or job {word}\nhint: {hint}")));
    }
    if args.json {
        history.iter().try_for_each(|held| output::json(&object(held)))?;
        return Ok(Exit::Done);
    }
    let rows = history.iter().map(|held| {
        vec![
            held.job.clone(),
            held.version.clone().unwrap_or_else(|| "-".to_owned()),
            held.spec.clone(),
            held.first.to_string(),
            held.revision.short(),
            held.since.map_or("running".to_owned(), readable),
            match (held.last, held.until) {
                (Some(last), Some(until)) => format!("{last}, {}", readable(until)),
                _ => "now".to_owned(),
            },
            held.derivation.clone(),
        ]
    });
    let header = ["JOB", "VERSION", "SPEC", "FIRST", "REVISION", "SINCE", "UNTIL", "DERIVATION"];
    output::table(&header, rows.collect())?;
    Ok(Exit::Done)
}

fn object(held: &Span) -> serde_json::Value {
    json!({
        "job": held.job, "spec": held.spec, "system": held.system, "version": held.version,
        "derivation": held.derivation, "outputs": held.outputs, "first": held.first, "revision": held.revision,
        "since": held.since, "last": held.last, "until": held.until,
    })
}
