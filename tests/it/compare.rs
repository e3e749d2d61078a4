//! Any two evaluations compared, whatever names them, and what became of a package.

use gorget::db::{Batch, Db, EvaluationId, EvaluationWriter, JobError, NewDerivation};
use gorget::domain::revision::{ChannelCommit, Revision};
use gorget::domain::spec::{Subset, System};
use serde_json::{Value, json};

use crate::support::program::{Farm, text};
use crate::support::{claimant, derivation, job, spec, spec_id};

const SYSTEMS: [&str; 2] = ["x86_64-linux", "i686-linux"];
/// Noon of the first day, UTC, and so much later each commit.
const NOON: i64 = 1_767_268_800;
const DAY: i64 = 86_400;

/// The package `name` at a version, as a job with a derivation of its own.
fn package(batch: &mut Batch, name: &str, version: &str, of: NewDerivation) {
    let word = of.name.clone();
    batch.derivations.push(of);
    let mut job = job(&format!("{name}.x"), &word);
    job.metadata.package = Some(name.to_owned());
    job.metadata.version = Some(version.to_owned());
    batch.jobs.push(job);
}

/// What each commit has: `hello` and `sed` change their versions, `new` appears, `xz` makes the same
/// outputs by another derivation, `gone` goes, `bad` cannot be evaluated any more and `fixed` can.
fn batches() -> [Batch; 2] {
    let [mut a, mut b] = [Batch::default(), Batch::default()];
    package(&mut a, "hello", "1", derivation("hello1", &[]));
    package(&mut b, "hello", "2", derivation("hello2", &[]));
    package(&mut a, "same", "1", derivation("same", &[]));
    package(&mut b, "same", "1", derivation("same", &[]));
    package(&mut a, "xz", "1", derivation("xz1", &[]));
    package(
        &mut b,
        "xz",
        "1",
        NewDerivation { outputs: derivation("xz1", &[]).outputs, ..derivation("xz2", &[]) },
    );
    package(&mut a, "gone", "1", derivation("gone1", &[]));
    package(&mut b, "new", "1", derivation("new1", &[]));
    // Under another name, what `same` makes.
    package(&mut b, "alias", "1", derivation("same", &[]));
    package(&mut a, "bad", "1", derivation("bad1", &[]));
    package(&mut b, "mended", "1", derivation("mended1", &[]));
    let error = |name: &str| JobError { name: name.into(), cause: "exception".into(), message: "no".into() };
    b.errors.push(error("bad.x"));
    a.errors.push(error("mended.x"));
    [a, b]
}

/// Evaluates a commit of a spec for all systems.
async fn evaluate(db: &Db, name: &str, commit: &str, batch: &Batch, at: i64) -> Vec<EvaluationId> {
    let systems = SYSTEMS.map(|system| System::new(system).unwrap());
    let revision =
        Revision::new(vec![ChannelCommit::new("guix", format!("https://example.org/{name}.git"), commit)]);
    let id = spec_id(db, name).await;
    db.request_evaluations(id, &revision, &Subset::All.into(), &systems, at).await.unwrap();
    let mut evaluations = Vec::new();
    while let Some(task) = db.claim_evaluation(&claimant("one"), at).await.unwrap() {
        evaluations.push(task.id);
        let mut recorder = EvaluationWriter::new(task);
        recorder.record(db, batch).await.unwrap();
        recorder.finish(db, false, &json!({}), at).await.unwrap();
    }
    evaluations
}

/// A farm that evaluated two commits of `master` and one of `other`, a day apart.
async fn farm() -> Farm {
    let farm = Farm::new(None);
    std::fs::create_dir_all(farm.state()).unwrap();
    let db = farm.db().await;
    let mut other = spec("other");
    "side".clone_into(&mut other.channels[0].branch);
    db.sync_specs(&[spec("master"), other]).await.unwrap();
    let [a, b] = batches();
    assert_eq!(evaluate(&db, "master", "abcd0000", &a, NOON).await, [1, 2].map(EvaluationId));
    assert_eq!(evaluate(&db, "other", "abce0000", &a, NOON + DAY).await, [3, 4].map(EvaluationId));
    assert_eq!(evaluate(&db, "master", "bbbb0000", &b, NOON + 2 * DAY).await, [5, 6].map(EvaluationId));
    db.close().await;
    farm
}

