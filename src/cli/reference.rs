//! Generates `docs/commands.md` from the help texts.

use std::fmt::Write as _;

use clap::{Arg, Command, CommandFactory as _};

use super::{Cli, help};

/// The longest line of prose, in characters.
const COLUMNS: usize = 100;

/// All commands with their arguments, in Markdown.
pub(super) fn markdown() -> String {
    let mut root = Cli::command();
    root.build();
    let mut text = "# Commands\n\n".to_owned();
    paragraph(
        &mut text,
        "`gorget generate` makes this page from what `gorget COMMAND --help` says, and man pages and shell \
         completions with it. `--config FILE` and `--state DIR` work with every command. \
         [operating.md](operating.md#exit-codes) lists the exit codes.",
    );
    for (group, names) in help::GROUPS {
        let _ = writeln!(text, "## {group}\n");
        for command in names.iter().filter_map(|name| root.find_subcommand(name)) {
            section(&mut text, command);
        }
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn section(text: &mut String, command: &Command) {
    let _ = writeln!(text, "### {}\n", command.get_bin_name().unwrap_or_else(|| command.get_name()));
    let about = command.get_long_about().or_else(|| command.get_about()).map(ToString::to_string);
    for (place, lines) in about.unwrap_or_default().split("\n\n").enumerate() {
        let stop = if place == 0 && !lines.ends_with('.') { "." } else { "" };
        paragraph(text, &format!("{lines}{stop}"));
    }
    let usage = command.clone().render_usage().to_string();
    let _ = writeln!(text, "```\n{}\n```\n", usage.trim_start_matches("Usage: "));
    let arguments: Vec<&Arg> = command.get_arguments().filter(|one| is_own(one)).collect();
    if !arguments.is_empty() {
        text.push_str("| argument | meaning |\n|---|---|\n");
        for argument in arguments {
            let _ = writeln!(text, "| `{}` | {} |", name(argument), meaning(argument));
        }
        text.push('\n');
    }
    for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
        section(text, inner);
    }
}

/// Whether an argument belongs to the command itself.
fn is_own(argument: &Arg) -> bool {
    !argument.is_global_set()
        && !argument.is_hide_set()
        && !["help", "version"].contains(&argument.get_id().as_str())
}

fn name(argument: &Arg) -> String {
    let values = argument.get_value_names().unwrap_or_default().join(" ");
    let name = match argument.get_long() {
        Some(long) if argument.get_action().takes_values() => format!("--{long} {values}"),
        Some(long) => format!("--{long}"),
        None => values,
    };
    name.replace('|', "\\|")
}

fn meaning(argument: &Arg) -> String {
    let help = argument.get_long_help().or_else(|| argument.get_help()).map(ToString::to_string);
    let mut text = help.unwrap_or_default().replace('\n', " ").replace('|', "\\|");
    let possible = argument.get_possible_values();
    let possible: Vec<&str> = possible.iter().map(clap::builder::PossibleValue::get_name).collect();
    if argument.get_action().takes_values() && !possible.is_empty() {
        let _ = write!(text, ": {}", possible.join(", "));
    }
    let default: Vec<_> = argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if argument.get_action().takes_values() && !default.is_empty() {
        let _ = write!(text, " (default: {})", default.join(" "));
    }
    text
}

/// Adds words in lines of at most [`COLUMNS`] characters, and an empty line.
fn paragraph(text: &mut String, words: &str) {
    let mut column = 0;
    for word in words.split_whitespace() {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > COLUMNS {
            text.push('\n');
            column = 0;
        } else if column > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += length;
    }
    text.push_str("\n\n");
}
