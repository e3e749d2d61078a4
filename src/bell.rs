//! Wakes keepers early. A bell carries no data: what there is to do stands in the database.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// Rings for one keeper. A ring that nobody waits for yet is kept for the next wait.
#[derive(Debug, Clone, Default)]
pub struct Bell(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    notify: Notify,
    echoes: Mutex<Vec<Bell>>,
}

impl Bell {
    /// Wakes the keeper, or its next wait.
    pub fn ring(&self) {
        self.0.notify.notify_one();
        let echoes = self.0.echoes.lock().unwrap_or_else(PoisonError::into_inner);
        echoes.iter().for_each(Self::ring);
    }

    /// Another bell, for one more keeper, which rings whenever this one does.
    #[must_use]
    pub fn echo(&self) -> Self {
        let echo = Self::default();
        self.0.echoes.lock().unwrap_or_else(PoisonError::into_inner).push(echo.clone());
        echo
    }

    /// Returns after the next ring.
    pub async fn heard(&self) {
        self.0.notify.notified().await;
    }
}
