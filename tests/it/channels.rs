//! Channels that need channels: found, authenticated, recorded, and repeated.

use std::path::Path;
use std::time::Duration;

use gorget::git::{Dependency, Metadata, metadata};
use gorget::sandbox::{Confined, Limits, find_guix};
use serde_json::Value;

use crate::repository::{Remote, noise};
use crate::support::guix::{Tree, guix_root, manifest};
use crate::support::program::{Farm, text};
use crate::support::signed::{Signed, Signers};

/// What a channel says about itself in `.guix-channel`; its URL is `url`.
async fn described(url: &str, text: &[u8]) -> Result<Metadata, String> {
    let remote = Remote::new();
    let (file, link) = (remote.blob("x"), remote.blob("/etc"));
    let inner = remote.tree(&[("100644", b"file", file)]);
    let tree = remote.tree(&[
        ("100644", b".guix-channel", remote.blob(text)),
        ("120000", b"link", link),
        ("40000", b"modules", inner),
    ]);
    let commit = remote.commit_tree(tree, None);
    metadata(remote.path(), url, &commit).await.map_err(|error| error.to_string())
}

const HTTPS: &str = "https://example.org/channel.git";

#[tokio::test]
async fn a_description_says_where_modules_keys_news_and_other_channels_are() {
    let commit = "9edb3f66fd807b096b48283debdcddccfea34bad";
    let text = format!(
        r#";; What we need.
(channel (version 0) (directory "/modules/") (keyring-reference "keys") (news-file "etc/news.scm")
  (url "https://example.org/") ; where it is at home
  (dependencies
    (channel (name other) (url "https://example.org/other") (branch "main")
      (introduction (channel-introduction (version 0) (commit "{commit}")
        (signer "BBB0 2DDF 2CEA F6A8 0D1D  E643 A2A0 6DF2 A33A 54FA"))))
    (channel (name pinned) (url "https://example.org/pinned") (commit "{commit}"))))"#
    );
    let found = described(HTTPS, text.as_bytes()).await.unwrap();
    assert_eq!(found.directory.as_deref(), Some("modules"));
    assert_eq!((found.keyring.as_str(), found.news.as_deref()), ("keys", Some("etc/news.scm")));
    let [other, pinned] = &found.dependencies[..] else { panic!("{found:?}") };
    assert_eq!((other.name.as_str(), other.branch.as_str(), &other.commit), ("other", "main", &None));
    assert_eq!(other.introduction.as_ref().unwrap().signer, "BBB02DDF2CEAF6A80D1DE643A2A06DF2A33A54FA");
    let Dependency { branch, commit: pin, introduction, .. } = pinned;
    assert_eq!((branch.as_str(), pin.as_deref(), introduction), ("master", Some(commit), &None));
    assert_eq!(described(HTTPS, b"(channel (version 0))").await.unwrap(), Metadata::default());
}

#[tokio::test]
async fn a_hostile_description_reaches_nothing() {
    let dependency = |fields: &str| format!("(channel (version 0) (dependencies (channel {fields})))");
    let many = "(channel (name a) (url \"https://a/b\"))".repeat(33);
    let mut wrong: Vec<(String, &str)> = vec![
        (String::new(), "expected"),
        ("(channel".to_owned(), "expected"),
        ("(".repeat(60_000), "nesting"),
        (format!("(channel (version 0) {})", " ".repeat(70_000)), "bigger than"),
        ("(channel (version 1))".to_owned(), "another version"),
        ("(chanel (version 0))".to_owned(), "expected `(channel"),
        (format!("(channel (version 0) (dependencies {many}))"), "more than 32"),
        (dependency("(name ../x) (url \"https://a/b\")"), "is not a valid name of a channel"),
        (dependency("(name x)"), "has no `url`"),
        (dependency("(name x) (url \"ext::sh -c x\")"), "blank"),
        (dependency("(name x) (url \"https://me:secret@a/b\")"), "credentials"),
        (dependency("(name x) (url \"/root/secret\")"), "is not for a channel that comes from"),
        (dependency("(name x) (url \"file:///root/secret\")"), "is not for a channel"),
        (dependency("(name x) (url \"git@intern:secret\")"), "is not for a channel"),
        (dependency("(name x) (url \"ssh://git@intern/secret\")"), "is not for a channel"),
        (dependency("(name x) (url \"https://a/b\") (branch \"--upload-pack=x\")"), "begins with `-`"),
        (dependency("(name x) (url \"https://a/b\") (commit \"HEAD\")"), "not a full commit hash"),
        (dependency("(name x) (url \"https://a/b\") (introduction \"trust me\")"), "expected"),
        (dependency("(name x) (url (system \"x\"))"), "expected a string as `url`"),
    ];
    for directory in ["../modules", "/etc", "modules/file", "nowhere", "modules/../..", "a:b"] {
        wrong.push((
            format!("(channel (version 0) (directory {directory:?}))"),
            "not a directory of the channel",
        ));
    }
    wrong.push(("(channel (version 0) (news-file \"../etc/passwd\"))".to_owned(), "not inside"));
    wrong.push(("(channel (version 0) (keyring-reference \"a..b\"))".to_owned(), "keyring-reference"));
    for (text, why) in wrong {
        let error = described(HTTPS, text.as_bytes()).await.unwrap_err();
        assert!(error.contains(why), "{}: {error}", &text[..text.len().min(80)]);
    }
    described(HTTPS, b"(channel (version 0)) ; \xff").await.expect("a comment may hold any byte");
    let local = dependency("(name x) (url \"/srv/x\")");
    described("/srv/channel", local.as_bytes()).await.expect("what is here may name what is here");
}

