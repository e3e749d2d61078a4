//! Channels: looks at remote repositories, keeps mirrors of them, and checks commits out.
//!
//! What a repository holds is hostile: names, sizes, shapes. [`Mirrors`] is the only part that meets
//! the network, and does so through the `git` program, which can be killed; everything local is read
//! with libgit2.

mod checkout;
mod mirror;
mod remote;
mod tree;

pub use checkout::Checkouts;
pub use mirror::Mirrors;
pub use remote::{Limits, RemoteError};
pub use tree::{CheckoutError, Refusal, changed_files};

/// Runs work that reads or writes many files, where it cannot hold up anything else.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Whether `text` is a full commit hash, as Git prints it.
fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
