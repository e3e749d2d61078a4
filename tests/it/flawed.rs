//! What is wrong in a channel costs what it is wrong about, and is named.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::guix::{MODULES, Tree, entry};
use crate::support::program::{Farm, text};

const SYSTEM: &str = "x86_64-linux";

/// What `gorget evaluate` finds: the names of jobs, and cause and message of errors by name.
struct Found {
    jobs: Vec<String>,
    errors: BTreeMap<String, (String, String)>,
    code: Option<i32>,
}

impl Found {
    /// Makes sure that there is this error, with these words.
    fn says(&self, name: &str, cause: &str, words: &[&str]) {
        let (found, message) = self.errors.get(name).unwrap_or_else(|| panic!("{name}: {:?}", self.errors));
        assert_eq!(found, cause, "{name}: {message}");
        for words in words {
            assert!(message.contains(words), "{name} should say {words:?}: {message}");
        }
    }
}

async fn evaluate(channel: &Tree, build: &str) -> Found {
    let farm = Farm::new(None);
    let file =
        farm.spec("some", &format!("build = {build}\nsystems = [{SYSTEM:?}]\n{}", channel.as_channel("own")));
    let said = farm.say(&["evaluate", "--json", file.to_str().unwrap()]).await;
    let lines: Vec<Value> = said.data.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().filter(|line| line["type"] == "summary").count(), 1, "{}", said.talk);
    let mut jobs: Vec<String> =
        lines.iter().filter(|line| line["type"] == "job").map(|line| text(&line["name"])).collect();
    jobs.sort();
    let errors = lines.iter().filter(|line| line["type"] == "error");
    let errors =
        errors.map(|line| (text(&line["name"]), (text(&line["cause"]), text(&line["message"])))).collect();
    Found { jobs, errors, code: said.code }
}

const PACKAGES: &str = "(define-module (own) #:use-module (guix packages) #:use-module (guix gexp)
  #:use-module (guix diagnostics) #:use-module (guix build-system trivial))
