//! What the commands that show something say of one farm, as text and as JSON, on both databases.

use std::fmt::Write as _;

use gorget::clock::Clock;
use gorget::db::{
    Batch, BlockKind, BranchState, BuildRef, Db, EvaluationId, EvaluationWriter, JobError, NewBlock,
    NewCoverage, NewEvent, NewHost, NewPresence, PollResult, SpecId,
};
use gorget::domain::attempt::Attempt;
use gorget::domain::coverage::{Counts, Missing};
use gorget::domain::spec::{Policy, Spec};
use gorget::farm::reconciler::run_until_idle;
use gorget::steps::schedule::Schedule;
use serde_json::{Value, json};

use crate::support::program::Farm;
use crate::support::{begin, context, derivation, everything, hash, job, on_both_at, spec, spec_id, system};

const COMMANDS: [&[&str]; 38] = [
    &["status"],
    &["status", "--json"],
    &["status", "--spec", "staging"],
    &["status", "--spec", "nowhere"],
    &["status", "2"],
    &["status", "2", "--json"],
    &["queue"],
    &["queue", "--json", "--system", "x86_64-linux", "--spec", "staging"],
    &["builds"],
    &["builds", "--limit", "2"],
    &["builds", "--json", "--spec", "master", "--in-state", "failed", "--name", "g"],
    &["builds", "--in-state", "fialed"],
    &["builds", "2"],
    &["builds", "3", "--json"],
    &["explain", "gcc.x86_64-linux"],
    &["explain", "vim.x86_64-linux"],
    &["explain", "vim.x86_64-linux", "--json"],
    &["explain", "hello.x86_64-linux", "--spec", "master"],
    &["explain", "emacs.x86_64-linux"],
    &["explain", "emacs"],
    &["diff", "1", "2"],
    &["diff", "1", "2", "--json"],
    &["history", "hello.x86_64-linux"],
    &["history", "hello.x86_64-linux", "--json"],
    &["failures", "master"],
    &["failures", "master", "--json"],
    &["pushes"],
    &["pushes", "--json"],
    &["channels", "1"],
    &["coverage"],
    &["coverage", "master"],
    &["coverage", "master", "--json", "--require", "40"],
    &["coverage", "master", "--missing"],
    &["verdict"],
    &["verdict", "staging"],
    &["verdict", "staging", "--json"],
    &["verdict", "staging", "--history"],
    &["verdict", "master"],
];

/// Evaluates a commit: jobs with the words of their derivations, and what these need.
async fn evaluate(db: &Db, spec: SpecId, commit: &str, jobs: &[(&str, &str, &[&str])]) -> EvaluationId {
    let task = begin(db, spec, commit).await;
    let id = task.id;
    let mut recorder = EvaluationWriter::new(task);
    let name = |name: &str| format!("{name}.x86_64-linux");
    let error = |message: &str| JobError {
        name: name("emacs"),
        cause: "exception".to_owned(),
        message: message.to_owned(),
    };
    let batch = Batch {
        derivations: jobs.iter().map(|(_, word, inputs)| derivation(word, inputs)).collect(),
        jobs: jobs.iter().map(|(job_name, word, _)| job(&name(job_name), word)).collect(),
        errors: if commit == "cccc" {
            vec![error("unbound variable: lib\nhint: import it")]
        } else {
            Vec::new()
        },
        ..Batch::default()
    };
    recorder.record(db, &batch).await.unwrap();
    let metrics = json!({ "jobs": jobs.len(), "peak_memory": 900_000_000, "cpu_ms": 12_000 });
    recorder.finish(db, false, &metrics, 200).await.unwrap();
    id
}

pub(crate) async fn schedule(db: &Db, now: i64) {
    run_until_idle(&mut Schedule::new(&context(db, &Clock::manual(now)), false)).await.unwrap();
    db.route(&everything()).await.unwrap();
}

async fn poll(db: &Db, commit: &str, now: i64) {
    const URL: &str = "https://example.org/guix.git";
    db.ensure_branches(URL, &["master"]).await.unwrap();
    let branch = db.branches().await.unwrap()[0].id;
    let seen = BranchState::At(commit.to_owned());
    db.record_polls(&[PollResult { branch, seen, next_poll: now + 300 }], now).await.unwrap();
}

pub(crate) async fn tell(db: &Db, word: &str, reference: &str, attempt: Attempt, now: i64) {
    let build = BuildRef::Derivation(hash(word));
    let event = NewEvent { build, reference: reference.to_owned(), attempt, happened_at: Some(now) };
    db.record_events("default", &[event], now).await.unwrap();
}

/// A compiler that fails keeps an editor waiting; another spec is over its budget, and blocked.
pub(crate) async fn a_farm(db: &Db) {
    let policy = Policy { base: "master".to_owned(), required: vec![], sets: vec![], known: 98 };
    let staging = Spec { budget: Some(1), priority: 7, verdict: Some(policy), ..spec("staging") };
    db.sync_specs(&[spec("master"), staging]).await.unwrap();
    let [master, staging] = [spec_id(db, "master").await, spec_id(db, "staging").await];
    let host = NewHost {
        name: "one".to_owned(),
        identity: "i".to_owned(),
        roles: "evaluate schedule".to_owned(),
        systems: String::new(),
        workers: 2,
        memory: 8 << 30,
    };
    db.register(&host, 50).await.unwrap();
    poll(db, "bbbb", 90).await;
    let first: &[(&str, &str, &[&str])] =
        &[("hello", "hello-1", &[]), ("gcc", "gcc-1", &[]), ("vim", "vim-1", &["gcc-1"])];
    evaluate(db, master, "bbbb", first).await;
    schedule(db, 300).await;
    tell(db, "hello-1", "h", Attempt::Scheduled, 310).await;
    tell(db, "hello-1", "h", Attempt::Succeeded, 320).await;
    tell(db, "gcc-1", "g", Attempt::Failed, 330).await;
    poll(db, "cccc", 390).await;
    let second: &[(&str, &str, &[&str])] = &[
        ("hello", "hello-2", &[]),
        ("gcc", "gcc-1", &[]),
        ("vim", "vim-1", &["gcc-1"]),
        ("sed", "sed-1", &[]),
    ];
    evaluate(db, master, "cccc", second).await;
    evaluate(db, staging, "dddd", &[("one", "one-1", &[]), ("two", "two-1", &[])]).await;
    schedule(db, 400).await;
    let block = NewBlock {
        target: "w",
        kind: BlockKind::Bad,
        reason: "commit dddd is not signed\nhint: ask its author",
        push: None,
        next_attempt: 500,
    };
    db.block_spec(staging, &block, 450).await.unwrap();
    judge(db, staging).await;
    cover(db, master, "gcc.x86_64-linux").await;
}

