//! Whether a commit is authentic, in the judgement of Guix itself.
//!
//! A small script calls the procedure behind `guix git authenticate`, so what is accepted is what
//! `guix pull` accepts. The script's answer is a datum, so nothing is decided by reading messages:
//! the kind of the exception says whether a commit is bad or a key is missing. It runs in the
//! sandbox on a *view* of the mirror: a repository without objects of its own, in which the only
//! branch is the keyring's. So it need not write into the mirror.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::is_commit;
use crate::domain::spec::Introduction;
use crate::guix::sexp::Sexp;
use crate::sandbox::{Confined, Limits, find_guix};

/// The first time, all commits since the introduction are looked at: for Guix, some hundred thousand.
const LIMIT: Duration = Duration::from_hours(2);
/// Memory for that, in bytes.
const MEMORY: u64 = 4 << 30;
/// How many authentic commits are remembered for an introduction. Guix remembers as many.
const REMEMBERED: usize = 200;
/// The longest explanation that is kept, in characters.
const LONGEST_REASON: usize = 2000;

/// Asks the installed Guix about commits, and remembers those that are authentic.
#[derive(Debug, Clone)]
pub struct Authenticator {
    root: PathBuf,
    memory: PathBuf,
}

/// What there is to say about a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It and all before it, back to the introduction, were signed by who might sign them.
    Good {
        /// Its signer: 40 upper-case hexadecimal digits.
        signer: String,
    },
    /// A key that is needed is not to be had, so nobody can tell.
    Unknown {
        /// What is missing.
        reason: String,
    },
    /// It is not what its introduction vouches for.
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
    /// The mirror lacks objects, or they cannot be read.
    #[error("the mirror {} cannot be read: {reason}", .mirror.display())]
    Damaged {
        /// The mirror.
        mirror: PathBuf,
        /// What Guix says.
        reason: String,
    },
    /// Guix gave no answer.
    #[error("authentication came to no end: {0}")]
    NoAnswer(String),
    /// Files.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl Authenticator {
    /// `root` is the system root that has Guix; what is authentic is remembered in `memory`, a
    /// directory that is made when it is needed.
    pub fn new(root: impl Into<PathBuf>, memory: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), memory: memory.into() }
    }

    /// The signer of a commit that is known to be authentic.
    pub fn knows(&self, introduction: &Introduction, commit: &str) -> Option<String> {
        let known = self.remembered(introduction);
        known.into_iter().find_map(|(other, signer)| (other == commit).then_some(signer))
    }

    /// Judges `commit`, which the bare repository at `mirror` must have, with its history. `keyring`
    /// is a commit of the same repository, with the keys of signers in files.
    pub async fn judge(
        &self,
        mirror: &Path,
        introduction: &Introduction,
        keyring: &str,
        commit: &str,
    ) -> Result<Verdict, AuthenticationError> {
        let known: Vec<String> = self.remembered(introduction).into_iter().map(|(known, _)| known).collect();
        let verdict = self.ask(mirror, introduction, keyring, commit, &known).await?;
        if let Verdict::Good { signer } = &verdict {
            self.remember(introduction, commit, signer)?;
        }
        Ok(verdict)
    }

    async fn ask(
        &self,
        mirror: &Path,
        introduction: &Introduction,
        keyring: &str,
        commit: &str,
        known: &[String],
    ) -> Result<Verdict, AuthenticationError> {
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
            Some(["good", signer]) => Ok(Verdict::Good { signer: (*signer).to_owned() }),
            Some(["unknown", reason]) => Ok(Verdict::Unknown { reason: presentable(reason) }),
            Some(["bad", reason]) => Ok(Verdict::Bad { reason: presentable(reason) }),
            Some(["damaged", reason]) => {
                Err(AuthenticationError::Damaged { mirror: mirror.to_owned(), reason: presentable(reason) })
            }
            _ => Err(AuthenticationError::NoAnswer(presentable(&finished.reason()))),
        }
    }

    /// Commits with their signers that are authentic by an introduction, the newest last.
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

    /// A commit is authentic by an introduction, wherever it was fetched from and whoever asks.
    fn file(&self, introduction: &Introduction) -> PathBuf {
        self.memory.join(format!("{}-{}", introduction.commit, introduction.signer))
    }
}

/// The branch with the keys, as the view calls it.
const KEYRING: &str = "keyring";
/// Where the mirror is inside the sandbox.
const MIRROR: &str = "/gorget/mirror";

/// A directory with a repository `view` that has the objects of [`MIRROR`], stands at `commit`, and
/// has one branch, [`KEYRING`].
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

/// One line without control characters.
fn presentable(text: &str) -> String {
    let lines = text.lines().map(|line| line.replace(char::is_control, "").trim().to_owned());
    let lines: Vec<String> = lines.filter(|line| !line.is_empty()).collect();
    lines.join("; ").chars().take(LONGEST_REASON).collect()
}
