//! `gorget pause` and `gorget resume`: what people stop for a while.

use crate::cli::author::{ActionContext, refused};
use crate::cli::{Exit, output};
use crate::config::Config;
use crate::db::Pausable;

/// Stop a spec, a system, a host or all submission for a while
///
/// Nothing of a paused spec or system is evaluated or submitted, and a paused host begins no evaluation.
/// Other work continues: branches are polled, running evaluations finish, and coordinators build what
/// they already have.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Pause {
    #[command(flatten)]
    what: What,
    /// The reason, which `gorget status` shows
    #[arg(long, default_value = "")]
    reason: String,
}

/// Resume something that is paused
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Resume {
    #[command(flatten)]
    what: What,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct What {
    /// A spec, and those made from it
    #[arg(long, value_name = "NAME")]
    spec: Option<String>,
    /// A system
    #[arg(long)]
    system: Option<String>,
    /// A host, as `gorget status` shows it
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// Submission to all coordinators
    #[arg(long)]
    submission: bool,
}

impl What {
    fn pausable(&self) -> Pausable {
        let Self { spec, system, host, .. } = self;
        let spec = spec.clone().map(Pausable::Spec);
        let system = system.clone().map(Pausable::System);
        let host = host.clone().map(Pausable::Host);
        spec.or(system).or(host).unwrap_or(Pausable::Submission)
    }
}

pub(in crate::cli) async fn pause(args: &Pause, config: Config) -> anyhow::Result<Exit> {
    let context = ActionContext::open(&config).await?;
    let done = context.actions().pause(&args.what.pausable(), &args.reason).await;
    output::note(&done.map_err(refused)?);
    Ok(Exit::Done)
}

pub(in crate::cli) async fn resume(args: &Resume, config: Config) -> anyhow::Result<Exit> {
    let context = ActionContext::open(&config).await?;
    output::note(&context.actions().resume(&args.what.pausable()).await.map_err(refused)?);
    Ok(Exit::Done)
}
