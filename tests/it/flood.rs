//! Strangers' code that says as much as it can, as long as it can, from every process: Gorget's own memory stays
//! small, and it goes on answering.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use gorget::evaluator::{Failure, Limits};
use gorget::sandbox::{forget_own_peak, own_peak};

use crate::support::hostile::{Channel, Evaluated, evaluate, limits, packages};

/// What this process may hold, tests that run at the same time included, in bytes.
const MOST_MEMORY: u64 = 1 << 30;
/// For how long an asynchronous task may be kept from running.
const LONGEST_GAP: Duration = Duration::from_secs(1);
/// How soon nothing runs any more when an evaluation is dropped.
const END: Duration = Duration::from_secs(10);

/// One at a time, for the memory is everybody's.
static TURN: Mutex<()> = Mutex::new(());

/// What the code of these stories uses.
pub const PRELUDE: &str = r#"
(sigaction SIGPIPE SIG_IGN)

(define control (@@ (guile-user) control))
(define x (make-string 250000 #\x))

(define (put bytes)
  (put-bytevector control bytes)
  (force-output control))

;; What MESSAGE is as a line.
(define (line . message)
  (string->utf8 (string-append (object->string message) "\n")))

(define (say . message)
  (put (apply line message)))

(define (module-error n text)
  (put (string->utf8 (string-append "(module-error \"" (number->string n) "\" exception \"" text "\")\n"))))

(define (unit) (@@ (guile-user) evaluating))
(define %facts '(#f #f #f #f #f #f 1 1))

(define (repeat count proc)
  (let loop ((n 0))
    (unless (eqv? n count)
      (proc n)
      (loop (+ n 1)))))
"#;

/// A text that would be a derivation of so many outputs and variables.
pub const HUGE_DERIVATION: &str = r#"
(define (huge outputs variables)
  (define (list-of count item)
    (string-append "[" (string-join (map item (iota count)) ",") "]"))
  (string-append "Derive("
                 (list-of outputs (lambda (n)
                                    (format #f "(\"o~a\",\"/gnu/store/00000000000000000000000000000000-bad-o~a\",\"\",\"\")" n n)))
                 ",[],[],\"x86_64-linux\",\"/bin/sh\",[],"
                 (list-of variables (lambda (n) (format #f "(\"v~a\",\"\")" n)))
                 ")"))

(define-bad bad
  (with-store store
    (for-each (match-lambda
                ((outputs . variables)
                 (let ((text (huge outputs variables)))
                   (repeat 3 (lambda (n)
                               (false-if-exception (add-text-to-store store "bad.drv" text '()))))
                   (unless (= outputs 128)
                     (add-text-to-store store "bad.drv" text '())))))
              '((128 . 100000) (300000 . 300000)))))
"#;

/// Connections that say half a message.
pub const STRANGERS: &str = r#"
(define (connect-and-say text)
  (let ((port (socket AF_UNIX SOCK_STREAM 0)))
    (connect port AF_UNIX "/run/gorget/control")
    (fcntl port F_SETFL (logior O_NONBLOCK (fcntl port F_GETFL)))
    (false-if-exception (begin (display text port) (force-output port)))
    port))

(define-bad bad
  (let ((talk (string-append "(loader \"" (make-string 3000 #\x) "\" \"1\")\n"))
        (opening (make-string 250000 #\()))
    (repeat 40 (lambda (n)
                 (map connect-and-say (list talk opening x (string-append talk opening)))
                 (gc)))))
"#;

/// A loader that says without end what packages use.
pub const USES: &str = "
(define some (apply line 'uses (make-list 30000 '(1 2))))
(repeat 300 (lambda (n) (put some)))
(define-bad bad (error \"bad\"))";

/// A parent that names units without end.
pub const LABELS: &str = "
(define some (apply line 'labels (make-list 50000 \"\")))
(variable-set! (module-variable (resolve-module '(guile-user)) 'enumerate)
               (lambda _ (repeat #f (lambda (n) (put some)))))";

/// Code that never ends what it says.
pub const ENDLESS: [&str; 5] = [
    "(repeat #f (lambda (n) (module-error n \"x\")))",
    "(repeat #f (lambda (n) (say 'idle)))",
    "(define-bad bad (repeat #f (lambda (n) (say 'also (unit) x \"/gnu/store/x\" %facts))))",
    "(define-bad bad (repeat #f (lambda (n) (say 'begin (unit)))))",
    "
(define-bad bad
  (with-store store
    (repeat #f (lambda (n)
         (add-text-to-store store \"large\" (string-append (number->string n) x x) '())))))",
];

/// Runs what a channel with this code comes to, while a clock ticks in the same thread.
async fn ticking<T>(run: impl Future<Output = T>) -> T {
    forget_own_peak();
    let gap = async {
        let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
        let mut clock = tokio::time::interval(Duration::from_millis(20));
        loop {
            clock.tick().await;
            longest = longest.max(last.elapsed());
            last = Instant::now();
            assert!(longest < LONGEST_GAP, "nothing else could run for {longest:?}");
        }
    };
    let result = tokio::select! {
        result = run => result,
        () = gap => unreachable!(),
    };
    assert!(own_peak() < MOST_MEMORY, "{} MiB", own_peak() >> 20);
    result
}

fn channel(code: &str) -> Channel {
    Channel::new(&format!("{PRELUDE}{code}"))
}

async fn flood(code: &str) -> Evaluated {
    let limits = Limits { package_time: Duration::from_mins(4), ..limits() };
    ticking(evaluate(&channel(code), packages(&["good", "bad", "fine"]), limits)).await
}

/// The packages that mean no harm have their derivations, and the one that does an error.
fn assert_only_bad(result: &Evaluated, cause: &str, message: &str) {
    assert!(result.end.is_ok(), "{result:#?}");
    let names: Vec<&String> = result.jobs.keys().collect();
    assert_eq!(names, ["fine.x86_64-linux", "good.x86_64-linux"], "{result:#?}");
    let (actual, said) = result.error("bad");
    assert_eq!(actual, cause, "{said}");
    assert!(said.contains(message), "{said}");
    assert!(said.len() < 20_000);
}

#[expect(clippy::await_holding_lock, reason = "each test has a thread of its own")]
async fn one_at_a_time<T>(run: impl Future<Output = T>) -> T {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    run.await
}

#[tokio::test]
async fn a_huge_derivation_is_refused_and_holds_nobody_up() {
    one_at_a_time(async {
        assert_only_bad(&flood(HUGE_DERIVATION).await, "exception", "expected fewer outputs");
    })
    .await;
}

#[tokio::test]
async fn a_package_with_very_many_and_very_long_jobs_is_one_error() {
    one_at_a_time(async {
        let also = |times: usize, name: &str| {
            format!(
                "(define-bad bad
                   (let ((also (line 'also (unit) {name} \"/gnu/store/x\" %facts)))
                     (repeat {times} (lambda (n) (put also)))))"
            )
        };
        assert_only_bad(&flood(&also(4000, "x")).await, "protocol", "it has 4001 jobs, and should have one");
        assert_only_bad(&flood(&also(300_000, "\"y\"")).await, "jobs", "it has too many jobs");
        let too_long = also(1, "(string-append x x)");
        assert_only_bad(
            &flood(&too_long).await,
            "protocol",
            "it sent messages that only the evaluator may send",
        );
    })
    .await;
}

#[tokio::test]
async fn strangers_who_connect_and_talk_are_not_listened_to() {
    one_at_a_time(async {
        let result = flood(STRANGERS).await;
        assert!(result.end.is_ok(), "{result:#?}");
        assert_eq!(result.jobs.len(), 3, "{result:#?}");
    })
    .await;
}

#[tokio::test]
#[ignore = "takes minutes: `make test-slow`"]
async fn a_loader_that_talks_without_end_costs_no_memory() {
    one_at_a_time(async {
        // It is heard, as far as a message goes.
        let some = "(repeat 1000 (lambda (n) (module-error n x)))";
        let result = flood(&format!("{some}\n(define-bad bad (error \"bad\"))")).await;
        assert_only_bad(&result, "exception", "bad");
        assert_eq!(result.errors.len(), 1001);
        let said: usize = result.errors.values().map(|(_, message)| message.len()).sum();
        assert!(said < 33 << 20, "{said}");

        let many = "(repeat 60000 (lambda (n) (module-error n x)))";
        let failure = flood(many).await.end.unwrap_err();
        assert!(matches!(&failure, Failure::Revision { cause, .. } if cause == "module"), "{failure}");
        let huge = "(let ((x (make-string 60000000 #\\x))) (repeat 60 (lambda (n) (module-error n x))))";
        let failure = flood(huge).await.end.unwrap_err();
        assert!(failure.to_string().contains("it sent a message of more than 256 KiB"), "{failure}");
        // What packages use is forgotten when it is too much.
        assert_only_bad(&flood(USES).await, "exception", "bad");
    })
    .await;
}

#[tokio::test]
async fn a_parent_that_talks_without_end_costs_no_memory() {
    one_at_a_time(async {
        let failure = flood(LABELS).await.end.unwrap_err();
        assert!(matches!(&failure, Failure::Limit { what, .. } if what == "limit of units"), "{failure}");
    })
    .await;
}

/// Command lines of processes of this machine that contain `word`.
fn running(word: &str) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap();
    let lines =
        processes.filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("cmdline")).ok());
    lines.filter(|line| line.contains(word)).count()
}

#[tokio::test]
async fn an_evaluation_ends_when_it_is_dropped_whatever_is_said() {
    one_at_a_time(async {
        for code in ENDLESS {
            let channel = channel(code);
            let word = channel.path().to_str().unwrap().to_owned();
            let evaluation = evaluate(&channel, packages(&["good", "bad"]), limits());
            let ended = ticking(tokio::time::timeout(Duration::from_secs(15), evaluation)).await;
            let dropped = Instant::now();
            while running(&word) > 0 {
                assert!(dropped.elapsed() < END, "{code}: it still runs: {ended:#?}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    })
    .await;
}