/// A module with a package like `hello`.
fn module(name: &str, version: &str) -> String {
    format!(
        "(define-module ({name}) #:use-module (guix packages) #:use-module (gnu packages base))\n\
         (define-public {name} (package (inherit hello) (name \"{name}\") (version \"{version}\")))\n"
    )
}

#[tokio::test]
async fn a_channel_brings_the_channels_that_it_needs() {
    let signers = Signers::new();
    let (ada, eve) = (signers.key("ada").await, signers.key("eve").await);
    let needed = Signed::new(&signers, &ada, &[&ada]).await;
    let there = "modules/needed.scm";
    let description = "(channel (version 0) (directory \"modules\"))";
    let first = needed
        .commit(&signers, Some(&ada), &[(".guix-channel", description), (there, &module("needed", "1"))])
        .await;
    let channel = Tree::channel("own.scm", &module("own", "1"));
    let (commit, signer) = (&needed.introduction.commit, &needed.introduction.signer);
    channel.write(
        ".guix-channel",
        &format!(
            "(channel (version 0) (dependencies (channel (name needed) (url {:?}) (introduction
               (channel-introduction (version 0) (commit {commit:?}) (signer {signer:?}))))))",
            needed.url()
        ),
    );
    let text_of_manifest =
        "(use-modules (guix profiles) (own) (needed))\n(packages->manifest (list own needed))\n";
    channel.write("manifest.scm", text_of_manifest);
    let farm = Farm::new(None);
    let written = format!("build = {{ manifests = [\"manifest.scm\"] }}\n{}", channel.as_channel("own"));
    let file = farm.spec("own", &written);
    farm.run_once().await;
    assert_eq!(farm.queued_by(1).await, ["needed-1", "own-1"]);
    let newest = farm.newest().await;
    let Value::Array(channels) = &newest["revision"]["channels"] else { panic!("{newest}") };
    assert_eq!(channels[1]["commit"], first.as_str());
    let origin = &channels[1]["origin"];
    assert_eq!((&origin["needed_by"], &origin["signer"]), (&"own".into(), &ada.0.as_str().into()));
    assert_eq!(origin["directory"], "modules");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), written, "the spec is the admin's");

    let second = needed.commit(&signers, Some(&ada), &[(there, &module("needed", "2"))]).await;
    farm.run_once().await;
    assert_eq!(farm.queued_by(2).await, ["needed-2"], "it moves by itself");
    farm.run_once().await;
    assert_eq!(farm.evaluations("own").await.len(), 2);

    needed.commit(&signers, Some(&eve), &[(there, &module("needed", "3"))]).await;
    let talk = farm.run_once_in_trouble().await;
    assert!(talk.contains("own is not evaluated: "), "{talk}");
    needed.reset(&second);
    channel.write(".guix-channel", "(channel (version 0) (directory \"../..\"))");
    let talk = farm.run_once_in_trouble().await;
    assert!(talk.contains("not a directory of the channel"), "{talk}");
    assert_eq!(farm.evaluations("own").await.len(), 2, "nothing came of either");

    let repeated = repeated(&farm, 2).await;
    let own = format!("own|{}|master|{}|", channel.url(), text(&channels_of(&farm, 2).await[0]["commit"]));
    let needed = format!("needed|{}|master|{second}|{commit} {signer}", needed.url());
    assert_eq!(repeated, [own, needed]);
}

async fn channels_of(farm: &Farm, evaluation: usize) -> Vec<Value> {
    let said = farm.say(&["channels", &evaluation.to_string(), "--json"]).await;
    let revision: Value = serde_json::from_str(&said.data).unwrap();
    revision["channels"].as_array().unwrap().clone()
}

