//! `gorget backup`: the farm's database in one file.

use std::path::{Path, PathBuf};

use crate::cli::{Exit, open_db, output, user_error};
use crate::config::Config;

/// Copy the database into a new file while the farm runs
///
/// To restore it, stop the farm and replace `gorget.db` by the file. Signing key and
/// configuration are not in it; mirrors and checkouts need no copy.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Backup {
    /// The file, which must not exist
    file: PathBuf,
}

pub(in crate::cli) async fn run(args: &Backup, config: Config) -> anyhow::Result<Exit> {
    let db = open_db::open(&config).await?;
    let file = std::path::absolute(&args.file)?;
    if file.exists() {
        return Err(user_error(format!("{} exists already\nhint: choose another name", file.display())));
    }
    // An incomplete copy must not be mistaken for a complete one.
    let mut name = file.clone().into_os_string();
    name.push(".part");
    let part = PathBuf::from(name);
    if part.exists() {
        fs_err::remove_file(&part)?;
    }
    let text = part.to_str().ok_or_else(|| user_error("the name of the file is not UTF-8"))?;
    if !db.backup(text).await? {
        return Err(user_error(format!(
            "the database is in PostgreSQL\nhint: pg_dump --format=custom --file={} makes a consistent copy while the farm runs",
            file.display()
        )));
    }
    let directory = file.parent().unwrap_or(Path::new("/"));
    fs_err::File::open(&part)?.sync_all()?;
    fs_err::rename(&part, &file)?;
    fs_err::File::open(directory)?.sync_all()?;
    let size = fs_err::metadata(&file)?.len() / 1_000_000;
    output::note(&format!("{size} MB in {}", file.display()));
    Ok(Exit::Done)
}
