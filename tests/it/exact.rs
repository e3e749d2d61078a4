//! What is evaluated is what Guix itself computes, and what is kept of it comes back unchanged.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use gorget::db::{Db, ItemKind};
use gorget::guix::derivation::Derivation;
use gorget::guix::nar;
use gorget::guix::store_path::StorePath;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::guix::{MODULES, Tree, entry, guix_root, manifest};
use crate::support::oracle::{self, Jobs, pair};
use crate::support::program::{Farm, text};

const SYSTEMS: [&str; 2] = ["x86_64-linux", "i686-linux"];

/// Jobs and derivations of `subset` as the Guix of the stories computes them.
async fn oracle(subset: &str, system: &str, manifests: &Path) -> Jobs {
    oracle::jobs(&guix_root(), subset, system, manifests).await
}

/// What `gorget evaluate --json` says: jobs and derivations by system.
async fn evaluate(farm: &Farm, file: &Path) -> [Jobs; 2] {
    let said = farm.say(&["evaluate", "--json", file.to_str().unwrap()]).await;
    assert_eq!(said.code, Some(0), "{}", said.talk);
    let mut lines: Vec<Value> = said.data.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let summary = lines.pop().unwrap();
    assert_eq!((&summary["type"], &summary["complete"]), (&"summary".into(), &true.into()));
    let jobs = lines.iter().filter(|line| line["type"] == "job").count();
    assert_eq!((&summary["jobs"], &summary["errors"]), (&jobs.into(), &0.into()));
    let of = |system: &str| {
        let jobs = lines.iter().filter(|line| line["type"] == "job" && line["system"] == system);
        jobs.map(|job| (text(&job["name"]), text(&job["derivation"]))).collect()
    };
    SYSTEMS.map(of)
}

