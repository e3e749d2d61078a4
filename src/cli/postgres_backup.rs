//! The backup of a `PostgreSQL` database before it is migrated.

use std::path::{Path, PathBuf};
use std::time::Duration;

use percent_encoding::percent_decode_str;
use reqwest::Url;

use super::user_error;
use crate::config::Config;
use crate::db::Db;
use crate::sandbox::{Limits, Tool};

/// The time limit of a dump.
const LIMIT: Duration = Duration::from_hours(12);
/// The environment variables that libpq reads.
const LIBPQ: [&str; 9] = [
    "PGDATABASE",
    "PGHOST",
    "PGPASSFILE",
    "PGPASSWORD",
    "PGPORT",
    "PGSSLMODE",
    "PGSSLROOTCERT",
    "PGSYSCONFDIR",
    "PGUSER",
];

/// If a database lacks migrations, makes `pg_dump` write it to `postgres.before-N` in the state
/// directory, and removes the dump of an earlier upgrade. N is the number of the first missing
/// migration. Does nothing if no migration is missing or the file exists.
pub(super) async fn back_up(config: &Config) -> anyhow::Result<()> {
    let location = config.database.as_str();
    let Some(next) = Db::lacks_migration(location).await? else { return Ok(()) };
    let dump = before(&config.state, &next.to_string());
    if dump.exists() {
        return Ok(());
    }
    fs_err::create_dir_all(&config.state)?;
    tracing::info!(file = %dump.display(), "backing up the database before it is migrated");
    let part = before(&config.state, "part");
    if let Err(reason) = dump_to(&part, location).await {
        let _ = fs_err::remove_file(&part);
        return Err(user_error(format!(
            "cannot back up the database before it is migrated: {reason}\n\
             hint: install the `pg_dump` of the server's version, or back up the database yourself and put the backup at {}",
            dump.display()
        )));
    }
    fs_err::File::open(&part)?.sync_all()?;
    fs_err::rename(&part, &dump)?;
    for old in (0..next).map(|version| before(&config.state, &version.to_string())).filter(|old| old.exists())
    {
        fs_err::remove_file(old)?;
    }
    Ok(())
}

fn before(state: &Path, migration: &str) -> PathBuf {
    state.join(format!("postgres.before-{migration}"))
}

async fn dump_to(file: &Path, location: &str) -> Result<(), String> {
    let (location, password) = without_password(location)?;
    let tool = Tool::new("pg_dump").args(["--format=custom", "--no-password", "--file"]).arg(file);
    let tool = tool.arg("--dbname").arg(location).limits(Limits { file_size: u64::MAX, ..Limits::tool() });
    let known = LIBPQ.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    let tool = known.fold(tool, |tool, (name, value)| tool.env(name, value));
    // Other users of this machine can read arguments, but not the environment.
    let tool = password.into_iter().fold(tool, |tool, password| tool.env("PGPASSWORD", password));
    let run = async { tool.spawn()?.finish(LIMIT).await };
    let finished = run.await.map_err(|error| format!("cannot run pg_dump: {error}"))?;
    if finished.success() { Ok(()) } else { Err(finished.reason()) }
}

/// The URL of a database without the password in it, and the password.
fn without_password(location: &str) -> Result<(String, Option<String>), String> {
    let mut url = Url::parse(location).map_err(|error| format!("cannot parse its URL: {error}"))?;
    let Some(password) = url.password() else { return Ok((location.to_owned(), None)) };
    let password = percent_decode_str(password).decode_utf8_lossy().into_owned();
    url.set_password(None).map_err(|()| "cannot parse its URL".to_owned())?;
    Ok((url.into(), Some(password)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_no_argument() {
        let split = |url| without_password(url).unwrap();
        assert_eq!(
            split("postgres://me:a%40b@host:5/farm?sslmode=require"),
            ("postgres://me@host:5/farm?sslmode=require".to_owned(), Some("a@b".to_owned()))
        );
        let socket = "postgres:///farm?host=/run/postgresql&user=gorget";
        assert_eq!(split(socket), (socket.to_owned(), None));
    }
}
