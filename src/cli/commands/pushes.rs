//! `gorget pushes`: where branches went.

use crate::cli::{Exit, open_db, output, user_error};
use crate::config::Config;
use crate::db::{self, StoredSpec};
use crate::view::push::Push;

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
    let db = open_db::for_report(&config).await?;
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
    let pushes: Vec<Push<'_>> = pushes.iter().map(Push::new).collect();
    if args.json {
        pushes.iter().try_for_each(output::json)?;
        return Ok(Exit::Done);
    }
    let rows = pushes.iter().map(|push| {
        vec![
            push.id.to_string(),
            push.seen.clone(),
            push.branch.to_owned(),
            push.kind.to_owned(),
            short(push.before),
            short(push.after),
            if push.acknowledged_at.is_some() { "acknowledged" } else { "" }.to_owned(),
            push.url.to_owned(),
        ]
    });
    output::table(&["NO.", "SEEN", "BRANCH", "PUSH", "FROM", "TO", "", "REPOSITORY"], rows.collect())?;
    Ok(Exit::Done)
}

fn is_of(push: &db::Push, stored: &StoredSpec) -> bool {
    stored.spec.channels.iter().any(|channel| (&channel.url, &channel.branch) == (&push.url, &push.branch))
}

fn short(commit: Option<&str>) -> String {
    commit.map_or("-".to_owned(), |commit| commit.chars().take(10).collect())
}
