use gorget::clock::Clock;
use gorget::db::{
    Batch, Build, Claimant, Db, EvaluationId, EvaluationWriter, Interrupted, NewDerivation, NewJob, SpecId,
    Task,
};
use gorget::domain::access::{Author, Role};
use gorget::domain::job::JobMetadata;
use gorget::domain::plan::route::{Route, Routes};
use gorget::domain::revision::{ChannelCommit, Revision};
use gorget::domain::spec::{self, Spec, Subset, System};
use gorget::farm::context::{Context, Mode};
use serde_json::json;

/// What reconcilers that run alone share.
pub fn context(db: &Db, clock: &Clock) -> Context {
    Context::new(db.clone(), clock.clone(), Mode::Continuous, "here")
}

/// An active spec called `name` with one channel, for `x86_64-linux`.
pub fn spec(name: &str) -> Spec {
    serde_json::from_value(json!({
        "name": name,
        "channels": [{ "name": "guix", "url": "https://example.org/guix.git", "branch": "master" }],
        "build": spec::Build::from(Subset::All), "systems": ["x86_64-linux"], "period": "every 5m", "priority": 5, "active": true,
        "first": "queue",
    }))
    .unwrap()
}

/// Its only system.
pub fn system() -> System {
    System::new("x86_64-linux").unwrap()
}

/// The revision at which that channel stands at `commit`.
pub fn revision(commit: &str) -> Revision {
    Revision::new(vec![ChannelCommit::new("guix", "https://example.org/guix.git", commit)])
}

/// Makes `spec` the only one and gives its number.
pub async fn only_spec(db: &Db, spec: Spec) -> SpecId {
    let name = spec.name.clone();
    db.sync_specs(&[spec]).await.unwrap();
    spec_id(db, &name).await
}

/// The number of the spec called `name`.
pub async fn spec_id(db: &Db, name: &str) -> SpecId {
    db.specs().await.unwrap().into_iter().find(|stored| stored.spec.name == name).unwrap().id
}

/// A host that evaluates for all systems and has loaded nothing.
pub fn claimant(host: &str) -> Claimant {
    Claimant { host: host.to_owned(), ..Claimant::default() }
}

/// An evaluation that was taken back from a host and begins again.
pub fn interrupted(id: EvaluationId, host: &str) -> Interrupted {
    Interrupted { id, host: host.to_owned(), failed: false }
}

/// Requests and begins the evaluation of a commit; nothing else may be waiting.
pub async fn begin(db: &Db, spec: SpecId, commit: &str) -> Task {
    let requested =
        db.request_evaluations(spec, &revision(commit), &Subset::All.into(), &[system()], 100).await.unwrap();
    let task = db.claim_evaluation(&claimant("one"), 101).await.unwrap().unwrap();
    assert_eq!(requested, [task.id]);
    task
}

/// That one coordinator, called `default`, gets everything.
pub fn everything() -> Routes {
    Routes(vec![Route { coordinator: "default".to_owned(), ..Route::default() }])
}

/// What that one gets next.
pub async fn next_builds(db: &Db, now: i64, limit: i64) -> Vec<Build> {
    db.route(&everything()).await.unwrap();
    db.next_submissions("default", now, limit).await.unwrap()
}

/// A hash that is made of `word`.
pub fn hash(word: &str) -> String {
    format!("{word:0>32}")
}

/// A derivation called `word` with an output of its own.
pub fn derivation(word: &str, inputs: &[&str]) -> NewDerivation {
    NewDerivation {
        hash: hash(word),
        name: word.to_owned(),
        system: "x86_64-linux".to_owned(),
        outputs: vec![("out".to_owned(), format!("{}-{word}", hash(&format!("o{word}"))))],
        inputs: inputs.iter().map(|input| hash(input)).collect(),
    }
}

/// The job `name` with the derivation called `word`.
pub fn job(name: &str, word: &str) -> NewJob {
    NewJob { name: name.to_owned(), derivation: hash(word), metadata: JobMetadata::default() }
}

/// A batch with these jobs and their derivations, which need nothing.
pub fn batch(jobs: &[(&str, &str)]) -> Batch {
    Batch {
        derivations: jobs.iter().map(|(_, word)| derivation(word, &[])).collect(),
        jobs: jobs.iter().map(|(name, word)| job(name, word)).collect(),
        ..Batch::default()
    }
}

/// Evaluates a commit with these jobs from beginning to end.
pub async fn evaluate(db: &Db, spec: SpecId, commit: &str, jobs: &[(&str, &str)]) -> EvaluationId {
    let task = begin(db, spec, commit).await;
    let id = task.id;
    let mut recorder = EvaluationWriter::new(task);
    recorder.record(db, &batch(jobs)).await.unwrap();
    recorder.finish(db, false, &json!({}), 200).await.unwrap();
    id
}

/// Somebody who may do everything.
pub fn author() -> Author {
    Author { name: "cli:test".to_owned(), role: Role::Admin, specs: Vec::new(), origin: "here".to_owned() }
}
