//! `gorget generate`: man pages, completions and docs/commands.md, for packagers.

use std::path::PathBuf;

use clap::CommandFactory as _;
use clap_complete::{Shell, generate_to};

use crate::cli::{Cli, Exit, reference};

/// Writes man pages, shell completions and the list of commands
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Generate {
    /// Where to
    directory: PathBuf,
}

pub(in crate::cli) fn run(args: &Generate) -> anyhow::Result<Exit> {
    fs_err::create_dir_all(&args.directory)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut Cli::command(), "gorget", &args.directory)?;
    }
    clap_mangen::generate_to(Cli::command(), &args.directory)?;
    fs_err::write(args.directory.join("commands.md"), reference::markdown())?;
    Ok(Exit::Done)
}
