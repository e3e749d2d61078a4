//! `gorget evaluate`: one spec, now, without a database.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use super::progress::Progress;
use super::{Exit, at_fault, farm, listing, tell};
use crate::config::Config;
use crate::evaluate::{Channel, Failure, Request, Summary};
use crate::revision::{ChannelCommit, Revision};
use crate::spec::{Spec, System, load_file, render};

/// Evaluates the branch of one spec file now and lists its jobs; nothing is recorded or queued
#[derive(Debug, clap::Args)]
pub(super) struct Evaluate {
    /// The spec file
    #[arg(value_name = "SPEC-FILE")]
    file: PathBuf,
    /// Evaluate this commit instead of the branch's tip; with several channels, NAME=COMMIT
    #[arg(long, value_name = "COMMIT")]
    commit: Vec<String>,
    /// Evaluate for this system instead of the spec's
    #[arg(long)]
    system: Vec<String>,
    /// Write JSON, an object a line: `job`, `error`, and `summary` last
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &Evaluate, config: Config) -> anyhow::Result<Exit> {
    let mut spec = read(args)?;
    pin(&mut spec, &args.commit)?;
    if !args.system.is_empty() {
        let known =
            |name: &String| System::new(name).ok_or_else(|| at_fault(format!("unknown system {name}")));
        spec.systems = args.system.iter().map(known).collect::<anyhow::Result<_>>()?;
    }
    let progress = Progress::begin(format!("fetching {}", spec.name));
    let (channels, revision) = check_out(&spec, &config, &progress).await?;
    progress.now("preparing Guix".to_owned());
    let runtimes = farm::runtimes(&config);
    let prepared = runtimes.prepare(&spec.name, &channels.into_iter().collect::<Vec<_>>()).await?;
    let mut exit = Exit::Done;
    let mut totals = Summary::default();
    for system in &spec.systems {
        progress.now(format!("evaluating {} for {system}", spec.name));
        let request = Request {
            root: runtimes.root().to_owned(),
            channels: Channel::list(&prepared.channels, &revision, &spec),
            environment: prepared.environment.clone(),
            build: spec.build.clone(),
            system: system.clone(),
            likely: HashSet::new(),
            keep_contents: false,
            limits: farm::limits(&config),
        };
        match listing::list(request, args.json, &progress).await {
            Ok(summary) => add(&mut totals, &summary),
            Err(error) => {
                let of_revision = error.downcast_ref::<Failure>().is_some_and(Failure::is_of_revision);
                if !of_revision {
                    return Err(error);
                }
                exit = Exit::Input;
                progress.above(|| tell::error(&error.context(format!("{} for {system}", spec.name))));
            }
        }
    }
    drop(progress);
    if totals.errors > 0 {
        exit = Exit::Input;
    }
    summarize(&totals, exit, args.json)?;
    Ok(exit)
}

fn read(args: &Evaluate) -> anyhow::Result<Spec> {
    let file = load_file(&args.file);
    let name = file.path.display().to_string();
    match file.outcome {
        Ok(checked) => Ok(checked.spec),
        Err(faults) => Err(at_fault(render(&faults, &name, &file.source, false))),
    }
}

/// Sets the commits that were given.
fn pin(spec: &mut Spec, commits: &[String]) -> anyhow::Result<()> {
    for given in commits {
        let (name, commit) = match given.split_once('=') {
            Some((name, commit)) => (name.to_owned(), commit),
            None if spec.channels.len() == 1 => (spec.channels[0].name.clone(), given.as_str()),
            None => return Err(at_fault("there are several channels\nhint: write --commit NAME=COMMIT")),
        };
        if commit.len() != 40 || !commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(at_fault(format!("{commit} is not a full commit hash of 40 hexadecimal digits")));
        }
        let channel = spec.channels.iter_mut().find(|channel| channel.name == name);
        let channel = channel.ok_or_else(|| at_fault(format!("there is no channel {name}")))?;
        channel.commit = Some(commit.to_ascii_lowercase());
    }
    Ok(())
}

/// The files of each channel, and which commits they are of.
async fn check_out(
    spec: &Spec,
    config: &Config,
    progress: &Progress,
) -> anyhow::Result<(BTreeMap<String, PathBuf>, Revision)> {
    let (mirrors, checkouts) = (farm::mirrors(config), farm::checkouts(config));
    let mut directories = BTreeMap::new();
    let mut commits = Vec::new();
    for channel in &spec.channels {
        progress.now(format!("fetching channel {}", channel.name));
        let commit = if let Some(commit) = &channel.commit {
            commit.clone()
        } else {
            let tips = mirrors
                .look(&channel.url, &[&channel.branch])
                .await
                .map_err(|error| at_fault(error.to_string()))?;
            let missing = || at_fault(format!("{} has no branch {}", channel.url, channel.branch));
            tips.into_values().next().flatten().ok_or_else(missing)?
        };
        mirrors
            .fetch(&channel.url, &channel.branch, &commit)
            .await
            .map_err(|error| at_fault(error.to_string()))?;
        let directory = checkouts.checkout(&mirrors.path(&channel.url), &commit).await?;
        directories.insert(channel.name.clone(), directory);
        commits.push(ChannelCommit { name: channel.name.clone(), url: channel.url.clone(), commit });
    }
    Ok((directories, Revision::new(commits)))
}

fn add(totals: &mut Summary, summary: &Summary) {
    totals.units += summary.units;
    totals.jobs += summary.jobs;
    totals.errors += summary.errors;
    totals.broken_modules += summary.broken_modules;
    totals.guix_version.clone_from(&summary.guix_version);
    totals.load_ms += summary.load_ms;
    totals.warm_ms += summary.warm_ms;
    totals.total_ms += summary.total_ms;
    totals.cpu_ms += summary.cpu_ms;
    totals.peak_memory = totals.peak_memory.max(summary.peak_memory);
    totals.store_requests += summary.store_requests;
    totals.store_items += summary.store_items;
    totals.store_bytes += summary.store_bytes;
    totals.deaths += summary.deaths;
}

fn summarize(totals: &Summary, exit: Exit, json: bool) -> anyhow::Result<()> {
    if json {
        let mut object = serde_json::to_value(totals)?;
        object["type"] = "summary".into();
        object["complete"] = (exit == Exit::Done).into();
        return tell::json(&object);
    }
    let seconds = |milliseconds| Duration::from_millis(milliseconds).as_secs_f64();
    tell::note(&format!(
        "{} and {} in {:.1} s ({:.1} s of CPU, {} MiB at most)",
        tell::count(totals.jobs, "job", "jobs"),
        tell::count(totals.errors, "error", "errors"),
        seconds(totals.total_ms),
        seconds(totals.cpu_ms),
        totals.peak_memory >> 20
    ));
    Ok(())
}
