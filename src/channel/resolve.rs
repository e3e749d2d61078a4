//! Which commits belong together: those of the channels that a spec names, and those of the channels
//! that they need.
//!
//! A channel is fetched, then authenticated, and only then is its description heeded (but for where
//! its keys are). Nothing of it is loaded. What a description asks for never takes the place of
//! what the spec names; of two channels that ask for the same name, the first counts.

use std::collections::HashMap;
use std::path::Path;

use super::authentic::{AuthenticationError, Authenticator, Verdict};
use super::metadata::{Metadata, MetadataError, metadata};
use super::mirror::Mirrors;
use super::remote::RemoteError;
use crate::revision::{ChannelCommit, Origin, Revision};
use crate::spec::Introduction;

/// The most channels that belong together.
const MOST_CHANNELS: usize = 32;

/// Where branches are, by URL and name, as far as that is known.
pub type Tips = HashMap<(String, String), String>;

/// Finds what belongs to a revision.
#[derive(Debug, Clone)]
pub struct Resolver {
    /// Where repositories are fetched to.
    pub mirrors: Mirrors,
    /// Who tells authentic commits.
    pub authenticator: Authenticator,
}

/// Why there is no revision to evaluate.
#[derive(Debug, thiserror::Error)]
pub enum Obstacle {
    /// A repository does not give what is asked of it.
    #[error("channel {channel}: {error}")]
    Remote {
        /// The channel.
        channel: String,
        /// Where it comes from.
        url: String,
        /// What is wrong.
        error: RemoteError,
    },
    /// A key that is needed is not to be had.
    #[error("channel {channel}: whether commit {commit} is authentic is unknown: {reason}")]
    Unknown {
        /// The channel.
        channel: String,
        /// The commit that nobody can judge.
        commit: String,
        /// What is missing.
        reason: String,
    },
    /// It is not authentic.
    #[error("channel {channel}: commit {commit} is not authentic: {reason}")]
    Bad {
        /// The channel.
        channel: String,
        /// The commit that was judged.
        commit: String,
        /// What is wrong.
        reason: String,
    },
    /// What it says about itself cannot be used.
    #[error("channel {channel}: {error}")]
    Metadata {
        /// The channel.
        channel: String,
        /// What is wrong.
        error: MetadataError,
    },
    /// There are too many channels.
    #[error("channel {channel}: more than {MOST_CHANNELS} channels need each other")]
    TooMany {
        /// One that is too many.
        channel: String,
    },
    /// It could not be judged.
    #[error("channel {channel}: {error}")]
    Authentication {
        /// The channel.
        channel: String,
        /// What is wrong.
        error: AuthenticationError,
    },
}

impl Obstacle {
    /// Whether the mirror's files are at fault.
    fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Metadata { error: MetadataError::Repository { .. }, .. }
                | Self::Authentication { error: AuthenticationError::Damaged { .. }, .. }
        )
    }
}

impl Resolver {
    /// Completes the channels that a spec names, whose origins say where they come from and by what
    /// introduction. Branches that `tips` does not have are asked for.
    pub async fn resolve(&self, named: Vec<ChannelCommit>, tips: &Tips) -> Result<Revision, Obstacle> {
        let mut found = named;
        let mut next = 0;
        while next < found.len() {
            let metadata = match self.complete(&mut found[next]).await {
                Err(obstacle) if obstacle.is_damage() => {
                    let ChannelCommit { name: channel, url, .. } = found[next].clone();
                    tracing::warn!(url, "a mirror is damaged and is made anew: {obstacle}");
                    let discarded = self.mirrors.discard(&url).await;
                    discarded.map_err(|error| Obstacle::Remote { channel, url, error })?;
                    self.complete(&mut found[next]).await?
                }
                result => result?,
            };
            let by = (found[next].name.clone(), found[next].url.clone());
            for dependency in metadata.dependencies {
                if found.iter().any(|channel| channel.name == dependency.name) {
                    continue;
                }
                if found.len() == MOST_CHANNELS {
                    return Err(Obstacle::TooMany { channel: dependency.name });
                }
                let pinned = dependency.commit.is_some();
                let commit = match dependency.commit {
                    Some(commit) => commit,
                    None => self.tip(&dependency.name, &dependency.url, &dependency.branch, tips).await?,
                };
                let origin = Origin {
                    branch: dependency.branch,
                    pinned,
                    needed_by: Some(by.0.clone()),
                    introduction: dependency.introduction,
                    ..Origin::default()
                };
                let channel = ChannelCommit::new(dependency.name, dependency.url, commit);
                found.push(ChannelCommit { origin, ..channel });
            }
            next += 1;
        }
        Ok(Revision::new(found))
    }

