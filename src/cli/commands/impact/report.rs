//! The impact of a change, as text.

use crate::cli::output;
use crate::domain::diff::{LARGE, SMALL};
use crate::view::impact::why::Why;
use crate::view::impact::{Cause, Fault, Impact, MODULE, SystemImpact};

/// How many causes are listed.
pub(super) const MOST_CAUSES: usize = 20;
/// How many packages each other list has.
pub(super) const MOST_LISTED: usize = 50;

/// Writes the text.
pub(super) fn show(impact: &Impact, is_guix: bool) -> std::io::Result<()> {
    for system in &impact.systems {
        let mut lines = vec![headline(system)];
        lines.extend(advice(system.rebuilds.count).filter(|_| is_guix).map(|advice| format!("  {advice}")));
        lines.extend(errors(system));
        lines.extend(causes(system));
        lines.extend(packages(system));
        output::lines(&lines)?;
    }
    if impact.systems.is_empty() {
        output::line("0 rebuilds")?;
    }
    Ok(())
}

/// Writes why a package is rebuilt.
pub(super) fn explain(why: &Why) -> std::io::Result<()> {
    if why.chain.is_empty() {
        return output::line(&format!("{}: the base has no such package", why.job));
    }
    let mut lines = vec![format!("{} is rebuilt:", why.job)];
    for link in &why.chain {
        lines.push(format!("  {}", link.after));
        lines.push(format!("    was {}", link.before));
    }
    match &why.difference {
        Some(difference) => {
            lines.push(format!("what differs there first: {}", difference.field));
            lines.push(format!("  - {}", difference.before));
            lines.push(format!("  + {}", difference.after));
        }
        None => lines.push("what differs there is not known".to_owned()),
    }
    output::lines(&lines)
}

/// `x86_64-linux: 5,212 rebuilds, 2 errors`
fn headline(system: &SystemImpact) -> String {
    let counted =
        |count: usize, one: &str| format!("{} {one}{}", grouped(count), if count == 1 { "" } else { "s" });
    let errors = match system.new_errors.len() {
        0 => String::new(),
        count => format!(", {}", counted(count, "new error")),
    };
    format!("{}: {}{errors}", system.system, counted(system.rebuilds.count, "rebuild"))
}

/// The advice of Guix's manual for this number of rebuilds.
pub(super) fn advice(rebuilds: usize) -> Option<&'static str> {
    match rebuilds {
        0 => None,
        1..=SMALL => Some("up to 300: the change can go to master"),
        rebuilds if rebuilds <= LARGE => Some("over 300: Guix's manual asks for a topic branch"),
        _ => Some("over 1,800: Guix's manual asks for a topic branch; a large part of Guix is rebuilt"),
    }
}

/// The new errors. Jobs of modules that failed to load are only counted, because the errors of the
/// modules explain them.
fn errors(system: &SystemImpact) -> Vec<String> {
    let (of_modules, others): (Vec<_>, Vec<_>) =
        system.new_errors.iter().partition(|error| is_of_module(error));
    let shown = others.iter().take(MOST_LISTED).flat_map(|error| {
        let named = name(&error.name, &system.system);
        let text = format!("  ! {named} ({}): {}", error.cause, error.message);
        text.lines().enumerate().map(indent).collect::<Vec<_>>()
    });
    let jobs = (!of_modules.is_empty()).then(|| {
        let packages = output::count(of_modules.len(), "package is", "packages are");
        format!("  ! {packages} in modules that failed to load, or need one")
    });
    let fixed = system.fixed.iter().take(MOST_LISTED);
    let fixed = fixed.map(|job| format!("  can be evaluated again: {}", name(&job.job, &system.system)));
    shown.chain(rest(others.len(), MOST_LISTED, "errors")).chain(jobs).chain(fixed).collect()
}

/// Whether an error only says that its module failed to load.
pub(super) fn is_of_module(error: &Fault) -> bool {
    error.cause == MODULE && !error.name.starts_with('(')
}

/// Indents the lines of a message after the first.
fn indent((number, line): (usize, &str)) -> String {
    if number == 0 { line.to_owned() } else { format!("      {line}") }
}

fn causes(system: &SystemImpact) -> Vec<String> {
    if system.causes.is_empty() {
        return Vec::new();
    }
    let shown = &system.causes[..system.causes.len().min(MOST_CAUSES)];
    let named = |cause: &Cause| versioned(name(&cause.job, &system.system), cause.version.as_deref());
    let width = shown.iter().map(|cause| named(cause).chars().count()).max().unwrap_or(0);
    let line = |cause: &Cause| format!("    {:width$}  {:>7}", named(cause), grouped(cause.rebuilds));
    std::iter::once("  because of:".to_owned())
        .chain(shown.iter().map(line))
        .chain(rest(system.causes.len(), MOST_CAUSES, "packages").map(|line| format!("  {line}")))
        .collect()
}

fn packages(system: &SystemImpact) -> Vec<String> {
    let named =
        |job: &str, version: &Option<String>| versioned(name(job, &system.system), version.as_deref());
    let updated = system.updated.iter().take(MOST_LISTED).map(|update| {
        format!("  ~ {} {} -> {}", name(&update.job, &system.system), update.before, update.after)
    });
    let added = system
        .added
        .iter()
        .take(MOST_LISTED)
        .map(|package| format!("  + {}", named(&package.job, &package.version)));
    let removed = system.removed.iter().take(MOST_LISTED).map(|package| {
        let gone = named(&package.job, &package.version);
        match package.needed_by {
            0 => format!("  - {gone}"),
            needed_by => {
                format!("  - {gone}, still needed by {}", output::count(needed_by, "package", "packages"))
            }
        }
    });
    let same = (system.same_outputs > 0).then(|| {
        let packages = output::count(system.same_outputs, "package has", "packages have");
        format!("  {packages} the same outputs by another derivation: nothing to build")
    });
    updated
        .chain(rest(system.updated.len(), MOST_LISTED, "updates"))
        .chain(added)
        .chain(rest(system.added.len(), MOST_LISTED, "new packages"))
        .chain(removed)
        .chain(rest(system.removed.len(), MOST_LISTED, "removed packages"))
        .chain(same)
        .collect()
}

/// A line that says how many are not shown.
fn rest(count: usize, shown: usize, what: &str) -> Option<String> {
    (count > shown).then(|| format!("  and {} more {what}; --json lists all", grouped(count - shown)))
}

/// A name with its version, if that is known.
pub(super) fn versioned(name: &str, version: Option<&str>) -> String {
    version.map_or_else(|| name.to_owned(), |version| format!("{name} {version}"))
}

/// A job without the name of its system.
pub(super) fn name<'a>(job: &'a str, system: &str) -> &'a str {
    job.strip_suffix(system).and_then(|name| name.strip_suffix('.')).unwrap_or(job)
}

/// A number with commas between groups of digits.
pub(super) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_commas_and_bounds_have_advice() {
        assert_eq!(
            [0, 999, 1000, 31_330, 1_000_000].map(grouped),
            ["0", "999", "1,000", "31,330", "1,000,000"]
        );
        assert_eq!(advice(0), None);
        assert!(advice(300).unwrap().contains("master"));
        assert!(advice(301).unwrap().contains("topic branch"));
    }
}
