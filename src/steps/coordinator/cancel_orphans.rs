use std::time::Duration;

use crate::db::Db;
use crate::farm::context::Context;
use crate::farm::reconciler::{Reconciler, StepOutcome};

/// The reconciler that cancels unwanted builds for which no coordinator of the farm is responsible:
/// there is no coordinator, or the one that had the build is no longer configured.
#[derive(Debug)]
pub struct CancelOrphans {
    db: Db,
    coordinators: Vec<String>,
}

impl CancelOrphans {
    /// `coordinators` are the names of coordinators that cancel their own builds.
    pub fn new(context: &Context, coordinators: Vec<String>) -> Self {
        Self { db: context.db.clone(), coordinators }
    }
}

impl Reconciler for CancelOrphans {
    const NAME: &'static str = "cancel orphans";
    const PERIOD: Duration = Duration::from_secs(10);

    async fn step(&mut self) -> anyhow::Result<StepOutcome> {
        let count = self.db.cancel_unassigned(&self.coordinators).await?;
        Ok(if count > 0 { StepOutcome::Worked } else { StepOutcome::Idle })
    }
}
