//! A revision's own Guix runs from its checkout, and only what changed is compiled.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use gorget::evaluator::runtime::{
    Cache, Compiling, Counts, Environment, InstalledGuix, RuntimeError, Scope, Source, checkout,
    installed_environment,
};
use gorget::sandbox::Limits;

use crate::support::guix::{compiling_with_gorget, guix_root};

/// Copies modules and what they need, and makes everything as old as a checkout is.
fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let name = entry.unwrap().file_name();
            copy(&from.join(&name), &to.join(&name));
        }
    } else {
        std::fs::copy(from, to).unwrap();
        age(to);
    }
}

pub fn age(file: &Path) {
    let file = std::fs::File::options().append(true).open(file).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1)).unwrap();
}

/// A channel whose modules are at the top.
pub fn channel(name: &str, checkout: &Path) -> Source {
    let (url, commit, introduction) = (String::new(), "0".repeat(40), None);
    let (name, checkout) = (name.to_owned(), checkout.to_owned());
    Source { name, url, commit, introduction, checkout, directory: None }
}

/// Guix as in a checkout of the installed version.
pub struct Bed {
    pub directory: tempfile::TempDir,
    pub host: InstalledGuix,
}

impl Bed {
    pub async fn new() -> Self {
        let host = InstalledGuix::probe(&guix_root()).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let sources = host.root.join(host.sources.strip_prefix("/").unwrap());
        for name in ["gnu", "guix", "gnu.scm", "guix.scm"] {
            copy(&sources.join(name), &directory.path().join("guix").join(name));
        }
        // A checkout has a template in place of this.
        std::fs::remove_file(directory.path().join("guix/guix/config.scm")).unwrap();
        Self { directory, host }
    }

    /// The same from a repository that was made of everything in Guix's directory of modules:
    /// (guix config) and other libraries as well.
    async fn with_libraries() -> Self {
        let bed = Self::new().await;
        copy(&bed.host.root.join(bed.host.sources.strip_prefix("/").unwrap()), &bed.channel("guix"));
        bed
    }

    pub fn channel(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Replaces text in a file of the channel `guix`.
    pub fn edit(&self, file: &str, old: &str, new: &str) {
        let path = self.channel("guix").join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(old), "{file} has no {old}");
        std::fs::write(&path, text.replacen(old, new, 1)).unwrap();
        age(&path);
    }

    async fn checkout(&self) -> Environment {
        let cache = Cache::new(self.directory.path().join("cache"), "tests").unwrap();
        let guix = self.channel("guix");
        checkout(&self.host, &[&channel("guix", &guix)], &cache, &compiling_with_gorget()).await.unwrap()
    }

    /// What `code` prints.
    pub async fn run(&self, environment: &Environment, code: &str) -> String {
        let script = self.directory.path().join("script.scm");
        std::fs::write(&script, code).unwrap();
        let limits = Limits::sandbox(4 << 30, Duration::from_mins(5));
        let guile =
            environment.confine(&self.host.root, limits).args(["--no-auto-compile", "/gorget/script.scm"]);
        let guile = guile.readable(&script, "/gorget/script.scm");
        let finished = guile.spawn().unwrap().finish(Duration::from_mins(5)).await.unwrap();
        assert!(finished.success(), "{}", finished.reason());
        String::from_utf8(finished.stdout).unwrap()
    }
}

const HELLO: &str = "(use-modules (gnu packages base) (guix packages)) (display (package-version hello))";

const NCDU: &str = "(use-modules (gnu packages ncdu) (guix packages)) (display (package-version ncdu))";