/// The channels of an evaluation, as Guix reads them from what Gorget prints.
async fn repeated(farm: &Farm, evaluation: usize) -> Vec<String> {
    const READ: &str = r#"(use-modules (guix channels) (guix base16) (srfi srfi-1))
(for-each (lambda (channel)
  (let ((intro (channel-introduction channel)))
    (format #t "~a|~a|~a|~a|~a~%" (channel-name channel) (channel-url channel) (channel-branch channel)
      (channel-commit channel)
      (if intro
          (string-append (channel-introduction-first-signed-commit intro) " "
            (string-upcase (bytevector->base16-string (channel-introduction-first-commit-signer intro))))
          ""))))
  (load "/gorget/channels.scm"))
"#;
    let directory = tempfile::tempdir().unwrap();
    let said = farm.say(&["channels", &evaluation.to_string()]).await;
    assert_eq!(said.code, Some(0), "{}", said.talk);
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (channels, script) = (file("channels.scm", &said.data), file("read.scm", READ));
    let guix = find_guix(&guix_root()).unwrap();
    let limits = Limits::sandbox(2 << 30, Duration::from_mins(2));
    let guix = Confined::new(guix_root(), guix, limits).args(["repl", "--", "/gorget/read.scm"]);
    let guix = guix.readable(channels, "/gorget/channels.scm").readable(script, "/gorget/read.scm");
    let finished = guix.spawn().unwrap().finish(std::time::Duration::from_mins(2)).await.unwrap();
    assert!(finished.success(), "{}\n{}", finished.reason(), said.data);
    String::from_utf8(finished.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn of_two_channels_each_evaluation_has_the_right_commits_and_they_can_go_back() {
    let one = Tree::channel("manifest.scm", &manifest(&[("one", "")]));
    let two = Tree::channel("other.scm", &manifest(&[("two", "")]));
    let farm = Farm::new(None);
    let build = "build = { manifests = [\"manifest.scm\", \"other.scm\"] }\n";
    farm.spec("both", &format!("{build}{}{}", one.as_channel("one"), two.as_channel("two")));
    let (one_a, two_a) = (one.tip(), two.tip());
    farm.run_once().await;
    let two_b = two.write("other.scm", &manifest(&[("two", "--b")]));
    farm.run_once().await;
    let one_b = one.write("manifest.scm", &manifest(&[("one", "--b")]));
    two.reset(&two_a);
    farm.run_once().await;
    one.reset(&one_a);
    farm.run_once().await;
    let commits = |evaluation: &Value| {
        assert_eq!(evaluation["state"], "complete");
        [0, 1].map(|number| text(&evaluation["revision"]["channels"][number]["commit"]))
    };
    let evaluated: Vec<_> = farm.evaluations("both").await.iter().map(commits).collect();
    let pair = |one: &String, two: &String| [one.clone(), two.clone()];
    assert_eq!(
        evaluated,
        [pair(&one_a, &two_a), pair(&one_a, &two_b), pair(&one_b, &two_a), pair(&one_a, &two_a)]
    );
    let said = farm.say(&["pushes", "both", "--json"]).await;
    // Polls at two repositories end in any order.
    let mut kinds: Vec<String> =
        said.data.lines().map(|line| text(&serde_json::from_str::<Value>(line).unwrap()["kind"])).collect();
    kinds.sort();
    assert_eq!(kinds, ["created", "created", "forward", "forward", "returned", "returned"]);
    let checkouts = std::fs::read_dir(farm.state().join("checkouts/trees")).unwrap();
    let mut kept: Vec<String> =
        checkouts.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    kept.sort();
    let mut needed = vec![one_a, two_a];
    needed.sort();
    assert_eq!(kept, needed, "only what the last evaluation needs is still checked out");
}

#[tokio::test]
async fn a_mirror_that_rots_is_fetched_again() {
    let channel = Tree::channel("manifest.scm", &manifest(&[("one", "")]));
    // Most of the mirror; the next commit has it as well.
    channel.write("noise", &data_encoding::HEXLOWER.encode(&noise(100_000)));
    let farm = Farm::new(None);
    farm.spec("own", &format!("build = {{ manifests = [\"manifest.scm\"] }}\n{}", channel.as_channel("own")));
    farm.run_once().await;
    channel.write("manifest.scm", &manifest(&[("one", ""), ("two", "")]));
    let mirror = std::fs::read_dir(farm.state().join("mirrors")).unwrap();
    let mirror = mirror.map(|entry| entry.unwrap().path()).find(|path| path.is_dir()).unwrap();
    std::fs::remove_dir_all(farm.state().join("checkouts")).unwrap();
    spoil(&mirror.join("objects/pack"));
    let said = farm.say(&["run", "--once"]).await;
    assert_eq!(said.code, Some(0), "{}", said.talk);
    assert!(said.talk.contains("damaged mirror removed"), "{}", said.talk);
    assert_eq!(farm.queued_by(2).await, ["two-1"]);
}

/// Changes a byte in the middle of every pack.
fn spoil(packs: &Path) {
    for entry in std::fs::read_dir(packs).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "pack") {
            let mut content = std::fs::read(&path).unwrap();
            let middle = content.len() / 2;
            content[middle] ^= 0x55;
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, content).unwrap();
        }
    }
}
