//! What code can do to compiled modules of others, and to the disk that they are on.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use gorget::evaluator::runtime::{Cache, Compiling, Counts, Environment, checkout};

use crate::runtimes::{Bed, age, channel};
use crate::support::guix::compiling_with_gorget;

/// Hands over results for modules of others that are compiled in the same sandbox.
const ATTACK: &str = r#"
(eval-when (expand load eval)
  (define (results kind number write)
    (let ((port (socket AF_UNIX SOCK_STREAM 0)))
      (connect port AF_UNIX "/gorget/results")
      (format port "~a ~a~%" kind number)
      (write port)
      (close-port port)))
  (define (forged source)
    (let ((text (string-replace-substring (call-with-input-file source get-string-all) "honest" "forged")))
      (call-with-output-file "/tmp/forged.scm" (lambda (port) (display text port)))
      (compile-file "/tmp/forged.scm" #:output-file "/tmp/forged.go" #:opts '())
      (call-with-input-file "/tmp/forged.go" get-bytevector-all #:binary #t)))
  (when (file-exists? "/gorget/results")
    (for-each (match-lambda
                ((number path source level)
                 (unless (or (string-prefix? "evil/" path) (string=? "good/util.scm" path))
                   (FORGE number source))))
              (car (call-with-input-file "/gorget/request" read)))))
"#;

const START: &str =
    "#:use-module (ice-9 match) #:use-module (ice-9 textual-ports) #:use-module (system base compile)
  #:use-module (ice-9 binary-ports) #:use-module (ice-9 string-fun)";

/// Of some modules a compiled form, of others that they do not compile.
const FORGE: &str = "(lambda (number source)
  (if (or (string-suffix? \"/ncdu.scm\" source) (string-suffix? \"/packages.scm\" source))
      (results \"failed\" number (lambda (port) (display \"forged\" port)))
      (let ((bytes (forged source)))
        (results \"compiled\" number (lambda (port) (put-bytevector port bytes))))))";

fn attack(module: &str) -> String {
    format!("(define-module {module} {START})\n{}", ATTACK.replace("FORGE", FORGE))
}

const GOOD: &str = "(define-module (good packages) #:use-module (good util))
(define-public answer (string-append word \", honest\"))";

const UTIL: &str = "(define-module (good util))\n(define-public word \"word\")";

const MORE: &str = "(define-module (good more) #:use-module (good util))
(define-public more (string-append word \", honest\"))";

const ANSWERS: &str =
    "(use-modules (gnu packages less) (gnu packages ncdu) (guix packages) (good packages) (good more))
(format #t \"~a; ~a; ~a; ~a\" (package-version less) (package-version ncdu) answer more)";

const HONEST: &str = "honest; honest; word, honest; word, honest";

/// Guix with a changed module, and a channel `good`.
async fn bed() -> Bed {
    let bed = Bed::new().await;
    for (name, file) in [("less", "gnu/packages/less.scm"), ("ncdu", "gnu/packages/ncdu.scm")] {
        let text = std::fs::read_to_string(bed.channel("guix").join(file)).unwrap();
        let (_, from) = text.split_once(&format!("(define-public {name}\n")).unwrap();
        let version = from.split('"').nth(3).unwrap();
        bed.edit(file, &format!("(version \"{version}\")"), "(version \"honest\")");
    }
    write(&bed, "good/good/packages.scm", GOOD);
    write(&bed, "good/good/more.scm", MORE);
    write(&bed, "good/good/util.scm", UTIL);
    bed
}

/// Writes a file of a channel.
fn write(bed: &Bed, path: &str, text: &str) {
    let path = bed.directory.path().join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    age(&path);
}

/// The channel `evil` has nothing but these files.
fn evil(bed: &Bed, files: &[(&str, &str)]) {
    std::fs::remove_dir_all(bed.channel("evil")).ok();
    write(bed, "evil/README", "all is well");
    for (path, text) in files {
        write(bed, &format!("evil/{path}"), text);
    }
}

/// Guix with other channels behind it.
async fn prepare(bed: &Bed, others: &[&str], compiling: &Compiling) -> Environment {
    let cache = Cache::new(bed.directory.path().join("cache"), "tests").unwrap();
    let channels: Vec<_> = [&["guix"], others].concat().iter().map(|n| channel(n, &bed.channel(n))).collect();
    checkout(&bed.host, &channels.iter().collect::<Vec<_>>(), &cache, compiling).await.unwrap()
}

/// What Guix and the channel `good` say of themselves, how many modules were compiled for that, and
/// what failed.
async fn said(bed: &Bed, others: &[&str]) -> (String, usize, Vec<String>) {
    let environment = prepare(bed, others, &compiling_with_gorget()).await;
    let failures = environment.failures.iter().map(|failure| failure.module.clone()).collect();
    (bed.run(&environment, ANSWERS).await, environment.counts.compiled, failures)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: `make test-slow`"]
async fn a_channel_forges_nothing_of_guix_nor_of_channels_that_do_not_import_it() {
    let bed = bed().await;
    evil(&bed, &[("evil/lead.scm", &attack("(evil lead)"))]);
    assert_eq!(said(&bed, &["evil", "good"]).await, (HONEST.to_owned(), 6, vec![]));
    // What there is of Guix is used whatever else is there, and what there is of `good` as well.
    assert_eq!(said(&bed, &["good"]).await, (HONEST.to_owned(), 0, vec![]));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: `make test-slow`"]
async fn what_was_forged_while_a_channel_was_imported_ends_with_that() {
    let bed = bed().await;
    // It comes first, so `good` imports a module of it.
    let util = format!("{}\n(define-public word \"word\")", attack("(good util)"));
    evil(&bed, &[("good/util.scm", &util)]);
    let (answer, _, failures) = said(&bed, &["evil", "good"]).await;
    assert!(answer.starts_with("honest; honest; "), "{answer}");
    assert!(answer.contains("forged") && failures.len() == 1, "not attacked: {answer}, {failures:?}");
    evil(&bed, &[]);
    let (answer, _, failures) = said(&bed, &["evil", "good"]).await;
    assert_eq!((answer.as_str(), failures), (HONEST, vec![]));
}

/// Bytes of all files below a directory, those with several names once.
fn size(directory: &Path) -> u64 {
    let mut files = HashMap::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                waiting.push(entry.path());
            } else {
                files.insert(metadata.ino(), metadata.len());
            }
        }
    }
    files.values().sum()
}

/// Hands over 900 kB for itself, when it is compiled alone, and ends its sandbox.
const FLOOD: &str = r#"(define-module (evil mNUMBER) #:use-module (ice-9 binary-ports) #:use-module (rnrs bytevectors))
(eval-when (expand load eval)
  (when (file-exists? "/gorget/results")
    (when (= 1 (length (car (call-with-input-file "/gorget/request" read))))
      (let ((port (socket AF_UNIX SOCK_STREAM 0)))
        (connect port AF_UNIX "/gorget/results")
        (format port "compiled 0~%\x7fELF")
        (put-bytevector port (make-bytevector 900000 NUMBER))
        (close-port port)))
    (primitive-_exit 9)))
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_cache_keeps_its_size_while_modules_are_compiled() {
    let bed = Bed::new().await;
    for number in 0..8 {
        let text = FLOOD.replace("NUMBER", &number.to_string());
        write(&bed, &format!("evil/evil/m{number}.scm"), &text);
    }
    let cache = bed.directory.path().join("cache");
    std::fs::create_dir_all(cache.join("compiled")).unwrap();
    for number in 0..7 {
        std::fs::write(cache.join(format!("compiled/old-{number}.go")), vec![0; 1 << 20]).unwrap();
    }
    // A quarter is for one revision.
    let compiling = Compiling { cache: 8 << 20, jobs: 1, ..compiling_with_gorget() };
    let preparing = prepare(&bed, &["evil"], &compiling);
    tokio::pin!(preparing);
    let mut most = 0;
    let environment = loop {
        tokio::select! {
            environment = &mut preparing => break environment,
            () = tokio::time::sleep(Duration::from_millis(20)) => most = most.max(size(&cache.join("compiled"))),
        }
    };
    let Environment { counts, failures, .. } = &environment;
    assert_eq!(*counts, Counts { compiled: 2, ..*counts }, "{failures:?}");
    assert!(environment.failures.iter().any(|failure| failure.message.contains("more than 2 MiB")));
    let now = size(&cache);
    assert!(most <= 8 << 20 && (7 << 20..=8 << 20).contains(&now), "{most}, then {now}");
    assert_eq!(environment.failures.len(), 6);

    // What is in use does not keep the cache from getting smaller, and whoever uses it keeps it.
    assert!(Cache::new(&cache, "tests").unwrap().trim(1 << 20).unwrap() >= 7);
    assert!(size(&cache.join("compiled")) <= 1 << 20 && size(&cache) >= 1_800_000);
}