/// Loads all modules of packages.
const WHERE: &str = "(use-modules (gnu packages) (guix packages))
(display (length (fold-packages cons '())))
(newline)
(display (search-path %load-path \"gnu/packages/base.scm\"))
(newline)
(display (search-path %load-path \"guix/config.scm\"))";

/// How many sources there are below `sources` that have a compiled form below `compiled`.
fn count_compiled(sources: &Path, compiled: &Path) -> usize {
    let names = std::fs::read_dir(sources).unwrap().map(|entry| entry.unwrap().file_name());
    names
        .map(|name| match sources.join(&name) {
            path if path.is_dir() => count_compiled(&path, &compiled.join(&name)),
            path if path.extension() != Some("scm".as_ref()) => 0,
            _ => usize::from(compiled.join(name).with_extension("go").exists()),
        })
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkout_is_compiled_only_where_it_differs() {
    let bed = Bed::new().await;
    let compiled = bed.host.root.join(bed.host.compiled.strip_prefix("/").unwrap());
    let all = count_compiled(&bed.channel("guix"), &compiled);
    assert!(all > 500, "{all}");

    // The installed Guix's own sources: everything that is there is reused.
    let same = bed.checkout().await;
    assert_eq!(same.failures, []);
    assert_eq!((same.counts.installed, same.counts.cached, same.counts.compiled), (all, 0, 0));
    let version = bed.run(&same, HELLO).await;
    assert!(version.starts_with("2."), "{version}");
    let printed = bed.run(&same, WHERE).await;
    let (packages, places) = printed.split_once('\n').unwrap();
    assert!(packages.parse::<usize>().unwrap() > 10_000, "{packages}");
    assert_eq!(places, "/gorget/channels/guix/gnu/packages/base.scm\n/gorget/links/scm/guix/config.scm");

    // Another version of hello: one file.
    bed.edit("gnu/packages/base.scm", &format!("(version \"{version}\")"), "(version \"99\")");
    let changed = bed.checkout().await;
    assert_eq!(changed.failures, []);
    let counts = Counts { installed: all - 1, compiled: 1, ..same.counts };
    assert_eq!(changed.counts, counts);
    assert_eq!(bed.run(&changed, HELLO).await, "99");

    // The same again: nothing.
    let again = bed.checkout().await;
    assert_eq!(again.counts, Counts { compiled: 0, cached: 1, ..counts });
    assert_eq!(bed.run(&again, HELLO).await, "99");

    // And back: the cache is not asked.
    bed.edit("gnu/packages/base.scm", "(version \"99\")", &format!("(version \"{version}\")"));
    assert_eq!(bed.checkout().await.counts, same.counts);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cache_forgets_what_was_not_used_for_longest_and_nothing_of_who_was_killed() {
    let bed = Bed::new().await;
    let edit = |from: &str, to: &str| bed.edit("gnu/packages/ncdu.scm", &version(from), &version(to));
    let open = |domain: &str| Cache::new(bed.directory.path().join("cache"), domain).unwrap();
    let first = bed.run(&bed.checkout().await, NCDU).await;
    edit(&first, "97");
    let old = bed.checkout().await;
    edit("97", "98");
    drop(bed.checkout().await);
    edit("98", "97");
    assert_eq!(bed.checkout().await.counts.cached, 1);

    // Used last was 97; 98 goes first.
    let leftover = bed.directory.path().join("cache").join("work").join("farm-of-the-dead");
    std::fs::create_dir(&leftover).unwrap();
    let cache = open("another");
    assert!(leftover.exists(), "somebody works there");
    assert_eq!(cache.trim(u64::MAX).unwrap(), 0);
    let compiled = bed.directory.path().join("cache/compiled");
    let sizes = std::fs::read_dir(compiled).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len());
    let larger = sizes.max().unwrap().next_multiple_of(4096);
    assert_eq!(cache.trim(larger).unwrap(), 1, "nobody uses 98");
    assert_eq!(bed.checkout().await.counts.cached, 1);
    assert_eq!(cache.trim(0).unwrap(), 1, "97 is used, but not through this name of it");
    assert_eq!(bed.run(&old, NCDU).await, "97");
    let again = bed.checkout().await;
    assert_eq!((again.counts.cached, again.counts.compiled), (0, 1));

    drop((old, again));
    assert_eq!(cache.trim(0).unwrap(), 1);
    open("tests");
    assert!(!leftover.exists());
}

/// How a package says its version.
fn version(version: &str) -> String {
    format!("(version \"{version}\")")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_macro_reaches_whoever_uses_it() {
    let bed = Bed::with_libraries().await;
    let (defining, using) = ("gnu/packages/ncdu.scm", "gnu/packages/less.scm");
    let package = "(define-public ncdu\n";
    bed.edit(
        defining,
        package,
        &format!("(export answer-of-ncdu)\n(define-syntax-rule (answer-of-ncdu) \"41\")\n{package}"),
    );
    bed.edit(
        using,
        "#:use-module (guix packages)",
        "#:use-module (guix packages)\n#:use-module (gnu packages ncdu)",
    );
    bed.edit(
        using,
        "(define-public less\n",
        "(define-public the-answer (answer-of-ncdu))\n(define-public less\n",
    );
    let first = bed.checkout().await;
    assert_eq!((first.failures.as_slice(), first.counts.compiled), (&[][..], 2));
    let answer = "(use-modules (gnu packages less)) (display the-answer)";
    assert_eq!(bed.run(&first, answer).await, "41");

    // Only the macro changes, and the file that uses it is compiled as well.
    bed.edit(defining, "\"41\"", "\"42\"");
    let second = bed.checkout().await;
    assert_eq!((second.counts.cached, second.counts.compiled), (0, 2));
    assert_eq!(bed.run(&second, answer).await, "42");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_compile_is_named_and_the_rest_goes_on() {
    let bed = Bed::new().await;
    bed.edit(
        "gnu/packages/ncdu.scm",
        "(define-public ncdu\n",
        "(define-public broken (let ((x)) x))\n(define-public ncdu\n",
    );
    bed.edit(
        "gnu/packages/less.scm",
        "(define-public less\n",
        "(define-public less-again 1)\n(define-public less\n",
    );
    for cached in [0, 1] {
        let environment = bed.checkout().await;
        let [failure] = environment.failures.as_slice() else { panic!("{:?}", environment.failures) };
        assert_eq!(failure.module, "gnu/packages/ncdu.scm");
        assert!(failure.message.contains("gnu/packages/ncdu.scm:"), "{}", failure.message);
        assert_eq!((environment.counts.cached, environment.counts.compiled), (cached, 1 - cached));
        assert!(bed.run(&environment, HELLO).await.starts_with("2."));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_compiled_when_somebody_stops_is_not_compiled_again() {
    let bed = Bed::new().await;
    let names = ["ncdu", "less", "figlet", "screen", "time", "wget"];
    for name in names {
        let definition = format!("(define-public {name}\n");
        bed.edit(
            &format!("gnu/packages/{name}.scm"),
            &definition,
            &format!("(define-public another 1)\n{definition}"),
        );
    }
    let cache = Cache::new(bed.directory.path().join("cache"), "tests").unwrap();
    let compiling = Compiling { jobs: 1, ..compiling_with_gorget() };
    let guix = channel("guix", &bed.channel("guix"));
    let sources = [&guix];
    let is_begun = async {
        while compiling.progress.counts().is_none_or(|(done, _)| done == 0) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        _ = checkout(&bed.host, &sources, &cache, &compiling) => panic!("it was faster than we"),
        () = is_begun => {}
    }
    let counts = bed.checkout().await.counts;
    assert!(counts.cached > 0, "{counts:?}");
    assert_eq!(counts.cached + counts.compiled, names.len(), "{counts:?}");
}

/// A farm of packages does not wait for what only systems, services and tests are made of.
#[tokio::test]
async fn what_no_package_needs_is_not_compiled_for_packages_and_loads_all_the_same() {
    let bed = Bed::new().await;
    let comment = |file: &str, line: &str| bed.edit(file, line, &format!("(define unheard-of 1)\n{line}"));
    comment("gnu/packages/ncdu.scm", "(define-public ncdu\n");
    comment("gnu/tests/nfs.scm", "(define %test-nfs\n");
    let cache = Cache::new(bed.directory.path().join("cache"), "tests").unwrap();
    let compiling = Compiling { scope: Scope::Packages, ..compiling_with_gorget() };
    let guix = channel("guix", &bed.channel("guix"));
    let environment = checkout(&bed.host, &[&guix], &cache, &compiling).await.unwrap();
    assert_eq!(environment.counts.compiled, 1, "{:?}", environment.counts);
    let code = "(use-modules (gnu packages ncdu) (gnu tests nfs) (gnu tests))
      (display (list (@@ (gnu packages ncdu) unheard-of) (@@ (gnu tests nfs) unheard-of) (system-test? %test-nfs)))";
    assert_eq!(bed.run(&environment, code).await, "(1 1 #t)");
    // Whoever wants all of Guix has the rest compiled.
    assert_eq!(bed.checkout().await.counts.compiled, 1);
}

/// Guix's own tests include files so.
#[tokio::test]
async fn what_a_module_includes_is_found_beside_it() {
    let bed = Bed::new().await;
    let file = bed.channel("guix").join("gnu/packages/data/words.scm");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, "(define-public words \"included\")").unwrap();
    age(&file);
    let include = "(include \"data/words.scm\")\n(define-public ncdu\n";
    bed.edit("gnu/packages/ncdu.scm", "(define-public ncdu\n", include);
    let code = "(use-modules (gnu packages ncdu)) (display words)";
    let environment = bed.checkout().await;
    assert_eq!(environment.counts.compiled, 1, "{:?}", environment.failures);
    assert_eq!(bed.run(&environment, code).await, "included");
}

#[tokio::test]
async fn the_installed_guix_takes_channels_behind_its_own_modules() {
    let found = InstalledGuix::probe(&guix_root()).await.unwrap();
    let mine = tempfile::tempdir().unwrap();
    std::fs::create_dir(mine.path().join("mine")).unwrap();
    let module =
        "(define-module (mine packages) #:use-module (gnu packages base) #:use-module (guix packages))
                  (define-public my-hello (package (inherit hello) (version \"1:mine\")))";
    std::fs::write(mine.path().join("mine/packages.scm"), module).unwrap();
    let environment = installed_environment(&found, &[&channel("mine", mine.path())]).unwrap();
    let bed = Bed { directory: tempfile::tempdir().unwrap(), host: found };
    let code = "(use-modules (mine packages) (guix packages)) (display (package-version my-hello))";
    assert_eq!(bed.run(&environment, code).await, "1:mine");
}

#[tokio::test]
async fn a_root_without_guix_is_told_so() {
    let empty = tempfile::tempdir().unwrap();
    let error = InstalledGuix::probe(empty.path()).await.unwrap_err();
    assert!(matches!(error, RuntimeError::NoGuix { .. }), "{error}");
    assert!(error.to_string().contains("hint: "), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn code_that_runs_while_it_is_compiled_cannot_forge_other_modules() {
    let bed = Bed::new().await;
    let forge = "(eval-when (expand)
      (for-each (lambda (name) (false-if-exception (copy-file \"/gorget/links/go/guix/utils.go\" name)))
                '(\"/gorget/out/1.go\" \"/gorget/out/less.go\" \"/gorget/compiled/forged.go\" \"/gorget/links/go/x.go\"
                  \"/gorget/channels/guix/gnu/packages/forged.scm\"))
      (symlink \"/gorget/links/go/guix/utils.go\" \"/gorget/out/0.go\")
      (primitive-_exit 0))
      (define-public ncdu\n";
    bed.edit("gnu/packages/ncdu.scm", "(define-public ncdu\n", forge);
    let environment = bed.checkout().await;
    assert_eq!(environment.failures.len(), 1, "it left a link, which is no compiled module");
    let compiled = std::fs::read_dir(bed.directory.path().join("cache/compiled")).unwrap();
    assert_eq!(compiled.count(), 0);
    assert!(!bed.channel("guix").join("gnu/packages/forged.scm").exists());
    assert!(bed.run(&environment, HELLO).await.starts_with("2."));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: `make test-slow`"]
async fn what_may_have_copied_a_procedure_of_guix_is_compiled_once() {
    let bed = Bed::new().await;
    let file = "guix/import/json.scm";
    bed.edit(file, "(define* (json-fetch", ";; changed\n(define* (json-fetch");
    let first = bed.checkout().await;
    assert!(first.counts.compiled > 3, "{:?}", first.counts);
    // Some of the installed modules cannot be loaded without libraries that are not installed.
    let failed: Vec<&str> = first.failures.iter().map(|failure| failure.module.as_str()).collect();
    assert!(failed.iter().all(|module| module.starts_with("guix/")), "{failed:?}");
    let code = "(use-modules (guix scripts import pypi)) (display (procedure? guix-import-pypi))";
    assert_eq!(bed.run(&first, code).await, "#t");

    // From now on the cache has them in a form that depends on macros only.
    bed.edit(file, ";; changed", ";; changed again");
    let second = bed.checkout().await;
    assert_eq!((second.counts.compiled, second.counts.cached), (1, first.counts.compiled - 1));
    assert_eq!(bed.run(&second, code).await, "#t");
}
