//! Who may say what is evaluated: real keys, real signatures, and the judgement of a real Guix.

use gorget::domain::spec::Introduction;
use gorget::git::{Authenticator, Authenticity};
use tempfile::TempDir;

use crate::support::guix::{guix_root, manifest};
use crate::support::program::{Farm, text};
use crate::support::signed::{Key, Signed, Signers};

fn authenticator() -> (TempDir, Authenticator) {
    let memory = tempfile::tempdir().unwrap();
    let authenticator = Authenticator::new(guix_root(), memory.path().join("authentic"));
    (memory, authenticator)
}

/// What a Guix that remembers nothing says about the tip of `master`.
async fn judged(channel: &Signed) -> Authenticity {
    judged_by(channel, &channel.introduction).await
}

async fn judged_by(channel: &Signed, introduction: &Introduction) -> Authenticity {
    let (_memory, authenticator) = authenticator();
    let (keyring, tip) = (channel.tip("keyring"), channel.tip("master"));
    authenticator.judge(channel.path(), introduction, &keyring, &tip).await.unwrap()
}

fn good(key: &Key) -> Authenticity {
    Authenticity::Good { signer: key.0.clone() }
}

#[track_caller]
fn assert_bad(authenticity: &Authenticity, why: &str) {
    let Authenticity::Bad { reason } = authenticity else { panic!("{why}: {authenticity:?}") };
    assert!(reason.contains(why), "{reason}");
}

#[tokio::test]
async fn only_commits_by_who_was_authorized_before_are_authentic() {
    let signers = Signers::new();
    let (ada, bob, eve) = (signers.key("ada").await, signers.key("bob").await, signers.key("eve").await);
    let channel = Signed::new(&signers, &ada, &[&ada, &bob]).await;
    assert_eq!(judged(&channel).await, good(&ada), "the introduction itself");
    let change = |text| [("file", text)];
    channel.commit(&signers, Some(&ada), &change("1")).await;
    let fine = channel.commit(&signers, Some(&bob), &change("2")).await;
    assert_eq!(judged(&channel).await, good(&bob));

    channel.commit(&signers, None, &change("3")).await;
    assert_bad(&judged(&channel).await, "lacks a signature");
    channel.commit(&signers, Some(&ada), &change("4")).await;
    assert_bad(&judged(&channel).await, "lacks a signature");

    channel.reset(&fine);
    channel.commit(&signers, Some(&eve), &change("3")).await;
    let authenticity = judged(&channel).await;
    assert!(
        matches!(&authenticity, Authenticity::Unknown { reason } if reason.contains("is missing")),
        "{authenticity:?}"
    );
    channel.keyring(&signers, &[&ada, &bob, &eve]).await;
    assert_bad(&judged(&channel).await, "not signed by an authorized key");
    channel.reset(&fine);
    channel.authorize(&signers, Some(&eve), &[&eve]).await;
    assert_bad(&judged(&channel).await, "not signed by an authorized key");

    channel.reset(&fine);
    channel.authorize(&signers, Some(&ada), &[&ada]).await;
    assert_eq!(judged(&channel).await, good(&ada));
    let revoked = channel.commit(&signers, Some(&bob), &change("5")).await;
    assert_bad(&judged(&channel).await, &revoked);

    channel.reset(&fine);
    let signed = channel.commit(&signers, Some(&ada), &change("6")).await;
    channel.push(&channel.read(&signed).replace("A commit", "B commit"));
    assert_bad(&judged(&channel).await, "signature verification failed");
    channel.commit(&signers, Some(&ada), &change("7")).await;
    assert_bad(&judged(&channel).await, "signature verification failed");
}

