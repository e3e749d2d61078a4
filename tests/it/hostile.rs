//! Strangers' code against the evaluator: what it cannot reach, and what it cannot spoil.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gorget::domain::spec::Subset;
use gorget::evaluator::{Failure, Limits};
use gorget::guix::sexp::Sexp;
use serde_json::Value;

use crate::repository::Remote;
use crate::sandboxes::KERNEL;
use crate::support::guix::guix_root;
use crate::support::hostile::{Channel, Evaluated, evaluate, limits, packages};
use crate::support::repl::repl;
use crate::support::unlimited;

/// Evaluates the package `bad` of `code` between two good ones, which must not notice.
pub async fn among_good_ones(code: &str, limits: Limits) -> Evaluated {
    let channel = Channel::new(code);
    let result = evaluate(&channel, packages(&["good", "bad", "fine"]), limits).await;
    assert_good_ones(&result).await;
    result
}

async fn assert_good_ones(result: &Evaluated) {
    let undisturbed = evaluate(&Channel::new(""), packages(&["good", "fine"]), limits()).await;
    assert_eq!(undisturbed.jobs.len(), 2, "{undisturbed:#?}");
    for (name, derivation) in &undisturbed.jobs {
        assert_eq!(result.jobs.get(name), Some(derivation), "{result:#?}");
    }
    assert!(result.end.is_ok(), "{result:#?}");
}