async fn ask(farm: &Farm, arguments: &[&str]) -> Vec<Value> {
    let said = farm.say(arguments).await;
    assert_eq!(said.code, Some(0), "{}", said.talk);
    said.data.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The numbers of the evaluations that are compared.
async fn compared(farm: &Farm, arguments: &[&str]) -> Vec<[i64; 2]> {
    let answers = ask(farm, &[&["diff", "--json"], arguments].concat()).await;
    let numbers = |answer: &Value| ["a", "b"].map(|side| answer[side]["evaluation"].as_i64().unwrap());
    answers.iter().map(numbers).collect()
}

async fn refused(farm: &Farm, arguments: &[&str]) -> String {
    let said = farm.say(&[&["diff"], arguments].concat()).await;
    assert_eq!(said.code, Some(1), "{} {}", said.data, said.talk);
    assert!(said.talk.contains("\nhint: "), "{}", said.talk);
    said.talk
}

#[tokio::test]
async fn every_kind_of_difference_has_its_place() {
    let farm = farm().await;
    let [answer] = &ask(&farm, &["diff", "--json", "1", "5"]).await[..] else { panic!() };
    let jobs = |heading: &str| -> Vec<String> {
        answer["diff"][heading].as_array().unwrap().iter().map(|job| text(&job["job"])).collect()
    };
    assert_eq!(jobs("changed"), ["hello.x", "xz.x"]);
    assert_eq!(answer["diff"]["changed"][0]["versions"], json!(["1", "2"]));
    let same: Vec<&Value> =
        answer["diff"]["changed"].as_array().unwrap().iter().map(|job| &job["same_outputs"]).collect();
    assert_eq!(same, [&json!(false), &json!(true)]);
    assert_eq!(
        (jobs("added"), jobs("removed")),
        (vec!["alias.x".into(), "new.x".into()], vec!["gone.x".into()])
    );
    assert_eq!((jobs("broken"), jobs("fixed")), (vec!["bad.x".into()], vec!["mended.x".into()]));
    assert_eq!(
        (&answer["new_errors"][0]["name"], &answer["gone_errors"][0]["name"]),
        (&"bad.x".into(), &"mended.x".into())
    );
    assert_eq!(answer["rebuilds"], json!({ "count": 3, "range": "1-300" }), "hello, new and mended");

    let said = farm.say(&["diff", "1", "5"]).await.data;
    for line in [
        "~ hello.x 1 -> 2",
        "+ mended.x 1",
        "- gone.x 1",
        "! bad.x (exception): no",
        "no longer: mended.x (exception): no",
        "3 rebuilds (1-300)",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
}

#[tokio::test]
async fn numbers_commits_specs_branches_and_dates_name_evaluations() {
    let farm = farm().await;
    // i686-linux comes first by its name.
    let expected = [[2, 6], [1, 5]];
    for words in [
        ["abcd", "bbbb0000"],
        ["abcd0", "master"],
        ["ABCD0000", "2026-01-03"],
        ["2026-01-01", "master"],
        ["2026-01-01T23:59", "bbbb"],
    ] {
        assert_eq!(compared(&farm, &words).await, expected, "{words:?}");
    }
    assert_eq!(compared(&farm, &["1", "master"]).await, [[1, 5]], "one system");
    assert_eq!(compared(&farm, &["1", "2"]).await, [[1, 2]], "of two systems");
    assert_eq!(compared(&farm, &["side", "bbbb"]).await, [[4, 6], [3, 5]], "of two specs");
    assert_eq!(compared(&farm, &["--spec", "master", "2026-01-02", "2026-01-03"]).await, expected);

    assert!(refused(&farm, &["abc", "1"]).await.contains("abc is not an evaluation"));
    assert!(refused(&farm, &["1", "99"]).await.contains("99 is not an evaluation"));
    assert!(refused(&farm, &["nowhere", "1"]).await.contains("nowhere is not an evaluation"));
    assert!(refused(&farm, &["2025-01-01", "1"]).await.contains("nothing was evaluated by 2025-01-01"));
    let several = refused(&farm, &["2026-01-02", "2026-01-03"]).await;
    assert!(several.contains("several specs: master, other"), "{several}");
}

#[tokio::test]
async fn digits_that_begin_two_commits_name_neither() {
    let farm = farm().await;
    let db = farm.db().await;
    evaluate(&db, "master", "abcd1111", &batches()[0], NOON + 3 * DAY).await;
    let both = refused(&farm, &["abcd", "1"]).await;
    assert!(both.contains("abcd0000") && both.contains("abcd1111"), "{both}");
    assert_eq!(compared(&farm, &["abcd0", "abcd1"]).await, [[2, 8], [1, 7]]);
}

#[tokio::test]
async fn a_package_has_a_history() {
    let farm = farm().await;
    let of = async |arguments: &[&str]| {
        let held = ask(&farm, &[&["history", "--json"], arguments].concat()).await;
        let row = |held: &Value| (text(&held["version"]), held["first"].as_i64(), held["last"].as_i64());
        held.iter().map(row).collect::<Vec<_>>()
    };
    let row = |version: &str, first, last| (version.to_owned(), Some(first), last);
    let in_master = [row("2", 6, None), row("2", 5, None), row("1", 2, Some(2)), row("1", 1, Some(1))];
    assert_eq!(of(&["hello", "--spec", "master"]).await, in_master);
    assert_eq!(of(&["hello.x", "--spec", "master"]).await, in_master);
    assert_eq!(of(&["hello"]).await.len(), 6);
    assert_eq!(of(&["hello", "--limit", "1"]).await, in_master[..1]);
    let said = farm.say(&["history", "hello", "--spec", "master"]).await.data;
    assert!(said.contains("bbbb0000"), "{said}");

    let unknown = farm.say(&["history", "hell"]).await;
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.talk.contains("hint: there are hello.x"), "{}", unknown.talk);
    assert_eq!(farm.say(&["history", "hello", "--spec", "nowhere"]).await.code, Some(1));
}
