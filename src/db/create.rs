use std::io::{self, ErrorKind};
use std::path::Path;

use sqlx::ConnectOptions as _;
use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnectOptions;

use tempfile::TempPath;

use super::{Error, Result, migrate};

/// Makes the file of an `SQLite` database if there is none.
///
/// It gets its tables under another name, and its own name when it is complete and on the disk. So an empty file is
/// never one that we have just begun with: what was in it is lost, and that is not for us to cover up.
pub(super) async fn if_missing(options: &SqliteConnectOptions) -> Result<()> {
    let file = options.get_filename();
    match fs_err::metadata(file) {
        Ok(found) if found.len() == 0 => return Err(Error::Empty(file.display().to_string())),
        Ok(_) => return Ok(()),
        // Whatever else is wrong is said when it is opened.
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
        // Somebody else was faster.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        placed => placed.map_err(|error| failed(error.into())),
    }
}

/// Its log was written into it when it was closed.
fn put_in_place(new: TempPath, file: &Path, directory: &Path) -> io::Result<()> {
    fs_err::File::open(&new)?.sync_all()?;
    new.persist_noclobber(file).map_err(|error| error.error)?;
    fs_err::File::open(directory)?.sync_all()
}
