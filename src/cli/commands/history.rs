//! `gorget history`: what a job, or a package, was over the evaluations of a branch.

use crate::cli::{Exit, open_db, output, user_error};
use crate::clock::readable;
use crate::config::Config;
use crate::domain::spec::sanitize;
use crate::view::history::Span;

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
    let db = open_db::for_report(&config).await?;
    if let Some(name) = &args.spec
        && !db.specs().await?.iter().any(|stored| stored.spec.name == *name)
    {
        return Err(user_error(format!("there is no spec {name}\nhint: `gorget status` lists specs")));
    }
    let history = db.history(&args.word, args.spec.as_deref(), args.limit).await?;
    if history.is_empty() {
        return Err(unknown(&args.word, &db.jobs_like(&args.word, 5).await?));
    }
    let history: Vec<Span<'_>> = history.iter().map(Span::new).collect();
    if args.json {
        history.iter().try_for_each(output::json)?;
        return Ok(Exit::Done);
    }
    let rows = history.iter().map(|span| {
        vec![
            span.job.to_owned(),
            span.version.unwrap_or("-").to_owned(),
            span.spec.to_owned(),
            span.first.to_string(),
            span.revision.short(),
            span.since.map_or("running".to_owned(), readable),
            match (span.last, span.until) {
                (Some(last), Some(until)) => format!("{last}, {}", readable(until)),
                _ => "now".to_owned(),
            },
            span.derivation.to_owned(),
        ]
    });
    let header = ["JOB", "VERSION", "SPEC", "FIRST", "REVISION", "SINCE", "UNTIL", "DERIVATION"];
    output::table(&header, rows.collect())?;
    Ok(Exit::Done)
}

fn unknown(word: &str, alike: &[String]) -> anyhow::Error {
    let hint = match alike {
        [] => "`gorget explain` says why a job is missing".to_owned(),
        names => {
            let names: Vec<String> = names.iter().map(|name| sanitize(name)).collect();
            format!("there are {}", names.join(", "))
        }
    };
    user_error(format!("no evaluation has a package or job {}\nhint: {hint}", sanitize(word)))
}
