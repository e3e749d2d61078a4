//! `gorget verify`: whether the database is what it should be.

use crate::cli::{Exit, open_db, output};
use crate::config::Config;
use crate::view::verify::Finding;

/// Check the whole database
///
/// That is the intervals of jobs, the graph of derivations, builds and what they need, and each store item
/// against its name, which takes a while. Exit code 2 when something is wrong.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Verify {
    /// Write one JSON object for every finding
    #[arg(long)]
    json: bool,
}

pub(in crate::cli) async fn run(args: &Verify, config: Config) -> anyhow::Result<Exit> {
    let db = open_db::open(&config).await?;
    let findings = db.verify().await?;
    for finding in findings.iter().map(Finding::new) {
        if args.json {
            output::json(&finding)?;
        } else {
            output::line(&format!("{}: {}", finding.rule, finding.what))?;
        }
    }
    if findings.is_empty() {
        output::note("no faults found");
        return Ok(Exit::Done);
    }
    output::note(&format!(
        "{}\nhint: `gorget backup` before anything else; go back to an older backup, or evaluate anew with another --state",
        output::count(findings.len(), "fault found", "faults found")
    ));
    Ok(Exit::InternalError)
}
