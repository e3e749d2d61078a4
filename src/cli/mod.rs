//! What people type. `commands` has a file per command; here is what several of them share.

mod author;
mod commands;
mod farm;
mod filter;
mod help;
mod listing;
mod once;
mod open_db;
mod output;
mod postgres_backup;
mod progress;
mod reference;
mod role;
mod run;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, FromArgMatches as _, Parser, Subcommand};
use commands::{
    acknowledge, approve, audit, backup, builds, channels, check, coverage, database, diff, doctor, evaluate,
    explain, failures, gc, generate, history, impact, import, key, pause, pin, poll, pushes, queue, reassign,
    retry, status, token, verdict, verify, waiver,
};
use listenfd::ListenFd;
use rustix::fs::Mode;

use crate::config::{Config, ConfigError};
use crate::evaluator::runtime::{READ_SOURCES, RuntimeError, read_sources};
use crate::evaluator::{SUPERVISE, supervise};
use crate::guix::signature::SigningError;
use crate::telemetry;

/// How long what is still under way may take when a command has ended.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// How a command ended; the number is the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// As it should.
    Done = 0,
    /// What it was given is at fault.
    InputError = 1,
    /// Gorget or the machine is at fault.
    InternalError = 2,
    /// A change rebuilds more than Guix's manual allows on `master`, or a branch waits or needs action.
    NotReady = 3,
    /// A branch must change, or substitute servers have too little.
    No = 4,
    /// A branch cannot be judged, or it is not known what substitute servers have.
    Unknown = 5,
}

/// Watches Git branches of Guix channels, evaluates each new revision in a sandbox, and queues
/// exactly the builds that are new
#[derive(Debug, Parser)]
#[command(name = "gorget", version, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 done, 1 the input is at fault, 2 Gorget or the machine is, 3 (`impact`) over 300 rebuilds, 3 to 5 (`verdict`) not ready, 4 and 5 (`coverage`) not enough."
)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Global {
    /// Configuration file [default: /etc/gorget/gorget.toml as root, else
    /// ~/.config/gorget/gorget.toml, if it is there]
    #[arg(long, global = true, value_name = "FILE", env = "GORGET_CONFIG")]
    config: Option<PathBuf>,
    /// Directory for all that Gorget keeps; comes before the configuration file's
    #[arg(long, global = true, value_name = "DIR", env = "GORGET_STATE")]
    state: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Run),
    Evaluate(evaluate::Evaluate),
    Impact(impact::ImpactArgs),
    Check(check::Check),
    Doctor(doctor::Doctor),
    Status(status::Status),
    Diff(diff::Diff),
    History(history::History),
    Pin(pin::Pin),
    Gc(gc::Gc),
    Backup(backup::Backup),
    Verify(verify::Verify),
    Db(database::Database),
    Queue(queue::Queue),
    Builds(builds::Builds),
    Poll(poll::Poll),
    Pushes(pushes::Pushes),
    Acknowledge(acknowledge::Acknowledge),
    Approve(approve::Approve),
    Retry(retry::Retry),
    Reassign(reassign::Reassign),
    Pause(pause::Pause),
    Resume(pause::Resume),
    Channels(channels::Channels),
    Explain(explain::Explain),
    Failures(failures::Failures),
    Coverage(coverage::CoverageArgs),
    Verdict(verdict::VerdictArgs),
    Waiver(waiver::Waivers),
    Key(key::Key),
    Token(token::Tokens),
    Audit(audit::Audit),
    Import(import::Import),
    #[command(hide = true)]
    Generate(generate::Generate),
    /// Reads the modules of channels for the farm, which starts it
    #[command(hide = true, name = READ_SOURCES)]
    ReadSources,
    /// Evaluates for the farm, which starts it
    #[command(hide = true, name = SUPERVISE)]
    Supervise,
}

/// An error whose cause is what the person gave.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct UserError(String);

/// Makes a [`UserError`].
fn user_error(message: impl Into<String>) -> anyhow::Error {
    UserError(message.into()).into()
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    let parsed = help::command().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { Exit::InputError } else { Exit::Done }.into();
        }
    };
    match run_command(cli) {
        Ok(exit) => exit.into(),
        Err(error) => {
            // It is no error when the reader, such as `head`, has exited.
            if error.chain().any(is_broken_pipe) {
                return Exit::Done.into();
            }
            if telemetry::is_json() && tracing::enabled!(tracing::Level::ERROR) {
                tracing::error!("{error:#}");
            } else {
                output::error(&error);
            }
            let input = error.chain().any(is_user_error);
            if input { Exit::InputError } else { Exit::InternalError }.into()
        }
    }
}

