//! One derivation, and the jobs and builds that have it.

use std::collections::{BTreeMap, HashMap};

use schemars::JsonSchema;
use serde::Serialize;

use crate::db::{self, BuildId, BuildState, Db, Result};
use crate::guix::derivation as format;
use crate::guix::store_path::StorePath;
use crate::view::build_report::JobRef;

/// A derivation.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Derivation<'a> {
    /// The build of its outputs.
    pub build: Option<DerivationBuild>,
    /// The jobs that have or had it.
    pub jobs: Vec<JobRef<'a>>,
    /// Its store path.
    pub path: &'a str,
    /// The system that it is built on.
    pub system: &'a str,
    /// What its file says; `None` if the file is not stored, or large.
    pub text: Option<Text>,
}

/// A build of the outputs of a derivation.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub struct DerivationBuild {
    /// Its number.
    pub id: BuildId,
    /// Its state.
    pub state: BuildState,
}

/// What the file of a derivation says.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Text {
    /// The arguments of the builder.
    pub arguments: Vec<String>,
    /// The program that builds it.
    pub builder: String,
    /// The environment of the builder.
    pub environment: BTreeMap<String, String>,
    /// The derivations that it needs.
    pub inputs: Vec<Input>,
    /// Its outputs.
    pub outputs: Vec<Output>,
    /// The plain store items that it needs.
    pub sources: Vec<String>,
}

/// A derivation that another one needs.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Input {
    /// The build of its outputs.
    pub build: Option<DerivationBuild>,
    /// The names of the outputs that are needed.
    pub outputs: Vec<String>,
    /// Its store path.
    pub path: String,
}

/// An output of a derivation.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Output {
    /// The hash that its contents must have, in hexadecimal, if that is fixed.
    pub hash: Option<String>,
    /// The kind of that hash.
    pub hash_algorithm: Option<String>,
    /// Its name.
    pub name: String,
    /// Its store path.
    pub path: String,
}

/// The rows about a derivation.
#[derive(Debug)]
pub struct Rows {
    record: db::DerivationRecord,
    jobs: Vec<db::JobRecord>,
    file: Option<Vec<u8>>,
    /// The builds of its inputs, by the hash in the store path of each.
    builds: HashMap<String, (BuildId, BuildState)>,
}

impl Rows {
    /// Reads the rows about the derivation with this hash in its store path.
    pub async fn load(db: &Db, hash: &str) -> Result<Option<Self>> {
        let Some(record) = db.derivation(hash).await? else { return Ok(None) };
        let jobs = db.jobs_of_derivation(hash).await?;
        let place = db.find_item(hash).await?.filter(|place| place.is_derivation() && !place.is_large());
        let item = if place.is_some() { db.item(hash).await? } else { None };
        let file = item.map(|item| item.contents);
        let mut builds = HashMap::new();
        if let Some(parsed) = file.as_deref().and_then(|file| format::Derivation::parse(file).ok()) {
            let paths = parsed.inputs.iter().filter_map(|(path, _)| StorePath::parse(path).ok());
            let hashes: Vec<String> = paths.map(|path| path.hash_text()).collect();
            builds = db.builds_of_derivations(&hashes).await?;
        }
        Ok(Some(Self { record, jobs, file, builds }))
    }

    /// The store path of the derivation.
    pub fn path(&self) -> &str {
        &self.record.path
    }
}

impl<'a> Derivation<'a> {
    /// The view of these rows.
    pub fn new(rows: &'a Rows) -> Self {
        let db::DerivationRecord { path, system, build, state } = &rows.record;
        let build = build.zip(*state).map(|(id, state)| DerivationBuild { id, state });
        let parsed = rows.file.as_deref().and_then(|file| format::Derivation::parse(file).ok());
        Self {
            build,
            jobs: rows.jobs.iter().map(JobRef::new).collect(),
            path,
            system,
            text: parsed.map(|parsed| Text::new(&parsed, &rows.builds)),
        }
    }
}

impl Text {
    fn new(parsed: &format::Derivation<'_>, builds: &HashMap<String, (BuildId, BuildState)>) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let some = |bytes: &[u8]| Some(text(bytes)).filter(|text| !text.is_empty());
        let build = |path: &[u8]| {
            let (id, state) = *builds.get(&StorePath::parse(path).ok()?.hash_text())?;
            Some(DerivationBuild { id, state })
        };
        let input = |(path, names): &(std::borrow::Cow<'_, [u8]>, Vec<std::borrow::Cow<'_, [u8]>>)| Input {
            build: build(path),
            outputs: names.iter().map(|name| text(name)).collect(),
            path: text(path),
        };
        let output = |output: &format::Output<'_>| Output {
            hash: some(&output.hash),
            hash_algorithm: some(&output.algorithm),
            name: text(&output.name),
            path: text(&output.path),
        };
        Self {
            arguments: parsed.arguments.iter().map(|argument| text(argument)).collect(),
            builder: text(&parsed.builder),
            environment: parsed.environment.iter().map(|(name, value)| (text(name), text(value))).collect(),
            inputs: parsed.inputs.iter().map(input).collect(),
            outputs: parsed.outputs.iter().map(output).collect(),
            sources: parsed.sources.iter().map(|source| text(source)).collect(),
        }
    }
}
