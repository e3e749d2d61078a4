//! `gorget audit`: what people changed.

use crate::cli::{Exit, open_db, output};
use crate::clock::readable;
use crate::config::Config;
use crate::view::access::AuditEntry;

/// List what people changed, from the command line, pages or the API; the newest first
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Audit {
    /// At most so many entries
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..))]
    limit: i64,
    /// Write one JSON object for every entry
    #[arg(long)]
    json: bool,
}

pub(in crate::cli) async fn run(args: &Audit, config: Config) -> anyhow::Result<Exit> {
    let db = open_db::open(&config).await?;
    let rows = db.audit(None, args.limit).await?;
    let entries: Vec<AuditEntry<'_>> = rows.iter().map(AuditEntry::new).collect();
    if args.json {
        entries.iter().try_for_each(output::json)?;
        return Ok(Exit::Done);
    }
    let lines = entries.iter().map(|entry| {
        vec![
            readable(entry.at),
            entry.author.to_owned(),
            entry.origin.to_owned(),
            entry.action.to_owned(),
            entry.subject.to_owned(),
        ]
    });
    output::table(&["TIME", "AUTHOR", "FROM", "ACTION", "SUBJECT"], lines.collect())?;
    Ok(Exit::Done)
}
