//! What an evaluation finds, listed as it is found.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::output;
use super::progress::Progress;
use crate::domain::job::JobMetadata;
use crate::domain::spec::System;
use crate::evaluator::{Batch, Event, Outcome, Summary, Target, Warm};
use crate::guix::recording_store::RecordedItem;
use crate::guix::store_path::{Hash, StorePath};

/// Evaluates, and lists jobs, errors and warnings: a line each, or a JSON object.
pub(super) async fn list(
    warm: &mut Warm,
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

/// With `derivations`, in JSON.
fn show(batch: Batch, system: &System, derivations: Option<&mut Derivations>) -> anyhow::Result<()> {
    let Some(derivations) = derivations else {
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
        return Ok(());
    };
    derivations.learn(batch.items);
    for outcome in batch.outcomes {
        output::json(&match outcome {
            Outcome::Job { name, derivation, outputs, facts } => {
                let outputs: BTreeMap<_, _> =
                    outputs.iter().map(|(name, path)| (name.clone(), path.to_string())).collect();
                let known = derivations.0.get(derivation.hash());
                let mut job = json!({
                    "type": "job", "name": name, "system": system,
                    "derivation": derivation.to_string(), "outputs": outputs,
                    "inputs": derivations.inputs(&derivation),
                    "built_on": known.map(|known| &known.system),
                });
                add_facts(&mut job, &facts)?;
                job
            }
            Outcome::Error { name, cause, message } => json!({
                "type": "error", "name": name, "system": system, "cause": cause, "message": message,
            }),
            Outcome::Warning { name, cause, message } => json!({
                "type": "warning", "name": name, "system": system, "cause": cause, "message": message,
            }),
        })?;
    }
    Ok(())
}

fn add_facts(job: &mut Value, facts: &JobMetadata) -> anyhow::Result<()> {
    if let (Value::Object(job), Value::Object(facts)) = (job, serde_json::to_value(facts)?) {
        job.extend(facts);
    }
    Ok(())
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

    /// What this derivation needs directly.
    fn inputs(&self, derivation: &StorePath) -> Vec<String> {
        let inputs = self.0.get(derivation.hash()).map_or(&[][..], |known| &known.inputs);
        let paths = inputs.iter().filter_map(|input| self.0.get(input));
        paths.map(|known| known.path.to_string()).collect()
    }
}