#[tokio::test]
async fn packages_have_the_derivations_that_guix_computes() {
    let guix = Tree::guix().await;
    let farm = Farm::new(None);
    // The cross compiler of the last is made anew by whatever asks for it, as are its inputs.
    let names = ["hello", "guile-json", "clisp", "python-numpy", "emacs-no-x", "u-boot-novena"];
    let names = names.map(|name| format!("{name:?}"));
    let file = farm.spec(
        "some",
        &format!(
            "build = {{ packages = [{}] }}\nsystems = {SYSTEMS:?}\n{}",
            names.join(","),
            guix.as_channel("guix")
        ),
    );
    let found = evaluate(&farm, &file).await;
    for (system, found) in SYSTEMS.iter().zip(found) {
        let expected = oracle(&format!("(packages {})", names.join(" ")), system, Path::new("/tmp")).await;
        assert_eq!(expected.len(), names.len());
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn manifests_have_the_derivations_that_guix_computes() {
    let packages =
        "(use-modules (gnu packages))\n(specifications->manifest '(\"sed\" \"glib:bin\" \"git:send-email\"))";
    let directory = tempfile::tempdir().unwrap();
    let own = manifest(&[("one", "--with-one")]);
    let channel = Tree::channel("named.scm", packages);
    channel.write("own.scm", &own);
    std::fs::write(directory.path().join("named.scm"), packages).unwrap();
    std::fs::write(directory.path().join("own.scm"), own).unwrap();
    let farm = Farm::new(None);
    let build = "build = { manifests = [\"named.scm\", \"own.scm\"] }";
    let file = farm.spec("some", &format!("{build}\nsystems = {SYSTEMS:?}\n{}", channel.as_channel("own")));
    let found = evaluate(&farm, &file).await;
    for (system, found) in SYSTEMS.iter().zip(found) {
        let expected = oracle("(manifests \"named.scm\" \"own.scm\")", system, directory.path()).await;
        assert!(expected.len() >= 4, "{expected:?}");
        assert_eq!(found, expected);
    }
}

/// Jobs of one evaluation for `x86_64-linux`, and the causes of errors by name.
async fn evaluate_some(
    farm: &Farm,
    spec: &str,
    errors: usize,
) -> (Vec<Value>, Jobs, BTreeMap<String, String>) {
    let file = farm.spec("some", spec);
    let said = farm.say(&["evaluate", "--json", file.to_str().unwrap()]).await;
    let lines: Vec<Value> = said.data.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |kind: &str| lines.iter().filter(|line| line["type"] == kind).cloned().collect::<Vec<_>>();
    let found: BTreeMap<_, _> =
        of("error").iter().map(|error| (text(&error["name"]), text(&error["message"]))).collect();
    assert_eq!((found.len(), of("summary").len()), (errors, 1), "{} {found:?}", said.talk);
    let jobs = of("job");
    let pairs = jobs.iter().map(|job| (text(&job["name"]), text(&job["derivation"]))).collect();
    (jobs, pairs, found)
}

/// Guix has changed for which processors it tunes packages.
#[tokio::test]
async fn packages_are_tuned_for_what_the_gnu_ci_of_the_revision_lists() {
    let guix = Tree::guix().await;
    let listed = "\"haswell\" \"skylake\" \"x86-64-v2\" \"x86-64-v3\" \"x86-64-v4\"";
    guix.edit("gnu/ci.scm", listed, "\"westmere\" \"haswell\"");
    let farm = Farm::new(None);
    // All but gsl.
    let others = |before: &str, next: char| {
        let letters = ('a'..='z').chain('0'..='9').filter(move |letter| *letter != next);
        letters.map(|letter| format!("{before}{letter}*")).collect::<Vec<_>>()
    };
    let others = [others("", 'g'), others("g", 's'), others("gs", 'l'), vec!["*-*".to_owned()]].concat();
    let spec = format!(
        "build = \"all\"\ncross = false\nexclude = {others:?}\nsystems = [\"x86_64-linux\"]\n{}",
        guix.as_channel("guix")
    );
    let (_, found, _) = evaluate_some(&farm, &spec, 0).await;
    let tuned: BTreeSet<&str> =
        found.iter().filter_map(|(name, _)| name.strip_prefix("gsl.x86_64-linux")).collect();
    assert_eq!(tuned, BTreeSet::from(["", ".haswell", ".westmere"]), "{found:?}");
}

#[tokio::test]
#[ignore = "takes minutes: `make test-slow`"]
async fn subsets_that_gnu_ci_computes_are_what_it_computes() {
    let guix = Tree::guix().await;
    let farm = Farm::new(None);
    let spec =
        |build: &str| format!("build = {build}\nsystems = [\"x86_64-linux\"]\n{}", guix.as_channel("guix"));
    let (jobs, found, _) = evaluate_some(&farm, &spec("\"tarball\""), 0).await;
    assert_eq!(found, oracle("tarball", "x86_64-linux", Path::new("/tmp")).await);
    assert_eq!((&jobs[0]["timeout"], &jobs[0]["built_on"]), (&18000.into(), &"x86_64-linux".into()));

    // What is left of the core when most of it is excluded; it has another `sed` than the public one.
    let others = ["*-*", "*b*", "c*", "di*", "e*", "f*", "g*", "m*", "p*", "t*", "x*", "zlib"];
    let rest = format!("cross = false\ncross-targets = [\"aarch64-linux-gnu\"]\nexclude = {others:?}");
    let (jobs, found, _) = evaluate_some(&farm, &spec(&format!("\"core\"\n{rest}")), 0).await;
    let expected = oracle("(packages \"hello\" \"sed\")", "x86_64-linux", Path::new("/tmp")).await;
    let names: BTreeSet<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert!(found.is_superset(&expected), "{found:?}");
    assert_eq!(names.len(), 4, "{names:?}");
    let crossed = jobs.iter().find(|job| job["name"] == "aarch64-linux-gnu.hello.x86_64-linux").unwrap();
    assert_eq!(
        (&crossed["target"], &crossed["built_on"]),
        (&"aarch64-linux-gnu".into(), &"x86_64-linux".into())
    );

    let (_, _, errors) = evaluate_some(&farm, &spec("\"guix\""), 1).await;
    let message = &errors["guix.x86_64-linux"];
    assert!(message.contains("build-aux/build-self.scm"), "the sources of a package lack it: {message}");
}

#[tokio::test]
#[ignore = "takes minutes: `make test-slow`"]
async fn images_have_the_derivations_that_guix_computes() {
    let guix = Tree::guix().await;
    let farm = Farm::new(None);
    let spec = format!("build = \"images\"\nsystems = [\"x86_64-linux\"]\n{}", guix.as_channel("guix"));
    let expected = oracle("images", "x86_64-linux", Path::new("/tmp")).await;
    assert!(expected.len() >= 5, "{expected:?}");
    let file = farm.spec("some", &spec);
    let said = farm.say(&["evaluate", file.to_str().unwrap()]).await;
    let found: Jobs = said.data.lines().map(pair).collect();
    assert_eq!(found, expected);
    // What Guix itself cannot lower there is an error, and costs nothing else.
    assert_eq!(said.code == Some(0), !said.talk.contains("exception"), "{}", said.talk);
}

/// A channel with packages, a module of jobs, and a manifest of things that are no packages.
fn own_channel() -> Tree {
    let channel = Tree::channel(
        "own/packages.scm",
        "(define-module (own packages) #:use-module (guix packages) #:use-module (gnu packages base))
(define-public mine
  (package (inherit hello) (name \"mine\") (version \"3\")
    (properties '((timeout . 77) (max-silent-time . 7) (hidden? . #t)))))
(define-public other (package (inherit mine) (name \"other\") (version \"4\") (properties '())))
",
    );
    channel.write(
        "own/ci.scm",
        "(define-module (own ci) #:use-module (gnu ci) #:use-module (guix packages)
  #:use-module (own packages) #:use-module (srfi srfi-1) #:export (cuirass-jobs))
(define (cuirass-jobs store arguments)
  (append-map (lambda (system)
                (map (lambda (package)
                       (derivation->job (string-append \"own.\" (package-name package) \".\" system)
                                        (package-derivation store package system)
                                        #:timeout 99))
                     (list mine other)))
              (arguments->systems arguments)))
",
    );
    channel.write("data/notes.txt", "read from the checkout\n");
    channel.write(
        // No module, as one called `.scm` there would be.
        "etc/manifest.txt",
        "(use-modules (guix gexp) (guix packages) (guix profiles) (guix utils) (gnu packages base) (ice-9 rdelim))
(define notes
  (call-with-input-file (string-append (dirname (current-filename)) \"/../data/notes.txt\") read-line))
(define (entry name item) (manifest-entry (name name) (version \"1\") (item item)))
(manifest
 (list (entry \"file\" (file-union \"file\" `((\"notes\" ,(local-file \"../data/notes.txt\")))))
       (entry \"text\" (computed-file \"notes\" #~(symlink #$notes #$output)))
       (entry \"computed\" (computed-file \"computed\" #~(symlink #$hello #$output)))
       (entry \"tree\" (file-union \"tree\" `((\"hello\" ,(file-append hello \"/bin/hello\")))))
       (entry \"foreign\" (with-parameters ((%current-system \"aarch64-linux\")) hello))
       (entry \"crossed\" (with-parameters ((%current-target-system \"riscv64-linux-gnu\")) hello))
       (entry \"kept\" hello)))
",
    );
    channel
}

#[tokio::test]
async fn channels_custom_modules_and_things_in_manifests_are_what_gnu_ci_computes() {
    let channel = own_channel();
    let directory = channel.checkout();
    let farm = Farm::new(None);
    let spec =
        |build: &str| format!("build = {build}\nsystems = [\"x86_64-linux\"]\n{}", channel.as_channel("own"));
    let expected = async |subset: &str| oracle(subset, "x86_64-linux", directory.path()).await;

    let (jobs, found, _) = evaluate_some(&farm, &spec("{ channels = [\"own\"] }"), 0).await;
    assert_eq!(found, expected("(channels own)").await);
    let mine = jobs.iter().find(|job| job["name"] == "mine.x86_64-linux").unwrap();
    let facts = ["package", "version", "location", "channel"].map(|key| text(&mine[key]));
    assert_eq!(facts, ["mine", "3", "own/packages.scm:3", "own"]);
    let rest = ["max_silent_time", "timeout", "hidden", "replacement", "substitutable"].map(|key| &mine[key]);
    assert_eq!(json!(rest), json!([7, 77, true, false, true]));
    assert!(mine["inputs"].as_array().unwrap().len() > 2, "{mine}");

    let (jobs, found, _) = evaluate_some(&farm, &spec("{ custom = [\"(own ci)\"] }"), 0).await;
    assert_eq!(found, expected("(custom (own ci))").await);
    assert_eq!((jobs.len(), &jobs[0]["timeout"]), (2, &99.into()));

    let (jobs, found, _) =
        evaluate_some(&farm, &spec("{ manifests = [\"etc/manifest.txt\"] }\nexclude = [\"k*t\"]"), 0).await;
    let mut of_guix = expected("(manifests \"etc/manifest.txt\")").await;
    of_guix.retain(|(name, _)| name != "kept-1");
    assert_eq!(found, of_guix);
    let foreign = jobs.iter().find(|job| job["name"] == "foreign-1").unwrap();
    assert_eq!((&foreign["built_on"], &foreign["version"]), (&"aarch64-linux".into(), &"1".into()));
}

#[tokio::test]
async fn evaluate_lists_what_it_finds_and_says_when_something_is_wrong() {
    let raising = entry("two", "(error \"out of luck\")");
    let text_of =
        |raising: &str| format!("{MODULES}(packages->manifest (list {}{raising}))", entry("one", "'()"));
    let channel = Tree::channel("manifest.scm", &text_of(&raising));
    let farm = Farm::new(None);
    let build = format!("build = {{ manifests = [\"manifest.scm\"] }}\nsystems = {SYSTEMS:?}");
    let file = farm.spec("own", &format!("{build}\n{}", channel.as_channel("own")));
    let file = file.to_str().unwrap();
    let said = farm.say(&["evaluate", "--json", file]).await;
    assert_eq!(said.code, Some(1), "{}", said.talk);
    let lines: Vec<Value> = said.data.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<_> = lines.iter().map(|line| (text(&line["type"]), line["system"].as_str())).collect();
    for system in SYSTEMS {
        for kind in ["job", "error"] {
            assert!(kinds.contains(&(kind.to_owned(), Some(system))), "{kinds:?}");
        }
    }
    assert_eq!(lines.len(), 5);
    let job = lines.iter().find(|line| line["type"] == "job").unwrap();
    assert!(text(&job["outputs"]["out"]).ends_with("-one-1"), "{job}");
    let error = lines.iter().find(|line| line["type"] == "error").unwrap();
    assert_eq!((&error["name"], &error["cause"]), (&"two-1".into(), &"exception".into()));
    assert!(text(&error["message"]).contains("out of luck"), "{error}");
    let summary = &lines[4];
    assert_eq!((&summary["type"], &summary["complete"]), (&"summary".into(), &false.into()));
    assert_eq!((&summary["jobs"], &summary["errors"]), (&2.into(), &2.into()));

    let broken = channel.tip();
    channel.write("manifest.scm", &text_of(""));
    let said = farm.say(&["evaluate", "--json", "--system=i686-linux", file]).await;
    assert_eq!((said.code, said.data.lines().count()), (Some(0), 2), "{}", said.talk);
    let said = farm.say(&["evaluate", "--json", "--commit", &broken, file]).await;
    assert_eq!(said.code, Some(1), "{}", said.talk);
    let said = farm.say(&["evaluate", "--commit", "1234567890123456789012345678901234567890", file]).await;
    assert_eq!(said.code, Some(1), "{}", said.talk);
    assert!(said.talk.contains("has no commit"), "{}", said.talk);
}

#[tokio::test]
async fn whatever_a_derivation_needs_comes_back_byte_by_byte() {
    let channel = Tree::channel("README", "nothing\n");
    let farm = Farm::new(None);
    farm.spec("hello", &format!("build = \"hello\"\n{}", channel.as_channel("own")));
    farm.run_once().await;
    let queue = farm.queue().await;
    let hello = StorePath::parse(text(&queue[0]["derivation"]).as_bytes()).unwrap();
    let db = farm.db().await;
    let mut waiting = vec![hello];
    let mut seen: BTreeSet<StorePath> = waiting.iter().cloned().collect();
    let mut derivations = 0;
    while let Some(path) = waiting.pop() {
        let below = check_item(&db, &path).await;
        derivations += usize::from(path.derivation_name().is_some());
        waiting.extend(below.into_iter().filter(|path| seen.insert(path.clone())));
    }
    assert!(derivations > 100, "the whole way down to the seeds: {derivations}");
}

/// Makes sure that the contents of a store item hash to its path; gives what it refers to.
async fn check_item(db: &Db, path: &StorePath) -> Vec<StorePath> {
    let item = db.item(&path.hash_text()).await.unwrap().unwrap_or_else(|| panic!("{path} is not kept"));
    assert_eq!(item.name, path.name());
    let parse = |reference: &String| StorePath::parse_base_name(reference.as_bytes()).unwrap();
    let mut references: Vec<StorePath> = item.refs.iter().map(parse).collect();
    if path.derivation_name().is_some() {
        let derivation = Derivation::parse(&item.contents).unwrap();
        assert_eq!(derivation.print(), item.contents);
        let inputs = derivation.inputs.iter().map(|(path, _)| path).chain(&derivation.sources);
        references = inputs.map(|path| StorePath::parse(path).unwrap()).collect();
    }
    references.sort_by_key(StorePath::base_name);
    match item.kind {
        ItemKind::Text => {
            let references: Vec<String> = references.iter().map(StorePath::to_string).collect();
            let hashed = StorePath::of_text(path.name().as_bytes(), &item.contents, &references).unwrap();
            assert_eq!(&hashed, path);
        }
        ItemKind::Nar => {
            // A single file may have been named by its own contents instead of its archive's.
            let name = path.name().as_bytes();
            let of = |bytes: &[u8], recursive| {
                StorePath::of_fixed(name, "sha256", &Sha256::digest(bytes), recursive).unwrap()
            };
            let flat = nar::single_file(&item.contents).map(|file| of(file, false));
            assert!(of(&item.contents, true) == *path || flat.as_ref() == Some(path), "{path}");
        }
    }
    references
}
