//! Channels: looks at remote repositories, keeps mirrors of them, authenticates commits, finds the
//! channels that they need, and checks them out.
//!
//! The content of a repository is hostile: names, sizes, shapes. Only `Mirrors` uses the network.
//! It runs the `git` program, which can be killed. Everything local is read with libgit2, except
//! histories, which are long.

mod access;
mod address;
mod authentic;
mod borrowed;
mod changes;
mod channel_search;
mod checkout;
mod checkout_channel;
mod conversion;
mod dependency_request;
mod description;
mod history;
mod listing;
mod metadata;
mod mirror;
mod obstacle;
mod program;
mod quota;
mod remote;
mod resolve;
mod state;
mod tree;
mod working_tree;

pub use address::{PrivateHost, PrivateHosts};
pub use authentic::{AuthenticationError, Authenticator, Authenticity};
pub use changes::{Change, fold_changes};
pub use channel_search::{ChannelSearch, SearchPosition};
pub use checkout::{Checkout, Checkouts};
pub use checkout_channel::{ObtainError, checkout_channel};
pub use description::{Dependency, Metadata};
pub use history::{HistoryError, descends, newest_ancestor, steps};
pub use listing::Listing;
pub use metadata::{MetadataError, metadata};
pub use mirror::Mirrors;
pub use obstacle::Obstacle;
pub use remote::{Limits, RemoteError, missing_branch};
pub use resolve::{Resolver, Tips};
pub use tree::{CheckoutError, Refusal};
pub use working_tree::{Base, WorkingTree, WorkingTreeError};

use tokio_util::sync::CancellationToken;

/// Runs work that reads or writes many files on a thread where it cannot delay anything else.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Like [`blocking`], for work that checks the token and ends soon after its caller has stopped
/// waiting.
async fn stoppable<T: Send + 'static>(work: impl FnOnce(&CancellationToken) -> T + Send + 'static) -> T {
    let stop = CancellationToken::new();
    let _guard = stop.clone().drop_guard();
    blocking(move || work(&stop)).await
}

/// Whether `text` is a full commit hash, as Git prints it.
fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
