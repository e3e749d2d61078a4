//! Wakes reconcilers early. A bell carries no data: the database says what there is to do.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Notify;

/// Rings for one keeper. A ring that nobody waits for yet is kept for the next wait.
#[derive(Debug, Clone, Default)]
pub struct Bell(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    notify: Notify,
    echoes: Mutex<Vec<Weak<Self>>>,
}

impl Bell {
    /// Wakes the keeper, or its next wait.
    pub fn ring(&self) {
        self.0.notify.notify_one();
        let mut echoes = self.0.echoes.lock().unwrap_or_else(PoisonError::into_inner);
        echoes.retain(|echo| echo.upgrade().map(|echo| Self(echo).ring()).is_some());
    }

    /// Another bell, for one more keeper, which rings whenever this one does, until it is dropped.
    #[must_use]
    pub fn echo(&self) -> Self {
        let echo = Self::default();
        self.0.echoes.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&echo.0));
        echo
    }

    /// Returns after the next ring.
    pub async fn heard(&self) {
        self.0.notify.notified().await;
    }
}
