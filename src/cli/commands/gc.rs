//! `gorget gc`: forgets what specs do not keep, and removes what nothing needs any more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::cli::{Exit, open_db, output};
use crate::clock::{Clock, readable};
use crate::config::Config;
use crate::db::{self, Db, Sweeper};
use crate::view::gc::{Retained, Swept};

/// How often it is asked whether evaluations still run.
const PERIOD: Duration = Duration::from_secs(2);

/// Remove evaluations that no spec keeps, and what nothing needs any more
///
/// Store items are removed only while no evaluation runs, and none begins meanwhile.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(in crate::cli) struct Gc {
    /// Only say what would be done, and why the rest is kept
    #[arg(long)]
    dry_run: bool,
    /// Wait for evaluations that run, and let none begin until all is done
    #[arg(long, conflicts_with = "dry_run")]
    wait: bool,
    /// Give the space back to the machine afterwards; SQLite lets nobody write meanwhile
    #[arg(long, conflicts_with = "dry_run")]
    vacuum: bool,
    /// Write one JSON object for every evaluation, and one for what is removed
    #[arg(long)]
    json: bool,
}

pub(in crate::cli) async fn run(args: &Gc, config: Config) -> anyhow::Result<Exit> {
    let db = open_db::open(&config).await?;
    let mut retained = db.retained().await?;
    if !args.dry_run {
        let mut forgotten = BTreeSet::new();
        for evaluation in retained.iter().filter(|evaluation| evaluation.reason.is_none()) {
            if db.forget_evaluation(evaluation.id).await? {
                forgotten.insert(evaluation.id);
            }
        }
        // An evaluation that has become needed meanwhile stays.
        retained.retain(|evaluation| evaluation.reason.is_some() || forgotten.contains(&evaluation.id));
    }
    show_evaluations(args, retained.iter().map(Retained::new))?;
    if let Some(swept) = sweep(args, &db, &retained).await? {
        show_swept(args, &Swept::new(&swept))?;
    }
    if args.vacuum {
        db.vacuum().await?;
    }
    Ok(Exit::Done)
}

/// Removes, or counts; `None` when an evaluation runs and nobody wants to wait.
async fn sweep(args: &Gc, db: &Db, retained: &[db::Retained]) -> anyhow::Result<Option<db::Swept>> {
    if args.dry_run {
        let gone = retained.iter().filter(|evaluation| evaluation.reason.is_none()).map(|e| e.id).collect();
        return Ok(Some(Sweeper::counting(db, Clock::System, gone).sweep().await?));
    }
    let name = format!("{} {}", std::process::id(), Clock::System.now());
    let Some(mut sweeper) = Sweeper::begin(db, Clock::System, name).await? else {
        output::note("another `gorget gc` removes store items already");
        return Ok(None);
    };
    let mut running = sweeper.must_wait().await?;
    while args.wait && running {
        tokio::time::sleep(PERIOD).await;
        running = sweeper.must_wait().await?;
    }
    let swept = if running { None } else { Some(sweeper.sweep().await) };
    sweeper.end().await?;
    if swept.is_none() {
        output::note(
            "no store item was removed, because an evaluation runs\nhint: --wait waits for it, and lets no other begin",
        );
    }
    Ok(swept.transpose()?)
}

fn show_evaluations<'a>(args: &Gc, retained: impl Iterator<Item = Retained<'a>>) -> anyhow::Result<()> {
    let word = if args.dry_run { "would forget" } else { "forgot" };
    let mut kept: BTreeMap<(&str, &str), BTreeMap<&str, usize>> = BTreeMap::new();
    for retained in retained {
        let Retained { at, evaluation, kept: reason, spec, system } = retained;
        if args.json {
            output::json(&retained)?;
        } else if let Some(reason) = reason {
            *kept.entry((spec, system)).or_default().entry(reason).or_default() += 1;
        } else {
            output::line(&format!(
                "{word} evaluation {evaluation} of {spec} for {system}, {}",
                readable(at)
            ))?;
        }
    }
    for ((spec, system), reasons) in kept {
        let reasons: Vec<String> =
            reasons.iter().map(|(reason, count)| format!("{count} ({reason})")).collect();
        output::line(&format!("of {spec} for {system} stay {}", reasons.join(", ")))?;
    }
    Ok(())
}

fn show_swept(args: &Gc, swept: &Swept) -> anyhow::Result<()> {
    if args.json {
        return output::json(swept);
    }
    let Swept { bytes, derivations, items } = swept;
    let word = if args.dry_run { "would remove about" } else { "removed" };
    let megabytes = bytes / 1_000_000;
    output::line(&format!("{word} {derivations} derivations and {items} store items, {megabytes} MB"))?;
    Ok(())
}
