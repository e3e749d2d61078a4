//! `gorget db`: what concerns the database itself.

use std::path::Path;

use crate::cli::{Exit, output, user_error};
use crate::db::{Db, Error};

/// Copy the database into another one
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Database {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Copies all rows from SQLite to PostgreSQL, or back; stop the farm first
    Copy {
        /// The database to copy: the path of an SQLite file, or `postgres://USER@HOST/NAME`
        from: String,
        /// An empty one of the other kind
        to: String,
    },
}

pub(in crate::cli) async fn run(args: &Database) -> anyhow::Result<Exit> {
    let Action::Copy { from, to } = &args.action;
    let is_file = !from.contains("://") && !from.starts_with("sqlite:");
    if is_file && !Path::new(from).exists() {
        return Err(user_error(format!(
            "there is no database {from}\nhint: a farm's is `gorget.db` in its state directory"
        )));
    }
    let (source, target) = (Db::open(from).await?, Db::open(to).await?);
    let copied = source.copy(&target, |table, rows| output::note(&format!("{rows:>10} {table}"))).await;
    source.close().await;
    target.close().await;
    match copied {
        Err(error @ (Error::NotEmpty(_) | Error::SameKind)) => Err(user_error(error.to_string())),
        copied => {
            copied?;
            output::note("all tables copied; set `database = \"…\"` in gorget.toml to use the copy");
            Ok(Exit::Done)
        }
    }
}
