//! Which commits belong together: those of the channels that a spec names, and those of the channels
//! that they need.
//!
//! A channel is fetched, then authenticated, and only then is its description heeded (but for where
//! its keys are). Nothing of it is loaded. What a description asks for never takes the place of
//! what the spec names; of two channels that ask for the same name, the first counts.

use std::collections::HashMap;
use std::path::Path;

use super::access::may_bring;
use super::authentic::{AuthenticationError, Authenticator, Verdict};
use super::metadata::{Dependency, Metadata, MetadataError, metadata};
use super::mirror::Mirrors;
use super::remote::RemoteError;
use crate::revision::{ChannelCommit, Origin, Revision, is_brought};
use crate::spec::{Introduction, Unintroduced};

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
        /// The channel, and which one needs it.
        channel: String,
        /// Where it comes from; none if the spec does not name that place.
        url: Option<String>,
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
    /// A channel needs a Guix that nothing vouches for.
    #[error(
        "channel {needed_by}: it needs the channel {channel} at {url}, which has no introduction, so its commits cannot be authenticated\nhint: name the channel {channel} in the spec, with `introduction = {{ commit = \"…\", signer = \"…\" }}`"
    )]
    Unintroduced {
        /// The channel that needs it.
        needed_by: String,
        /// The channel.
        channel: String,
        /// Where it comes from.
        url: String,
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
            let here = self.reaching(&found, &found[next]);
            let metadata = match here.complete(&mut found[next]).await {
                Err(obstacle) if obstacle.is_damage() => {
                    let channel = &found[next];
                    tracing::warn!(channel.url, "a mirror is damaged and is made anew: {obstacle}");
                    let discarded = here.mirrors.discard(&channel.url).await;
                    discarded.map_err(|error| here.obstacle(channel, error))?;
                    here.complete(&mut found[next]).await?
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
                let (introduction, warnings) = introduction(&dependency, &by.0)?;
                let pinned = dependency.commit.is_some();
                let origin = Origin {
                    branch: dependency.branch,
                    pinned,
                    needed_by: Some(by.0.clone()),
                    introduction,
                    warnings,
                    ..Origin::default()
                };
                let commit = dependency.commit.unwrap_or_default();
                let channel = ChannelCommit::new(dependency.name, dependency.url, commit);
                let mut channel = ChannelCommit { origin, ..channel };
                let there = self.reaching(&found, &channel);
                if is_brought(&found, &channel) {
                    may_bring(&by.1, &channel.url).map_err(|error| there.obstacle(&channel, error))?;
                }
                if !pinned {
                    channel.commit = there.tip(&channel, tips).await?;
                }
                found.push(channel);
            }
            next += 1;
        }
        Ok(Revision::new(found))
    }

    /// A resolver that reaches `channel` as it may be reached among `channels`.
    fn reaching(&self, channels: &[ChannelCommit], channel: &ChannelCommit) -> Self {
        Self { mirrors: self.mirrors.of(channels, channel), authenticator: self.authenticator.clone() }
    }

    /// What is wrong with the repository of a channel.
    fn obstacle(&self, channel: &ChannelCommit, error: RemoteError) -> Obstacle {
        let url = self.mirrors.are_of_operator().then(|| channel.url.clone());
        Obstacle::Remote { channel: label(channel), url, error }
    }

    async fn tip(&self, channel: &ChannelCommit, tips: &Tips) -> Result<String, Obstacle> {
        let ChannelCommit { url, origin: Origin { branch, .. }, .. } = channel;
        if let Some(tip) = tips.get(&(url.clone(), branch.clone())) {
            return Ok(tip.clone());
        }
        let found = self.mirrors.look(url, &[branch]).await.map_err(|error| self.obstacle(channel, error))?;
        found.tip().cloned().ok_or_else(|| {
            let (url, branch, default) = (url.clone(), branch.clone(), found.default.clone());
            self.obstacle(channel, RemoteError::MissingBranch { url, branch, default })
        })
    }

    /// Fetches, authenticates and describes one channel.
    async fn complete(&self, channel: &mut ChannelCommit) -> Result<Metadata, Obstacle> {
        let (name, ChannelCommit { url, commit, origin, .. }) = (label(channel), channel.clone());
        let fetched = self.mirrors.fetch(&url, &origin.branch, &commit).await;
        fetched.map_err(|error| self.obstacle(channel, error))?;
        let mirror = self.mirrors.path(&url);
        let described = metadata(&mirror, &url, &commit).await;
        if let Some(introduction) = &origin.introduction {
            let keyring = match &described {
                Ok(metadata) => metadata.keyring.clone(),
                // Whether it is authentic comes before what is wrong with it.
                Err(_) => Metadata::default().keyring,
            };
            match self.judge(channel, &mirror, introduction, &keyring).await? {
                Verdict::Good { signer } => channel.origin.signer = Some(signer),
                Verdict::Unknown { reason } => {
                    return Err(Obstacle::Unknown { channel: name, commit, reason });
                }
                Verdict::Bad { reason } => return Err(Obstacle::Bad { channel: name, commit, reason }),
            }
        }
        let metadata = described.map_err(|error| Obstacle::Metadata { channel: name, error })?;
        channel.origin.directory.clone_from(&metadata.directory);
        channel.origin.news.clone_from(&metadata.news);
        Ok(metadata)
    }

    async fn judge(
        &self,
        channel: &ChannelCommit,
        mirror: &Path,
        introduction: &Introduction,
        keyring: &str,
    ) -> Result<Verdict, Obstacle> {
        let ChannelCommit { url, commit, .. } = channel;
        if let Some(signer) = self.authenticator.knows(introduction, commit) {
            return Ok(Verdict::Good { signer });
        }
        let remote = |error| self.obstacle(channel, error);
        let found = self.mirrors.look(url, &[keyring]).await.map_err(remote)?;
        let Some(keys) = found.tip() else {
            return Ok(Verdict::Unknown { reason: format!("{url} has no branch {keyring:?} with keys") });
        };
        self.mirrors.fetch(url, keyring, keys).await.map_err(remote)?;
        let judged = self.authenticator.judge(mirror, introduction, keys, commit).await;
        judged.map_err(|error| Obstacle::Authentication { channel: label(channel), error })
    }
}

/// What a channel is called in messages: a name that its spec does not have is explained.
fn label(channel: &ChannelCommit) -> String {
    match &channel.origin.needed_by {
        Some(by) => format!("{} (needed by {by})", channel.name),
        None => channel.name.clone(),
    }
}

/// What a channel that `needed_by` needs is authenticated by, and what to warn of. The rules are those
/// for channels that a spec names.
fn introduction(
    dependency: &Dependency,
    needed_by: &str,
) -> Result<(Option<Introduction>, Vec<String>), Obstacle> {
    let Dependency { name, url, introduction, .. } = dependency;
    if introduction.is_some() {
        return Ok((introduction.clone(), Vec::new()));
    }
    match Unintroduced::of(name, url) {
        Unintroduced::Standard(introduction) => Ok((Some(introduction), Vec::new())),
        Unintroduced::Local => Ok((None, Vec::new())),
        Unintroduced::Warned => {
            let warning = format!(
                "channel {name}: its commits are not authenticated, since channel {needed_by}, which needs it, \
                 gives no introduction"
            );
            Ok((None, vec![warning]))
        }
        Unintroduced::Refused => {
            let (needed_by, channel, url) = (needed_by.to_owned(), name.clone(), url.clone());
            Err(Obstacle::Unintroduced { needed_by, channel, url })
        }
    }
}
