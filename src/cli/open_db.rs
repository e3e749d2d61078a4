//! Opens the database for commands.

use std::path::Path;

use super::{postgres_backup, user_error};
use crate::config::Config;
use crate::db::Db;

/// Opens the farm's database, which must exist.
pub(super) async fn open(config: &Config) -> anyhow::Result<Db> {
    let location = config.database.as_str();
    if !location.contains("://") && !Path::new(location).exists() {
        return Err(user_error(format!(
            "there is no farm at {}\nhint: start one with `gorget run`, or say where it is with --state DIR",
            config.state.display()
        )));
    }
    postgres_backup::back_up(config).await?;
    Ok(Db::open(location).await?)
}

/// Opens a snapshot of the farm's database, for a report that only reads.
pub(super) async fn for_report(config: &Config) -> anyhow::Result<Db> {
    Ok(open(config).await?.snapshot_view().await?)
}
