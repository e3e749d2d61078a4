//! Whether a commit is authentic, as judged by Guix itself.
//!
//! A small script calls the procedure behind `guix git authenticate`, so we accept what `guix pull`
//! accepts. The script answers with a datum, so no decision depends on the text of messages: the
//! kind of the exception says whether a commit is bad or a key is missing. The script runs in the
//! sandbox on a *view* of the mirror: a repository without objects of its own, whose only branch is
//! the keyring's. So it need not write into the mirror.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::is_commit;
use crate::domain::spec::Introduction;
use crate::guix::sexp::Sexp;
use crate::sandbox::{Confined, Limits, find_guix};

/// The time limit. The first time, all commits since the introduction are checked: for Guix, some
/// hundred thousand.
const LIMIT: Duration = Duration::from_hours(2);
/// The memory limit, in bytes.
const MEMORY: u64 = 4 << 30;
/// How many authentic commits are remembered for each introduction. Guix remembers as many.
const REMEMBERED: usize = 200;
/// The longest explanation that is kept, in characters. The rest is cut off.
const LONGEST_REASON: usize = 2000;

/// Asks the installed Guix whether commits are authentic, and remembers those that are.
#[derive(Debug, Clone)]
pub struct Authenticator {
    root: PathBuf,
    memory: PathBuf,
}

/// The result of authenticating a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authenticity {
    /// The commit and all commits before it, back to the introduction, have signatures of
    /// authorized signers.
    Good {
        /// The signer of the commit: 40 upper-case hexadecimal digits.
        signer: String,
    },
    /// A needed key is missing, so the commit cannot be judged.
    Unknown {
        /// What is missing.
        reason: String,
    },
    /// The commit is not authentic by its introduction.
    Bad {
        /// What is wrong, and with which commit.
        reason: String,
    },
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum AuthenticationError {
    /// No `guix` program.
    #[error("there is no guix below {}, which commits are authenticated with\nhint: install Guix, or set the Guix root to a system that has it", .0.display())]
    NoGuix(PathBuf),
    /// The mirror lacks objects, or its objects cannot be read.
    #[error("the mirror {} cannot be read: {reason}", .mirror.display())]
    Damaged {
        /// The mirror.
        mirror: PathBuf,
        /// What Guix says.
        reason: String,
    },
    /// Guix gave no answer.
    #[error("authentication did not finish: {0}")]
    NoAnswer(String),
    /// Files.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl Authenticator {
    /// `root` is the system root that has Guix. Authentic commits are remembered in the directory
    /// `memory`, which is created when it is needed.
    pub fn new(root: impl Into<PathBuf>, memory: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), memory: memory.into() }
    }

    /// The signer of `commit`, if it is remembered as authentic.
    pub fn knows(&self, introduction: &Introduction, commit: &str) -> Option<String> {
        let known = self.remembered(introduction);
        known.into_iter().find_map(|(other, signer)| (other == commit).then_some(signer))
    }

    /// Judges `commit`. The bare repository at `mirror` must have it, with its history. `keyring`
    /// is a commit of the same repository that has the keys of signers as files.
    pub async fn judge(
        &self,
        mirror: &Path,
        introduction: &Introduction,
        keyring: &str,
        commit: &str,
    ) -> Result<Authenticity, AuthenticationError> {
        let known: Vec<String> = self.remembered(introduction).into_iter().map(|(known, _)| known).collect();
        let authenticity = self.ask(mirror, introduction, keyring, commit, &known).await?;
        if let Authenticity::Good { signer } = &authenticity {
            self.remember(introduction, commit, signer)?;
        }
        Ok(authenticity)
    }

    async fn ask(
        &self,
        mirror: &Path,
        introduction: &Introduction,
        keyring: &str,
        commit: &str,
        known: &[String],
    ) -> Result<Authenticity, AuthenticationError> {
        let root = fs_err::canonicalize(&self.root)?;
        let guix = find_guix(&root).ok_or_else(|| AuthenticationError::NoGuix(root.clone()))?;
        let work = view(keyring, commit)?;
        let script = work.path().join("authentic.scm");
        fs_err::write(&script, include_str!("authentic.scm"))?;
        let (inside, here) = ("/gorget/authentic.scm", "/gorget/view");
        let finished = Confined::new(root, guix, Limits::sandbox(MEMORY, LIMIT))
            .args(["repl", "--", inside, here, &introduction.commit, &introduction.signer, commit, KEYRING])
            .args(known)
            .readable(script, inside)
            .readable(work.path().join("view"), here)
            .readable(fs_err::canonicalize(mirror)?, MIRROR)
            .spawn()?
            .finish(LIMIT)
            .await?;
        let output = String::from_utf8_lossy(&finished.stdout);
        let answer = output.lines().last().filter(|_| finished.success());
        let answer = answer.and_then(|line| Sexp::read(line).ok());
        let words: Option<Vec<&str>> =
            answer.as_ref().and_then(Sexp::list).map(|words| words.iter().filter_map(word).collect());
        match words.as_deref() {
            Some(["good", signer]) => Ok(Authenticity::Good { signer: (*signer).to_owned() }),
            Some(["unknown", reason]) => Ok(Authenticity::Unknown { reason: presentable(reason) }),
            Some(["bad", reason]) => Ok(Authenticity::Bad { reason: presentable(reason) }),
            Some(["damaged", reason]) => {
                Err(AuthenticationError::Damaged { mirror: mirror.to_owned(), reason: presentable(reason) })
            }
            _ => Err(AuthenticationError::NoAnswer(presentable(&finished.reason()))),
        }
    }

    /// The commits that are authentic by an introduction, with their signers, the newest last.
    fn remembered(&self, introduction: &Introduction) -> Vec<(String, String)> {
        let text = fs_err::read_to_string(self.file(introduction)).unwrap_or_default();
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        let lines = lines.filter(|(commit, _)| is_commit(commit));
        lines.map(|(commit, signer)| (commit.to_owned(), signer.to_owned())).collect()
    }

    fn remember(&self, introduction: &Introduction, commit: &str, signer: &str) -> std::io::Result<()> {
        fs_err::create_dir_all(&self.memory)?;
        let mut all = self.remembered(introduction);
        all.push((commit.to_owned(), signer.to_owned()));
        let mut file = tempfile::NamedTempFile::new_in(&self.memory)?;
        for (commit, signer) in &all[all.len().saturating_sub(REMEMBERED)..] {
            writeln!(file, "{commit} {signer}")?;
        }
        file.persist(self.file(introduction)).map(drop).map_err(|error| error.error)
    }

    /// The file depends on the introduction only: whether a commit is authentic depends neither on
    /// where it was fetched from nor on who asks.
    fn file(&self, introduction: &Introduction) -> PathBuf {
        self.memory.join(format!("{}-{}", introduction.commit, introduction.signer))
    }
}

