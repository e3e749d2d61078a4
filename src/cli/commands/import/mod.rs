//! `gorget import`: spec files from the specifications of another program.
//!
//! A file of Scheme is read as data and never evaluated: lists, quotes, definitions and whole
//! numbers are understood. A specification that is computed in another way is an error, with its
//! place.

mod expression;
mod jobset;
mod remote;
mod scheme;

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::cli::{Exit, output, user_error};
use crate::domain::spec::{parse, render, sanitize};
use jobset::Jobset;

/// The largest file or answer that is read, in bytes.
const LARGEST: usize = 4 << 20;

/// Make spec files from the specifications of another program
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Import {
    #[command(subcommand)]
    from: From,
}

#[derive(Debug, clap::Subcommand)]
enum From {
    /// Makes spec files from a specification file of Cuirass, or from a running Cuirass
    ///
    /// A file is read as data: nothing in it is evaluated. Comments in the spec files say what has no
    /// counterpart. No file is overwritten.
    Cuirass {
        /// A file that `cuirass register -S` takes, or the URL of a Cuirass
        #[arg(value_name = "FILE|URL")]
        source: String,
        /// The directory to write the spec files to
        #[arg(default_value = ".")]
        directory: PathBuf,
    },
}

/// A specification, or why it cannot be imported.
type Found = Result<Jobset, String>;

pub(in crate::cli) async fn run(args: &Import) -> anyhow::Result<Exit> {
    let From::Cuirass { source, directory } = &args.from;
    let found = if source.starts_with("http://") || source.starts_with("https://") {
        remote::jobsets(source).await?
    } else {
        from_file(Path::new(source))?
    };
    if found.is_empty() {
        return Err(user_error(format!("{} has no specification", sanitize(&remote::shown(source)))));
    }
    fs_err::create_dir_all(directory)?;
    let mut all_good = true;
    for jobset in found {
        match jobset.and_then(|jobset| write(&jobset, directory)) {
            Ok(line) => output::line(&line)?,
            Err(reason) => {
                all_good = false;
                output::note(&format!("error: {reason}"));
            }
        }
    }
    Ok(if all_good { Exit::Done } else { Exit::InputError })
}

fn from_file(path: &Path) -> anyhow::Result<Vec<Found>> {
    let mut bytes = Vec::new();
    fs_err::File::open(path)?.take(LARGEST as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > LARGEST {
        return Err(user_error(format!("{} is larger than {LARGEST} bytes", path.display())));
    }
    let text = String::from_utf8(bytes)
        .map_err(|error| user_error(format!("{} is no text: {error}", path.display())))?;
    scheme::jobsets(&text, &path.display().to_string()).map_err(user_error)
}

/// Writes the spec file of a jobset, after checking it. Returns what was done.
fn write(jobset: &Jobset, directory: &Path) -> Result<String, String> {
    let (text, complete) = (jobset.spec_file(), jobset.complete_spec_file());
    let path = directory.join(format!("{}.toml", jobset.name));
    let name = path.display().to_string();
    if let Err(faults) = parse(&complete, &jobset.name) {
        return Err(format!(
            "{} cannot be imported:\n{}",
            jobset.place,
            render(&faults, &name, &complete, false)
        ));
    }
    let written = fs_err::OpenOptions::new().write(true).create_new(true).open(&path);
    let written = written.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| format!("{error}\nhint: no file is overwritten; choose another directory"))?;
    let notes = output::count(jobset.notes.len(), "note", "notes");
    Ok(format!("{}: {notes}", sanitize(&name)))
}

/// The text of an answer, which has a limit.
async fn fetched(url: &str, shown: &str) -> anyhow::Result<Vec<u8>> {
    let mut answer = remote::client()?.get(url).send().await.and_then(reqwest::Response::error_for_status)?;
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        bytes.extend_from_slice(&chunk);
        anyhow::ensure!(
            bytes.len() <= LARGEST,
            "the answer of {} is larger than {LARGEST} bytes",
            sanitize(shown)
        );
    }
    Ok(bytes)
}

/// Reads JSON, with the URL in the error.
fn json<T: serde::de::DeserializeOwned>(bytes: &[u8], url: &str) -> anyhow::Result<T> {
    serde_json::from_slice(bytes).with_context(|| format!("cannot read the answer of {}", sanitize(url)))
}