/// Counts what substitute servers have of the newest evaluation of a spec, one hour later and now.
pub(crate) async fn cover(db: &Db, spec: SpecId, cause: &str) {
    let newest = db.last_complete(spec, &system()).await.unwrap().unwrap().id;
    let server = db.presence_server("https://substitutes.example.org").await.unwrap();
    let outputs = db.due_outputs(newest, server, 440, 1).await.unwrap();
    let there = outputs.iter().map(|due| NewPresence { outputs: due.outputs, present: true });
    db.record_presence(server, &there.collect::<Vec<_>>(), 440).await.unwrap();
    let missing = json!({
        "states": { "blocked": 1, "failed": 1 }, "causes": [{ "blocked": 1, "build": 2, "job": cause }],
    });
    let missing: Option<Missing> = Some(serde_json::from_value(missing).unwrap());
    let count = |server: &str, hours, present, missing| {
        let counts = Counts { present, absent: 2, unknown: 2 - present };
        NewCoverage { server: server.to_owned(), hours, counts, missing }
    };
    let counts = [
        count("", 0, 2, missing),
        count("", 1, 1, None),
        count("https://substitutes.example.org", 0, 2, None),
    ];
    db.record_coverage((spec, newest), &counts, 480).await.unwrap();
}

/// Says of a branch that it breaks much for the sake of one build.
async fn judge(db: &Db, spec: SpecId) {
    let reason = |word: &str, code: &str, count: usize, text: &str| json!({ "word": word, "code": code, "count": count, "text": text, "system": "x86_64-linux" });
    let waiting = json!({
        "spec": "staging", "base": "master", "word": "waiting", "systems": [],
        "reasons": [reason("waiting", "not-evaluated", 0, "the branch is not evaluated yet")],
    });
    let broken = json!({
        "spec": "staging", "base": "master", "word": "must-change",
        "reasons": [
            reason("must-change", "regressions", 2, "2 jobs build on the base, and not on the branch"),
            reason("waiting", "unbuilt", 1500, "1500 jobs are not built yet"),
        ],
        "systems": [{
            "system": "x86_64-linux", "required": true, "evaluation": 3, "revision": "guix@dddd", "base": 1,
            "base_revision": "guix@bbbb", "classes": { "regression": 2, "unbuilt": 1500 },
            "jobs": { "regression": ["gcc.x86_64-linux", "vim.x86_64-linux"] },
            "causes": [{
                "build": 2, "answer": "build failed", "classes": { "regression": 2 }, "spec": "master",
                "job": "gcc.x86_64-linux", "jobs": ["gcc.x86_64-linux", "vim.x86_64-linux"],
            }],
        }],
    });
    for (report, now) in [(waiting, 460), (broken, 470)] {
        db.record_verdict(spec, &serde_json::from_value(report).unwrap(), now).await.unwrap();
    }
}

/// Without columns, and without times that depend on when this is read.
pub(crate) fn settled(text: &str) -> String {
    let mut lines = Vec::new();
    for line in text.lines() {
        let mut words: Vec<&str> = Vec::new();
        for word in line.split_whitespace() {
            let is_unit =
                |word: &str| ["s", "min", "h", "d"].contains(&word.trim_end_matches([',', ')', ':', ';']));
            match words.last() {
                Some(last) if is_unit(word) && last.parse::<i64>().is_ok() => {
                    words.pop();
                    if words.last() != Some(&"TIME") {
                        words.push("TIME");
                    }
                }
                _ => words.push(word),
            }
        }
        lines.push(words.join(" "));
    }
    lines.join("\n")
}

/// Views declare their fields in alphabetical order; `diff` has its keys in the order of a reader.
fn assert_keys_are_sorted(data: &str) {
    for line in data.lines() {
        let value: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line, value.to_string());
    }
}

#[tokio::test]
async fn commands_show_the_same_of_a_farm_on_both_databases() {
    on_both_at(async |db, location| {
        a_farm(db).await;
        let farm = Farm::new(None);
        farm.at_database(location);
        let mut text = String::new();
        for command in COMMANDS {
            let said = farm.say(command).await;
            let code = said.code.unwrap();
            if command.contains(&"--json") && command[0] != "diff" {
                assert_keys_are_sorted(&said.data);
            }
            writeln!(text, "$ gorget {}\n{}", command.join(" "), settled(&said.data)).unwrap();
            if !said.talk.is_empty() {
                writeln!(text, "(standard error) {}", settled(&said.talk)).unwrap();
            }
            if code != 0 {
                writeln!(text, "(exit code {code})").unwrap();
            }
            text.push('\n');
        }
        insta::assert_snapshot!("commands", text);
    })
    .await;
}
