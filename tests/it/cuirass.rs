//! Clients of Cuirass find here what they look for: Guix's own `(guix ci)` above all.

use std::fmt::Write as _;
use std::path::PathBuf;

use gorget::clock::Clock;
use gorget::db::{Db, EvaluationId};
use gorget::domain::access::Role;
use gorget::domain::attempt::Attempt;
use gorget::domain::spec::{Spec, Subset};
use gorget::farm::actions::Actions;
use gorget::web::{Pages, Web};
use reqwest::Client;
use reqwest::redirect::Policy;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::commands::{schedule, tell};
use crate::pages::serve_web;
use crate::support::daemon::Machine;
use crate::support::guix::{guix_root, old_guix_root};
use crate::support::{author, evaluate, everything, hash, on_both, spec, spec_id};

const GTK: &str = "gtk+.x86_64-linux";

/// Guix itself was built at two commits of three; of the packages, some have names that web forms
/// would break, and a thousand wait.
async fn a_farm(db: &Db) {
    let guix = Spec { build: Subset::Guix.into(), ..spec("guix") };
    db.sync_specs(&[guix, spec("master")]).await.unwrap();
    let [guix, master] = [spec_id(db, "guix").await, spec_id(db, "master").await];
    for (number, attempt) in [(1, Attempt::Succeeded), (2, Attempt::Succeeded), (3, Attempt::Failed)] {
        let (word, now) = (format!("guix-{number}"), 1000 * number);
        evaluate(db, guix, &format!("{number:0>40}"), &[("guix.x86_64-linux", &word)]).await;
        schedule(db, now).await;
        tell(db, &word, &word, Attempt::Started, now + 10).await;
        tell(db, &word, &word, attempt, now + 70).await;
    }
    let jobs =
        [(GTK, "gtk+-1"), ("c++-tools.x86_64-linux", "c++-tools-1"), ("hello.x86_64-linux", "hello-1")];
    evaluate(db, master, &"a".repeat(40), &jobs).await;
    schedule(db, 5000).await;
    for (word, attempt) in
        [("gtk+-1", Attempt::Failed), ("c++-tools-1", Attempt::Succeeded), ("hello-1", Attempt::Started)]
    {
        tell(db, word, word, Attempt::Started, 5010).await;
        tell(db, word, word, attempt, 5020).await;
    }
    let many: Vec<(String, String)> =
        (0..1200).map(|number| (format!("many{number}.x86_64-linux"), format!("many-{number}"))).collect();
    let mut jobs: Vec<(&str, &str)> = vec![(GTK, "gtk+-2"), ("hello.x86_64-linux", "hello-1")];
    jobs.extend(many.iter().map(|(name, word)| (name.as_str(), word.as_str())));
    evaluate(db, master, &"b".repeat(40), &jobs).await;
    schedule(db, 6000).await;
}

async fn serving(db: &Db, logs: PathBuf) -> (String, CancellationToken) {
    let pages = Pages { routes: everything(), logs };
    serve_web(Web { pages, anonymous: true, ..Web::new(db.clone(), Clock::manual(7000)) }).await
}

/// Every value of an answer, by its place.
fn values<'a>(value: &'a Value, place: &str, found: &mut Vec<(String, &'a Value)>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| values(item, place, found)),
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| values(value, &format!("{place}.{name}"), found));
        }
        _ => found.push((place.to_owned(), value)),
    }
}

/// The names of more jobs than a request may have.
fn many() -> String {
    (0..51).map(|number| format!("job{number}")).collect::<Vec<_>>().join(",")
}

