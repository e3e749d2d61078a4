//! Wakes keepers early. A bell carries no data: what there is to do stands in the database.

use std::sync::Arc;

use tokio::sync::Notify;

/// Rings for one keeper. A ring that nobody waits for yet is kept for the next wait.
#[derive(Debug, Clone, Default)]
pub struct Bell(Arc<Notify>);

impl Bell {
    /// Wakes the keeper, or its next wait.
    pub fn ring(&self) {
        self.0.notify_one();
    }

    /// Returns after the next ring.
    pub async fn heard(&self) {
        self.0.notified().await;
    }
}
