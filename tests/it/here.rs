//! A farm of one machine: its guix-daemon really builds what the queue holds.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use gorget::sandbox::{Process, measure_tree};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::support::daemon::Machine;
use crate::support::guix::Tree;
use crate::support::program::{Farm, text};
use crate::support::write_down;

/// Jobs that the shell alone can build. `JOBS` are lists: a name, a script, and the names of inputs, whose
/// outputs are the arguments of the script.
const MODULE: &str = r#"(define-module (own ci) #:use-module (gnu ci) #:use-module (guix derivations)
  #:use-module (guix store) #:use-module (gcrypt hash) #:use-module (rnrs bytevectors) #:use-module (srfi srfi-1) #:export (cuirass-jobs))
(define (add store made name script inputs)
  (let* ((shell (add-to-store store "sh" #t "sha256" (canonicalize-path "/bin/sh")))
         (source (add-text-to-store store (string-append name ".sh") script '()))
         (inputs (map (lambda (name) (assoc-ref made name)) inputs))
         (arguments (map derivation->output-path inputs)))
    (derivation store name shell `("-eu" ,source ,@arguments) #:system "x86_64-linux"
                #:inputs (map derivation-input inputs) #:sources (list shell source))))
(define (fetched store)
  (derivation store "licence" "builtin:download" '() #:system "x86_64-linux"
              #:hash-algo 'sha256
              #:hash (bytevector-hash (string->utf8 "the licence") (hash-algorithm sha256))
              #:env-vars `(("url" . ,(object->string "URL")))))
(define (cuirass-jobs store arguments)
  (let ((made (fold (lambda (job made)
                      (acons (first job) (add store made (first job) (second job) (cddr job)) made))
                    `(("licence" . ,(fetched store)))
                    '(JOBS))))
    (map (lambda (job) (derivation->job (car job) (cdr job))) made)))
"#;

/// Serves what one of the jobs downloads; gives its URL.
async fn serve_licence() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/licence", get(async || "the licence"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}/licence")
}

/// A farm that has what `jobs` are built by `machine`.
pub(crate) async fn farm(machine: &Machine, jobs: &str, settings: &str) -> (Farm, Tree) {
    let module = MODULE.replace("JOBS", jobs).replace("URL", &serve_licence().await);
    let channel = Tree::channel("own/ci.scm", &module);
    let farm = Farm::new(None);
    farm.configure(&format!("daemon-socket = \"{}\"", machine.socket().display()));
    farm.configure(&format!("[coordinator]\nkind = \"guix-daemon\"\n{settings}"));
    let build = "build = { custom = [\"(own ci)\"] }\nsystems = [\"x86_64-linux\"]";
    farm.spec("own", &format!("{build}\n{}", channel.as_channel("own")));
    (farm, channel)
}

async fn story(farm: &Farm, job: &str) -> Value {
    let said = farm.say(&["explain", "--json", job]).await;
    assert_eq!(said.code, Some(0), "{}", said.talk);
    serde_json::from_str::<Value>(&said.data).unwrap()["jobs"][0].take()
}

async fn state(farm: &Farm, job: &str) -> String {
    text(&story(farm, job).await["build"]["state"])
}

/// Where the output of a job is on the machine.
async fn output(farm: &Farm, machine: &Machine, job: &str) -> PathBuf {
    let path = text(&story(farm, job).await["outputs"][0]);
    machine.store().join(path.strip_prefix("/gnu/store/").unwrap())
}

/// Waits until a job has come to this state; the farm must be at work.
async fn until(farm: &Farm, process: &mut Process, job: &str, expected: &str) {
    loop {
        let ended = tokio::time::timeout(Duration::from_millis(100), process.ended()).await;
        let said = farm.say(&["explain", "--json", job]).await;
        let story = serde_json::from_str::<Value>(&said.data).unwrap_or_default();
        let state = &story["jobs"][0]["build"]["state"];
        if state == expected {
            return;
        }
        assert!(state != "failed", "{story}");
        if ended.is_ok() {
            let finished = process.finish(Duration::from_secs(1)).await.unwrap();
            panic!("it ended before that: {} {story}", finished.reason());
        }
    }
}

#[tokio::test]
async fn the_queue_is_built_inputs_first_and_what_fails_blocks_no_others() {
    let machine = Machine::new();
    let daemon = machine.serve().await;
    let jobs = r#"("base" "echo base > $out") ("user" "read -r word < $1; echo $word used > $out" "base" "licence")
      ("failing" "echo what went wrong; /usr/bin/head -c 3000000 /dev/zero | /usr/bin/tr '\\0' x; echo the end; exit 7")
      ("blocked" "echo too late > $out" "failing") ("more" "echo more > $out" "blocked" "base")"#;
    let (farm, _channel) = farm(&machine, jobs, "at-once = 2\nlog-size = \"1M\"").await;
    farm.run_once().await;
    for (job, expected) in [
        ("base", "succeeded"),
        ("user", "succeeded"),
        ("licence", "succeeded"),
        ("failing", "failed"),
        ("blocked", "queued"),
        ("more", "queued"),
    ] {
        assert_eq!(state(&farm, job).await, expected, "{job}");
    }
    let used = std::fs::read_to_string(output(&farm, &machine, "user").await).unwrap();
    assert_eq!(used, "base used\n");
    let licence = std::fs::read_to_string(output(&farm, &machine, "licence").await).unwrap();
    assert_eq!(licence, "the licence");
    assert!(!output(&farm, &machine, "blocked").await.exists());

    let failing = story(&farm, "failing").await;
    let log = std::fs::read_to_string(text(&failing["log"])).unwrap();
    assert!(log.len() < 1_200_000 && log.contains("what went wrong\nxxx"), "{}", log.len());
    assert!(log.contains("xxx\n[") && log.contains("bytes omitted]"), "{}", log.len());
    assert!(log.contains("xxxthe end\n"));
    assert!(text(&failing["build"]["answer"]).contains("failed"), "{failing}");
    assert_eq!(failing["blocks"], 2);
    let more = story(&farm, "more").await;
    assert_eq!((&more["rule"], &more["blocked_by"][0]["job"]), (&"blocked".into(), &"failing".into()));
    assert_eq!(more["blocked_by"][0]["blocks"], 2);
    let queue = farm.queue().await;
    assert!(queue.iter().all(|build| build["blocked_by"][0] == "failing"), "{queue:?}");
    // There is nothing left to do.
    farm.run_once().await;
    assert_eq!(story(&farm, "failing").await["events"].as_array().unwrap().len(), 3);
    drop(daemon);
}

#[tokio::test]
async fn a_build_that_is_killed_begins_again_and_one_that_nobody_wants_ends() {
    let machine = Machine::new();
    let daemon = machine.serve().await;
    let idle = measure_tree(daemon.id().unwrap()).len();
    let wait = machine.store().join("go-on");
    let jobs = r#"("slow" "until [ -e /gnu/store/go-on ]; do /bin/sleep 0.1; done; echo done > $out")
      ("endless" "/bin/sleep 1000")"#;
    let (farm, _channel) = farm(&machine, jobs, "at-once = 2").await;
    let mut process = farm.start(&[]);
    until(&farm, &mut process, "slow", "building").await;
    process.kill();
    process.ended().await.unwrap();
    let mut process = farm.start(&[]);
    until(&farm, &mut process, "endless", "building").await;
    std::fs::write(wait, "").unwrap();
    until(&farm, &mut process, "slow", "succeeded").await;

    let cancel = "update build set state = 'canceling' where name_id = (select id from job_name where name = 'endless')";
    write_down(&farm.database(), cancel).await;
    until(&farm, &mut process, "endless", "canceled").await;
    let begun = Instant::now();
    while measure_tree(daemon.id().unwrap()).len() > idle {
        assert!(begun.elapsed() < Duration::from_mins(1), "it goes on");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    drop(process);
    drop(daemon);
}

#[tokio::test]
async fn what_was_built_outlives_the_garbage_collector_for_as_long_as_somebody_wants_it() {
    let machine = Machine::new();
    let jobs = r#"("base" "echo base > $out") ("user" "read -r word < $1; echo used > $out" "base")"#;
    let (farm, channel) = farm(&machine, jobs, "").await;
    std::fs::create_dir_all(farm.state()).unwrap();
    machine.show(&farm.state());
    let daemon = machine.serve().await;
    farm.run_once().await;
    let [base, user] = [output(&farm, &machine, "base").await, output(&farm, &machine, "user").await];
    let stray = machine.store().join("0a3vm1l4k7ss3n5icsrzfhffrgkqf1sm-stray");
    std::fs::write(&stray, "").unwrap();
    machine.collect_garbage().await;
    assert!(base.exists() && user.exists() && !stray.exists());

    // Another commit has another `base`, and nothing else.
    let module = MODULE.replace("JOBS", r#"("base" "echo other > $out")"#);
    channel.write("own/ci.scm", &module.replace("URL", &serve_licence().await));
    farm.run_once().await;
    let other = output(&farm, &machine, "base").await;
    machine.collect_garbage().await;
    assert!(other.exists() && !base.exists() && !user.exists());
    drop(daemon);
}

#[tokio::test]
async fn a_daemon_that_is_not_there_is_waited_for() {
    let machine = Machine::new();
    let (farm, _channel) = farm(&machine, r#"("base" "echo base > $out")"#, "").await;
    let said = farm.say(&["run", "--once"]).await;
    assert_eq!(said.code, Some(2), "{}", said.talk);
    assert!(said.talk.contains("cannot be reached") && said.talk.contains("hint: start guix-daemon"));
    assert_eq!(state(&farm, "base").await, "queued");
    let daemon = machine.serve().await;
    farm.run_once().await;
    assert_eq!(state(&farm, "base").await, "succeeded");
    drop(daemon);
}
