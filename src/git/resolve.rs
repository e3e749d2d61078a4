//! Finds the commits of a revision: those of the channels that a spec names, and those of the
//! channels that they need.
//!
//! A channel is fetched, then authenticated, and only then is its description used (except for the
//! location of its keys). No code of it is loaded.
//!
//! If there are several requests for one name, only one is met. A channel that the spec names always
//! wins. Among the others, the first wins, unless it follows a branch and a later one names a
//! commit: then the later one replaces it, while what the replaced channel needs stays. Guix does
//! the same, except that there a needed channel with a commit also replaces a channel of the spec
//! without one. All other requests are reported.

use std::collections::{HashMap, VecDeque};
use std::path::Path;

use super::access::check_may_fetch;
use super::authentic::{Authenticator, Authenticity};
use super::channel_search::{ChannelSearch, MirrorLocks};
use super::dependency_request::{DependencyRequest, warn};
use super::description::{Dependency, Metadata};
use super::metadata::metadata;
use super::mirror::Mirrors;
use super::obstacle::{MOST_CHANNELS, Obstacle};
use super::quota::size;
use super::remote::RemoteError;
use crate::domain::revision::{ChannelCommit, Origin, Revision, is_brought};
use crate::domain::spec::Introduction;

/// The known tips of branches, by URL and name.
pub type Tips = HashMap<(String, String), String>;

/// Finds the commits of a revision.
#[derive(Debug, Clone)]
pub struct Resolver {
    /// The mirrors that repositories are fetched to.
    pub mirrors: Mirrors,
    /// Tells whether commits are authentic.
    pub authenticator: Authenticator,
    mirror_locks: MirrorLocks,
}

impl Resolver {
    /// Fetches to `mirrors` and authenticates with `authenticator`.
    pub fn new(mirrors: Mirrors, authenticator: Authenticator) -> Self {
        Self { mirrors, authenticator, mirror_locks: MirrorLocks::default() }
    }

    /// Starts a search for what these channels need. What they bring may take twice the time limit
    /// of a fetch: once for fetching, and as much for authenticating.
    pub fn search(&self, named: &[ChannelCommit]) -> ChannelSearch {
        ChannelSearch::new(named.first().map(|channel| channel.url.as_str()), self.mirrors.limits().fetch * 2)
    }

    /// Completes the channels that a spec names. Their origins have their branches and
    /// introductions. Branches that `tips` does not have are asked for.
    pub async fn resolve(
        &self,
        named: Vec<ChannelCommit>,
        tips: &Tips,
        search: &mut ChannelSearch,
    ) -> Result<Revision, Obstacle> {
        let mut found = named;
        let mut requests = VecDeque::new();
        for place in 0..found.len() {
            let mut channel = found[place].clone();
            search.move_to(&channel.url);
            let _lock = self.mirror_locks.take(self.mirrors.path(&channel.url), false).await;
            requests.extend(self.needs(&found, &mut channel).await?);
            found[place] = channel;
        }
        search.finish_named();
        let mut all = Vec::new();
        while let Some(request) = requests.pop_front() {
            let place = found.iter().position(|channel| channel.name == request.name());
            if place.is_none() && found.len() == MOST_CHANNELS {
                return Err(Obstacle::TooMany { channel: request.name().to_owned() });
            }
            if place.is_none_or(|place| request.replaces(&found[place])) {
                let (channel, further) = self.bring(&found, &request, tips, search).await?;
                requests.extend(further);
                match place {
                    Some(place) => found[place] = channel,
                    None => found.push(channel),
                }
            }
            all.push(request);
        }
        for channel in &mut found {
            let of_channel = all.iter().filter(|request| request.name() == channel.name);
            let conflicts: Vec<String> = of_channel.filter_map(|request| request.conflict(channel)).collect();
            for warning in conflicts {
                warn(channel, warning);
            }
        }
        Ok(Revision::new(found))
    }

    /// A resolver with the mirrors that have `channel`, one of `channels`.
    fn reaching(&self, channels: &[ChannelCommit], channel: &ChannelCommit) -> Self {
        Self { mirrors: self.mirrors.of(channels, channel), ..self.clone() }
    }

    /// Reports an error of the repository of a channel.
    fn obstacle(&self, channel: &ChannelCommit, error: RemoteError) -> Obstacle {
        let url = self.mirrors.is_operator_access().then(|| channel.url.clone());
        Obstacle::Remote { channel: label(channel), url, error }
    }

    /// Fetches, authenticates and describes a channel, one of `channels`; returns its requests.
    async fn needs(
        &self,
        channels: &[ChannelCommit],
        channel: &mut ChannelCommit,
    ) -> Result<Vec<DependencyRequest>, Obstacle> {
        let here = self.reaching(channels, channel);
        let metadata = match here.complete(channel).await {
            Err(obstacle) if obstacle.is_damage() => {
                tracing::warn!(channel.url, "damaged mirror removed, to be fetched again: {obstacle}");
                let discarded = here.mirrors.discard(&channel.url).await;
                discarded.map_err(|error| here.obstacle(channel, error))?;
                here.complete(channel).await?
            }
            result => result?,
        };
        let (needed_by, by_url) = (&channel.name, &channel.url);
        let request = |dependency| DependencyRequest {
            dependency,
            needed_by: needed_by.clone(),
            by_url: by_url.clone(),
        };
        Ok(metadata.dependencies.into_iter().map(request).collect())
    }

