//! `gorget doctor`: whether this machine has what a farm needs, and whether the farm reaches what it names.
//!
//! Each check looks at one thing and says what to do if it is wrong. Nothing is changed, but for a
//! temporary file in the state directory, and a database of an older version, which is brought up to
//! date as by any command. Checks that need the network run side by side, each with a time limit.

mod farm;
mod machine;
mod network;

use crate::cli::{Exit, output};
use crate::config::{Config, ConfigError};
use crate::domain::spec::{Spec, load_directory};
use crate::view::doctor::{Check, State};

/// Check this installation: Guix, sandbox, database, keys, specs, and all that the farm has to reach
///
/// Each line says ok, warning or fault. The exit code is 1 if there is a fault.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Doctor {
    /// Write one JSON object for every check
    #[arg(long)]
    json: bool,
}

pub(in crate::cli) async fn run(args: &Doctor, config: Result<Config, ConfigError>) -> anyhow::Result<Exit> {
    let config = match config {
        Ok(config) => config,
        Err(error) => return show(args, &[Check::fault("configuration", &error.to_string())]),
    };
    let mut checks = vec![Check::ok("configuration", format!("state in {}", config.state.display()))];
    checks.extend(machine::checks(&config).await);
    let (specs, of_specs) = specs(&config);
    checks.extend(farm::checks(&config).await);
    checks.extend(of_specs);
    checks.extend(network::checks(&config, &specs).await);
    show(args, &checks)
}

/// The specs that can be read, and what is wrong with the others.
fn specs(config: &Config) -> (Vec<Spec>, Vec<Check>) {
    let place = config.specs.display();
    let files = match load_directory(&config.specs) {
        Ok(files) => files,
        Err(error) => {
            let text =
                format!("{place} cannot be read: {error}\nhint: create it, or set `specs` in gorget.toml");
            return (Vec::new(), vec![Check::fault("specs", &text)]);
        }
    };
    if files.is_empty() {
        let text = format!("{place} has no spec\nhint: write one; docs/specs.md has an example");
        return (Vec::new(), vec![Check::warning("specs", &text)]);
    }
    let (mut specs, mut checks) = (Vec::new(), Vec::new());
    for file in files {
        let name = format!("spec {}", file.path.file_stem().unwrap_or_default().to_string_lossy());
        match file.outcome {
            Ok(checked) => specs.push(checked.spec),
            Err(faults) => {
                let first = faults.first().map(|fault| fault.message.as_str()).unwrap_or_default();
                let text = format!("{first}\nhint: `gorget check` shows where");
                checks.push(Check::fault(name, &text));
            }
        }
    }
    if !specs.is_empty() {
        let count = output::count(specs.len(), "spec", "specs");
        checks.insert(0, Check::ok("specs", format!("{count} in {place}")));
    }
    (specs, checks)
}

fn show(args: &Doctor, checks: &[Check]) -> anyhow::Result<Exit> {
    if args.json {
        for check in checks {
            output::json(check)?;
        }
    } else {
        let width = checks.iter().map(|check| check.name.chars().count()).max().unwrap_or(0);
        for Check { hint, name, state, text } in checks {
            let hint = hint.as_ref().map_or(String::new(), |hint| format!("\nhint: {hint}"));
            output::entry(&format!("{:<7}  {name:<width$}  {text}{hint}", state.word()))?;
        }
        let count = |state: State| checks.iter().filter(|check| check.state == state).count();
        let faults = output::count(count(State::Fault), "fault", "faults");
        output::note(&format!("{faults}, {}", output::count(count(State::Warning), "warning", "warnings")));
    }
    let has_fault = checks.iter().any(|check| check.state == State::Fault);
    Ok(if has_fault { Exit::InputError } else { Exit::Done })
}