(define-public sound
  (package (name \"sound\") (version \"1\") (source #f) (build-system trivial-build-system)
    (arguments (list #:builder #~(mkdir #$output)))
    (home-page \"\") (synopsis \"\") (description \"\") (license #f)))
(define-syntax-rule (variants (variable field ...) ...)
  (begin (define-public variable
           (package (inherit sound) (name (symbol->string 'variable)) field ...)) ...))
";

#[tokio::test]
async fn a_field_that_is_read_while_enumerating_costs_its_package() {
    let channel = Tree::channel(
        "own.scm",
        &(PACKAGES.to_owned()
            + "(define-public innocent (package (inherit sound) (name \"innocent\")))
(variants
  (replaced (replacement missing-one))
  (replaced-by-text (replacement \"text\"))
  (replaced-well (replacement (package (inherit sound) (name \"well\"))))
  (replaced-badly (replacement (package (inherit sound) (name \"badly\") (replacement (car '())))))
  (with-properties (properties 42))
  (with-pairless-properties (properties '(hidden?)))
  (with-systems (supported-systems 42))
  (with-input (inputs (list with-inputs-that-raise)))
  (with-inputs-that-raise (inputs (missing-three)))
  (exiting (replacement (exit 3)))
  (with-number (version 5))
  (with-build-system (build-system 'none)))
(define-public nameless (package (inherit sound) (name 42)))
(define-public with-empty-name (package (inherit sound) (name \"\")))
(define-public no-package (list sound))
(define-public no-package-either (make-parameter sound))
"),
    );
    let found = evaluate(&channel, "{ channels = [\"own\"] }").await;
    let names = |names: &[&str]| names.iter().map(|name| format!("{name}.{SYSTEM}")).collect::<Vec<_>>();
    assert_eq!(
        found.jobs,
        names(&["innocent", "replaced-badly", "replaced-well", "sound", "well"]),
        "{:?}",
        found.errors
    );
    for (name, cause, words) in [
        ("replaced", "unbound-variable", "missing-one"),
        ("replaced-by-text", "exception", "the field 'replacement' of this package is not a package"),
        ("badly", "exception", "own.scm"),
        ("with-properties", "exception", "the field 'properties'"),
        ("with-pairless-properties", "exception", "the field 'properties'"),
        ("with-systems", "exception", "with-systems@1"),
        ("with-input", "unbound-variable", "missing-three"),
        ("with-inputs-that-raise", "unbound-variable", "missing-three"),
        ("exiting", "exit", "own.scm"),
        ("with-number", "exception", "the field 'version'"),
        ("with-build-system", "exception", "with-build-system@1"),
        ("own.scm:24", "exception", "the field 'name' of this package is not a string"),
        ("own.scm:25", "exception", "the field 'name'"),
    ] {
        found.says(&format!("{name}.{SYSTEM}"), cause, &[words]);
    }

    // A package by name can be had whatever is wrong with others.
    let found = evaluate(&channel, "{ packages = [\"innocent\", \"with-number\", \"nosuch\"] }").await;
    assert_eq!(found.jobs, names(&["innocent"]));
    found.says("nosuch.x86_64-linux", "unknown-package", &["nosuch: unknown package"]);
}

#[tokio::test]
async fn errors_of_one_name_say_which_package_they_are_about() {
    let variant = |version: &str| {
        format!(
            "(define-public sound-{version} (package (inherit sound) (version \"{version}\") (inputs (missing))))\n"
        )
    };
    let channel = Tree::channel("own.scm", &(PACKAGES.to_owned() + &variant("2") + &variant("3")));
    let farm = Farm::new(None);
    let file = farm.spec(
        "some",
        &format!("build = {{ channels = [\"own\"] }}\nsystems = [{SYSTEM:?}]\n{}", channel.as_channel("own")),
    );
    let said = farm.say(&["evaluate", "--json", file.to_str().unwrap()]).await;
    for (version, line) in [("2", 10), ("3", 11)] {
        let which = format!("sound@{version} at own.scm:{line}: ");
        assert!(said.data.contains(&which), "{which}: {}", said.data);
    }
}

#[tokio::test]
async fn a_source_that_breaks_off_while_it_is_sent_costs_no_other_package() {
    let directory = |name: &str| {
        format!(
            "(define-public broken-{name}
  (package (inherit sound) (name \"broken-{name}\")
    (source (local-file \"{name}\" #:recursive? #t
                        #:select? (lambda (file _) (or (not (string-suffix? \"/b\" file)) (missing file)))))))
(define-public after-{name}
  (package (inherit sound) (name \"after-{name}\") (source (local-file \"{name}\" #:recursive? #t))))
"
        )
    };
    let channel =
        Tree::channel("own.scm", &(PACKAGES.to_owned() + &directory("small") + &directory("large")));
    // What is sent is held back until there are some KiB of it.
    for (name, size) in [("small", 10), ("large", 100_000)] {
        channel.write(&format!("{name}/a"), &"a".repeat(size));
        channel.write(&format!("{name}/b"), "b");
    }
    let found = evaluate(&channel, "{ channels = [\"own\"] }").await;
    let names = ["after-large", "after-small", "sound"].map(|name| format!("{name}.{SYSTEM}"));
    assert_eq!(found.jobs, names, "{:?}", found.errors);
    for name in ["broken-large", "broken-small"] {
        found.says(&format!("{name}.{SYSTEM}"), "unbound-variable", &["missing"]);
    }
    assert_eq!(found.errors.len(), 2, "{:?}", found.errors);
}

#[tokio::test]
async fn a_list_of_jobs_with_something_else_in_it_is_a_list_of_jobs() {
    let channel = Tree::channel(
        "own/ci.scm",
        "(define-module (own ci) #:use-module (guix channels) #:use-module (guix packages) #:use-module (srfi srfi-1)
  #:use-module (gnu packages base) #:use-module (guix derivations) #:export (cuirass-jobs))
(define (cuirass-jobs store arguments)
  (define guix (find guix-channel? (map sexp->channel (assq-ref arguments 'channels))))
  (define (job name)
    `((#:job-name . ,name)
      (#:derivation . ,(derivation-file-name (package-derivation store sed \"x86_64-linux\" #:graft? #f)))))
  (list (job \"one\") #f 42 (job (string-append \"two-\" (number->string (string-length (channel-commit guix)))))
        '((#:job-name . \"three\"))))
",
    );
    let found = evaluate(&channel, "{ custom = [\"(own ci)\"] }").await;
    assert_eq!(found.jobs, ["one", "two-40"]);
    found.says("(own ci)", "exception", &["has an element that is no job: 42", "three"]);
}

#[tokio::test]
async fn a_script_that_ends_the_process_costs_a_manifest_nothing() {
    let named = "(use-modules (gnu packages))\n(specifications->manifest '(\"sed\"))\n";
    let channel = Tree::channel("named.scm", named);
    channel.write("scripts/quits.scm", "(exit 1)\n");
    channel.write(
        "scripts/asks.scm",
        "(use-modules (gnu packages)) (display \"x\")\n(specification->package \"nosuch\")\n",
    );
    channel.write("own.scm", &format!("{MODULES}(packages->manifest (list {}))", entry("alone", "'()")));
    channel.write(
        "unknown.scm",
        "(use-modules (gnu packages))\n(specifications->manifest '(\"sed\" \"nosuch\"))\n",
    );
    channel.write("nothing.scm", "(use-modules (gnu packages))\n(specification->package \"sed\")\n");
    channel.write(
        "inferior.scm",
        "(use-modules (guix inferior) (guix channels))
(inferior-for-channels (list (channel (name 'guix) (url \"https://example.org/guix\") (commit \"1234567890123456789012345678901234567890\"))))\n",
    );
    let transformed = |file: &str, option: &str| {
        let transformed = format!("((options->transformation '({option})) hello)");
        let modules = "(use-modules (guix transformations) (gnu packages base))";
        channel.write(file, &format!("{modules}\n(packages->manifest (list {transformed}))\n"));
    };
    transformed("latest.scm", "(with-latest . \"hello\")");
    transformed("source.scm", "(with-source . \"hello=http://example.org/hello-3.tar.gz\")");
    let found = evaluate(&channel, "{ manifests = [\"named.scm\", \"own.scm\"] }").await;
    assert_eq!(found.jobs.len(), 2, "{:?}", found.errors);
    let all = "{ manifests = [\"own.scm\", \"unknown.scm\", \"nothing.scm\", \"inferior.scm\", \"latest.scm\", \"source.scm\"] }";
    let found = evaluate(&channel, all).await;
    assert_eq!(found.jobs, ["alone-1"]);
    found.says("unknown.scm", "unknown-package", &["nosuch: unknown package"]);
    found.says("nothing.scm", "exception", &["the file does not return a manifest", "hint: "]);
    found.says("inferior.scm", "exception", &["hint: an evaluation has neither a network nor a daemon"]);
    found.says("latest.scm", "exception", &["hint: an evaluation has no network"]);
    found.says("hello-3", "exception", &["cannot download", "hint: an evaluation has no network"]);
    assert_eq!(found.code, Some(1));
}

#[tokio::test]
async fn what_does_not_load_and_has_no_job_is_a_warning() {
    let channel = Tree::channel("own.scm", PACKAGES);
    channel.write("manifest.scm", "(specifications->manifest '(\"sed\"))\n");
    channel
        .write("scripts/release.scm", "(use-modules (gnu packages))\n(specification->package \"nosuch\")\n");
    let other = Tree::channel("other/broken.scm", "(define-module (other broken))\n(missing-one)\n");
    let farm = Farm::new(None);
    let spec = |names: &str| {
        let channels = channel.as_channel("own") + &other.as_channel("other");
        farm.spec("some", &format!("build = {{ channels = [{names}] }}\nsystems = [{SYSTEM:?}]\n{channels}"))
    };
    let file = spec("\"own\"");
    let said = farm.say(&["evaluate", "--json", file.to_str().unwrap()]).await;
    assert_eq!(said.code, Some(0), "{} {}", said.talk, said.data);
    let lines: Vec<Value> = said.data.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut warnings: Vec<(String, String)> = lines
        .iter()
        .filter(|line| line["type"] == "warning")
        .map(|line| (text(&line["name"]), text(&line["cause"])))
        .collect();
    warnings.sort();
    let expected = [
        ("(manifest)", "unbound-variable"),
        ("(other broken)", "unbound-variable"),
        ("(scripts release)", "unknown-package"),
    ];
    assert_eq!(warnings, expected.map(|(name, cause)| (name.to_owned(), cause.to_owned())));
    let summary = lines.last().unwrap();
    assert_eq!(
        (&summary["warnings"], &summary["errors"], &summary["complete"]),
        (&3.into(), &0.into(), &true.into())
    );

    farm.run_once().await;
    assert_eq!(farm.newest().await["state"], "complete");

    // Where its jobs are wanted, they are missing.
    let file = spec("\"own\", \"other\"");
    let said = farm.say(&["evaluate", file.to_str().unwrap()]).await;
    assert_eq!(said.code, Some(1), "{}", said.talk);
    assert!(said.talk.contains("(other broken) (unbound-variable): "), "{}", said.talk);
    assert!(!said.talk.contains("warning: (other broken)"), "{}", said.talk);
}