#[tokio::test]
async fn answers_have_the_shape_that_guile_reads_on_both_databases() {
    let logs = tempfile::tempdir().unwrap();
    std::fs::write(logs.path().join("gtk+-1.log"), "it does not build\n").unwrap();
    let large = format!("{}the end\n", "0123456789abcde\n".repeat(10 << 16));
    std::fs::write(logs.path().join("c++-tools-1.log"), &large).unwrap();
    on_both(async |db| {
        let (url, stop) = serving(db, logs.path().to_owned()).await;
        let client = Client::builder().redirect(Policy::none()).build().unwrap();
        let get = async |path: &str| client.get(format!("{url}{path}")).send().await.unwrap();
        for path in ["/api/queue?nr=10", "/api/latestbuilds?nr=10", "/api/evaluations?nr=10", "/jobsets"] {
            assert_eq!(get(path).await.text().await.unwrap(), "[]", "{path}");
        }
        a_farm(db).await;
        let mut text = String::new();
        for path in [
            "/api/queue?nr=2",
            "/api/queue?nr=1&job=hello.x86_64-linux&status=-1",
            "/api/latestbuilds?nr=2",
            "/api/latestbuilds?nr=10&job=gtk+.x86_64-linux&jobset=master&system=x86_64-linux",
            "/api/latestbuilds?nr=10&status=2",
            "/api/latestbuilds?nr=1&evaluation=4&job=gtk+.x86_64-linux",
            "/api/evaluation?id=3",
            "/api/evaluations?nr=1&spec=guix",
            "/api/jobs?evaluation=4",
            "/api/jobs?evaluation=5&names=gtk+.x86_64-linux,hello.x86_64-linux",
            "/api/jobs/history?spec=master&names=gtk+.x86_64-linux,hello.x86_64-linux&nr=20",
            "/build/1",
            "/jobsets",
        ] {
            let answer = get(path).await;
            assert_eq!(answer.status(), 200, "{path}");
            assert_eq!(answer.headers()["content-type"], "application/json");
            assert!(answer.content_length().is_some(), "clients that pipeline read by it");
            let answer: Value = answer.json().await.unwrap();
            let mut found = Vec::new();
            values(&answer, "", &mut found);
            for (place, value) in found {
                assert!(!value.is_null() && !value.is_f64(), "{path}: {place} is {value}");
            }
            writeln!(text, "{path}\n{}", serde_json::to_string_pretty(&answer).unwrap()).unwrap();
        }
        let keys = |build: &Value| build.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let all: Vec<Value> = get("/api/queue?nr=9999").await.json().await.unwrap();
        assert_eq!(all.len(), 1000, "and no more");
        assert!(all.iter().all(|build| keys(build) == keys(&all[0])));
        insta::assert_snapshot!("cuirass", text);

        let of_derivation: Value =
            get(&format!("/build/{}-gtk+-1.drv", hash("gtk+-1"))).await.json().await.unwrap();
        let of_number: Value = get(&format!("/build/{}", of_derivation["id"])).await.json().await.unwrap();
        assert_eq!(of_derivation, of_number);
        for (path, status) in [
            ("/build/99999", 404),
            ("/build/x", 404),
            ("/api/evaluation?id=99", 404),
            ("/api/evaluation", 400),
            ("/api/latestbuilds", 400),
            ("/api/queue?nr=x", 400),
            ("/api/queue?nr=-1", 400),
            ("/api/latestbuilds?nr=1&worker=w", 400),
            ("/api/jobs?evaluation=99", 404),
            ("/api/jobs/history?spec=nowhere&names=x&nr=1", 404),
            ("/api/jobs/history?spec=master&nr=1", 400),
            ("/log/x", 404),
            (&format!("/api/jobs/history?spec=master&nr=1&names={}", many()), 400),
            (&format!("/api/jobs?evaluation=4&names={}", many()), 400),
        ] {
            let answer = get(path).await;
            assert_eq!(answer.status(), status, "{path}");
            assert!(answer.json::<Value>().await.unwrap()["error"].is_string(), "{path}");
        }
        let log = get(&format!("/log/{}-gtk+-1.drv", hash("gtk+-1"))).await;
        assert!(log.headers()["content-type"].to_str().unwrap().starts_with("text/plain"));
        assert_eq!(log.text().await.unwrap(), "it does not build\n");
        let answer =
            get(&format!("/log/{}-c++-tools-1.drv", hash("c++-tools-1"))).await.text().await.unwrap();
        let (note, kept) = answer.split_once('\n').unwrap();
        let left_out = large.len() - (4 << 20);
        assert_eq!(note, format!("[the first {left_out} bytes of this log are left out]"));
        assert!(kept == &large[left_out..], "the end of the log");
        for (path, place) in [
            ("/jobset/master", "/specs/master"),
            ("/eval/3", "/evaluations/3"),
            ("/eval/latest?spec=guix", "/evaluations/3"),
            ("/build/1/details", "/builds/1"),
            ("/search?query=spec:master+hello", "/jobs?q=hello"),
            ("/workers", "/farm"),
        ] {
            let answer = get(path).await;
            assert_eq!(
                (answer.status().as_u16(), answer.headers()["location"].to_str().unwrap()),
                (303, place)
            );
        }
        let browser = client.get(format!("{url}/build/1")).header("accept", "text/html,*/*;q=0.8");
        assert_eq!(browser.send().await.unwrap().status(), 303);
        stop.cancel();
    })
    .await;
}

#[tokio::test]
async fn a_poll_that_cuirass_gives_to_anybody_takes_a_token_here() {
    on_both(async |db| {
        db.sync_specs(&[spec("master")]).await.unwrap();
        db.ensure_branches("https://example.org/guix.git", &["master"]).await.unwrap();
        let (url, stop) = serving(db, PathBuf::new()).await;
        let post = |name: &str| Client::new().post(format!("{url}/jobset/{name}/hook/evaluate"));
        assert_eq!(post("master").send().await.unwrap().status(), 401);
        let new = gorget::db::NewToken {
            name: "a hook".to_owned(),
            role: Role::Trigger,
            specs: Vec::new(),
            expires_at: None,
        };
        let (_, secret) = Actions { db, author: &author(), now: 10 }.create_token(&new).await.unwrap();
        let answer = post("master").basic_auth("x", Some(&secret)).send().await.unwrap();
        assert_eq!(answer.json::<Value>().await.unwrap(), json!({ "jobset": "master" }));
        assert_eq!(db.branches().await.unwrap()[0].requested_at, Some(7000));
        assert_eq!(post("nowhere").bearer_auth(&secret).send().await.unwrap().status(), 404);
        stop.cancel();
    })
    .await;
}

