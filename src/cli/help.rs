//! The list of commands that `gorget --help` shows, in groups.

use std::fmt::Write as _;

use clap::{Command, CommandFactory as _};

use super::Cli;

/// The commands, grouped by subject.
pub(super) const GROUPS: [(&str, &[&str]); 6] = [
    ("Evaluating", &["run", "evaluate", "impact"]),
    ("Specs and branches", &["check", "poll", "pushes", "acknowledge", "channels", "import"]),
    ("Evaluations", &["status", "diff", "verdict", "history", "retry", "pin"]),
    ("Builds", &["queue", "builds", "explain", "failures", "coverage", "approve", "reassign"]),
    ("Steering", &["pause", "resume", "waiver", "audit"]),
    ("Maintenance", &["doctor", "gc", "verify", "backup", "db", "key", "token"]),
];

/// The command line, with the commands in groups.
pub(super) fn command() -> Command {
    let command = Cli::command();
    let header = command.get_styles().get_header();
    let literal = command.get_styles().get_literal();
    let mut text = "{about-with-newline}\n{usage-heading} {usage}\n\n".to_owned();
    for (group, names) in GROUPS {
        let _ = writeln!(text, "{header}{group}:{header:#}");
        for name in names {
            let about = command.find_subcommand(name).and_then(Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            let _ = writeln!(text, "  {literal}{name:<11}{literal:#}  {about}");
        }
        text.push('\n');
    }
    let _ = write!(text, "{header}Options:{header:#}\n{{options}}{{after-help}}");
    command.help_template(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_is_in_one_group() {
        let mut grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| *names).copied().collect();
        grouped.sort_unstable();
        let command = Cli::command();
        let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
        let mut shown: Vec<&str> = shown.map(Command::get_name).collect();
        shown.sort_unstable();
        assert_eq!(grouped, shown);
        assert!(GROUPS.iter().flat_map(|(_, names)| *names).all(|name| name.len() <= 11));
    }
}
