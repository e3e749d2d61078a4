//! `gorget look`: branches are looked at now.

use super::{Exit, at_fault, browse, tell};
use crate::clock::Clock;
use crate::config::Config;
use crate::db::{Branch, StoredSpec};

/// Has a running farm look at branches now, whatever their period
///
/// This is for people who wait, and for hooks of repositories. However often it is asked for, ten seconds
/// lie between two looks at a branch.
#[derive(Debug, clap::Args)]
pub(super) struct Look {
    /// Name of a spec; without one, all branches
    spec: Option<String>,
}

pub(super) async fn run(args: &Look, config: Config) -> anyhow::Result<Exit> {
    let db = browse::open(&config).await?;
    let specs = db.specs().await?;
    let spec = match &args.spec {
        None => None,
        Some(name) => Some(named(&specs, name)?),
    };
    let wanted = |branch: &&Branch| spec.is_none_or(|spec| watches(spec, branch));
    let branches = db.branches().await?;
    let branches: Vec<_> = branches.iter().filter(wanted).map(|branch| branch.id).collect();
    db.ask_for_looks(&branches, Clock::System.now()).await?;
    let count = tell::count(branches.len(), "branch is", "branches are");
    tell::note(&format!("{count} looked at as soon as `gorget run` runs"));
    Ok(Exit::Done)
}

fn named<'a>(specs: &'a [StoredSpec], name: &str) -> anyhow::Result<&'a StoredSpec> {
    let named = specs.iter().find(|stored| stored.spec.name == name);
    named.ok_or_else(|| at_fault(format!("there is no spec {name}\nhint: `gorget status` lists them")))
}

/// Whether a branch is one that a spec names.
fn watches(stored: &StoredSpec, branch: &Branch) -> bool {
    let channels = &stored.spec.channels;
    channels.iter().any(|channel| (&channel.url, &channel.branch) == (&branch.url, &branch.name))
}
