use std::collections::BTreeMap;

use serde::Serialize;

use crate::domain::job::{JobMetadata, Location};
use crate::domain::spec::System;
use crate::guix::store_path::StorePath;

/// A job that an evaluation found.
#[derive(Debug, Serialize)]
pub struct Job<'a> {
    /// The system that its derivation is built on.
    pub built_on: Option<&'a str>,
    /// The channel that defines its package.
    pub channel: Option<&'a str>,
    /// The store path of its derivation.
    pub derivation: String,
    /// Whether Guix hides its package from users.
    pub hidden: bool,
    /// The store paths of the derivations that it directly needs.
    pub inputs: Vec<String>,
    /// Where its package is defined.
    pub location: Option<&'a Location>,
    /// After this many seconds without output, its build is stopped.
    pub max_silent_time: i64,
    /// Its name.
    pub name: &'a str,
    /// The store paths of its outputs, by their names.
    pub outputs: BTreeMap<&'a str, String>,
    /// Its package or manifest entry.
    pub package: Option<&'a str>,
    /// Whether its package replaces another one that is grafted.
    pub replacement: bool,
    /// Whether a substitute server may provide it.
    pub substitutable: bool,
    /// The system that was evaluated.
    pub system: &'a str,
    /// The target that it is cross-built for.
    pub target: Option<&'a str>,
    /// After this many seconds, its build is stopped.
    pub timeout: i64,
    /// The word `job`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The version of its package.
    pub version: Option<&'a str>,
}

impl<'a> Job<'a> {
    /// The view of a job, with only the facts that its evaluation found.
    pub fn new(
        system: &'a System,
        name: &'a str,
        derivation: &StorePath,
        outputs: &'a [(String, StorePath)],
        metadata: &'a JobMetadata,
    ) -> Self {
        let outputs = outputs.iter().map(|(name, path)| (name.as_str(), path.to_string())).collect();
        Self {
            built_on: None,
            channel: metadata.channel.as_deref(),
            derivation: derivation.to_string(),
            hidden: metadata.hidden,
            inputs: Vec::new(),
            location: metadata.location.as_ref(),
            max_silent_time: metadata.max_silent_time,
            name,
            outputs,
            package: metadata.package.as_deref(),
            replacement: metadata.replacement,
            substitutable: metadata.substitutable,
            system: system.as_str(),
            target: metadata.target.as_deref(),
            timeout: metadata.timeout,
            kind: "job",
            version: metadata.version.as_deref(),
        }
    }
}

/// An error or a warning of an evaluation.
#[derive(Debug, Serialize)]
pub struct Finding<'a> {
    /// The kind of error, one word.
    pub cause: &'a str,
    /// The message of the error or warning.
    pub message: &'a str,
    /// The name of the job, module or script.
    pub name: &'a str,
    /// The system that was evaluated.
    pub system: &'a str,
    /// The word `error` or `warning`.
    #[serde(rename = "type")]
    pub kind: &'static str,
}

/// The last line of a listing: totals of all systems.
#[derive(Debug, Serialize)]
pub struct Summary<T> {
    /// Whether everything was evaluated without errors.
    pub complete: bool,
    /// The measurements, one key for each.
    #[serde(flatten)]
    pub figures: T,
    /// The word `summary`.
    #[serde(rename = "type")]
    pub kind: &'static str,
}
