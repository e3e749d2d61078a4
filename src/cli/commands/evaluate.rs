//! `gorget evaluate`: one spec, now, without a database.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use crate::cli::progress::Progress;
use crate::cli::{Exit, farm, listing, output, user_error};
use crate::config::Config;
use crate::domain::revision::{ChannelCommit, Origin, Revision};
use crate::domain::spec::{Channel, Spec, System, load_file, render};
use crate::evaluator::runtime::{Prepared, Runtimes, Source};
use crate::evaluator::{self, EvaluatorProcess, Failure, Request, Summary, Target};
use crate::git::{Checkout, Resolver, Tips, checkout_channel, missing_branch};
use crate::view::listing as view;

/// How often it is shown how far compiling is.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

/// Evaluate one spec file now and list its jobs
///
/// Nothing is recorded or queued, and no farm is needed.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Evaluate {
    /// The spec file
    #[arg(value_name = "SPEC-FILE")]
    file: PathBuf,
    /// Evaluate this commit instead of the branch's tip; with several channels, NAME=COMMIT
    #[arg(long, value_name = "COMMIT")]
    commit: Vec<String>,
    /// Evaluate for this system instead of the spec's
    #[arg(long)]
    system: Vec<String>,
    /// Write JSON, an object a line: `job`, `error`, `warning`, and `summary` last
    #[arg(long)]
    json: bool,
}

pub(in crate::cli) async fn run(args: &Evaluate, config: Config) -> anyhow::Result<Exit> {
    let mut spec = read(args)?;
    pin(&mut spec, &args.commit)?;
    if !args.system.is_empty() {
        let known =
            |name: &String| System::new(name).ok_or_else(|| user_error(format!("unknown system {name}")));
        spec.systems = args.system.iter().map(known).collect::<anyhow::Result<_>>()?;
    }
    let progress = Progress::begin(format!("fetching {}", spec.name));
    let (channels, _checkouts, revision) = check_out(&spec, &config, &progress).await?;
    progress.now("preparing Guix".to_owned());
    let runtimes = farm::runtimes(&config);
    let prepared = prepare(&runtimes, &spec, &channels, &progress).await?;
    let request = Request {
        root: runtimes.root().to_owned(),
        channels: evaluator::Channel::list(&prepared.channels, &revision),
        environment: prepared.environment,
        build: spec.build.clone(),
        keep_contents: false,
        limits: farm::limits(&config),
        daemon: spec.build.builds_while_evaluating.then(|| farm::daemon(&config)),
    };
    let mut warm = EvaluatorProcess::new(request);
    let (mut exit, totals) = list_all(&mut warm, &spec, args.json, &progress).await?;
    drop(progress);
    if totals.errors > 0 {
        exit = Exit::InputError;
    }
    summarize(&totals, exit, args.json)?;
    Ok(exit)
}

/// Prepares the Guix that evaluates, and shows how many modules are compiled.
async fn prepare(
    runtimes: &Runtimes,
    spec: &Spec,
    channels: &[Source],
    progress: &Progress,
) -> anyhow::Result<Prepared> {
    let preparing = runtimes.prepare(&spec.name, spec.runtime, &spec.build, channels);
    tokio::pin!(preparing);
    loop {
        tokio::select! {
            prepared = &mut preparing => return Ok(prepared?),
            () = tokio::time::sleep(PROGRESS_INTERVAL) => {
                if let Some((done, total)) = runtimes.progress().counts() {
                    progress.now(format!("preparing Guix: {done} of {total} modules compiled"));
                }
            }
        }
    }
}

/// Evaluates for each system of the spec. A system whose evaluation fails leaves the others as they are.
async fn list_all(
    warm: &mut EvaluatorProcess,
    spec: &Spec,
    json: bool,
    progress: &Progress,
) -> anyhow::Result<(Exit, Summary)> {
    let (mut exit, mut totals) = (Exit::Done, Summary::default());
    for system in &spec.systems {
        progress.now(format!("evaluating {} for {system}", spec.name));
        let wanted = Target { system: system.clone(), likely: HashSet::new() };
        match listing::list(warm, wanted, json, progress).await {
            Ok(summary) => add(&mut totals, &summary),
            Err(error) => {
                let of_revision = error.downcast_ref::<Failure>().is_some_and(Failure::is_of_revision);
                if !of_revision {
                    return Err(error);
                }
                exit = Exit::InputError;
                progress.above(|| output::error(&error.context(format!("{} for {system}", spec.name))));
            }
        }
    }
    Ok((exit, totals))
}

fn read(args: &Evaluate) -> anyhow::Result<Spec> {
    let file = load_file(&args.file);
    let name = file.path.display().to_string();
    match file.outcome {
        Ok(checked) => Ok(checked.spec),
        Err(faults) => Err(user_error(render(&faults, &name, &file.source, false))),
    }
}

