use super::checkout::{Checkout, Checkouts};
use super::mirror::Mirrors;
use super::remote::RemoteError;
use super::tree::CheckoutError;
use crate::domain::revision::ChannelCommit;

/// Why the files of a channel cannot be obtained.
#[derive(Debug, thiserror::Error)]
pub enum ObtainError {
    /// It cannot be fetched.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// It cannot be checked out.
    #[error(transparent)]
    Checkout(#[from] CheckoutError),
}

impl ObtainError {
    /// Whether the commit is at fault, so that it would be refused again.
    pub fn is_of_revision(&self) -> bool {
        matches!(self, Self::Checkout(CheckoutError::Refused { .. }))
    }
}

/// Checks out a channel, and fetches the commit first if the mirror lacks it. A mirror that turns
/// out to be damaged is discarded and fetched once more. The result is the same, because a commit's
/// hash determines its contents.
pub async fn checkout_channel(
    mirrors: &Mirrors,
    checkouts: &Checkouts,
    channel: &ChannelCommit,
) -> Result<Checkout, ObtainError> {
    let ChannelCommit { url, commit, origin, .. } = channel;
    let mirror = mirrors.path(url);
    let checkouts =
        if mirrors.is_operator_access() { checkouts.clone() } else { checkouts.for_brought_channels() };
    let first = checkouts.checkout(&mirror, commit).await;
    if !first.as_ref().is_err_and(lacks_something) {
        return Ok(first?);
    }
    mirrors.fetch(url, &origin.branch, commit).await?;
    match checkouts.checkout(&mirror, commit).await {
        Err(error) if lacks_something(&error) => {
            tracing::warn!(url, commit, "damaged mirror removed, to be fetched again: {error}");
            mirrors.discard(url).await?;
            mirrors.fetch(url, &origin.branch, commit).await?;
            Ok(checkouts.checkout(&mirror, commit).await?)
        }
        result => Ok(result?),
    }
}

fn lacks_something(error: &CheckoutError) -> bool {
    matches!(error, CheckoutError::Repository { .. } | CheckoutError::MissingCommit { .. })
}
