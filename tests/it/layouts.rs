//! However a channel lays out its files, its packages are what Guix computes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use gorget::evaluator::runtime::{InstalledGuix, installed_environment};
use serde_json::Value;

use crate::support::guix::{Tree, guix_root};
use crate::support::oracle::{self, Jobs};
use crate::support::program::{Farm, text};

const SYSTEM: &str = "x86_64-linux";

/// The beginning of a module.
fn module(name: &str) -> String {
    format!(
        "(define-module {name} #:use-module (guix packages) #:use-module (guix gexp) #:use-module (guix utils)
  #:use-module (guix download) #:use-module (guix git-download) #:use-module (guix build-system trivial)
  #:use-module (gnu packages))
"
    )
}

/// A package with this source.
fn package(name: &str, source: &str) -> String {
    format!(
        "(define-public {name} (package (name {name:?}) (version \"1\") (source {source})
  (build-system trivial-build-system) (arguments (list #:builder #~(mkdir #$output)))
  (home-page \"\") (synopsis \"\") (description \"\") (license #f)))\n"
    )
}

/// Jobs of one evaluation, and the messages of errors by name.
async fn evaluate(farm: &Farm, spec: &str) -> (Jobs, BTreeMap<String, String>) {
    let file = farm.spec("some", spec);
    let said = farm.say(&["evaluate", "--json", file.to_str().unwrap()]).await;
    let lines: Vec<Value> = said.data.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |kind: &'static str, value: &'static str| {
        let lines = lines.iter().filter(move |line| line["type"] == kind);
        lines.map(move |line| (text(&line["name"]), text(&line[value]))).collect::<Vec<_>>()
    };
    assert_eq!(lines.iter().filter(|line| line["type"] == "summary").count(), 1, "{}", said.talk);
    (of("job", "derivation").into_iter().collect(), of("error", "message").into_iter().collect())
}

fn spec(channels: &[(&str, &Tree)]) -> String {
    let channels: Vec<String> = channels.iter().map(|(name, tree)| tree.as_channel(name)).collect();
    format!("build = {{ channels = [\"own\"] }}\nsystems = [{SYSTEM:?}]\n{}", channels.concat())
}

/// A repository of something else, with its packages below `.guix/modules`, as Guix's manual has it.
fn project() -> Tree {
    let channel = Tree::channel(".guix-channel", "(channel (version 0) (directory \".guix/modules\"))\n");
    channel.write("src/main.c", "int main () { return 0; }\n");
    channel.write("a b/ü.txt", "read by its name\n");
    channel.write(".guix/modules/fix.patch", "--- a\n+++ b\n");
    channel.write(".guix/modules/proj/aux.txt", "found on the load path\n");
    let (patches, own) = ("usr/share/guile/site/3.0/gnu/packages/patches", "(origin (method url-fetch)
    (uri \"http://example.org/x.tar\") (sha256 (base32 \"0000000000000000000000000000000000000000000000000000\"))
    (patches (search-patches \"fix.patch\" \"PATCH\")))");
    let patches = std::fs::read_dir(guix_root().join(patches)).unwrap();
    let patch = patches.map(|entry| entry.unwrap().file_name().into_string().unwrap()).min().unwrap();
    // It has the name of one of Guix's own, which is what Guix takes.
    channel.write(&format!(".guix/modules/{patch}"), "another\n");
    let all = "(git-predicate (string-append (current-source-directory) \"/../..\"))";
    let packages = [
        package("whole", "(local-file \"../..\" \"proj-checkout\" #:recursive? #t)"),
        package(
            "chosen",
            &format!("(local-file \"../..\" \"chosen\" #:recursive? #t #:select? (or {all} (const #t)))"),
        ),
        package("file", "(local-file \"../../src/main.c\")"),
        package("strange", "(local-file \"../../a b/ü.txt\" \"u.txt\")"),
        package("found", "(local-file (search-path %load-path \"proj/aux.txt\"))"),
        package("patched", &own.replace("PATCH", &patch)),
    ];
    channel.write(".guix/modules/proj.scm", &(module("(proj)") + &packages.concat()));
    // A module that is elsewhere: files are named relative to where it is.
    let elsewhere = module("(linked)") + &package("elsewhere", "(local-file \"data.txt\")");
    channel.write("contrib/linked.scm", &elsewhere);
    channel.write("contrib/data.txt", "beside the module\n");
    channel.link(".guix/modules/linked.scm", "../../contrib/linked.scm");
    // Guix's own module of this name is the one that counts.
    let shadow = module("(gnu packages ncdu)") + &package("shadow", "#f");
    channel.write(".guix/modules/gnu/packages/ncdu.scm", &shadow);
    channel
}

#[tokio::test]
async fn files_beside_the_modules_are_those_of_the_repository() {
    let (channel, guix, farm) = (project(), Tree::guix().await, Farm::new(None));
    let checkout = channel.checkout();
    let expected = oracle::channel_jobs(&guix_root(), checkout.path(), ".guix/modules", SYSTEM).await;
    let names: BTreeSet<&str> = expected.iter().map(|(name, _)| name.split('.').next().unwrap()).collect();
    let all = ["chosen", "elsewhere", "file", "found", "patched", "strange", "whole"];
    assert_eq!(names.into_iter().collect::<Vec<_>>(), all);
    for channels in [&[("own", &channel)][..], &[("guix", &guix), ("own", &channel)]] {
        let (found, errors) = evaluate(&farm, &spec(channels)).await;
        assert_eq!(errors, BTreeMap::new());
        assert_eq!(found, expected);
    }
    // The farm finds the same, though it keeps the files elsewhere.
    farm.run_once().await;
    let queued = farm.queue().await.into_iter().map(|build| text(&build["derivation"]));
    let expected: BTreeSet<String> = expected.into_iter().map(|(_, derivation)| derivation).collect();
    assert_eq!(queued.collect::<BTreeSet<_>>(), expected);
}

#[tokio::test]
async fn modules_are_where_a_link_leads_to() {
    let channel = Tree::channel(".guix-channel", "(channel (version 0) (directory \"/modules\"))\n");
    channel.link("modules", "lib/guile");
    channel.write("lib/guile/some/near.txt", "near\n");
    channel.write("lib/far.txt", "far\n");
    let packages =
        [package("near", "(local-file \"near.txt\")"), package("far", "(local-file \"../../far.txt\")")];
    channel.write("lib/guile/some/packages.scm", &(module("(some packages)") + &packages.concat()));
    let farm = Farm::new(None);
    let checkout = channel.checkout();
    let expected = oracle::channel_jobs(&guix_root(), checkout.path(), "modules", SYSTEM).await;
    assert_eq!(expected.len(), 2);
    assert_eq!(evaluate(&farm, &spec(&[("own", &channel)])).await, (expected, BTreeMap::new()));

    // Outside of the repository, there is nothing to load.
    channel.link("modules", "../..");
    let file = farm.spec("some", &spec(&[("own", &channel)]));
    let said = farm.say(&["evaluate", file.to_str().unwrap()]).await;
    assert_eq!(said.code, Some(1), "{}", said.talk);
    assert!(said.talk.contains("the channel own has no directory \"modules\""), "{}", said.talk);
}

#[tokio::test]
async fn nothing_leads_out_of_the_repository() {
    let channel = Tree::channel("out.txt", "a file\n");
    channel.link("escape", "/gorget/faster");
    let whole = |file: &str| format!("(local-file {file} \"x\" #:recursive? #t)");
    let beside = |file: &str| whole(&format!("(string-append (current-source-directory) {file:?})"));
    let packages = [
        package("fine", "(local-file \"out.txt\")"),
        package("above", &whole("\"..\"")),
        package("far-above", &whole("\"../../..\"")),
        package("other", &whole("\"../other/other.txt\"")),
        package("linked", &whole("\"escape\"")),
        package("computed", &beside("/..")),
        package("computed-far", &beside("/../../../..")),
        package("named", &whole("\"/gorget\"")),
        package("scripts", &whole("\"/run/gorget/worker.scm\"")),
        package(
            "mapped",
            "(computed-file \"x\" (with-imported-modules '(((x) => \"/run/gorget/worker.scm\")) #~(mkdir #$output)))",
        ),
    ];
    channel.write("out.scm", &(module("(out)") + &packages.concat()));
    let other = Tree::channel("other.txt", "another's\n");
    let farm = Farm::new(None);
    let (jobs, errors) = evaluate(&farm, &spec(&[("own", &channel), ("other", &other)])).await;
    let names: Vec<&str> = jobs.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["fine.x86_64-linux"]);
    for name in ["above", "far-above", "other", "linked"] {
        let message = &errors[&format!("{name}.{SYSTEM}")];
        assert!(message.contains("is outside of the channel's repository"), "{name}: {message}");
    }
    for name in ["computed", "computed-far", "named", "scripts", "mapped"] {
        let message = errors.get(&format!("{name}.{SYSTEM}")).unwrap_or_else(|| panic!("{errors:?}"));
        assert!(message.contains("of the sandbox"), "{name}: {message}");
    }
}

/// Guix before March 2022 reads gexps like this; to run all of it, it would have to be compiled.
const OLD_READER: &str = r"
(use-modules (guix gexp) (srfi srfi-1) (system base compile))
(define (plainly operator) (lambda (char port) (list operator (read port))))
(read-hash-extend #\~ (plainly 'gexp))
(read-hash-extend #\$ (plainly 'ungexp))
";

const COMPILED: &str = r#"
(set! %load-path (append %load-path '("/gorget/channels/own")))
(compile-file "/gorget/channels/own/gnu/packages/own.scm" #:output-file "/tmp/own.go")
(save-module-excursion (lambda () (load-compiled "/tmp/own.go")))
(define exp (module-ref (resolve-module '(gnu packages own)) 'exp))
(define file (find local-file? (map gexp-input-thing ((@@ (guix gexp) gexp-inputs) exp))))
(write (cons (false-if-exception (local-file-absolute-file-name file))
             ((@@ (guix gexp) gexp-outputs) exp)))
"#;

#[tokio::test]
async fn a_file_in_a_gexp_of_an_older_guix_is_found_beside_its_module() {
    let directory = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| {
        let file = directory.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    };
    let module = |more: &str| {
        let file = "#$(local-file \"aux-files/own.txt\")";
        format!(
            "(define-module (gnu packages own) #:use-module (guix gexp))\n(define-public exp #~(list {file} {more}))"
        )
    };
    put("gnu/packages/aux-files/own.txt", "beside it\n");
    put("without.scm", &format!("{OLD_READER}{COMPILED}"));
    let reads = "(primitive-load \"/gorget/gexps.scm\") (read-gexps-with-locations!)";
    put("with.scm", &format!("{OLD_READER}{reads}{COMPILED}"));
    let root = guix_root();
    let installed = InstalledGuix::probe(&root).await.unwrap();
    let gexps = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/evaluator/runtime/gexps.scm");
    let run = async |script: &str, more: &str| {
        put("gnu/packages/own.scm", &module(more));
        let limits = gorget::sandbox::Limits::sandbox(4 << 30, Duration::from_mins(5));
        let guile = installed_environment(&installed, &[])
            .unwrap()
            .confine(&root, limits)
            .args(["--no-auto-compile", script]);
        let guile = guile.readable(&gexps, "/gorget/gexps.scm");
        let guile = guile.readable(directory.path(), "/gorget/channels/own");
        let finished = guile.spawn().unwrap().finish(Duration::from_mins(2)).await.unwrap();
        (String::from_utf8_lossy(&finished.stdout).into_owned(), finished.reason())
    };
    let (said, reason) = run("/gorget/channels/own/without.scm", "").await;
    assert_eq!(said, "(#f)", "{reason}");
    let all = "#$@'(1 2) #$output:debug #+\"native\"";
    let (said, reason) = run("/gorget/channels/own/with.scm", all).await;
    assert_eq!(said, "(\"/gorget/channels/own/gnu/packages/aux-files/own.txt\" \"debug\")", "{reason}");
}

/// Two channels have a package of one name and version. Which one a third gets is decided by the order of
/// the channels, and that is the spec's.
#[tokio::test]
async fn channels_are_searched_in_the_order_of_the_spec() {
    let twin = |home: &str| {
        package("twin", "#f")
            .replace("(home-page \"\")", &format!("(home-page {home:?})"))
            .replace("(mkdir #$output)", &format!("(mkdir (string-append #$output {home:?}))"))
    };
    let user = package("user", "#f")
        .replace("(home-page", "(inputs (list (specification->package \"twin\"))) (home-page");
    let [one, two] = ["zz", "aa"].map(|name| {
        let channel = Tree::channel(".guix-channel", "(channel (version 0))\n");
        let users = if name == "zz" { user.as_str() } else { "" };
        channel.write(&format!("{name}.scm"), &(module(&format!("({name})")) + &twin(name) + users));
        channel
    });
    let farm = Farm::new(None);
    let user_with = async |channels: &[(&str, &Tree)]| {
        let channels: Vec<String> = channels.iter().map(|(name, tree)| tree.as_channel(name)).collect();
        let spec =
            format!("build = {{ packages = [\"user\"] }}\nsystems = [{SYSTEM:?}]\n{}", channels.concat());
        let (jobs, errors) = evaluate(&farm, &spec).await;
        assert_eq!((jobs.len(), errors), (1, BTreeMap::new()));
        jobs.into_iter().next().unwrap().1
    };
    let alone = user_with(&[("zz", &one)]).await;
    let checkouts = [one.checkout(), two.checkout()];
    for order in [[0, 1], [1, 0]] {
        let channels = [("zz", &one), ("aa", &two)];
        let found = user_with(&order.map(|place| channels[place])).await;
        let path = order.map(|place| format!("/channels/{}", channels[place].0)).join(":");
        assert_eq!(found == alone, guix_takes(&path, &checkouts).await == "zz", "{path}");
    }
}

/// The home page of the package `twin` that the installed Guix takes when it searches this path.
async fn guix_takes(path: &str, [zz, aa]: &[tempfile::TempDir; 2]) -> String {
    let root = guix_root();
    let installed = InstalledGuix::probe(&root).await.unwrap();
    let limits = gorget::sandbox::Limits::sandbox(4 << 30, Duration::from_mins(5));
    let code = "(use-modules (gnu packages) (guix packages))
      (display (package-home-page (specification->package \"twin\")))";
    let guile = installed_environment(&installed, &[]).unwrap().confine(&root, limits).args([
        "--no-auto-compile",
        "-c",
        code,
    ]);
    let guile = guile.env("GUIX_PACKAGE_PATH", path);
    let guile = guile.readable(zz.path(), "/channels/zz").readable(aa.path(), "/channels/aa");
    let finished = guile.spawn().unwrap().finish(Duration::from_mins(2)).await.unwrap();
    assert!(finished.success(), "{}", finished.reason());
    String::from_utf8(finished.stdout).unwrap()
}
