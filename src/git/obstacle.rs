use std::time::Duration;

use super::authentic::AuthenticationError;
use super::metadata::MetadataError;
use super::remote::RemoteError;

/// The most channels that belong together.
pub(super) const MOST_CHANNELS: usize = 32;

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
    /// What channels bring takes too long.
    #[error(
        "channel {channel}: with it, what the spec does not name takes more than {} s to fetch and authenticate\nhint: name in the spec what is meant, or raise `fetch-time` of [git]",
        .limit.as_secs()
    )]
    TooSlow {
        /// The one that was waited for.
        channel: String,
        /// The time for all of them.
        limit: Duration,
    },
    /// What channels bring is too large.
    #[error(
        "channel {channel}: with it, what the spec does not name takes more than {} MiB\nhint: name in the spec what is meant, or raise `mirror-size` of [git]",
        .limit >> 20
    )]
    TooMuch {
        /// One that is too much.
        channel: String,
        /// What all of them may take, in bytes.
        limit: u64,
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
    pub(super) fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Metadata { error: MetadataError::Repository { .. }, .. }
                | Self::Authentication { error: AuthenticationError::Damaged { .. }, .. }
        )
    }
}