/// The name of the view's branch with the keys.
const KEYRING: &str = "keyring";
/// The path of the mirror inside the sandbox.
const MIRROR: &str = "/gorget/mirror";

/// Makes a directory with a repository `view`. It has the objects of [`MIRROR`], its HEAD is
/// `commit`, and its only branch is [`KEYRING`].
fn view(keyring: &str, commit: &str) -> std::io::Result<TempDir> {
    let work = tempfile::tempdir()?;
    let view = work.path().join("view");
    let files = [
        ("HEAD", format!("{commit}\n")),
        ("config", "[core]\n\trepositoryformatversion = 0\n\tbare = true\n".to_owned()),
        ("objects/info/alternates", format!("{MIRROR}/objects\n")),
        ("refs/heads/keyring", format!("{keyring}\n")),
    ];
    for (name, text) in files {
        let file = view.join(name);
        if let Some(directory) = file.parent() {
            fs_err::create_dir_all(directory)?;
        }
        fs_err::write(file, text)?;
    }
    Ok(work)
}

fn word(datum: &Sexp) -> Option<&str> {
    datum.symbol().or_else(|| datum.string())
}

/// Makes one line without control characters of `text`.
fn presentable(text: &str) -> String {
    let lines = text.lines().map(|line| line.replace(char::is_control, "").trim().to_owned());
    let lines: Vec<String> = lines.filter(|line| !line.is_empty()).collect();
    lines.join("; ").chars().take(LONGEST_REASON).collect()
}