/// What is asked with all that `(guix ci)` of 1.2.0 has.
const OLD: &str = r#"
(use-modules (guix ci) (guix channels) (guix http-client) (srfi srfi-1) (srfi srfi-19) (srfi srfi-34))
(define (say what . values) (format #t "~a: ~s~%" what values))
(define (brief build)
  (list (build-id build) (build-derivation build) (build-system build) (build-status build)
        (build-timestamp build) (build-products build)))
(let ((all (queued-builds url)))
  (say "queued" (length all) (if (null? all) all (map brief (list-head all 2)))))
(say "some" (map build-id (queued-builds url 2)))
(say "latest" (map brief (latest-builds url)))
(say "job" (map build-id (latest-builds url 10 #:job "gtk+.x86_64-linux" #:system "x86_64-linux")))
(say "succeeded" (map build-id (latest-builds url 10 #:status 0 #:evaluation 2)))
(say "evaluations" (map (lambda (one)
  (list (evaluation-id one) (evaluation-spec one) (evaluation-complete? one)
        (map checkout-commit (evaluation-checkouts one)))) (latest-evaluations url)))
(say "commit" (map evaluation-id (evaluations-for-commit url (make-string 40 #\a))))
"#;

/// And with what 1.5.0 has in addition.
const NEW: &str = r#"
(define (seconds date) (time-second (date->time-utc date)))
(say "times" (map (lambda (build) (list (build-evaluation build) (seconds (build-start-time build))
  (seconds (build-stop-time build)) (build-duration build))) (latest-builds url 10 #:jobset "guix")))
(say "unfinished" (map (lambda (build) (seconds (build-stop-time build))) (queued-builds url 2)))
(say "of spec" (map (lambda (one) (list (evaluation-id one) (map checkout-channel (evaluation-checkouts one))
  (seconds (evaluation-start-time one)) (seconds (evaluation-checkout-time one))
  (seconds (evaluation-completion-time one)))) (latest-evaluations url 10 #:spec "guix")))
(define (jobs-of jobs)
  (map (lambda (job) (list (job-build-id job) (job-status job) (job-name job))) jobs))
(define (or-code thunk)
  (guard (c ((http-get-error? c) (http-get-error-code c))) (thunk)))
(say "jobs" (or-code (lambda () (jobs-of (evaluation-jobs url 4)))))
(say "history" (or-code (lambda () (map (lambda (one)
  (list (history-evaluation one) (map checkout-commit (history-checkouts one)) (jobs-of (history-jobs one))))
  (jobs-history url '("gtk+.x86_64-linux" "c++-tools.x86_64-linux"))))))
(say "build" (or-code (lambda () (brief (build url 1)))) (or-code (lambda () (build url 99999))))
(say "of job" (or-code (lambda () (map (lambda (job) (build-status (job-build url job))) (evaluation-jobs url 4)))))
(say "evaluation" (or-code (lambda () (evaluation-spec (evaluation url 1)))))
(say "channel" (channel-commit (channel-with-substitutes-available %default-guix-channel url)))
"#;

async fn asked(machine: &Machine, program: &str) -> String {
    let finished = machine.run(program, "").await;
    assert!(finished.success(), "{}", finished.reason());
    String::from_utf8(finished.stdout).unwrap()
}

#[tokio::test]
async fn real_guixes_old_and_new_read_all_that_their_ci_module_can_ask_for() {
    on_both(async |db| {
        let (url, stop) = serving(db, PathBuf::new()).await;
        let machines = [(old_guix_root(), OLD.to_owned()), (guix_root(), format!("{OLD}{NEW}"))];
        let machines = machines
            .map(|(root, program)| (Machine::with_guix(root), format!("(define url \"{url}\")\n{program}")));
        let mut text = String::new();
        for (machine, program) in &machines {
            writeln!(text, "{}", asked(machine, program).await).unwrap();
        }
        a_farm(db).await;
        for (machine, program) in &machines {
            writeln!(text, "{}", asked(machine, program).await).unwrap();
        }
        insta::assert_snapshot!("cuirass_guix", text);
        stop.cancel();
    })
    .await;
}

#[tokio::test]
async fn guix_weather_says_what_is_queued_and_built() {
    on_both(async |db| {
        a_farm(db).await;
        assert_eq!(db.evaluation(EvaluationId(5)).await.unwrap().unwrap().spec, "master");
        let (url, stop) = serving(db, PathBuf::new()).await;
        let program =
            format!("((@ (guix scripts weather) guix-weather) \"--substitute-urls={url}\" \"hello\")");
        // It fails because the server has no substitutes.
        let finished = Machine::new().run(&program, "").await;
        let said = String::from_utf8(finished.stdout).unwrap();
        let kept: Vec<&str> = said
            .lines()
            .filter(|line| {
                ["queued", "x86_64-linux:", "rate", "out of"].iter().any(|word| line.contains(word))
            })
            .collect();
        insta::assert_snapshot!("cuirass_weather", kept.join("\n"));
        stop.cancel();
    })
    .await;
}
