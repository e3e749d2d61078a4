//! What strangers' code may say that comes of it.

use gorget::domain::spec::Subset;

use crate::support::hostile::{Channel, evaluate, limits, packages};

/// Code of packages that speak for themselves, in the place of the worker.
const SPEAKERS: &str = r#"
(define (say-also name)
  (with-store store
    (let ((drv (derivation-file-name (package-derivation store good)))
          (control (@@ (guile-user) control)))
      (write (list 'also (@@ (guile-user) evaluating) name drv '(#f #f #f #f #f #f 1 1)) control)
      (newline control))))

(define-bad names-another (say-also "good.x86_64-linux"))
(define-bad names-nothing (say-also ""))
(define-bad names-a-stranger (say-also "hello.x86_64-linux"))
"#;

#[tokio::test]
async fn a_package_has_one_job_which_is_called_after_it() {
    let names = ["names-another", "good", "names-nothing", "names-a-stranger", "fine"];
    let result = evaluate(&Channel::new(SPEAKERS), packages(&names), limits()).await;
    assert!(result.end.is_ok(), "{result:#?}");
    let jobs: Vec<&String> = result.jobs.keys().collect();
    assert_eq!(jobs, ["fine.x86_64-linux", "good.x86_64-linux"], "{result:#?}");
    for name in ["names-another", "names-nothing", "names-a-stranger"] {
        assert_eq!(result.error(name), ("protocol", "it has 2 jobs, and should have one"));
    }
}

/// A module of jobs, as Cuirass takes it.
fn jobs_of(jobs: &[(&str, &str)]) -> String {
    let jobs = jobs.iter().map(|(name, package)| {
        format!(
            "`((#:job-name . \"{name}\") (#:derivation . ,(derivation-file-name (package-derivation store {package}))))"
        )
    });
    format!("(list {})", jobs.collect::<Vec<_>>().join("\n"))
}

#[tokio::test]
async fn modules_that_name_their_jobs_cannot_take_the_names_of_others() {
    let module = |name: &str, jobs: &[(&str, &str)]| {
        format!(
            "(define-module (evil {name}) #:use-module (evil packages) #:use-module (guix) #:use-module (guix derivations) #:export (cuirass-jobs))\n(define (cuirass-jobs store arguments) {})",
            jobs_of(jobs)
        )
    };
    let channel = Channel::new("")
        .with("evil/one.scm", &module("one", &[("shared", "good"), ("one", "fine")]))
        .with("evil/two.scm", &module("two", &[("", "good"), ("(evil one)", "good"), ("two", "fine")]));
    let modules = ["(evil one)", "(evil two)"].map(str::to_owned).to_vec();
    let result = evaluate(&channel, Subset::Custom(modules).into(), limits()).await;
    assert!(result.end.is_ok(), "{result:#?}");
    let jobs: Vec<&String> = result.jobs.keys().collect();
    assert_eq!(jobs, ["one", "shared", "two"], "{result:#?}");
    let (cause, message) = result.error("(evil two)");
    assert_eq!(cause, "protocol");
    assert_eq!(message, "it gives a job no name (and 1 more of its jobs are rejected)");
}

#[tokio::test]
async fn a_derivation_that_differs_each_time_is_an_error_and_so_is_what_needs_it() {
    let code = r##"
(define-public differs
  (package
    (inherit good)
    (name "differs")
    (arguments `(#:configure-flags (cons "--x" ,#~(list "--y"))))))

(define-public needs-it
  (package
    (inherit good)
    (name "needs-it")
    (inputs (list differs))))

;; It is written of, and that is all.
(define-public mentions
  (package
    (inherit good)
    (name "mentions")
    (arguments '(#:configure-flags (list "#<gexp (list) x.scm:1:2>" "#<package x>")))))
"##;
    let names = ["good", "differs", "needs-it", "mentions", "fine"];
    let result = evaluate(&Channel::new(code), packages(&names), limits()).await;
    assert!(result.end.is_ok(), "{result:#?}");
    let jobs: Vec<&String> = result.jobs.keys().collect();
    assert_eq!(jobs, ["fine.x86_64-linux", "good.x86_64-linux", "mentions.x86_64-linux"], "{result:#?}");
    let errors = ["differs", "needs-it"].map(|name| result.error(name));
    assert_eq!(errors[0].0, "unreproducible");
    assert!(
        errors[0].1.starts_with(
            "its derivation is another one each time, and cannot be built: differs-2.12.2-builder contains #<gexp (list \"--y\") evil/packages.scm:"
        ),
        "{}",
        errors[0].1
    );
    // Nothing in it differs from one evaluation to the next.
    assert_eq!(errors[0], errors[1]);
}