    async fn tip(&self, channel: &str, url: &str, branch: &str, tips: &Tips) -> Result<String, Obstacle> {
        if let Some(tip) = tips.get(&(url.to_owned(), branch.to_owned())) {
            return Ok(tip.clone());
        }
        let remote = |error| Obstacle::Remote { channel: channel.to_owned(), url: url.to_owned(), error };
        let found = self.mirrors.look(url, &[branch]).await.map_err(remote)?;
        let missing = || RemoteError::MissingBranch { url: url.to_owned(), branch: branch.to_owned() };
        found.into_values().next().flatten().ok_or_else(|| remote(missing()))
    }

    /// Fetches, authenticates and describes one channel.
    async fn complete(&self, channel: &mut ChannelCommit) -> Result<Metadata, Obstacle> {
        let ChannelCommit { name, url, commit, origin } = channel;
        let remote = |error| Obstacle::Remote { channel: name.clone(), url: url.clone(), error };
        self.mirrors.fetch(url, &origin.branch, commit).await.map_err(remote)?;
        let mirror = self.mirrors.path(url);
        let described = metadata(&mirror, url, commit).await;
        if let Some(introduction) = origin.introduction.clone() {
            let keyring = match &described {
                Ok(metadata) => metadata.keyring.clone(),
                // Whether it is authentic comes before what is wrong with it.
                Err(_) => Metadata::default().keyring,
            };
            let verdict = self.judge(name, url, &mirror, &introduction, &keyring, commit).await?;
            let (channel, commit) = (name.clone(), commit.clone());
            match verdict {
                Verdict::Good { signer } => origin.signer = Some(signer),
                Verdict::Unknown { reason } => return Err(Obstacle::Unknown { channel, commit, reason }),
                Verdict::Bad { reason } => return Err(Obstacle::Bad { channel, commit, reason }),
            }
        }
        let metadata = described.map_err(|error| Obstacle::Metadata { channel: name.clone(), error })?;
        origin.directory.clone_from(&metadata.directory);
        origin.news.clone_from(&metadata.news);
        Ok(metadata)
    }

    async fn judge(
        &self,
        channel: &str,
        url: &str,
        mirror: &Path,
        introduction: &Introduction,
        keyring: &str,
        commit: &str,
    ) -> Result<Verdict, Obstacle> {
        let failed = |error| Obstacle::Authentication { channel: channel.to_owned(), error };
        if let Some(signer) = self.authenticator.knows(introduction, commit) {
            return Ok(Verdict::Good { signer });
        }
        let remote = |error| Obstacle::Remote { channel: channel.to_owned(), url: url.to_owned(), error };
        let tips = self.mirrors.look(url, &[keyring]).await.map_err(remote)?;
        let Some(keys) = tips.into_values().next().flatten() else {
            return Ok(Verdict::Unknown { reason: format!("{url} has no branch {keyring:?} with keys") });
        };
        self.mirrors.fetch(url, keyring, &keys).await.map_err(remote)?;
        self.authenticator.judge(mirror, introduction, &keys, commit).await.map_err(failed)
    }
}
