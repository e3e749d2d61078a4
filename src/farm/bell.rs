//! Wakes reconcilers early. A bell carries no data: the database says what there is to do.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Notify;

/// The bells of all reconcilers of a process. A step that writes a row rings the bell of the step
/// that reads it.
#[derive(Debug, Clone, Default)]
pub struct Bells {
    /// Wakes the step that reads spec files.
    pub register: Bell,
    /// Wakes the step that polls repositories.
    pub watch: Bell,
    /// Wakes the step that fetches.
    pub fetch: Bell,
    /// Wakes the step that evaluates.
    pub evaluate: Bell,
    /// Wakes the step that schedules.
    pub schedule: Bell,
    /// Wakes the step that asks substitute servers.
    pub substitute: Bell,
    /// Wakes the steps that submit, build and cancel.
    pub submit: Bell,
}

/// Wakes one reconciler. A ring while nothing waits is kept for the next wait.
#[derive(Debug, Clone, Default)]
pub struct Bell(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    notify: Notify,
    echoes: Mutex<Vec<Weak<Self>>>,
}

impl Bell {
    /// Ends the reconciler's current wait, or its next one.
    pub fn ring(&self) {
        self.0.notify.notify_one();
        let mut echoes = self.0.echoes.lock().unwrap_or_else(PoisonError::into_inner);
        echoes.retain(|echo| echo.upgrade().map(|echo| Self(echo).ring()).is_some());
    }

    /// Makes a bell for one more reconciler. It rings whenever this one does, until it is dropped.
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
