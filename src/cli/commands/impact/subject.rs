//! The working tree that is examined, as a spec with two revisions.

use std::path::Path;

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};

use crate::cli::commands::impact::cache::Cache;
use crate::cli::{farm, output, user_error};
use crate::db::StoredSpec;
use crate::domain::revision::{ChannelCommit, Origin, Revision};
use crate::domain::spec::{
    Build, Channel, FirstEvaluation, Keep, Period, RetryFailed, Runtime, Spec, Subset, System,
};
use crate::git::{Base, Tips, WorkingTree, WorkingTreeError};

/// How many evaluations of a working tree are kept for each system.
const KEPT: Keep = Keep { newest: 20, days: 0, weeks: 0, months: 0 };
/// How many characters of a hash distinguish working trees of the same name.
const LETTERS: usize = 10;
/// How many characters of the channel's name the name of the spec has.
const LONGEST: usize = 40;
/// Files that every checkout of Guix has.
const GUIX: [&str; 2] = ["guix/packages.scm", "gnu/packages.scm"];
/// The branch of a channel that is not fetched.
const BRANCH: &str = "HEAD";

/// A working tree and its base.
#[derive(Debug)]
pub(super) struct Subject {
    tree: WorkingTree,
    pub(super) base: Base,
    /// Whether it is Guix itself.
    pub(super) is_guix: bool,
    /// The name of its channel.
    channel: String,
    /// The repository.
    url: String,
}

impl Subject {
    /// Finds the working tree that contains `directory`.
    pub(super) async fn find(directory: &Path, base: Option<&str>) -> anyhow::Result<Self> {
        let tree = WorkingTree::find(directory).await.map_err(to_user_error)?;
        let is_guix = GUIX.iter().all(|file| tree.top().join(file).exists());
        if !is_guix && !tree.top().join(".guix-channel").exists() && !tree.has_modules().await? {
            return Err(user_error(format!(
                "{} is neither Guix nor a channel: it has no .guix-channel and no Guile module\nhint: run this in a checkout of Guix or of a channel, or name its directory",
                tree.top().display()
            )));
        }
        let base = tree.base(base).await.map_err(to_user_error)?;
        let utf8 = |path: &Path| path.to_str().map(str::to_owned);
        let url = utf8(tree.repository()).context("the path of the repository is not UTF-8")?;
        let channel = if is_guix { "guix".to_owned() } else { channel_name(tree.repository()) };
        Ok(Self { tree, base, is_guix, channel, url })
    }

    /// The commit of the working tree. From now on, the cache can read it.
    pub(super) async fn snapshot(&self, cache: &Cache) -> anyhow::Result<String> {
        let mirrors = farm::resolver(&cache.config).mirrors;
        mirrors.borrow(&self.url, self.tree.repository()).await?;
        let change = self.tree.snapshot(&mirrors.path(&self.url)).await.map_err(to_user_error)?;
        mirrors.refer(&self.url, &[self.base.commit.clone(), change.clone()]).await?;
        Ok(change)
    }

    /// A phrase that describes the change to the user.
    pub(super) fn describe(&self, change: &str) -> String {
        let short = |commit: &str| commit.get(..12).unwrap_or(commit).to_owned();
        if change == self.tree.head() {
            format!("commit {}", short(change))
        } else {
            format!("the working tree, based on commit {}", short(self.tree.head()))
        }
    }

    /// Whether any file differs from the base.
    pub(super) async fn changes(&self, change: &str, cache: &Cache) -> anyhow::Result<bool> {
        let mirror = farm::resolver(&cache.config).mirrors.path(&self.url);
        let (base, change) = (self.base.commit.clone(), change.to_owned());
        let differ = tokio::task::spawn_blocking(move || {
            let repository = git2::Repository::open_bare(mirror)?;
            let tree = |commit: &str| repository.find_commit(git2::Oid::from_str(commit)?)?.tree();
            Ok::<_, git2::Error>(tree(&base)?.id() != tree(&change)?.id())
        });
        differ.await?.context("reading the repository")
    }

    /// The revision of a commit and the channels that it needs. Where `like` needs the same
    /// channels, their commits are the same.
    pub(super) async fn resolve(
        &self,
        cache: &Cache,
        commit: &str,
        like: Option<&Revision>,
    ) -> anyhow::Result<Revision> {
        let origin = Origin { branch: BRANCH.to_owned(), pinned: true, ..Origin::default() };
        let named = vec![ChannelCommit { origin, ..ChannelCommit::new(&self.channel, &self.url, commit) }];
        let needed = like.into_iter().flat_map(Revision::channels).filter(|c| c.origin.needed_by.is_some());
        let tips: Tips = needed
            .filter(|channel| !channel.origin.pinned)
            .map(|channel| ((channel.url.clone(), channel.origin.branch.clone()), channel.commit.clone()))
            .collect();
        let resolver = farm::resolver(&cache.config);
        let mut search = resolver.search(&named);
        let found = resolver.resolve(named, &tips, &mut search).await;
        let revision = found.map_err(|obstacle| user_error(obstacle.to_string()))?;
        revision.warnings().for_each(|warning| output::note(&format!("warning: {warning}")));
        Ok(revision)
    }

    /// Writes the spec of this working tree, for these systems, to the cache. Unfinished
    /// evaluations for another working tree are not continued; complete ones stay.
    pub(super) async fn store(&self, cache: &Cache, systems: &[System]) -> anyhow::Result<StoredSpec> {
        let own = self.spec(systems);
        cache.db.sync_specs(std::slice::from_ref(&own)).await?;
        let stored = cache.db.specs().await?.into_iter().find(|stored| stored.spec.name == own.name);
        stored.context("the spec was not stored")
    }

    fn spec(&self, systems: &[System]) -> Spec {
        let hash = data_encoding::HEXLOWER.encode(&Sha256::digest(&self.url));
        let name: String = self.channel.chars().take(LONGEST).collect();
        let subset = if self.is_guix { Subset::All } else { Subset::Channels(vec![self.channel.clone()]) };
        let channel = Channel {
            name: self.channel.clone(),
            url: self.url.clone(),
            branch: BRANCH.to_owned(),
            exclude: Vec::new(),
            commit: None,
            introduction: None,
        };
        Spec {
            name: format!("{name}-{}", &hash[..LETTERS]),
            channels: vec![channel],
            build: Build { tuned: false, cross: false, ..subset.into() },
            systems: systems.to_vec(),
            period: Period::default(),
            priority: 0,
            active: true,
            first: FirstEvaluation::Record,
            every_commit: false,
            runtime: Runtime::Checkout,
            retry_failed: RetryFailed::default(),
            share: 1,
            budget: None,
            staged: false,
            queue_inputs: false,
            keep: Some(KEPT),
            verdict: None,
            template: None,
        }
    }
}

/// A channel name for this repository: that of its directory, with characters that names of
/// channels may have.
fn channel_name(repository: &Path) -> String {
    let directory = if repository.ends_with(".git") { repository.parent() } else { Some(repository) };
    let name = directory.and_then(Path::file_stem).map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    let letter = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '-' };
    let name: String = name.chars().map(letter).collect();
    let name = name.trim_matches('-');
    // A channel named `guix` would be mistaken for Guix.
    if name.is_empty() || name == "guix" { "channel".to_owned() } else { name.to_owned() }
}

/// An error that the user can mend becomes a user error.
fn to_user_error(error: WorkingTreeError) -> anyhow::Error {
    match error {
        WorkingTreeError::Io(_) => error.into(),
        error => user_error(error.to_string()),
    }
}
