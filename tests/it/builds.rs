//! Builds that an evaluation asks for are made by a real daemon where the spec permits that.

use std::path::Path;
use std::time::{Duration, Instant};

use gorget::sandbox::measure_tree;

use crate::support::daemon::Machine;
use crate::support::guix::{Tree, guix_root};
use crate::support::oracle;
use crate::support::program::{Farm, Said, text};

/// A manifest of packages whose names come out of a build, and whose arguments come out of another one
/// that is made when they are lowered. `SCRIPT` is what the shell does for the names.
const MANIFEST: &str = r#"
(use-modules (guix derivations) (guix packages) (guix profiles) (guix store) (gnu packages base))
(define (built store name script sources)
  (let* ((shell (add-to-store store "sh" #t "sha256" (canonicalize-path "/bin/sh")))
         (builder (add-text-to-store store (string-append name ".sh") script sources))
         (drv (derivation store name shell (list builder) #:sources (list shell builder)
                          #:system "x86_64-linux")))
    (build-derivations store (list drv))
    (derivation->output-path drv)))
(define (name->flag name)
  (call-with-input-file
      (with-store store
        (built store (string-append name "-flag") (string-append "echo '(\"--" name "\")' > $out") '()))
    read))
(define names
  (with-store store
    (let* ((words (add-text-to-store store "words" "(\"one\" \"two\")"))
           (names (built store "names" (string-append "SCRIPT; read -r words < " words "; echo \"$words\" > $out")
                         (list words))))
      (unless (null? (references store names)) (error "it refers to" (references store names)))
      (call-with-input-file names read))))
(packages->manifest
 (map (lambda (name)
        (package (inherit hello) (name name) (arguments (list #:configure-flags (name->flag name)))))
      names))
"#;

/// A farm with a channel of that manifest, with `script` in it; the spec has `option` in it.
fn farm(script: &str, option: &str, configuration: &str) -> (Farm, Tree, String) {
    let channel = Tree::channel("own.txt", &MANIFEST.replace("SCRIPT", script));
    let farm = Farm::new(None);
    farm.configure(configuration);
    let build = format!("build = {{ manifests = [\"own.txt\"] }}\nsystems = [\"x86_64-linux\"]\n{option}");
    let file = farm.spec("own", &format!("{build}\n{}", channel.as_channel("own")));
    let file = file.to_str().unwrap().to_owned();
    (farm, channel, file)
}

/// Where the farm finds the daemon of `machine`; this continues `[evaluate]`.
fn settings(machine: &Machine) -> String {
    let (socket, store) = (machine.socket(), machine.store());
    format!("daemon-socket = \"{}\"\ndaemon-store = \"{}\"", socket.display(), store.display())
}

const PERMITTED: &str = "builds-while-evaluating = true";

fn assert_says(said: &Said, code: i32, parts: &[&str]) {
    assert_eq!(said.code, Some(code), "{}", said.talk);
    for part in parts {
        assert!(said.talk.contains(part), "{part:?} is not in: {}", said.talk);
    }
}

/// Base names of what is in a store, without the hash.
fn names_in(store: &Path) -> Vec<String> {
    let names = std::fs::read_dir(store).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.filter_map(|name| Some(name.to_str()?.get(33..)?.to_owned()));
    let mut names: Vec<String> = names.filter(|name| name.strip_suffix(".lock").is_none()).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn what_comes_out_of_a_build_can_be_read_and_nothing_else_reaches_the_daemon() {
    let machine = Machine::new();
    let daemon = machine.serve().await;
    let (farm, channel, _) = farm(":", PERMITTED, &settings(&machine));
    farm.run_once().await;
    let expected =
        oracle::jobs(&guix_root(), "(manifests \"own.txt\")", "x86_64-linux", channel.checkout().path())
            .await;
    let found = farm.queue().await;
    let found: oracle::Jobs =
        found.iter().map(|build| (text(&build["job"]), text(&build["derivation"]))).collect();
    assert_eq!((found.len(), &found), (2, &expected));
    let of = |name: &str| [name.to_owned(), format!("{name}.drv"), format!("{name}.sh")];
    let others = ["sh", "words"].map(str::to_owned);
    let made = ["names", "one-flag", "two-flag"].into_iter().flat_map(of).chain(others);
    let mut made: Vec<String> = made.collect();
    made.sort_unstable();
    assert_eq!(names_in(&machine.store()), made);
    drop(daemon);
}

#[tokio::test]
async fn without_the_word_of_the_spec_the_error_names_what_was_to_be_built() {
    let (farm, _channel, file) = farm(":", "", "");
    let said = farm.say(&["evaluate", &file]).await;
    assert_says(&said, 1, &["own.txt (build)", "a build was asked for", "-names.drv", "hint: with `builds-"]);
}

#[tokio::test]
async fn a_daemon_that_is_not_there_and_a_build_that_fails_say_so() {
    let machine = Machine::new();
    let (there, _channel, file) = farm(":", PERMITTED, &settings(&machine));
    let said = there.say(&["evaluate", &file]).await;
    assert_says(&said, 1, &["(build)", "-names.drv", "cannot be reached", "hint: start guix-daemon"]);

    let daemon = machine.serve().await;
    let (failing, _channel, file) = farm("echo what went wrong; exit 7", PERMITTED, &settings(&machine));
    let said = failing.say(&["evaluate", &file]).await;
    assert_says(&said, 1, &["(build)", "-names.drv", "exit code 7", "what went wrong"]);
    drop(daemon);
}

#[tokio::test]
async fn the_time_of_the_evaluation_ends_a_build_and_the_time_of_a_package_does_not() {
    let machine = Machine::new();
    let daemon = machine.serve().await;
    let idle = measure_tree(daemon.id().unwrap()).len();
    let limits = format!("package-time = \"3s\"\n{}", settings(&machine));
    let (patient, _channel, file) = farm("/bin/sleep 20", PERMITTED, &limits);
    let said = patient.say(&["evaluate", &file]).await;
    assert_says(&said, 0, &["2 jobs, 0 errors"]);

    let limits = format!("evaluation-time = \"5s\"\n{}", settings(&machine));
    let (hasty, _channel, file) = farm("/bin/sleep 1000", PERMITTED, &limits);
    let said = hasty.say(&["evaluate", &file]).await;
    assert_says(&said, 1, &["time limit of 5s, while /gnu/store/", "-names.drv was built, reached"]);
    // Nobody waits for it any more, so the daemon ends it.
    let begun = Instant::now();
    while measure_tree(daemon.id().unwrap()).len() > idle {
        assert!(begun.elapsed() < Duration::from_mins(1), "it goes on");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    drop(daemon);
}
