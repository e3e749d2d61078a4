use std::time::Duration;

use super::authentic::AuthenticationError;
use super::metadata::MetadataError;
use super::remote::RemoteError;

/// The most channels of one revision.
pub(super) const MOST_CHANNELS: usize = 32;

/// Why there is no revision to evaluate.
#[derive(Debug, thiserror::Error)]
pub enum Obstacle {
    /// A repository does not provide what is asked of it.
    #[error("channel {channel}: {error}")]
    Remote {
        /// The channel, and which channel needs it.
        channel: String,
        /// The URL of the repository; `None` if the spec does not name it.
        url: Option<String>,
        /// The error.
        error: RemoteError,
    },
    /// A needed key is missing, so a commit cannot be judged.
    #[error("channel {channel}: whether commit {commit} is authentic is unknown: {reason}")]
    Unknown {
        /// The channel.
        channel: String,
        /// The commit that cannot be judged.
        commit: String,
        /// What is missing.
        reason: String,
    },
    /// A commit is not authentic.
    #[error("channel {channel}: commit {commit} is not authentic: {reason}")]
    Bad {
        /// The channel.
        channel: String,
        /// The commit that was judged.
        commit: String,
        /// What is wrong.
        reason: String,
    },
    /// The description of a channel cannot be used.
    #[error("channel {channel}: {error}")]
    Metadata {
        /// The channel.
        channel: String,
        /// What is wrong.
        error: MetadataError,
    },
    /// A channel needs a Guix without an introduction.
    #[error(
        "channel {needed_by}: it needs the channel {channel} at {url}, which has no introduction, so its commits cannot be authenticated\nhint: name the channel {channel} in the spec, with `introduction = {{ commit = \"…\", signer = \"…\" }}`"
    )]
    MissingIntroduction {
        /// The channel that needs it.
        needed_by: String,
        /// The channel.
        channel: String,
        /// Its URL.
        url: String,
    },
    /// More channels than permitted need each other.
    #[error("channel {channel}: more than {MOST_CHANNELS} channels need each other")]
    TooMany {
        /// The first channel above the limit.
        channel: String,
    },
    /// Fetching and authenticating what channels bring takes too long.
    #[error(
        "channel {channel}: with it, what the spec does not name takes more than {} s to fetch and authenticate\nhint: name the channel in the spec if it is needed, or raise `fetch-time` of [git]",
        .limit.as_secs()
    )]
    TooSlow {
        /// The channel that was being waited for.
        channel: String,
        /// The time limit for all of them.
        limit: Duration,
    },
    /// The mirrors of what channels bring are too large.
    #[error(
        "channel {channel}: with it, what the spec does not name takes more than {} MiB\nhint: name the channel in the spec if it is needed, or raise `mirror-size` of [git]",
        .limit >> 20
    )]
    TooMuch {
        /// The first channel above the limit.
        channel: String,
        /// The size limit for all of them, in bytes.
        limit: u64,
    },
    /// A commit could not be authenticated.
    #[error("channel {channel}: {error}")]
    Authentication {
        /// The channel.
        channel: String,
        /// What is wrong.
        error: AuthenticationError,
    },
}

impl Obstacle {
    /// Whether a damaged mirror is at fault.
    pub(super) fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Metadata { error: MetadataError::Repository { .. }, .. }
                | Self::Authentication { error: AuthenticationError::Damaged { .. }, .. }
        )
    }
}
