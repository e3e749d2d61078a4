//! All systems of a revision from one warm start, and one budget of memory.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use gorget::evaluator::Limits;
use serde_json::Value;

use crate::support::guix::{MODULES, Tree, entry};
use crate::support::hostile::{Channel, Evaluated, evaluate, evaluate_with, limits, packages, warm};
use crate::support::program::{Farm, text};

const SYSTEMS: [&str; 3] = ["x86_64-linux", "i686-linux", "aarch64-linux"];

/// A number by lot, drawn when the module is loaded; one package tells it, as its error.
const TOKEN: &str = r#"
(define %token
  (call-with-input-file "/dev/urandom"
    (lambda (port) (bytevector-u64-native-ref (get-bytevector-n port 8) 0))
    #:binary #t))
(define-bad tells (error "token" %token))
"#;

/// What `tells` said.
fn token(result: &Evaluated, system: &str) -> String {
    result.errors[&format!("tells.{system}")].1.rsplit(' ').next().unwrap().to_owned()
}

#[tokio::test]
async fn modules_are_loaded_once_and_each_system_has_what_it_has_alone() {
    let channel = Channel::new(TOKEN);
    let build = || packages(&["good", "tells", "fine"]);
    let mut warm = warm(&channel, build(), limits()).await;
    let mut tokens = BTreeSet::new();
    let mut loads = Vec::new();
    for system in SYSTEMS {
        let result = evaluate_with(&mut warm, system).await;
        let alone = evaluate_with(&mut self::warm(&channel, build(), limits()).await, system).await;
        assert_eq!((result.jobs.len(), &result.jobs), (2, &alone.jobs));
        assert_ne!(token(&result, system), token(&alone, system), "another start is another load");
        tokens.insert(token(&result, system));
        let (summary, alone) = (result.end.unwrap(), alone.end.unwrap());
        assert_eq!(summary.store_items, alone.store_items, "nothing is left of the one before");
        loads.push(summary.load_ms.is_some());
    }
    assert_eq!(tokens.len(), 1, "{tokens:?}");
    assert_eq!(loads, [true, false, false]);
}

#[tokio::test]
async fn what_goes_wrong_with_one_system_leaves_the_others_whole() {
    // The first process of a sandbox is bubblewrap's, the second one loads the modules.
    let code = r#"
(define-syntax-rule (define-bad-for-i686 variable body ...)
  (define-bad variable (when (string=? (%current-system) "i686-linux") body ...)))
(define-bad-for-i686 kills-its-parent (kill (getppid) SIGKILL) (sleep 100))
(define-bad-for-i686 kills-them-all (kill 2 SIGKILL) (sleep 100))
"#;
    let channel = Channel::new(&format!("{TOKEN}{code}"));
    let names = ["good", "kills-its-parent", "tells", "kills-them-all", "fine"];
    let mut warm = warm(&channel, packages(&names), limits()).await;
    let mut results = Vec::new();
    for system in SYSTEMS {
        results.push(evaluate_with(&mut warm, system).await);
    }
    let [whole, broken, later] = &results[..] else { panic!() };
    for (result, system) in [(whole, SYSTEMS[0]), (later, SYSTEMS[2])] {
        let errors: Vec<&String> = result.errors.keys().collect();
        assert_eq!((result.jobs.len(), errors), (4, vec![&format!("tells.{system}")]), "{result:#?}");
        assert_eq!(result.end.as_ref().unwrap().deaths, 0);
    }
    assert_eq!(broken.jobs.keys().collect::<Vec<_>>(), ["fine.i686-linux", "good.i686-linux"], "{broken:#?}");
    for name in ["kills-its-parent", "kills-them-all"] {
        let (cause, message) = &broken.errors[&format!("{name}.i686-linux")];
        assert_eq!((cause.as_str(), message.contains("lost with its parent")), ("signal", true), "{message}");
    }
    assert!(broken.end.is_ok(), "{broken:#?}");
    assert_ne!(token(whole, SYSTEMS[0]), token(later, SYSTEMS[2]), "they had to be loaded again");
}

/// A channel with so many packages, `p0`, `p1`, …, each of which does this when it is lowered: `n` is
/// its number.
fn many(count: usize, body: &str) -> (Channel, Vec<String>) {
    let mut code = format!("(define kept '())\n(define (act n) {body})\n");
    for n in 0..count {
        let _ = writeln!(code, "(define-bad p{n} (act {n}))");
    }
    (Channel::new(&code), (0..count).map(|n| format!("p{n}")).collect())
}

fn all(names: &[String]) -> gorget::domain::spec::Build {
    packages(&names.iter().map(String::as_str).collect::<Vec<_>>())
}

#[tokio::test]
async fn workers_are_forked_as_long_as_they_fit_into_the_budget() {
    let (channel, names) = many(90, "n");
    for (memory, workers) in [(600 << 20, 1), (3 << 30, 2)] {
        let result = evaluate(&channel, all(&names), Limits { memory, ..limits() }).await;
        assert_eq!((result.jobs.len(), result.errors.len()), (90, 0), "{result:#?}");
        let summary = result.end.unwrap();
        assert_eq!((summary.most_workers, summary.deaths), (workers, 0), "{summary:?}");
        assert!(summary.peak_memory <= memory, "{summary:?}");
    }
}

#[tokio::test]
async fn a_worker_that_has_grown_ends_after_what_it_was_given_and_another_goes_on() {
    // 3 GB together, of which none needs much.
    let (channel, names) = many(600, "(set! kept (cons (make-bytevector 5000000 1) kept)) (usleep 15000)");
    let limits = Limits { workers: 1, memory: 3 << 29, ..limits() };
    let result = evaluate(&channel, all(&names), limits).await;
    assert_eq!((result.jobs.len(), result.errors.len()), (600, 0), "{result:#?}");
    let summary = result.end.unwrap();
    assert!(summary.retired >= 1 && summary.peak_memory <= 3 << 29, "{summary:?}");
}

#[tokio::test]
async fn the_largest_is_killed_first_and_only_that_is_blamed() {
    // Both are at work at the same time: a worker begins at the front, another in the middle.
    let body = r"
(case n
  ((0) (let loop ((all '())) (usleep 5000) (loop (cons (make-bytevector 10000000 1) all))))
  ((45) (let ((some (make-bytevector 200000000 1))) (sleep 8) (bytevector-length some))))
";
    let (channel, names) = many(90, body);
    let limits = Limits { memory: 3 << 29, ..limits() };
    let result = evaluate(&channel, all(&names), limits).await;
    assert_eq!(result.error("p0"), ("memory", "the evaluation needs more than its 1536 MiB"));
    assert_eq!((result.jobs.len(), result.errors.len()), (89, 1), "{result:#?}");
    let summary = result.end.unwrap();
    assert!(summary.most_workers == 2 && summary.deaths <= 3, "nobody else died: {summary:?}");
}

#[tokio::test]
async fn a_system_that_fails_is_tried_again_alone() {
    let waits = "(begin (when (string=? (%current-system) \"i686-linux\") (sleep 3600)) '())";
    let entries = entry("waits", waits) + &entry("good", "'()");
    let manifest = format!("(use-modules (guix utils)) {MODULES}(packages->manifest (list {entries}))");
    let channel = Tree::channel("manifest.scm", &manifest);
    let farm = Farm::new(None);
    farm.configure("evaluation-time = \"30s\"");
    let build = format!("build = {{ manifests = [\"manifest.scm\"] }}\nsystems = {SYSTEMS:?}");
    farm.spec("own", &format!("{build}\n{}", channel.as_channel("own")));
    let talk = farm.run_once_in_trouble().await;
    assert!(talk.contains("of own for i686-linux failed") && talk.contains("time limit of 30s"), "{talk}");
    let states = async || {
        let evaluations = farm.evaluations("own").await;
        evaluations.iter().map(|e| (text(&e["system"]), text(&e["state"]))).collect::<Vec<_>>()
    };
    let expected = ["complete", "failed", "complete"];
    let mut expected: Vec<_> = SYSTEMS
        .iter()
        .zip(expected)
        .map(|(system, state)| ((*system).to_owned(), state.to_owned()))
        .collect();
    assert_eq!(states().await, expected);
    assert_eq!(farm.queue().await.len(), 4, "what the others found is queued");

    let said = farm.say(&["retry", "2"]).await;
    assert_eq!(said.code, Some(0), "{}", said.talk);
    let said = farm.say(&["retry", "2"]).await;
    assert!(said.talk.contains("evaluation 2 is not the newest"), "{}", said.talk);
    assert_eq!((said.code, farm.say(&["retry", "9"]).await.code), (Some(1), Some(1)));
    farm.run_once_in_trouble().await;
    expected.push((SYSTEMS[1].to_owned(), "failed".to_owned()));
    assert_eq!(states().await, expected);

    let said = farm.say(&["status", "3", "--json"]).await;
    let third: Value = serde_json::from_str(&said.data).unwrap();
    assert_eq!((&third["state"], &third["metrics"]["load_ms"]), (&"complete".into(), &Value::Null));
    for figure in ["peak_memory", "own_peak_memory", "cpu_ms", "store_cpu_ms", "lower_ms", "record_ms"] {
        assert!(third["metrics"][figure].is_u64(), "{figure}: {third}");
    }
    let requests = &third["metrics"]["requests"];
    assert!(requests["derivations"].as_u64() > Some(0) && requests["texts"].as_u64() > Some(0), "{third}");
    let said = farm.say(&["status", "2", "--json"]).await;
    let second: Value = serde_json::from_str(&said.data).unwrap();
    assert!(second["metrics"]["peak_memory"].is_u64(), "also of what failed: {second}");
    let said = farm.say(&["status", "3"]).await;
    assert!(said.data.contains("evaluating processes") && said.data.contains("requests"), "{}", said.data);
}