/// Packages that fail, each in a way of its own.
pub const CAUSES: &str = r#"
(define-bad raises (error "this is wrong:" 42))
(define-bad colours (error "\x1b[1;31mred\x1b[0m"))
(define-bad unnamed (this-is-nowhere 1))
(define-bad lacks (resolve-interface '(no such thing)))
(define-bad leaves (exit 3))
(define-bad quits (primitive-_exit 4))
(define-bad crashes (kill (getpid) SIGSEGV))
(define-bad builds
  (with-store store (build-derivations store (list (package-derivation store good)))))
(define-bad fetches
  (with-store store (ensure-path store "/gnu/store/00000000000000000000000000000000-x")))
(define-bad loops (let loop () (loop)))
(define-bad recurses (let loop ((n 0)) (+ 1 (loop (+ n 1)))))
(define-bad hogs (let loop ((all '())) (loop (cons (make-bytevector 10000000 1) all))))
(define-bad prints
  (for-each (lambda (port)
              (for-each (lambda (_) (display (make-string 1000000 #\x) port)) (iota 100)))
            (list (current-output-port) (current-error-port))))
"#;

#[tokio::test]
async fn each_cause_is_told_apart_and_costs_only_its_package() {
    let channel = Channel::new(CAUSES);
    let at = |name: &str| format!("{name}@1 at {}", channel.line_of(&format!("(define-bad {name}")));
    let expected = [
        ("raises", "exception", at("raises") + "this is wrong: 42"),
        ("colours", "exception", at("colours") + "\u{1b}[1;31mred\u{1b}[0m"),
        ("unnamed", "unbound-variable", at("unnamed") + "error: this-is-nowhere: unbound variable"),
        ("lacks", "missing-module", at("lacks") + "no code for module (no such thing)"),
        ("leaves", "exit", at("leaves") + "(exit 3)"),
        ("quits", "exit", "the process ended with exit code 4".to_owned()),
        ("crashes", "signal", "the process was killed by signal 11".to_owned()),
        ("loops", "time", "not done after 15s".to_owned()),
        ("recurses", "memory", "the evaluation needs more than its 2048 MiB".to_owned()),
        ("hogs", "memory", "the evaluation needs more than its 2048 MiB".to_owned()),
    ];
    let mut names = vec!["good", "builds", "fetches", "prints"];
    names.extend(expected.iter().map(|(name, ..)| *name));
    names.push("fine");
    let limits = Limits { package_time: Duration::from_secs(15), memory: 2 << 30, ..limits() };
    let result = evaluate(&channel, packages(&names), limits).await;

    assert_good_ones(&result).await;
    for (name, cause, message) in &expected {
        assert_eq!(result.error(name), (*cause, message.as_str()), "{name}");
    }
    let wanted = &result.jobs["good.x86_64-linux"];
    let asked = |path: &str| format!("a build was asked for while evaluating: {path}");
    let hint = "\nhint: with `builds-while-evaluating = true` in the spec, such builds are made";
    assert_eq!(result.error("builds"), ("build", (at("builds") + &asked(wanted) + hint).as_str()));
    let missing = "/gnu/store/00000000000000000000000000000000-x";
    assert_eq!(result.error("fetches"), ("build", (at("fetches") + &asked(missing)).as_str()));
    assert!(result.jobs.contains_key("prints.x86_64-linux"), "{result:#?}");
    assert_eq!((result.jobs.len(), result.errors.len()), (3, 12));
}

#[tokio::test]
async fn every_string_that_guile_writes_is_read() {
    // Every character of two and of four digits that has to be escaped, before texts that look like more of it.
    let script = r#"
(for-each
 (lambda (number)
   (for-each
    (lambda (rest)
      (write (string-append (string (integer->char number)) rest))
      (newline))
    '("" ";" "1;" "31;" "[1;31m" "a" "0f;")))
 (append (iota 768) (iota 32 8192) (iota 16 65520) (iota 8 127744)))"#;
    let written = repl(script, &[], &[]).await;
    let numbers = (0..768).chain(8192..8224).chain(65520..65536).chain(127_744..127_752);
    let texts = numbers.flat_map(|number| {
        let first = char::from_u32(number).unwrap();
        ["", ";", "1;", "31;", "[1;31m", "a", "0f;"].map(|rest| format!("{first}{rest}"))
    });
    let texts: Vec<String> = texts.collect();
    let lines: Vec<&str> = written.lines().collect();
    assert_eq!(lines.len(), texts.len());
    for (line, text) in lines.into_iter().zip(texts) {
        assert_eq!(Sexp::read(line).unwrap().string(), Some(text.as_str()), "{line}");
    }
}

/// Tries everything, and raises an error that says what came of it.
pub const SPY: &str = r#"
(define (call-by-name name types . arguments)
  (let ((result (apply (pointer->procedure int (dynamic-func name (dynamic-link)) types) arguments)))
    (and (>= result 0) result)))

(define (connect-to-abstract-socket name)
  (let ((address (make-bytevector (+ 3 (string-length name)) 0)))
    (bytevector-u16-native-set! address 0 AF_UNIX)
    (bytevector-copy! (string->utf8 name) 0 address 3 (string-length name))
    (call-by-name "connect" (list int '* int)
          (fileno (socket AF_UNIX SOCK_STREAM 0))
          (bytevector->pointer address) (bytevector-length address))))

(define (contents file)
  (call-with-input-file file read-string))

(define (files directory)
  (scandir directory))

(define-syntax-rule (attempts (name body ...) ...)
  (append (let ((result (false-if-exception (begin body ...))))
            (if result (list (list name result)) '()))
          ...))

(define (writable file)
  (call-with-output-file file (const file)))

(define %forbidden
  '("/x" "/etc/x" "/gnu/x" "/usr/x" "/var/x" "/dev/x" "/dev/shm/x" "/run/x" "/run/gorget/x"
    "/run/gorget/worker.scm" "/gorget/x" "/gorget/channels/evil/x"
    "/gorget/channels/evil/evil/packages.scm" "/proc/sys/kernel/core_pattern"
    "/proc/sysrq-trigger"))

(define-bad bad
  (error "found:"
         (attempts
          ("tcp" (connect (socket AF_INET SOCK_STREAM 0) AF_INET INADDR_LOOPBACK @PORT@))
          ("abstract socket" (connect-to-abstract-socket "@ABSTRACT@"))
          ("daemon" (connect (socket AF_UNIX SOCK_STREAM 0) AF_UNIX "/var/guix/daemon-socket/socket"))
          ("secret file" (contents "@SECRET@"))
          ("shadow" (contents "/etc/shadow"))
          ("root's files" (files "/root"))
          ("home" (files "/home"))
          ("way out" (files "/proc/1/root/root"))
          ("environment" (find (lambda (variable) (string-contains variable "@WORD@")) (environ)))
          ("parent's environment" (string-contains (contents "/proc/1/environ") "@WORD@"))
          ("writing" (match (filter (lambda (file) (false-if-exception (writable file))) %forbidden)
                       (() #f)
                       (files files)))
          ("signals" (begin (kill @PID@ 0) #t))
          ("processes" (find (lambda (file)
                               (and (string->number file)
                                    (not (string-contains
                                          (contents (string-append "/proc/" file "/cmdline"))
                                          "/run/gorget/worker.scm"))))
                             (files "/proc")))
          ("mount" (call-by-name "mount" (list '* '* '* long '*) (string->pointer "none")
                         (string->pointer "/tmp") (string->pointer "tmpfs") 0 %null-pointer))
          ("user namespace" (call-by-name "unshare" (list int) #x10000000))
          ("chroot" (call-by-name "chroot" (list '*) (string->pointer "/tmp")))
          ("kernel" (match (what-the-kernel-grants) (() #f) (found found)))
          ("another process's memory"
           (find (lambda (file)
                   (and (string->number file)
                        (not (= (string->number file) (getpid)))
                        (false-if-exception (open-file (string-append "/proc/" file "/mem") "r+"))))
                 (files "/proc")))
          ("own files" (begin (writable "/tmp/@WORD@") (contents "/run/gorget/worker.scm") 'yes)))))
"#;

#[tokio::test]
async fn nothing_outside_of_the_sandbox_can_be_reached() {
    let outside = tempfile::tempdir().unwrap();
    let word = outside.path().file_name().unwrap().to_str().unwrap().trim_start_matches('.').to_owned();
    let secret = outside.path().join("secret");
    std::fs::write(&secret, &word).unwrap();
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let unix = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&word).unwrap()).unwrap();
    tcp.set_nonblocking(true).unwrap();
    unix.set_nonblocking(true).unwrap();
    let code = format!("{KERNEL}{SPY}")
        .replace("@PORT@", &tcp.local_addr().unwrap().port().to_string())
        .replace("@ABSTRACT@", &word)
        .replace("@SECRET@", secret.to_str().unwrap())
        .replace("@PID@", &std::process::id().to_string())
        .replace("@WORD@", &word);

    let lines = run_gorget(&Channel::new(&code), &word).await;

    let found = lines.iter().find(|line| line["name"] == "bad.x86_64-linux").unwrap();
    let message = found["message"].as_str().unwrap();
    assert!(message.ends_with(r#"found: (("own files" yes))"#), "{message}");
    assert_eq!(tcp.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    assert_eq!(unix.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    assert!(!std::path::Path::new("/tmp").join(&word).exists());
    assert_eq!(lines.iter().filter(|line| line["type"] == "job").count(), 2, "{lines:#?}");
}

/// Runs `gorget evaluate` with a secret in its environment, on a commit of the channel.
async fn run_gorget(channel: &Channel, secret: &str) -> Vec<Value> {
    let remote = Remote::new();
    let code = std::fs::read(channel.path().join("evil/packages.scm")).unwrap();
    let evil = remote.tree(&[("100644", b"packages.scm", remote.blob(code))]);
    let commit = remote.commit_tree(remote.tree(&[("40000", b"evil", evil)]), None);
    remote.set("main", Some(&commit));
    let state = tempfile::tempdir().unwrap();
    let [spec, config] = ["spec.toml", "gorget.toml"].map(|name| state.path().join(name));
    let channel = format!("[[channel]]\nname = \"evil\"\nurl = \"{}\"\nbranch = \"main\"\n", remote.url());
    std::fs::write(&spec, format!("build = {{ packages = [\"good\", \"bad\", \"fine\"] }}\n{channel}"))
        .unwrap();
    std::fs::write(&config, format!("guix-root = \"{}\"\n", guix_root().display())).unwrap();
    let mut gorget = unlimited(env!("CARGO_BIN_EXE_gorget"))
        .env("AWS_SECRET_ACCESS_KEY", secret)
        .args(["evaluate", "--json", "--state"])
        .arg(state.path())
        .args(["--config".as_ref(), config.as_os_str(), spec.as_os_str()])
        .spawn()
        .unwrap();
    let finished = gorget.finish(Duration::from_mins(5)).await.unwrap();
    let text = String::from_utf8(finished.stdout.clone()).unwrap();
    assert_eq!(finished.status.and_then(|status| status.code()), Some(1), "{} {text}", finished.reason());
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What evaluated code may say to the supervisor, over a connection of its own or over ours.
pub const LIARS: &str = r#"
(define (say port . messages)
  (for-each (lambda (message) (write message port) (newline port)) messages)
  (force-output port))

;; Who is not listened to may find the connection closed while still speaking.
(sigaction SIGPIPE SIG_IGN)

(define (answer-to . messages)
  "Say MESSAGES over a new connection, and return what comes back, or #f."
  (let ((port (socket AF_UNIX SOCK_STREAM 0)))
    (connect port AF_UNIX "/run/gorget/control")
    (false-if-exception (apply say port messages))
    (let ((answer (false-if-exception (read port))))
      (and (not (eof-object? answer)) answer))))

(define %lie
  "(job 0 \"good.x86_64-linux\" \"/gnu/store/00000000000000000000000000000000-lie.drv\")")

(define-bad prints-lies
  (for-each (lambda (port) (display (string-append "\n" %lie "\n(fatal exit \"x\")\n") port))
            (list (current-output-port) (current-error-port))))

(define-bad is-no-parent
  (when (answer-to '(parent "3.0" "1.5") '(fatal exit "x"))
    (error "it got an answer")))

(define-bad is-no-worker
  (for-each (lambda (id)
              (when (answer-to (list 'worker id "0123456789abcdef") '(idle))
                (error "it got an answer")))
            (iota 20)))

(define-bad talks-nonsense
  (for-each (lambda (nonsense)
              (when (answer-to nonsense) (error "it got an answer")))
            (list '(worker -1 "") '(job 0 "x" "y") "nonsense" 42 '() (make-list 10000 '(a)))))

;; Nobody takes a hundred megabytes without a line feed.
(define-bad talks-endlessly
  (let ((port (socket AF_UNIX SOCK_STREAM 0)))
    (connect port AF_UNIX "/run/gorget/control")
    (when (false-if-exception
           (begin
             (for-each (lambda (_) (put-bytevector port (make-bytevector 1000000 40))) (iota 100))
             (force-output port)
             #t))
      (error "all of it was taken"))))

(define-bad idles (say (@@ (guile-user) control) '(idle)))
(define-bad names-a-lie
  (say (@@ (guile-user) control)
       `(job 7 "lie" "/gnu/store/00000000000000000000000000000000-lie.drv" (#f #f #f #f #f #f 1 1))))
(define-bad answers-for-others (say (@@ (guile-user) control) '(none 0)))
(define-bad is-two (primitive-fork))
"#;

#[tokio::test]
async fn who_lies_to_the_supervisor_is_not_believed() {
    let names = [
        "good",
        "prints-lies",
        "is-no-parent",
        "is-no-worker",
        "talks-nonsense",
        "talks-endlessly",
        "idles",
        "names-a-lie",
        "answers-for-others",
        "fine",
        "is-two",
    ];
    let result = evaluate(&Channel::new(LIARS), packages(&names), limits()).await;

    assert_good_ones(&result).await;
    // These were not heard at all, so they are as good as any.
    for name in ["prints-lies", "is-no-parent", "is-no-worker", "talks-nonsense", "talks-endlessly"] {
        assert!(result.jobs.contains_key(&format!("{name}.x86_64-linux")), "{name}: {result:#?}");
    }
    let out_of_turn = ("protocol", "it sent messages that only the evaluator may send");
    assert_eq!(result.error("idles"), out_of_turn);
    assert_eq!(result.error("answers-for-others"), out_of_turn);
    let (cause, message) = result.error("names-a-lie");
    assert_eq!(cause, "protocol");
    assert!(message.starts_with("it names a derivation that it did not add: "), "{message}");
    // Both speak over the same connections, but there is one result at most, and an end.
    let of_two = result.jobs.keys().chain(result.errors.keys()).filter(|name| name.starts_with("is-two"));
    assert_eq!(of_two.count(), 1, "{result:#?}");
    assert_eq!(result.jobs.len() + result.errors.len(), names.len(), "{result:#?}");
}

#[tokio::test]
async fn a_derivation_cannot_claim_the_output_of_another() {
    let code = r#"
(define-bad bad
  (with-store store
    (let* ((path (derivation->output-path (package-derivation store good)))
           (text (string-append "Derive([(\"out\",\"" path "\",\"\",\"\")],[],[],\"x86_64-linux\","
                                "\"/bin/sh\",[],[(\"out\",\"" path "\")])")))
      (add-text-to-store store "good-2.12.2.drv" text '()))))
"#;
    let result = among_good_ones(code, limits()).await;
    let (cause, message) = result.error("bad");
    assert_eq!(cause, "exception");
    assert!(message.contains(r#"output "out" claims /gnu/store/"#), "{message}");
}

#[tokio::test]
async fn more_than_is_kept_waiting_is_taken_in_turn() {
    let code = r#"
(define-bad bad
  (with-store store
    (for-each (lambda (n)
                (add-text-to-store store "large" (make-string 50000000 (integer->char (+ n 65))) '()))
              (iota 5))))
"#;
    let result = among_good_ones(code, limits()).await;
    assert!(result.jobs.contains_key("bad.x86_64-linux"), "{result:#?}");
}

/// Command lines of processes of this machine that contain `word`.
pub fn running(word: &str) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap();
    let lines =
        processes.filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("cmdline")).ok());
    lines.filter(|line| line.contains(word)).count()
}

/// Evaluates; says also whether a process with `word` in its command line was seen meanwhile.
async fn watched(word: &str, evaluation: impl Future<Output = Evaluated>) -> (Evaluated, bool) {
    let over = AtomicBool::new(false);
    let mut seen = false;
    let result = tokio::join!(
        async {
            let result = evaluation.await;
            over.store(true, Ordering::Relaxed);
            result
        },
        async {
            while !over.load(Ordering::Relaxed) {
                seen |= running(word) > 0;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    );
    // The kernel needs a moment to end a sandbox.
    for _ in 0..100 {
        if running(word) == 0 {
            return (result.0, seen);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{word} still runs: {:#?}", result.0);
}

#[tokio::test]
async fn nothing_is_left_running() {
    let code = r#"
(define-bad bad
  (when (zero? (primitive-fork))
    (setsid)
    (when (zero? (primitive-fork))
      (execlp "sleep" "sleep" "86398.25"))
    (primitive-_exit 0))
  (sleep 2))
"#;
    let (result, seen) = watched("86398.25", among_good_ones(code, limits())).await;
    assert!(seen, "{result:#?}");
}

#[tokio::test]
async fn a_fork_bomb_is_put_out() {
    let code = r#"
(define-bad bad
  (let loop ((n 0))
    (if (< n 3000)
        (if (zero? (primitive-fork))
            (execlp "sleep" "sleep" "86397.75")
            (loop (+ n 1)))
        (sleep 3600))))
"#;
    let (result, seen) = watched("86397.75", among_good_ones(code, limits())).await;
    assert!(seen, "{result:#?}");
    let (cause, message) = result.error("bad");
    // The kernel itself may refuse: not to root.
    let refused = cause == "exception" && message.contains("Resource temporarily unavailable");
    assert!(
        refused || (cause == "processes" && message == "it started more than 256 processes"),
        "{result:#?}"
    );
}

/// The worker ends, but a child of it keeps its connections.
#[tokio::test]
async fn a_child_that_holds_the_connection_does_not_hold_up_the_rest() {
    let code = "(define-bad bad (if (zero? (primitive-fork)) (sleep 3600) (primitive-_exit 5)))";
    let limits = Limits { package_time: Duration::from_secs(15), ..limits() };
    let result = among_good_ones(code, limits).await;
    assert_eq!(result.error("bad").0, "time");
}

#[tokio::test]
async fn a_module_that_ruins_the_parent_fails_the_evaluation_and_says_why() {
    let evaluate = async |code: &str, limits: Limits| {
        let result = evaluate(&Channel::new(code), packages(&["good"]), limits).await;
        assert_eq!(result.jobs.len(), 0, "{result:#?}");
        result.end.unwrap_err()
    };
    let short = Limits { package_time: Duration::from_secs(4), ..limits() };

    let failure = evaluate("(primitive-_exit 7)", limits()).await;
    assert!(matches!(&failure, Failure::ProcessEnded(how) if how.contains("exit code 7")), "{failure}");
    let failure = evaluate("(kill (getpid) SIGKILL)", limits()).await;
    assert!(matches!(&failure, Failure::ProcessEnded(_)), "{failure}");
    let failure = evaluate("(let loop () (loop))", short).await;
    assert_eq!(failure.to_string(), "time limit for loading modules of 24s reached");
    let failure =
        evaluate("(let loop ((all '())) (loop (cons (make-bytevector 10000000 1) all)))", limits()).await;
    assert_eq!(failure.to_string(), "memory limit of 3072 MiB reached");
    let failure = evaluate("(let loop () (if (zero? (primitive-fork)) (sleep 3600) (loop)))", limits()).await;
    assert!(matches!(&failure, Failure::ProcessEnded(_) | Failure::Limit { .. }), "{failure}");
}

#[tokio::test]
async fn a_manifest_that_raises_leaves_the_others_whole() {
    let channel = Channel::new("")
        .with("good.scm", "(use-modules (evil packages)) (packages->manifest (list good fine))")
        .with("raises.scm", "(use-modules (guix profiles))\n(error \"no manifest today\")")
        .with("exits.scm", "(exit 3)");
    let files = ["raises.scm", "good.scm", "exits.scm", "missing.scm"].map(str::to_owned);
    let result = evaluate(&channel, Subset::Manifests(files.to_vec()).into(), limits()).await;
    let names: Vec<&String> = result.jobs.keys().collect();
    assert_eq!(names, ["fine-2.12.2", "good-2.12.2"], "{result:#?}");
    let error = |name| result.error(name);
    assert_eq!(error("raises.scm").0, "exception");
    assert!(error("raises.scm").1.contains("no manifest today"));
    assert_eq!(error("exits.scm").0, "exit");
    assert!(error("missing.scm").1.contains("no channel has this manifest file"));
    assert_eq!(result.end.unwrap().broken_modules, 3);
}

#[tokio::test]
async fn a_parent_that_does_nothing_at_all_does_not_hold_up_the_farm() {
    let limits = || Limits { package_time: Duration::from_secs(3), ..limits() };
    let while_loading = "(sleep 100000)";
    let instead_of_forking = "
(variable-set! (module-variable (resolve-module '(guile)) 'primitive-fork) (lambda () (sleep 100000)))";
    for code in [while_loading, instead_of_forking] {
        let result = evaluate(&Channel::new(code), packages(&["good"]), limits()).await;
        let Err(failure) = result.end else { panic!("{code}: {result:#?}") };
        assert!(matches!(failure, Failure::Idle { .. }), "{failure}");
        assert!(!failure.is_of_revision(), "another try may go well");
        assert!(result.jobs.is_empty());
    }
}
