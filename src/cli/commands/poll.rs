//! `gorget poll`: branches are polled now.

use crate::cli::{Exit, open_db, output, user_error};
use crate::clock::Clock;
use crate::config::Config;
use crate::db::{Branch, StoredSpec};

/// Poll branches now, whatever their period
///
/// This is for people who wait, and for hooks of repositories. Two polls of a branch are at least ten
/// seconds apart, however often they are requested.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Poll {
    /// Name of a spec; without one, all branches
    spec: Option<String>,
}

pub(in crate::cli) async fn run(args: &Poll, config: Config) -> anyhow::Result<Exit> {
    let db = open_db::open(&config).await?;
    let specs = db.specs().await?;
    let spec = match &args.spec {
        None => None,
        Some(name) => Some(named(&specs, name)?),
    };
    let wanted = |branch: &&Branch| spec.is_none_or(|spec| watches(spec, branch));
    let branches = db.branches().await?;
    let branches: Vec<_> = branches.iter().filter(wanted).map(|branch| branch.id).collect();
    db.request_polls(&branches, Clock::System.now()).await?;
    let count = output::count(branches.len(), "branch is", "branches are");
    output::note(&format!("{count} polled as soon as `gorget run` runs"));
    Ok(Exit::Done)
}

fn named<'a>(specs: &'a [StoredSpec], name: &str) -> anyhow::Result<&'a StoredSpec> {
    let named = specs.iter().find(|stored| stored.spec.name == name);
    named.ok_or_else(|| user_error(format!("there is no spec {name}\nhint: `gorget status` lists them")))
}

/// Whether a branch is one that a spec names.
fn watches(stored: &StoredSpec, branch: &Branch) -> bool {
    let channels = &stored.spec.channels;
    channels.iter().any(|channel| (&channel.url, &channel.branch) == (&branch.url, &branch.name))
}
