use std::time::Duration;

use crate::db::Db;
use crate::farm::reconciler::{Progress, Reconciler};

/// The keeper that gives up what nobody wants any more where nobody can be told: the queue is the
/// result, or the coordinator that had it is none of the farm's any more.
#[derive(Debug)]
pub struct CancelOrphans {
    /// Where builds stand.
    pub db: Db,
    /// The names of the coordinators that are told.
    pub told: Vec<String>,
}

impl Reconciler for CancelOrphans {
    const NAME: &'static str = "let go";
    const PERIOD: Duration = Duration::from_secs(10);

    async fn step(&mut self) -> anyhow::Result<Progress> {
        let count = self.db.give_up_untold(&self.told).await?;
        Ok(if count > 0 { Progress::Worked } else { Progress::Idle })
    }
}