#[tokio::test]
async fn an_introduction_names_a_commit_of_the_history_and_who_signed_it() {
    let signers = Signers::new();
    let (ada, bob) = (signers.key("ada").await, signers.key("bob").await);
    let channel = Signed::new(&signers, &ada, &[&ada, &bob]).await;
    let other = Signed::new(&signers, &ada, &[&ada]).await;
    let by_bob = Introduction { signer: bob.0.clone(), ..channel.introduction.clone() };
    assert_bad(&judged_by(&channel, &by_bob).await, "is signed by");
    channel.commit(&signers, Some(&bob), &[("file", "1")]).await;
    assert_bad(&judged_by(&channel, &by_bob).await, "is signed by");
    assert_bad(&judged_by(&other, &channel.introduction).await, "is not in its history");

    let tree = channel.git.find_commit(git2::Oid::from_str(&channel.tip("master")).unwrap()).unwrap();
    let orphan = format!("tree {}\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\nx\n", tree.tree_id());
    channel.push(&orphan);
    let Authenticity::Bad { .. } = judged(&channel).await else { panic!("it has another history") };
}

#[tokio::test]
async fn what_was_judged_good_is_remembered_and_nothing_else() {
    let signers = Signers::new();
    let (ada, eve) = (signers.key("ada").await, signers.key("eve").await);
    let channel = Signed::new(&signers, &ada, &[&ada]).await;
    let (_memory, authenticator) = authenticator();
    let judge = async |introduction: &Introduction| {
        let (keyring, tip) = (channel.tip("keyring"), channel.tip("master"));
        authenticator.judge(channel.path(), introduction, &keyring, &tip).await.unwrap()
    };
    let first = channel.commit(&signers, Some(&ada), &[("file", "1")]).await;
    assert_eq!(authenticator.knows(&channel.introduction, &first), None);
    assert_eq!(judge(&channel.introduction).await, good(&ada));
    assert_eq!(authenticator.knows(&channel.introduction, &first), Some(ada.0.clone()));

    let forged = Introduction { signer: eve.0.clone(), ..channel.introduction.clone() };
    assert_eq!(authenticator.knows(&forged, &first), None, "it is good by one introduction only");
    assert_bad(&judge(&forged).await, "is signed by");
    let second = channel.commit(&signers, None, &[("file", "2")]).await;
    assert_bad(&judge(&channel.introduction).await, "lacks a signature");
    assert_eq!(authenticator.knows(&channel.introduction, &second), None);
}

fn spec(channel: &Signed) -> String {
    format!("build = {{ manifests = [\"manifest.scm\"] }}\n{}", channel.as_channel("own"))
}

#[tokio::test]
async fn nothing_is_evaluated_that_is_not_authentic_and_everybody_can_see_why() {
    let signers = Signers::new();
    let (ada, eve) = (signers.key("ada").await, signers.key("eve").await);
    let channel = Signed::new(&signers, &ada, &[&ada]).await;
    let version = |flag: &str| manifest(&[("one", flag)]);
    let write =
        async |key: &Key, text: &str| channel.commit(&signers, Some(key), &[("manifest.scm", text)]).await;
    let fine = write(&ada, &version("")).await;
    let farm = Farm::new(None);
    farm.spec("own", &spec(&channel));
    farm.run_once().await;
    let origin = &farm.newest().await["revision"]["channels"][0]["origin"];
    assert_eq!(origin["signer"], ada.0.as_str());
    assert!(farm.say(&["status"]).await.data.contains(&ada.0[24..]));

    let bad = write(&eve, &version("--evil")).await;
    let talk = farm.run_once_in_trouble().await;
    assert!(talk.contains(&bad) && talk.contains("unknown"), "{talk}");
    channel.keyring(&signers, &[&ada, &eve]).await;
    let talk = farm.run_once_in_trouble().await;
    assert!(talk.contains(&bad) && talk.contains("not authentic"), "{talk}");
    let hold = &farm.status().await["blocked_specs"][0];
    assert_eq!((&hold["kind"], &hold["spec"]), (&"not authentic".into(), &"own".into()));
    let shown = farm.say(&["status"]).await.data;
    assert!(shown.contains("own is not evaluated") && shown.contains(&bad), "{shown}");
    assert_eq!(farm.evaluations("own").await.len(), 1);

    let spec_file = farm.spec("own", &spec(&channel));
    let said = farm.say(&["evaluate", spec_file.to_str().unwrap()]).await;
    assert_eq!((said.code, said.data.as_str()), (Some(1), ""), "nor by hand");
    assert!(said.talk.contains("not authentic"), "{}", said.talk);

    channel.reset(&fine);
    farm.run_once().await;
    assert_eq!(farm.status().await["blocked_specs"].as_array().unwrap().len(), 0, "all is well again");
    assert_eq!(farm.evaluations("own").await.len(), 1);
}

