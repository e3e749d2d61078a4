//! The impact of a change, as Markdown for a pull request.

use std::fmt::Write as _;

use crate::cli::commands::impact::report::{
    MOST_CAUSES, MOST_LISTED, advice, grouped, is_of_module, name, versioned,
};
use crate::view::impact::{Impact, SystemImpact};

/// The Markdown text.
pub(super) fn markdown(impact: &Impact, is_guix: bool) -> String {
    let mut text = String::new();
    let base = impact.base.commit.get(..12).unwrap_or(&impact.base.commit);
    let most = impact.most_rebuilds();
    let word = if most == 1 { "rebuild" } else { "rebuilds" };
    let _ = writeln!(
        text,
        "**{} {word}** compared with {} ({})",
        grouped(most),
        code(base),
        code(&impact.base.name)
    );
    if let Some(advice) = advice(most).filter(|_| is_guix) {
        let _ = writeln!(text, "\n{advice}");
    }
    for system in &impact.systems {
        section(&mut text, system);
    }
    text
}

fn section(text: &mut String, system: &SystemImpact) {
    let _ = writeln!(text, "\n### {}: {}\n", system.system, grouped(system.rebuilds.count));
    if !system.causes.is_empty() {
        text.push_str("| because of | rebuilds |\n|---|--:|\n");
        for cause in system.causes.iter().take(MOST_CAUSES) {
            let job = code(&versioned(name(&cause.job, &system.system), cause.version.as_deref()));
            let _ = writeln!(text, "| {} | {} |", job.replace('|', "\\|"), grouped(cause.rebuilds));
        }
        if system.causes.len() > MOST_CAUSES {
            let _ = writeln!(text, "\nand {} more", grouped(system.causes.len() - MOST_CAUSES));
        }
        text.push('\n');
    }
    let items = items(system);
    for item in items.iter().take(MOST_LISTED) {
        let _ = writeln!(text, "* {}", item.trim_end());
    }
    if items.len() > MOST_LISTED {
        let _ = writeln!(text, "* and {} more", grouped(items.len() - MOST_LISTED));
    }
}

/// Errors and packages that differ. Errors come first.
fn items(system: &SystemImpact) -> Vec<String> {
    let job = |job: &str| code(name(job, &system.system));
    let version = |version: &Option<String>| version.as_deref().map(code).unwrap_or_default();
    let of_modules = system.new_errors.iter().filter(|error| is_of_module(error)).count();
    let of_modules = (of_modules > 0).then(|| {
        format!("**cannot be evaluated**: {} packages of modules that failed to load", grouped(of_modules))
    });
    let errors = system.new_errors.iter().filter(|error| !is_of_module(error)).map(|error| {
        let line = error.message.lines().next().unwrap_or_default();
        format!("**cannot be evaluated**: {} ({}): {}", job(&error.name), error.cause, code(line))
    });
    let updated = system
        .updated
        .iter()
        .map(|update| format!("{}: {} → {}", job(&update.job), code(&update.before), code(&update.after)));
    let added = system
        .added
        .iter()
        .map(|package| format!("new: {} {}", job(&package.job), version(&package.version)));
    let removed = system.removed.iter().map(|package| {
        let gone = format!("removed: {} {}", job(&package.job), version(&package.version));
        match package.needed_by {
            0 => gone,
            needed_by => format!("{}, needed by {}", gone.trim_end(), grouped(needed_by)),
        }
    });
    let fixed = system.fixed.iter().map(|package| {
        format!("can be evaluated again: {} {}", job(&package.job), version(&package.version))
    });
    errors.chain(of_modules).chain(fixed).chain(updated).chain(added).chain(removed).collect()
}

/// A code span, in which Markdown interprets nothing.
fn code(text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    // The fence must be longer than any run of backticks inside.
    let mut longest = 0;
    let mut run = 0;
    for c in text.chars() {
        run = if c == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    let fence = "`".repeat(longest + 1);
    let space = if longest > 0 { " " } else { "" };
    format!("{fence}{space}{text}{space}{fence}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_a_name_is_inert() {
        assert_eq!(code("a`b"), "`` a`b ``");
        assert_eq!(code("<img src=x>|@all"), "`<img src=x>|@all`");
    }
}
