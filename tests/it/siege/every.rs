//! All other hostile channels of the tests, against the whole program. They take longer than `make test` has.

use std::path::Path;

use super::packages;
use crate::flood::{ENDLESS, HUGE_DERIVATION, LABELS, PRELUDE, STRANGERS, USES};
use crate::hostile::{CAUSES, LIARS, SPY};
use crate::sandboxes::{HOGS, KERNEL};
use crate::support::siege::{End, Siege, Story};

/// Packages that fail, lie, spy and leave processes behind: the same as by themselves in `hostile.rs`.
fn liars(outside: &Path) -> Vec<Story> {
    let secret = outside.join("secret");
    std::fs::write(&secret, "secret").unwrap();
    let spy = format!("{KERNEL}{SPY}")
        .replace("@PORT@", "1")
        .replace("@SECRET@", secret.to_str().unwrap())
        .replace("@PID@", &std::process::id().to_string())
        .replace("@ABSTRACT@", "gorget")
        .replace("@WORD@", "gorget-was-here");
    let all = |name, code: &str| Story { build: packages(&bad_names(code)), ..Story::new(name, code) };
    vec![
        all("causes", CAUSES),
        all("liars", LIARS),
        Story::new("spies", spy),
        Story::new(
            "leaves-processes",
            r#"
(define-bad bad
  (when (zero? (primitive-fork))
    (setsid)
    (when (zero? (primitive-fork)) (execlp "sleep" "sleep" "86396.25"))
    (primitive-_exit 0))
  (sleep 2))"#,
        ),
        Story::new(
            "holds-the-connection",
            "(define-bad bad (if (zero? (primitive-fork)) (sleep 3600) (primitive-_exit 5)))",
        ),
        Story::new("many-files", format!("{KERNEL}{HOGS}(define-bad bad (many-files))")),
        Story::new("sockets", format!("{KERNEL}{HOGS}(define-bad bad (sockets))")),
        Story::new("page-tables", format!("{KERNEL}{HOGS}(define-bad bad (page-tables))")),
    ]
}

/// The names of the packages of `code`, between those of two good ones.
fn bad_names(code: &str) -> Vec<&str> {
    let bad = code.split("(define-bad ").skip(1).filter_map(|rest| rest.split_whitespace().next());
    ["good"].into_iter().chain(bad).chain(["fine"]).collect()
}

/// Floods, from every kind of process.
fn more_floods() -> Vec<Story> {
    let story = |name, code: &str| Story::new(name, format!("{PRELUDE}{code}"));
    let names = ["endless-errors", "endless-idling", "endless-jobs", "endless-beginnings", "endless-texts"];
    let endless = names.into_iter().zip(ENDLESS).map(|(name, code)| match name {
        "endless-errors" => Story { end: End::Fails("modules do not load"), ..story(name, code) },
        "endless-idling" => Story { end: End::Fails("time limit"), ..story(name, code) },
        _ => story(name, code),
    });
    let others = [
        story("a-huge-derivation", HUGE_DERIVATION),
        story("strangers", STRANGERS),
        story("uses", USES),
        Story { end: End::Fails("limit of units"), ..story("labels", LABELS) },
    ];
    endless.chain(others).collect()
}

/// Modules that ruin the process that loads them.
fn loaders() -> Vec<Story> {
    let story = |name, code: &str, reason| Story {
        end: End::Fails(reason),
        build: packages(&["good"]),
        ..Story::new(name, code)
    };
    vec![
        story("loader-exits", "(primitive-_exit 7)", "exit code 7"),
        story("loader-is-killed", "(kill (getpid) SIGKILL)", "exit code 137"),
        story("loader-loops", "(let loop () (loop))", "time limit"),
        story("loader-sleeps", "(sleep 100000)", "made no progress for"),
        story(
            "loader-hogs",
            "(let loop ((all '())) (loop (cons (make-bytevector 10000000 1) all)))",
            "memory limit of",
        ),
        story("loader-forks", "(let loop () (if (zero? (primitive-fork)) (sleep 3600) (loop)))", "processes"),
        story(
            "parent-sleeps",
            "(variable-set! (module-variable (resolve-module '(guile)) 'primitive-fork)
                            (lambda () (sleep 100000)))",
            "made no progress for",
        ),
    ]
}

/// A macro that runs this code where its module is expanded: while it is loaded, as nothing is compiled without a
/// channel `guix`.
fn expanding(name: &'static str, code: &str) -> Story {
    let start = "(use-modules (ice-9 binary-ports) (ice-9 threads))";
    let module = format!(
        "(define-module (evil attack))
(define-syntax attack
  (lambda (form)
    (eval '(begin {KERNEL}\n{start}\n{HOGS}\n{code}) (make-fresh-user-module))
    #'(begin)))
(attack)
"
    );
    Story {
        files: vec![("100644", "evil/attack.scm".to_owned(), module.into_bytes())],
        build: packages(&["good", "fine"]),
        ..Story::new(name, "")
    }
}

/// What runs where modules are expanded.
fn macros() -> Vec<Story> {
    vec![
        expanding("expands-to-findings", "(error \"found:\" (what-the-kernel-grants))"),
        expanding("expands-to-files", "(false-if-exception (fill \"/tmp/x\"))"),
        Story {
            end: End::Fails("limit of"),
            ..expanding(
                "expands-to-processes",
                r#"(for-each (lambda (_) (when (zero? (primitive-fork)) (execlp "sleep" "sleep" "86394.5")))
                             (iota 700)) (sleep 3600)"#,
            )
        },
        Story { end: End::Fails("time limit"), ..expanding("expands-to-loops", "(let loop () (loop))") },
    ]
}

#[tokio::test]
#[ignore = "takes ten minutes: `make torture`"]
async fn every_package_that_lies_spies_or_floods() {
    let mut siege = Siege::begin().await;
    let liars = liars(siege.outside());
    for story in liars.iter().chain(&more_floods()) {
        siege.tell(story).await;
    }
}

#[tokio::test]
#[ignore = "takes minutes: `make torture`"]
async fn everything_that_ruins_what_loads_and_what_expands() {
    let mut siege = Siege::begin().await;
    for story in loaders().iter().chain(&macros()) {
        siege.tell(story).await;
    }
}