fn is_user_error(cause: &(dyn std::error::Error + 'static)) -> bool {
    cause.is::<UserError>()
        || cause.is::<ConfigError>()
        || cause.is::<SigningError>()
        || cause.downcast_ref::<RuntimeError>().is_some_and(RuntimeError::is_of_revision)
}

fn is_broken_pipe(cause: &(dyn std::error::Error + 'static)) -> bool {
    cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Where a command logs to, and who may read what it makes.
fn prepare(command: &Command) {
    telemetry::begin(match command {
        // On a terminal, a progress bar takes the place of the log.
        Command::Run(run) if !run.once || !std::io::stderr().is_terminal() => "gorget=info",
        // Its steps are not those of a farm; it reports problems itself.
        Command::Impact(_) => "off",
        _ => "gorget=warn",
    });
    // Only its owner may read what Gorget keeps; everybody may read man pages, completions and
    // spec files.
    if !matches!(command, Command::Generate(_) | Command::Import(_)) {
        rustix::process::umask(Mode::RWXG | Mode::RWXO);
    }
    if matches!(command, Command::ReadSources | Command::Supervise) {
        // Otherwise, the kernel would name the process after the link through which it was started.
        let _ = rustix::thread::set_name(c"gorget");
    }
}

fn run_command(cli: Cli) -> anyhow::Result<Exit> {
    prepare(&cli.command);
    let config = || Config::load(cli.global.config.as_deref(), cli.global.state.as_deref());
    match cli.command {
        Command::Check(args) => within(check::run(&args, config().map_err(Into::into))),
        Command::Doctor(args) => within(doctor::run(&args, config())),
        Command::Generate(generate) => generate::run(&generate),
        Command::ReadSources => Ok(read_sources().map(|()| Exit::Done)?),
        Command::Supervise => within(async { Ok(supervise().await.map(|()| Exit::Done)?) }),
        // Taking sockets changes the environment, so it comes before `within` starts threads.
        Command::Run(args) => within(run::run(&args, config()?, ListenFd::from_env())),
        Command::Evaluate(args) => within(evaluate::run(&args, config()?)),
        Command::Impact(args) => within(impact::run(&args, config()?)),
        Command::Status(args) => within(status::run(&args, config()?)),
        Command::Diff(args) => within(diff::run(&args, config()?)),
        Command::History(args) => within(history::run(&args, config()?)),
        Command::Pin(args) => within(pin::run(&args, config()?)),
        Command::Gc(args) => within(gc::run(&args, config()?)),
        Command::Backup(args) => within(backup::run(&args, config()?)),
        Command::Db(args) => within(database::run(&args)),
        Command::Verify(args) => within(verify::run(&args, config()?)),
        Command::Queue(args) => within(queue::run(&args, config()?)),
        Command::Builds(args) => within(builds::run(&args, config()?)),
        Command::Poll(args) => within(poll::run(&args, config()?)),
        Command::Pushes(args) => within(pushes::run(&args, config()?)),
        Command::Acknowledge(args) => within(acknowledge::run(&args, config()?)),
        Command::Approve(args) => within(approve::run(&args, config()?)),
        Command::Retry(args) => within(retry::run(&args, config()?)),
        Command::Reassign(args) => within(reassign::run(&args, config()?)),
        Command::Pause(args) => within(pause::pause(&args, config()?)),
        Command::Resume(args) => within(pause::resume(&args, config()?)),
        Command::Channels(args) => within(channels::run(&args, config()?)),
        Command::Explain(args) => within(explain::run(&args, config()?)),
        Command::Failures(args) => within(failures::run(&args, config()?)),
        Command::Coverage(args) => within(coverage::run(&args, config()?)),
        Command::Verdict(args) => within(verdict::run(&args, config()?)),
        Command::Waiver(args) => within(waiver::run(&args, config()?)),
        Command::Key(args) => key::run(&args, &config()?),
        Command::Token(args) => within(token::run(&args, config()?)),
        Command::Audit(args) => within(audit::run(&args, config()?)),
        Command::Import(args) => within(import::run(&args)),
    }
}

fn within(work: impl Future<Output = anyhow::Result<Exit>>) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(work);
    // Work that still waits for a file or a lock must not keep the program from exiting.
    runtime.shutdown_timeout(LAST_WAIT);
    result
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }
}
