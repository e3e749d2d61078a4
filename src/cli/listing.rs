//! Lists the results of an evaluation while it runs.

use std::collections::HashMap;

use tokio::sync::mpsc;

use super::output;
use super::progress::Progress;
use crate::domain::spec::System;
use crate::evaluator::{Batch, EvaluatorProcess, Event, Outcome, Summary, Target};
use crate::guix::recording_store::RecordedItem;
use crate::guix::store_path::{Hash, StorePath};
use crate::view::listing::{Finding, Job};

/// Evaluates, and lists jobs, errors and warnings, each as a line or as a JSON object.
pub(super) async fn list(
    warm: &mut EvaluatorProcess,
    wanted: Target,
    json: bool,
    progress: &Progress,
) -> anyhow::Result<Summary> {
    let system = wanted.system.clone();
    let mut derivations = json.then(Derivations::default);
    let (events, mut received) = mpsc::channel(4);
    let (summary, listed) = tokio::join!(
        async {
            let result = warm.evaluate(wanted, &events).await;
            drop(events);
            result
        },
        async {
            while let Some(event) = received.recv().await {
                match event {
                    Event::Enumerated { units } => progress.of(units),
                    Event::Batch(batch) => {
                        progress.advance(batch.done);
                        let mut result = Ok(());
                        progress.above(|| result = show(batch, &system, derivations.as_mut()));
                        if result.is_err() {
                            received.close();
                            return result;
                        }
                    }
                }
            }
            Ok(())
        }
    );
    listed?;
    Ok(summary?)
}

/// Shows a batch; with `derivations`, as JSON.
fn show(batch: Batch, system: &System, derivations: Option<&mut Derivations>) -> anyhow::Result<()> {
    if let Some(derivations) = derivations {
        derivations.learn(batch.items);
        return batch.outcomes.iter().try_for_each(|outcome| show_json(outcome, system, derivations));
    }
    for outcome in batch.outcomes {
        match outcome {
            Outcome::Job { name, derivation, .. } => output::line(&format!("{name} {derivation}"))?,
            Outcome::Error { name, cause, message } => {
                output::note_entry(&format!("{name} ({cause}): {message}"));
            }
            Outcome::Warning { name, cause, message } => {
                output::note_entry(&format!("warning: {name} ({cause}): {message}"));
            }
        }
    }
    Ok(())
}

fn show_json(outcome: &Outcome, system: &System, derivations: &Derivations) -> anyhow::Result<()> {
    let finding =
        |kind, cause, message, name| Finding { cause, message, name, system: system.as_str(), kind };
    match outcome {
        Outcome::Job { name, derivation, outputs, metadata } => {
            let known = derivations.0.get(derivation.hash());
            output::json(&Job {
                built_on: known.map(|known| known.system.as_str()),
                inputs: derivations.inputs(derivation),
                ..Job::new(system, name, derivation, outputs, metadata)
            })
        }
        Outcome::Error { name, cause, message } => output::json(&finding("error", cause, message, name)),
        Outcome::Warning { name, cause, message } => output::json(&finding("warning", cause, message, name)),
    }
}

/// All derivations of an evaluation.
#[derive(Default)]
struct Derivations(HashMap<Hash, Known>);

struct Known {
    path: StorePath,
    system: String,
    inputs: Vec<Hash>,
}

impl Derivations {
    fn learn(&mut self, items: Vec<RecordedItem>) {
        for RecordedItem { path, derivation, .. } in items {
            if let Some(derivation) = derivation {
                let (system, inputs) = (derivation.system, derivation.inputs);
                self.0.insert(*path.hash(), Known { path, system, inputs });
            }
        }
    }

    /// The derivations that this derivation directly needs.
    fn inputs(&self, derivation: &StorePath) -> Vec<String> {
        let inputs = self.0.get(derivation.hash()).map_or(&[][..], |known| &known.inputs);
        let paths = inputs.iter().filter_map(|input| self.0.get(input));
        paths.map(|known| known.path.to_string()).collect()
    }
}
