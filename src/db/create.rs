use std::io::{self, ErrorKind};
use std::path::Path;

use sqlx::ConnectOptions as _;
use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnectOptions;

use tempfile::TempPath;

use super::{Error, Result, migrate};

/// Creates the file of an `SQLite` database if it is missing.
///
/// The file is filled under another name. It gets its own name when its tables are complete and on
/// the disk. So an empty file is never one that was just begun: its contents were lost, and hiding
/// that would be wrong.
pub(super) async fn if_missing(options: &SqliteConnectOptions) -> Result<()> {
    let file = options.get_filename();
    match fs_err::metadata(file) {
        Ok(found) if found.len() == 0 => return Err(Error::Empty(file.display().to_string())),
        Ok(_) => return Ok(()),
        // Opening the database reports any other error.
        Err(error) if error.kind() != ErrorKind::NotFound => return Ok(()),
        Err(_) => {}
    }
    let location = file.display().to_string();
    // SQLite would take it for the log of the new file.
    let log = Path::new(&format!("{location}-wal")).to_owned();
    if fs_err::metadata(log).is_ok_and(|found| found.len() > 0) {
        return Err(Error::Gone(location));
    }
    let failed = |error| Error::Open { location: location.clone(), error };
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let new = tempfile::Builder::new().prefix("gorget-new-").suffix(".db").tempfile_in(directory);
    let new = new.map_err(|error| failed(error.into()))?.into_temp_path();
    let options = options.clone().filename(&new);
    options.connect().await.map_err(failed)?.close().await.map_err(failed)?;
    migrate::sqlite(&options).await.map_err(|error| migrate::failed(&location, error))?;
    match put_in_place(new, file, directory) {
        // Another process created it first.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        placed => placed.map_err(|error| failed(error.into())),
    }
}

/// Moves the new file into place. Its log was merged into it when it was closed.
fn put_in_place(new: TempPath, file: &Path, directory: &Path) -> io::Result<()> {
    fs_err::File::open(&new)?.sync_all()?;
    new.persist_noclobber(file).map_err(|error| error.error)?;
    fs_err::File::open(directory)?.sync_all()
}
