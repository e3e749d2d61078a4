//! `gorget impact`: what a change to a working tree rebuilds. No farm is needed.
//!
//! The command keeps a small farm of its own in the user's cache directory: mirrors that borrow the
//! objects of working trees, evaluations, and compiled modules. Of a working tree it evaluates two
//! commits, the base and the change, each as a farm would, and compares them. What was evaluated is
//! known again by its commit; what is not committed becomes a commit that depends on nothing but the
//! files. One command works at a time; the next one waits.

mod cache;
mod comment;
mod evaluated;
mod explain;
mod report;
mod subject;

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Context as _;

use crate::cli::{Exit, output};
use crate::config::Config;
use crate::domain::diff::SMALL;
use crate::domain::spec::System;
use crate::view::impact::{Commit, Impact, Rows, SystemImpact};

use cache::Cache;
use subject::Subject;

/// Show what a change to Guix or to another channel rebuilds
///
/// Compares the working tree, including uncommitted changes, with the merge base of HEAD and the upstream
/// branch. No farm is needed. The exit code is 3 for over 300 rebuilds, and 1 if
/// something cannot be evaluated any more.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ImpactArgs {
    /// A directory of the working tree [default: this one]
    #[arg(default_value = ".", hide_default_value = true)]
    directory: PathBuf,
    /// Compare with the newest commit in common with this branch, tag or commit
    #[arg(long, value_name = "REF")]
    base: Option<String>,
    /// A system to compare for; can be repeated [default: this machine's]
    #[arg(long, value_name = "SYSTEM", value_parser = system)]
    system: Vec<System>,
    /// Show how a package is reached by the change, and the first thing that differs
    #[arg(long, value_name = "PACKAGE", conflicts_with = "comment")]
    why: Option<String>,
    /// Write Markdown for a pull request
    #[arg(long, conflicts_with = "json")]
    comment: bool,
    /// Write one JSON object
    #[arg(long)]
    json: bool,
}

fn system(name: &str) -> Result<System, String> {
    System::new(name).ok_or_else(|| format!("Guix knows these: {}", System::KNOWN.join(", ")))
}

pub(in crate::cli) async fn run(args: &ImpactArgs, config: Config) -> anyhow::Result<Exit> {
    let subject = Subject::find(&args.directory, args.base.as_deref()).await?;
    let cache = Cache::open(config).await?;
    let ran = Box::pin(compare(args, &subject, &cache)).await;
    let closed = cache.close().await;
    let exit = ran?;
    closed.map(|()| exit)
}

async fn compare(args: &ImpactArgs, subject: &Subject, cache: &Cache) -> anyhow::Result<Exit> {
    let change = subject.snapshot(cache).await?;
    let named = |commit: &str| commit.get(..12).unwrap_or(commit).to_owned();
    output::note(&format!(
        "comparing {} with {} (in common with {})",
        subject.describe(&change),
        named(&subject.base.commit),
        subject.base.name
    ));
    let mut systems = if args.system.is_empty() { vec![System::host()] } else { args.system.clone() };
    let mut seen = BTreeSet::new();
    systems.retain(|system| seen.insert(system.clone()));
    let pairs = if subject.changes(&change, cache).await? {
        let base = subject.resolve(cache, &subject.base.commit, None).await?;
        let changed = subject.resolve(cache, &change, Some(&base)).await?;
        Box::pin(evaluated::pairs(cache, subject, [&base, &changed], &systems)).await?
    } else {
        output::note("no file differs");
        Vec::new()
    };
    if let Some(package) = &args.why {
        return explain::run(cache, pairs, package, args.json).await;
    }
    let base = Commit { commit: subject.base.commit.clone(), name: subject.base.name.clone() };
    let name = subject.describe(&change);
    let mut impact = Impact { base, change: Commit { commit: change, name }, systems: Vec::new() };
    for pair in pairs {
        let rows = Rows::load(&cache.db, pair).await.context("comparing")?;
        impact.systems.push(SystemImpact::new(rows));
    }
    if args.json {
        output::json(&impact)?;
    } else if args.comment {
        output::text(&comment::markdown(&impact, subject.is_guix))?;
    } else {
        report::show(&impact, subject.is_guix)?;
    }
    Ok(exit(&impact))
}

fn exit(impact: &Impact) -> Exit {
    if impact.has_new_errors() {
        Exit::InputError
    } else if impact.most_rebuilds() > SMALL {
        Exit::NotReady
    } else {
        Exit::Done
    }
}