#[tokio::test]
async fn what_waits_since_before_it_had_to_be_authentic_is_not_evaluated() {
    let signers = Signers::new();
    let ada = signers.key("ada").await;
    let channel = Signed::new(&signers, &ada, &[&ada]).await;
    let slow = manifest(&[("one", "")]).replace("(packages->manifest", "(sleep 60)\n(packages->manifest");
    channel.commit(&signers, None, &[("manifest.scm", &slow)]).await;
    let farm = Farm::new(None);
    let (trusting, _) =
        spec(&channel).rsplit_once("introduction").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    farm.spec("own", &trusting);
    let mut process = farm.start(&["--once"]);
    farm.until(&mut process, |status| status["evaluations"][0]["state"] == "running").await;
    process.kill();
    process.ended().await.unwrap();
    assert_eq!(farm.evaluations("own").await.len(), 1);
    farm.spec("own", &spec(&channel));
    let talk = farm.run_once_in_trouble().await;
    assert!(talk.contains("lacks a signature") && talk.contains("never authenticated"), "{talk}");
    assert_eq!(farm.evaluations("own").await.len(), 0);
}

#[tokio::test]
async fn a_branch_goes_back_only_when_somebody_says_so() {
    let signers = Signers::new();
    let ada = signers.key("ada").await;
    let channel = Signed::new(&signers, &ada, &[&ada]).await;
    let write = async |flag: &str| {
        channel.commit(&signers, Some(&ada), &[("manifest.scm", &manifest(&[("one", flag)]))]).await
    };
    let old = write("").await;
    let new = write("--new").await;
    let farm = Farm::new(None);
    farm.spec("own", &spec(&channel));
    farm.run_once().await;

    channel.reset(&old);
    let talk = farm.run_once_in_trouble().await;
    assert!(talk.contains("does not descend") && talk.contains("gorget acknowledge 2"), "{talk}");
    assert_eq!(farm.status().await["blocked_specs"][0]["push"], 2);
    // A new commit on the old one is no better.
    let beside = write("--beside").await;
    let talk = farm.run_once_in_trouble().await;
    assert!(talk.contains(&beside) && talk.contains("gorget acknowledge 3"), "{talk}");
    assert_eq!(farm.say(&["acknowledge", "99"]).await.code, Some(1));
    assert_eq!(farm.evaluations("own").await.len(), 1);

    assert_eq!(farm.say(&["acknowledge", "3"]).await.code, Some(0));
    farm.run_once().await;
    let newest = farm.newest().await;
    assert_eq!(text(&newest["revision"]["channels"][0]["commit"]), beside);
    let said = farm.say(&["pushes", "own", "--json"]).await;
    let pushes: Vec<serde_json::Value> =
        said.data.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<_> =
        pushes.iter().map(|push| (text(&push["kind"]), !push["acknowledged_at"].is_null())).collect();
    let kind = |word: &str, acknowledged| (word.to_owned(), acknowledged);
    assert_eq!(kinds, [kind("forward", true), kind("returned", false), kind("created", false)]);

    channel.reset(&new);
    farm.run_once_in_trouble().await;
    assert_eq!(farm.evaluations("own").await.len(), 2, "what was meant once is not meant for ever");
}
