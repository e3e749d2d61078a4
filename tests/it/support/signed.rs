//! Repositories whose commits are signed with real OpenPGP keys, made on the spot.

use std::path::Path;
use std::time::Duration;

use git2::{Oid, Repository, RepositoryInitOptions, Signature, Time};
use gorget::domain::spec::Introduction;
use gorget::sandbox::Tool;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_mins(1);

/// Who has keys.
pub struct Signers {
    home: TempDir,
}

/// A key: its fingerprint, in upper case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(pub String);

impl Signers {
    pub fn new() -> Self {
        // The names of gpg's sockets may not be long.
        let home = tempfile::Builder::new().prefix("g-").tempdir_in("/tmp").unwrap();
        rustix::fs::chmod(home.path(), 0o700.into()).unwrap();
        Self { home }
    }

    /// Makes a key.
    pub async fn key(&self, name: &str) -> Key {
        let who = format!("{name} <{name}@example.org>");
        self.gpg(&["--passphrase", "", "--quick-generate-key", &who, "ed25519", "sign", "never"]).await;
        let listing = self.gpg(&["--with-colons", "--list-keys", &who]).await;
        let line = listing.lines().find(|line| line.starts_with("fpr")).unwrap();
        Key(line.split(':').nth(9).unwrap().to_owned())
    }

    /// The key as the keyring has it.
    pub async fn public(&self, key: &Key) -> String {
        self.gpg(&["--armor", "--export", &key.0]).await
    }

    async fn sign(&self, key: &Key, text: &str) -> String {
        let file = self.home.path().join("text");
        std::fs::write(&file, text).unwrap();
        self.gpg(&[
            "--armor",
            "--local-user",
            &key.0,
            "--detach-sign",
            "--output",
            "-",
            file.to_str().unwrap(),
        ])
        .await
    }

    async fn gpg(&self, arguments: &[&str]) -> String {
        let gpg = Tool::new("gpg").env("GNUPGHOME", self.home.path());
        let gpg = gpg.args(["--batch", "--quiet", "--pinentry-mode", "loopback"]).args(arguments);
        let finished = gpg.spawn().unwrap().finish(PATIENCE).await.unwrap();
        assert!(finished.success(), "gpg {arguments:?}: {}", finished.reason());
        String::from_utf8(finished.stdout).unwrap()
    }
}

/// A bare repository of a channel, whose branch `master` begins with an introduction.
pub struct Signed {
    _directory: TempDir,
    pub git: Repository,
    pub introduction: Introduction,
}

impl Signed {
    /// A channel that `key` introduces, and which those of `keys` may sign.
    pub async fn new(signers: &Signers, key: &Key, keys: &[&Key]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut options = RepositoryInitOptions::new();
        options.bare(true).initial_head("master").external_template(false);
        let git = Repository::init_opts(directory.path().join("repository"), &options).unwrap();
        let introduction = Introduction::new(&"0".repeat(40), &key.0).unwrap();
        let mut signed = Self { _directory: directory, git, introduction };
        signed.keyring(signers, keys).await;
        let first = signed.authorize(signers, Some(key), keys).await;
        signed.introduction.commit = first;
        signed
    }

    pub fn url(&self) -> String {
        self.git.path().to_str().unwrap().to_owned()
    }

    pub fn path(&self) -> &Path {
        self.git.path()
    }

    /// The `[[channel]]` of a spec that watches it.
    pub fn as_channel(&self, name: &str) -> String {
        let Introduction { commit, signer } = &self.introduction;
        let introduction = format!("introduction = {{ commit = \"{commit}\", signer = \"{signer}\" }}\n");
        format!("[[channel]]\nname = \"{name}\"\nurl = \"{}\"\n{introduction}", self.url())
    }

    /// The tip of a branch.
    pub fn tip(&self, branch: &str) -> String {
        self.git.refname_to_id(&format!("refs/heads/{branch}")).unwrap().to_string()
    }

    /// Puts `master` at a commit.
    pub fn reset(&self, commit: &str) {
        self.git.reference("refs/heads/master", Oid::from_str(commit).unwrap(), true, "reset").unwrap();
    }