/// Sets the commits that were given.
fn pin(spec: &mut Spec, commits: &[String]) -> anyhow::Result<()> {
    for given in commits {
        let (name, commit) = match given.split_once('=') {
            Some((name, commit)) => (name.to_owned(), commit),
            None if spec.channels.len() == 1 => (spec.channels[0].name.clone(), given.as_str()),
            None => return Err(user_error("there are several channels\nhint: write --commit NAME=COMMIT")),
        };
        if commit.len() != 40 || !commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(user_error(format!("{commit} is not a full commit hash of 40 hexadecimal digits")));
        }
        let channel = spec.channels.iter_mut().find(|channel| channel.name == name);
        let channel = channel.ok_or_else(|| user_error(format!("there is no channel {name}")))?;
        channel.commit = Some(commit.to_ascii_lowercase());
    }
    Ok(())
}

/// The files of the spec's channels, and of those that they need, all of them authenticated if they
/// have an introduction.
async fn check_out(
    spec: &Spec,
    config: &Config,
    progress: &Progress,
) -> anyhow::Result<(Vec<Source>, Vec<Checkout>, Revision)> {
    if spec.is_template() {
        return Err(user_error("this spec has a pattern as branch\nhint: give a branch"));
    }
    let resolver = farm::resolver(config);
    let mut named = Vec::new();
    for channel in &spec.channels {
        named.push(at_commit(channel, &resolver).await?);
    }
    progress.now(format!("fetching and authenticating the channels of {}", spec.name));
    let mut search = resolver.search(&named);
    let revision = resolver.resolve(named, &Tips::new(), &mut search).await;
    let revision = revision.map_err(|obstacle| user_error(obstacle.to_string()))?;
    revision.warnings().for_each(|warning| output::note(&format!("warning: {warning}")));
    let (mut sources, mut checkouts) = (Vec::new(), Vec::new());
    for channel in revision.channels() {
        let mirrors = resolver.mirrors.of(revision.channels(), channel);
        let checkout = checkout_channel(&mirrors, &farm::checkouts(config), channel).await?;
        sources.push(Source::new(channel, &checkout));
        checkouts.push(checkout);
    }
    Ok((sources, checkouts, revision))
}

/// The channel at its commit, else at the tip of its branch.
async fn at_commit(channel: &Channel, resolver: &Resolver) -> anyhow::Result<ChannelCommit> {
    let Channel { name, url, branch, introduction, .. } = channel;
    let commit = if let Some(commit) = &channel.commit {
        commit.clone()
    } else {
        let looked = resolver.mirrors.tips(url, &[branch]).await;
        let found = looked.map_err(|error| user_error(error.to_string()))?;
        let missing = || user_error(missing_branch(url, branch, found.default.as_deref()));
        found.tip().cloned().ok_or_else(missing)?
    };
    let origin = Origin {
        branch: branch.clone(),
        pinned: channel.commit.is_some(),
        introduction: introduction.clone(),
        ..Origin::default()
    };
    Ok(ChannelCommit { origin, ..ChannelCommit::new(name, url, commit) })
}

fn add(totals: &mut Summary, summary: &Summary) {
    totals.units += summary.units;
    totals.jobs += summary.jobs;
    totals.errors += summary.errors;
    totals.broken_modules += summary.broken_modules;
    totals.warnings += summary.warnings;
    totals.guix_version.clone_from(&summary.guix_version);
    totals.faster_derivations = summary.faster_derivations;
    totals.load_ms = totals.load_ms.or(summary.load_ms);
    totals.enumerate_ms += summary.enumerate_ms;
    totals.warm_ms += summary.warm_ms;
    totals.lower_ms += summary.lower_ms;
    totals.total_ms += summary.total_ms;
    totals.cpu_ms += summary.cpu_ms;
    totals.peak_memory = totals.peak_memory.max(summary.peak_memory);
    totals.requests += summary.requests;
    totals.store_cpu_ms += summary.store_cpu_ms;
    totals.store_items += summary.store_items;
    totals.store_bytes += summary.store_bytes;
    totals.forked += summary.forked;
    totals.most_workers = totals.most_workers.max(summary.most_workers);
    totals.retired += summary.retired;
    totals.deaths += summary.deaths;
}

fn summarize(totals: &Summary, exit: Exit, json: bool) -> anyhow::Result<()> {
    if json {
        let complete = exit == Exit::Done;
        return output::json(&view::Summary { complete, figures: totals, kind: "summary" });
    }
    let seconds = |milliseconds| Duration::from_millis(milliseconds).as_secs_f64();
    output::note(&format!(
        "{}, {} and {} in {:.1} s ({:.1} s of CPU, {} MiB at most)",
        output::count(totals.jobs, "job", "jobs"),
        output::count(totals.errors, "error", "errors"),
        output::count(totals.warnings, "warning", "warnings"),
        seconds(totals.total_ms),
        seconds(totals.cpu_ms),
        totals.peak_memory >> 20
    ));
    Ok(())
}
