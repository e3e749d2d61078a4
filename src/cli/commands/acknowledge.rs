//! `gorget acknowledge`: a push that leads away from what was evaluated before is meant.

use crate::cli::{Exit, open_db, output, user_error};
use crate::clock::Clock;
use crate::config::Config;
use crate::db::PushId;

/// Allow a push that leads away from what was evaluated
///
/// A branch of a channel that is authenticated goes forward only: who could put it back to an older
/// commit could bring back old faults. A spec whose branch went elsewhere is blocked until somebody who
/// knows why says so. The commit must be authentic all the same.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Acknowledge {
    /// Number of the push, as `gorget status` and `gorget pushes` show it
    push: i64,
}

pub(in crate::cli) async fn run(args: &Acknowledge, config: Config) -> anyhow::Result<Exit> {
    let db = open_db::open(&config).await?;
    let missing = || format!("there is no push {}\nhint: `gorget pushes` lists them", args.push);
    let pushes = db.all_pushes(i64::MAX).await?;
    let push = pushes.into_iter().find(|push| push.id == PushId(args.push));
    let push = push.ok_or_else(|| user_error(missing()))?;
    let Some(after) = push.after else {
        return Err(user_error(format!("push {} removed the branch: there is nothing to go to", args.push)));
    };
    db.acknowledge_push(push.id, Clock::System.now()).await?;
    output::note(&format!("{} of {} may go to {after}", push.branch, push.url));
    Ok(Exit::Done)
}
