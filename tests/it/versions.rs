//! Old and new Guixes evaluate, each as it does itself, and what is too old says so.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::guix::{Tree, guix_root, old_guix_root};
use crate::support::oracle;
use crate::support::program::{Farm, text};

/// Guixes that differ: the directory of their root, and a repository of their sources.
async fn guixes() -> [(PathBuf, Tree); 2] {
    [(old_guix_root(), Tree::old_guix().await), (guix_root(), Tree::guix().await)]
}

/// Derivations that the farm queued.
async fn queued(farm: &Farm) -> BTreeSet<String> {
    farm.queue().await.iter().map(|build| text(&build["derivation"])).collect()
}

#[tokio::test]
async fn every_guix_has_the_derivations_that_it_computes_itself() {
    const MANIFEST: &str =
        "(use-modules (gnu packages))\n(specifications->manifest '(\"sed\" \"glib:bin\" \"git:send-email\"))";
    for (root, guix) in guixes().await {
        let own = Tree::channel("own.txt", MANIFEST);
        let directory = own.checkout();
        for (build, channel, subset) in [
            (
                "{ packages = [\"hello\", \"python-numpy\"] }",
                guix.as_channel("guix"),
                "(packages \"hello\" \"python-numpy\")",
            ),
            ("{ manifests = [\"own.txt\"] }", own.as_channel("own"), "(manifests \"own.txt\")"),
            ("\"tarball\"", guix.as_channel("guix"), "tarball"),
        ] {
            let farm = Farm::with_guix(&root, None);
            farm.spec("some", &format!("build = {build}\nsystems = [\"x86_64-linux\"]\n{channel}"));
            farm.run_once().await;
            // Names are not compared: until 1.2, (gnu ci) put versions into them.
            let expected = oracle::jobs(&root, subset, "x86_64-linux", directory.path()).await;
            let expected: BTreeSet<String> = expected.into_iter().map(|(_, derivation)| derivation).collect();
            assert!(!expected.is_empty());
            assert_eq!(queued(&farm).await, expected, "{build} below {}", root.display());
        }
    }
}

#[tokio::test]
async fn the_record_says_whether_derivations_were_made_the_faster_way() {
    let mut seen = Vec::new();
    for (root, _) in guixes().await {
        let own = Tree::channel("README", "nothing\n");
        let farm = Farm::with_guix(&root, None);
        farm.spec("hello", &format!("build = \"hello\"\n{}", own.as_channel("own")));
        farm.run_once().await;
        let metrics = farm.newest().await["metrics"].take();
        seen.push((text(&metrics["guix_version"]), metrics["faster_derivations"].clone()));
    }
    let [(old, old_is_faster), (new, new_is_faster)] = seen.try_into().unwrap();
    assert!(old.starts_with("1.2") && new != old, "{old} {new}");
    assert_eq!((old_is_faster, new_is_faster), (Value::Bool(false), Value::Bool(true)));
}

#[tokio::test]
async fn a_revision_that_is_too_old_is_told_so_at_once_and_what_would_do() {
    let guix = Tree::guix().await;
    // As in 1.1, the place of a package is described elsewhere.
    guix.write("guix/diagnostics.scm", "(define-module (guix diagnostics) #:export (warning info leave))\n");
    let farm = Farm::new(None);
    let file = farm.spec("old", &format!("build = \"hello\"\n{}", guix.as_channel("guix")));
    let said = farm.say(&["evaluate", file.to_str().unwrap()]).await;
    assert_eq!((said.code, &*said.data), (Some(1), ""), "{}", said.talk);
    for part in ["channel `guix` is too old", "guix/diagnostics.scm", "hint: ", "1.2.0"] {
        assert!(said.talk.contains(part), "{part:?} is not in: {}", said.talk);
    }

    farm.run_once_in_trouble().await;
    let newest = farm.newest().await;
    assert_eq!(newest["state"], "failed", "{newest}");
    assert!(newest.to_string().contains("is too old"), "{newest}");
}