    /// Writes the keys that the branch `keyring` has.
    pub async fn keyring(&self, signers: &Signers, keys: &[&Key]) {
        let mut files = Vec::new();
        for key in keys {
            files.push((format!("{}.key", key.0), signers.public(key).await));
        }
        let tree = self.tree(None, &files);
        let id = self.object(&self.text(tree, &[]));
        self.git.reference("refs/heads/keyring", id, true, "keys").unwrap();
    }

    /// Commits who may sign what comes next.
    pub async fn authorize(&self, signers: &Signers, by: Option<&Key>, keys: &[&Key]) -> String {
        let entries: Vec<_> = keys.iter().map(|key| format!("(\"{}\" (name \"x\"))", key.0)).collect();
        let entries = entries.join("\n");
        let text = format!("(authorizations (version 0)\n ({entries}))\n");
        self.commit(signers, by, &[(".guix-authorizations", &text)]).await
    }

    /// Commits files to `master`, signed by a key or not.
    pub async fn commit(&self, signers: &Signers, by: Option<&Key>, files: &[(&str, &str)]) -> String {
        let parent = self.git.refname_to_id("refs/heads/master").ok();
        let files: Vec<_> =
            files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        let tree = self.tree(parent, &files);
        let text = self.text(tree, &parent.into_iter().collect::<Vec<_>>());
        let signature = match by {
            Some(key) => Some(signers.sign(key, &text).await),
            None => None,
        };
        self.push(&signed_text(&text, signature.as_deref()))
    }

    /// Puts a commit with this text on `master`.
    pub fn push(&self, text: &str) -> String {
        let id = self.object(text);
        self.git.reference("refs/heads/master", id, true, "commit").unwrap();
        id.to_string()
    }

    /// The text of a commit object.
    pub fn read(&self, commit: &str) -> String {
        let odb = self.git.odb().unwrap();
        let object = odb.read(Oid::from_str(commit).unwrap()).unwrap();
        String::from_utf8(object.data().to_vec()).unwrap()
    }

    fn object(&self, text: &str) -> Oid {
        self.git.odb().unwrap().write(git2::ObjectType::Commit, text.as_bytes()).unwrap()
    }

    fn tree(&self, parent: Option<Oid>, files: &[(String, String)]) -> Oid {
        let before = parent.map(|parent| self.git.find_commit(parent).unwrap().tree().unwrap());
        let mut index = git2::Index::new().unwrap();
        if let Some(before) = &before {
            index.read_tree(before).unwrap();
        }
        for (name, text) in files {
            let id = self.git.blob(text.as_bytes()).unwrap();
            index.add(&entry(name, id)).unwrap();
        }
        index.write_tree_to(&self.git).unwrap()
    }

    /// The text of a commit, without a signature.
    fn text(&self, tree: Oid, parents: &[Oid]) -> String {
        let who = Signature::new("A", "a@example.org", &Time::new(1_700_000_000, 0)).unwrap();
        let tree = self.git.find_tree(tree).unwrap();
        let parents: Vec<_> = parents.iter().map(|id| self.git.find_commit(*id).unwrap()).collect();
        let parents: Vec<_> = parents.iter().collect();
        let buffer = self.git.commit_create_buffer(&who, &who, "A commit", &tree, &parents).unwrap();
        buffer.as_str().unwrap().to_owned()
    }
}

/// A commit with its signature where Git has it.
fn signed_text(text: &str, signature: Option<&str>) -> String {
    let Some(signature) = signature else { return text.to_owned() };
    let (headers, message) = text.split_once("\n\n").unwrap();
    let signature = signature.trim_end().replace('\n', "\n ");
    format!("{headers}\ngpgsig {signature}\n\n{message}")
}

fn entry(name: &str, id: Oid) -> git2::IndexEntry {
    git2::IndexEntry {
        ctime: git2::IndexTime::new(0, 0),
        mtime: git2::IndexTime::new(0, 0),
        dev: 0,
        ino: 0,
        mode: 0o100_644,
        uid: 0,
        gid: 0,
        file_size: 0,
        id,
        flags: 0,
        flags_extended: 0,
        path: name.as_bytes().to_vec(),
    }
}
