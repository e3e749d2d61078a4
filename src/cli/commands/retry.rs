//! `gorget retry`: an evaluation once more.

use crate::cli::{Exit, open_db, output, user_error};
use crate::clock::Clock;
use crate::config::Config;
use crate::db::{Db, Evaluation, EvaluationId, EvaluationState};

/// Evaluate a revision once more, for one system
///
/// Other systems of the revision stay as they are. What failed for reasons outside of the revision is
/// tried three times without being asked for, and what is interrupted is begun five times; this is for
/// what a person has mended since, such as too little memory.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Retry {
    /// Number of the evaluation, as `gorget status` shows it: the newest of its spec and system
    evaluation: i64,
}

pub(in crate::cli) async fn run(args: &Retry, config: Config) -> anyhow::Result<Exit> {
    let db = open_db::open(&config).await?;
    let id = EvaluationId(args.evaluation);
    let missing = || user_error(format!("there is no evaluation {id}\nhint: `gorget status` lists them"));
    let old = db.evaluation(id).await?.ok_or_else(missing)?;
    let specs = db.specs().await?;
    if !specs.iter().any(|stored| stored.id == old.spec_id && stored.present && stored.spec.active) {
        return Err(user_error(format!(
            "the spec {} is not active, so nothing of it is evaluated",
            old.spec
        )));
    }
    let Some(new) = db.retry_evaluation(id, Clock::System.now()).await? else {
        return Err(refusal(&db, &old).await?);
    };
    output::note(&format!(
        "evaluation {new} of {} for {} waits for `gorget run`, at {}",
        old.spec,
        old.system,
        old.revision.short()
    ));
    Ok(Exit::Done)
}

/// Why an evaluation is not tried again.
async fn refusal(db: &Db, old: &Evaluation) -> anyhow::Result<anyhow::Error> {
    let id = old.id;
    Ok(match old.state {
        EvaluationState::Pending => user_error(format!("evaluation {id} waits for its turn already")),
        EvaluationState::Running => user_error(format!("evaluation {id} is running")),
        EvaluationState::Complete | EvaluationState::Failed => {
            let newest = db.newest_evaluations().await?;
            let newest = newest.iter().find(|e| (e.spec_id, &e.system) == (old.spec_id, &old.system));
            let hint = newest.map_or(String::new(), |newest| format!("\nhint: that is {}", newest.id));
            user_error(format!("evaluation {id} is not the newest of {} for {}{hint}", old.spec, old.system))
        }
    })
}
