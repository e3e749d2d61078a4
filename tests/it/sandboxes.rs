//! What sandboxes may use, and what the kernel grants them, wherever strangers' code runs.

use std::path::Path;
use std::time::{Duration, Instant};

use gorget::evaluator::Limits as Evaluating;
use gorget::evaluator::runtime::{
    Cache, Compiling, Environment, InstalledGuix, checkout, installed_environment,
};
use gorget::sandbox::{Exceeded, Finished, Limits, Tool};

use crate::hostile::{among_good_ones, running};
use crate::runtimes::Bed;
use crate::support::guix::{compiling_with_gorget, guix_root};
use crate::support::hostile::limits;

/// Tries the kernel's interfaces.
pub const KERNEL: &str = include_str!("support/kernel.scm");

/// Fills memory in ways that no process is charged for.
pub const HOGS: &str = r#"
(define (fill file)
  (let ((block (make-bytevector 1000000 1)))
    (call-with-output-file file
      (lambda (port) (let loop () (put-bytevector port block) (loop))))))
(define (many-files)
  (let loop ((n 0))
    (call-with-output-file (string-append "/tmp/" (number->string n)) (const #t))
    (loop (+ n 1))))
(define (sockets)
  (let loop ((all '()))
    (if (zero? (primitive-fork))
        (let inner ((all '()))
          (inner (cons (or (false-if-exception (socketpair AF_UNIX SOCK_STREAM 0)) (sleep 3600)) all)))
        (begin (usleep 10000) (loop all)))))
(define (page-tables)
  ;; The page of zeros is charged to no one, the tables that refer to it are.
  (let* ((size (ash 1 33)) (start (call 9 0 size 1 #x4022 -1 0)))
    (when (= start -1) (error "refused"))
    (let loop ((at 0))
      (when (< at size)
        (pointer->bytevector (make-pointer (+ start at)) 1)
        (bytevector-u8-ref (pointer->bytevector (make-pointer (+ start at)) 1) 0)
        (loop (+ at 2097152))))
    (sleep 3600)))
"#;

/// Runs Guile in a sandbox, with this code.
async fn guile(code: &str, limits: Limits) -> Finished {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("script.scm");
    let start = "(use-modules (ice-9 binary-ports) (ice-9 threads))";
    std::fs::write(&script, format!("{KERNEL}\n{start}\n{HOGS}\n{code}")).unwrap();
    let root = guix_root();
    let environment = installed_environment(&InstalledGuix::probe(&root).await.unwrap(), &[]).unwrap();
    let guile = environment.confine(&root, limits).args(["--no-auto-compile", "/script.scm"]);
    let mut guile = guile.readable(&script, "/script.scm").spawn().unwrap();
    guile.finish(Duration::from_mins(2)).await.unwrap()
}

fn small() -> Limits {
    Limits {
        processes: 40,
        cpu: Duration::from_secs(40),
        ..Limits::sandbox(400 << 20, Duration::from_mins(1))
    }
}

#[tokio::test]
async fn every_limit_ends_all_of_a_sandbox() {
    let (memory, seconds) = (Exceeded::Memory(400 << 20), Duration::from_secs);
    let (busy, short) = (Limits { cpu: seconds(3), ..small() }, Limits { wall: seconds(8), ..small() });
    let cases = [
        ("(let loop ((all '())) (loop (cons (make-bytevector 1000000 1) all)))", small(), memory),
        // Each holds little.
        (
            "(for-each (lambda (_) (when (zero? (primitive-fork))
                         (let ((all (make-bytevector 20000000 1))) (sleep 3600) all))) (iota 30))
          (sleep 3600)",
            small(),
            memory,
        ),
        ("(many-files)", Limits { memory: 150 << 20, ..small() }, Exceeded::Memory(150 << 20)),
        ("(sockets)", Limits { processes: 400, ..small() }, memory),
        ("(let loop () (primitive-fork) (loop))", small(), Exceeded::Processes(40)),
        (
            "(let loop () (call-with-new-thread (lambda () (sleep 3600))) (usleep 2000) (loop))",
            Limits { processes: 4, memory: 4 << 30, ..small() },
            Exceeded::Threads(80),
        ),
        ("(let loop () (loop))", busy, Exceeded::Cpu(seconds(3))),
        // Processes that end at once count as well.
        (
            "(let loop () (let ((pid (primitive-fork))) (if (zero? pid) (primitive-_exit 0) (waitpid pid))) (loop))",
            busy,
            Exceeded::Cpu(seconds(3)),
        ),
        ("(sleep 3600)", short, Exceeded::Wall(seconds(8))),
    ];
    for (code, limits, expected) in cases {
        let started = Instant::now();
        let finished = guile(code, limits).await;
        assert_eq!(finished.exceeded, Some(expected), "{code}: {}", finished.reason());
        assert!(!finished.success() && started.elapsed() < Duration::from_mins(1), "{code}");
        assert!(finished.reason().contains(&expected.to_string()), "{}", finished.reason());
    }
}

#[tokio::test]
async fn what_the_kernel_limits_is_refused() {
    let limits = Limits { file_size: 10 << 20, output: 1000, descriptors: 64, ..small() };
    // It is all in memory, which has a size.
    let finished = guile("(fill \"/tmp/x\")", Limits { file_size: 1 << 30, ..limits }).await;
    assert!(finished.reason().contains("No space left on device"), "{}", finished.reason());
    let finished = guile("(fill \"/tmp/x\")", limits).await;
    assert!(
        finished.reason().contains("signal 25") || finished.reason().contains("exit code 153"),
        "{}",
        finished.reason()
    );
    let finished = guile("(let loop () (dup 1) (loop))", limits).await;
    assert!(finished.reason().contains("Too many open files"), "{}", finished.reason());
    let finished = guile("(display (make-string 5000000 #\\x))", limits).await;
    assert_eq!((finished.success(), finished.stdout), (true, vec![b'x'; 1000]));
}

/// What the kernel grants outside of a sandbox's filter: none of the attempts fails by mistake.
#[tokio::test]
async fn the_attempts_succeed_where_nothing_forbids_them() {
    // What it leaves in its session keyring goes with this.
    keyutils::Keyring::join_anonymous_session().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("script.scm");
    std::fs::write(&script, format!("{KERNEL}(write (what-the-kernel-grants))")).unwrap();
    let root = guix_root();
    let guile = InstalledGuix::probe(&root).await.unwrap().guile;
    let mut plain = Tool::new("bwrap")
        .args(["--ro-bind".as_ref(), root.as_os_str(), "/".as_ref(), "--dev".as_ref(), "/dev".as_ref()])
        .args(["--proc", "/proc", "--tmpfs", "/tmp", "--die-with-parent", "--unshare-all"])
        .args(["--ro-bind".as_ref(), script.as_os_str(), "/tmp/script.scm".as_ref()])
        .args(["--".as_ref(), guile.as_os_str()])
        .args(["--no-auto-compile", "/tmp/script.scm"])
        .spawn()
        .unwrap();
    let finished = plain.finish(Duration::from_mins(1)).await.unwrap();
    let granted = String::from_utf8_lossy(&finished.stdout).into_owned();
    for name in [
        "memfd_create",
        "shared memory",
        "shmget",
        "/dev/zero",
        "ptrace: traced",
        "netlink",
        "inet",
        "clone3",
        "personality",
    ] {
        assert!(granted.contains(&format!("\"{name}\"")), "{name}: {granted} {}", finished.reason());
    }
    let finished = self::guile("(write (what-the-kernel-grants))", small()).await;
    assert_eq!(String::from_utf8_lossy(&finished.stdout), "()", "{}", finished.reason());
}

#[tokio::test]
async fn no_key_goes_in_or_out() {
    use keyutils::Keyring;
    use keyutils::keytypes::User;
    let mut session = Keyring::join_anonymous_session().unwrap();
    session.add_key::<User, _, _>("gorget-secret", "secret".as_bytes()).unwrap();
    let finished = guile("(write (what-the-kernel-grants))", small()).await;
    assert_eq!(String::from_utf8_lossy(&finished.stdout), "()", "{}", finished.reason());
    let names = |keyring: &Keyring| {
        format!(
            "{:?}",
            keyring
                .read()
                .unwrap()
                .0
                .iter()
                .map(|key| key.description().unwrap().description)
                .collect::<Vec<_>>()
        )
    };
    assert!(names(&session).contains("gorget-secret"));
    assert!(!names(&session).contains("gorget-left-behind"));
}

/// A package that takes what no process is charged for costs itself, and only that.
#[tokio::test]
async fn memory_of_no_process_is_counted_where_it_cannot_be_refused() {
    let refused = r#"
(define-bad bad
  (let ((file (call 319 "hog" 0)))
    (when (< file 0) (error "refused"))
    (call 285 file 0 0 (ash 5 30))
    (sleep 3600)))
"#;
    let files = "(define-bad bad (many-files))";
    let limits = Evaluating { memory: 1 << 30, ..limits() };
    for (code, expected) in [(refused, ("exception", "refused")), (files, ("memory", "files in /tmp"))] {
        let started = Instant::now();
        let result = among_good_ones(&format!("{KERNEL}{HOGS}{code}"), limits.clone()).await;
        let (cause, message) = result.error("bad");
        assert!(cause == expected.0 && message.contains(expected.1), "{result:#?}");
        assert!(started.elapsed() < Duration::from_mins(3), "{code}");
        assert!(result.end.unwrap().peak_memory < 5 << 28);
    }
}

/// Adds code to a module that is to be compiled, which runs when it is expanded.
fn at_expansion(bed: &Bed, code: &str) {
    let file = bed.channel("guix").join("gnu/packages/ncdu.scm");
    let text = std::fs::read_to_string(&file).unwrap();
    let start = "(use-modules (ice-9 binary-ports) (ice-9 threads))";
    let text = format!(
        "{text}\n(define-syntax attack (lambda (form) (eval '(begin {KERNEL}\n{start}\n{HOGS}\n{code}) (make-fresh-user-module)) #'(begin)))\n(attack)\n"
    );
    std::fs::write(&file, text).unwrap();
    crate::runtimes::age(&file);
}

async fn compile(bed: &Bed) -> Environment {
    let cache = Cache::new(bed.directory.path().join("cache"), "tests").unwrap();
    let compiling =
        Compiling { jobs: 2, limit: Duration::from_mins(4), memory: 3 << 30, ..compiling_with_gorget() };
    checkout(&bed.host, &[&crate::runtimes::channel("guix", &bed.channel("guix"))], &cache, &compiling)
        .await
        .unwrap()
}

/// Bytes of all files below a directory.
fn size(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| {
            if entry.path().is_dir() && !entry.path().is_symlink() {
                size(&entry.path())
            } else {
                entry.metadata().map_or(0, |file| file.len())
            }
        })
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_while_compiling_is_held_to_the_same_limits() {
    let bed = Bed::new().await;
    let version = bed
        .run(
            &compile(&bed).await,
            "(use-modules (gnu packages less) (guix packages)) (display (package-version less))",
        )
        .await;
    bed.edit("gnu/packages/less.scm", &format!("(version \"{version}\")"), "(version \"99\")");
    let before = std::fs::read_to_string(bed.channel("guix").join("gnu/packages/ncdu.scm")).unwrap();
    let attacks = [
        ("(error \"found:\" (what-the-kernel-grants))", "found: ()"),
        (
            "(for-each (lambda (name) (false-if-exception (fill name)))
                    '(\"/gorget/out/0.go\" \"/gorget/x\" \"/tmp/x\"))
          (error \"written:\" (stat:size (stat \"/tmp/x\")))",
            // Nothing else is there to be written to, and that is killed for the size of its file.
            "ended without a result",
        ),
        (
            "(for-each (lambda (_) (when (zero? (primitive-fork)) (execlp \"sleep\" \"sleep\" \"86395.5\"))) (iota 700)) (sleep 3600)",
            "processes reached",
        ),
        ("(let loop ((all '())) (loop (cons (make-bytevector 10000000 1) all)))", "memory limit of"),
    ];
    for (number, (code, expected)) in attacks.iter().enumerate() {
        std::fs::write(bed.channel("guix").join("gnu/packages/ncdu.scm"), &before).unwrap();
        at_expansion(&bed, code);
        bed.edit("gnu/packages/less.scm", "(version \"99", &format!("(version \"99{number}"));
        let cache = bed.directory.path().join("cache");
        let (before, mut most) = (size(&cache), 0);
        let compiling = compile(&bed);
        tokio::pin!(compiling);
        let environment = loop {
            tokio::select! {
                environment = &mut compiling => break environment,
                () = tokio::time::sleep(Duration::from_millis(100)) => most = most.max(size(&cache)),
            }
        };
        let failed: Vec<_> = environment.failures.iter().map(|failure| failure.module.as_str()).collect();
        assert_eq!(failed, ["gnu/packages/ncdu.scm"], "{code}: {:?}", environment.failures);
        let message = &environment.failures[0].message;
        assert!(message.contains(expected), "{code}: {message}");
        assert_eq!(environment.counts.compiled, 1, "{code}");
        assert!(most - before < 8 << 20, "{code}: {most} bytes on the disk, {before} before");
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(running("86395.5"), 0);
    }
}