    /// Completes the channel that meets a request of one of `channels`; returns it and its own
    /// requests.
    async fn bring(
        &self,
        channels: &[ChannelCommit],
        request: &DependencyRequest,
        tips: &Tips,
        search: &mut ChannelSearch,
    ) -> Result<(ChannelCommit, Vec<DependencyRequest>), Obstacle> {
        let Dependency { name, url, branch, commit, .. } = &request.dependency;
        let place = ChannelCommit::new(name, url, "");
        let mirrors = self.mirrors.of(channels, &place);
        let commit = commit.as_ref().or_else(|| tips.get(&(url.clone(), branch.clone())));
        let is_here = match commit {
            Some(commit) => mirrors.has(url, commit).await,
            None => false,
        };
        let contacts = is_brought(channels, &place) && !is_here;
        let _lock = self.mirror_locks.take(mirrors.path(url), contacts).await;
        if is_brought(channels, &place) {
            search.record_size(url, 0);
        }
        let work = async {
            let mut channel = self.meet(channels, request, tips).await?;
            let further = self.needs(channels, &mut channel).await?;
            Ok::<_, Obstacle>((channel, further))
        };
        let late = |limit| Obstacle::TooSlow { channel: name.clone(), limit };
        let (channel, further) = search.within_time_left(work).await.map_err(late)??;
        if is_brought(channels, &channel) {
            self.check_size(&mirrors, &channel, search).await?;
        }
        Ok((channel, further))
    }

    /// Refuses a channel that makes the total of what is brought too large.
    async fn check_size(
        &self,
        mirrors: &Mirrors,
        channel: &ChannelCommit,
        search: &mut ChannelSearch,
    ) -> Result<(), Obstacle> {
        let (mirror, limit) = (mirrors.path(&channel.url), self.mirrors.limits().size);
        let unknown = |error| Obstacle::Remote { channel: label(channel), url: None, error };
        let size = size(&mirror).await.map_err(|error| unknown(error.into()))?;
        if search.record_size(&channel.url, size) > limit {
            return Err(Obstacle::TooMuch { channel: label(channel), limit });
        }
        Ok(())
    }

    /// The channel that meets a request of one of `channels`.
    async fn meet(
        &self,
        channels: &[ChannelCommit],
        request: &DependencyRequest,
        tips: &Tips,
    ) -> Result<ChannelCommit, Obstacle> {
        let (introduction, warnings) = request.introduction().map_err(|obstacle| *obstacle)?;
        let Dependency { name, url, branch, commit, .. } = &request.dependency;
        let pinned = commit.is_some();
        let (branch, needed_by) = (branch.clone(), Some(request.needed_by.clone()));
        let origin = Origin { branch, pinned, needed_by, introduction, warnings, ..Origin::default() };
        let channel = ChannelCommit::new(name, url, commit.clone().unwrap_or_default());
        let mut channel = ChannelCommit { origin, ..channel };
        let there = self.reaching(channels, &channel);
        if is_brought(channels, &channel) {
            check_may_fetch(&request.by_url, url).map_err(|error| there.obstacle(&channel, error))?;
        }
        if !pinned {
            channel.commit = there.tip(&channel, tips).await?;
        }
        Ok(channel)
    }

    async fn tip(&self, channel: &ChannelCommit, tips: &Tips) -> Result<String, Obstacle> {
        let ChannelCommit { url, origin: Origin { branch, .. }, .. } = channel;
        if let Some(tip) = tips.get(&(url.clone(), branch.clone())) {
            return Ok(tip.clone());
        }
        let found = self.mirrors.tips(url, &[branch]).await.map_err(|error| self.obstacle(channel, error))?;
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
                // Authenticate first: a bad signature matters more than a bad description.
                Err(_) => Metadata::default().keyring,
            };
            match self.judge(channel, &mirror, introduction, &keyring).await? {
                Authenticity::Good { signer } => channel.origin.signer = Some(signer),
                Authenticity::Unknown { reason } => {
                    return Err(Obstacle::Unknown { channel: name, commit, reason });
                }
                Authenticity::Bad { reason } => return Err(Obstacle::Bad { channel: name, commit, reason }),
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
    ) -> Result<Authenticity, Obstacle> {
        let ChannelCommit { url, commit, .. } = channel;
        if let Some(signer) = self.authenticator.knows(introduction, commit) {
            return Ok(Authenticity::Good { signer });
        }
        let remote = |error| self.obstacle(channel, error);
        let found = self.mirrors.tips(url, &[keyring]).await.map_err(remote)?;
        let Some(keys) = found.tip() else {
            return Ok(Authenticity::Unknown {
                reason: format!("{url} has no branch {keyring:?} with keys"),
            });
        };
        self.mirrors.fetch(url, keyring, keys).await.map_err(remote)?;
        let judged = self.authenticator.judge(mirror, introduction, keys, commit).await;
        judged.map_err(|error| Obstacle::Authentication { channel: label(channel), error })
    }
}

/// The name of a channel in messages. For a channel that the spec does not name, it says who needs
/// it.
fn label(channel: &ChannelCommit) -> String {
    match &channel.origin.needed_by {
        Some(by) => format!("{} (needed by {by})", channel.name),
        None => channel.name.clone(),
    }
}
