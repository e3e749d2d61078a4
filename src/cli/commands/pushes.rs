//! `gorget pushes`: where branches went.

use serde_json::json;

use crate::cli::{Exit, open_db, output, user_error};
use crate::clock::readable;
use crate::config::Config;
use crate::db::{Push, PushKind, StoredSpec};

/// List pushes, the newest first
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Pushes {
    /// Only those to branches that this spec names
    #[arg(value_name = "SPEC")]
    spec: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..))]
    limit: i64,
    /// Write one JSON object for every push
    #[arg(long)]
    json: bool,
}

pub(in crate::cli) async fn run(args: &Pushes, config: Config) -> anyhow::Result<Exit> {
    let db = open_db::open(&config).await?;
    let pushes = match &args.spec {
        None => db.all_pushes(args.limit).await?,
        Some(name) => {
            let specs = db.specs().await?;
            let spec = specs.iter().find(|stored| stored.spec.name == *name);
            let spec = spec.ok_or_else(|| user_error(format!("there is no spec {name}")))?;
            let all = db.all_pushes(i64::MAX).await?.into_iter();
            let limit = usize::try_from(args.limit)?;
            all.filter(|push| is_of(push, spec)).take(limit).collect()
        }
    };
    if args.json {
        pushes.iter().try_for_each(|push| output::json(&object(push)))?;
        return Ok(Exit::Done);
    }
    let rows = pushes.iter().map(|push| {
        vec![
            push.id.to_string(),
            readable(push.seen_at),
            push.branch.clone(),
            word(push.kind).to_owned(),
            short(push.before.as_deref()),
            short(push.after.as_deref()),
            if push.acknowledged_at.is_some() { "acknowledged" } else { "" }.to_owned(),
            push.url.clone(),
        ]
    });
    output::table(&["NO.", "SEEN", "BRANCH", "PUSH", "FROM", "TO", "", "REPOSITORY"], rows.collect())?;
    Ok(Exit::Done)
}

fn is_of(push: &Push, stored: &StoredSpec) -> bool {
    stored.spec.channels.iter().any(|channel| (&channel.url, &channel.branch) == (&push.url, &push.branch))
}

fn short(commit: Option<&str>) -> String {
    commit.map_or("-".to_owned(), |commit| commit.chars().take(10).collect())
}

/// The word for what a push did.
fn word(kind: Option<PushKind>) -> &'static str {
    match kind {
        Some(PushKind::Created) => "created",
        Some(PushKind::Forward) => "forward",
        Some(PushKind::Forced) => "force-pushed",
        Some(PushKind::Deleted) => "deleted",
        Some(PushKind::Returned) => "returned",
        None => "moved",
    }
}

fn object(push: &Push) -> serde_json::Value {
    json!({
        "id": push.id.0, "url": push.url, "branch": push.branch, "before": push.before, "after": push.after,
        "kind": word(push.kind), "seen_at": push.seen_at, "seen": readable(push.seen_at),
        "acknowledged_at": push.acknowledged_at,
    })
}
