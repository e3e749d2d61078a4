//! From a push to the queue: what is new is queued, once, and nothing else.

use crate::support::guix::{Tree, manifest};
use crate::support::program::{Farm, text};

const CLISP: &str = "clisp.x86_64-linux";
const LIBFFCALL: &str = "libffcall.x86_64-linux";

#[tokio::test]
async fn exactly_the_new_builds_of_a_commit_are_queued() {
    let guix = Tree::guix().await;
    let farm = Farm::new(None);
    let build = r#"build = { packages = ["clisp", "figlet", "hello", "libffcall"] }"#;
    farm.spec("small", &format!("{build}\n{}", guix.as_channel("guix")));

    let before = guix.tip();
    farm.run_once().await;
    let all = [CLISP, "figlet.x86_64-linux", "hello.x86_64-linux", LIBFFCALL];
    assert_eq!(farm.queued_by(1).await, all);

    let after = guix.edit("gnu/packages/libffcall.scm", "(version \"", "(version \"99.");
    farm.run_once().await;
    assert_eq!(farm.queued_by(2).await, [CLISP, LIBFFCALL], "one needs the other");
    assert_eq!(farm.queue().await.len(), 4, "nobody wants what they were before");
    let changed = [CLISP, LIBFFCALL].map(str::to_owned).to_vec();
    let (diff, errors) = farm.diff(1, 2).await;
    assert_eq!(diff.into_iter().collect::<Vec<_>>(), [("changed".to_owned(), changed.clone())]);
    assert!(errors.is_empty(), "{errors:?}");

    farm.run_once().await;
    assert_eq!(farm.evaluations("small").await.len(), 2, "nothing has moved");

    guix.reset(&before);
    farm.run_once().await;
    let commits: Vec<_> = farm.evaluations("small").await.iter().map(commit).collect();
    assert_eq!(commits, [before.clone(), after, before], "going back is news");
    assert_eq!(farm.queued_by(3).await, [CLISP, LIBFFCALL], "they are wanted again");
    assert_eq!(farm.queue().await.len(), 4, "which needs no new build");
    let (diff, _) = farm.diff(2, 3).await;
    assert_eq!(diff["changed"], changed);
    assert!(farm.diff(1, 3).await.0.is_empty());
}

fn commit(evaluation: &serde_json::Value) -> String {
    assert_eq!(evaluation["state"], "complete");
    text(&evaluation["revision"]["channels"][0]["commit"])
}

#[tokio::test]
async fn what_is_there_at_first_can_be_taken_for_known() {
    let channel = Tree::channel("manifest.scm", &manifest(&[("one", ""), ("two", "")]));
    let farm = Farm::new(None);
    let build = "build = { manifests = [\"manifest.scm\"] }\nfirst = \"record\"";
    farm.spec("quiet", &format!("{build}\n{}", channel.as_channel("own")));
    farm.run_once().await;
    assert!(farm.queue().await.is_empty());
    let builds = farm.status().await["builds"].take();
    assert_eq!((&builds[0]["state"], &builds[0]["count"]), (&"known".into(), &2.into()));

    channel.write("manifest.scm", &manifest(&[("one", ""), ("two", "--other"), ("three", "")]));
    farm.run_once().await;
    assert_eq!(farm.queued_by(2).await, ["three-1", "two-1"]);

    channel.write("manifest.scm", &manifest(&[("one", ""), ("two", "")]));
    farm.run_once().await;
    assert!(farm.queue().await.is_empty(), "what was recorded stays known, and nobody wants the rest");
    assert_eq!(farm.diff(2, 3).await.0["removed"], ["three-1"]);
}

#[tokio::test]
async fn a_dead_remote_one_without_branches_and_a_missing_commit_stop_no_other() {
    let channels = ["fine", "dead", "branchless", "pinned"]
        .map(|name| (name, Tree::channel("manifest.scm", &manifest(&[(name, "")]))));
    let farm = Farm::new(None);
    let spec = |channel: &Tree| {
        format!("build = {{ manifests = [\"manifest.scm\"] }}\n{}", channel.as_channel("own"))
    };
    for (name, channel) in &channels {
        farm.spec(name, &spec(channel));
    }
    let [(_, fine), (_, dead), (_, branchless), (_, pinned)] = &channels;
    let nowhere = "1234567890123456789012345678901234567890";
    farm.spec("pinned", &format!("{}commit = \"{nowhere}\"\n", spec(pinned)));
    let talk = farm.run_once_in_trouble().await;
    assert!(talk.contains(nowhere), "{talk}");
    assert_eq!(farm.evaluations("pinned").await.len(), 0);
    let status = farm.status().await;
    let reason = reason_of(&status["mirrors"], pinned);
    assert!(reason.contains("has no commit"), "{reason}");

    let tip = branchless.tip();
    dead.hide(true);
    branchless.remove_branch();
    fine.write("manifest.scm", &manifest(&[("fine", "--again")]));
    let talk = farm.run_once_in_trouble().await;
    assert!(talk.contains("answered without any branch") && talk.contains("cannot reach"), "{talk}");
    let status = farm.status().await;
    assert!(reason_of(&status["branches"], dead).contains("cannot reach"));
    assert!(reason_of(&status["branches"], branchless).contains("answered without any branch"));
    assert_eq!(reason_of(&status["branches"], fine), "");
    assert_eq!(farm.evaluations("fine").await.len(), 2);
    assert_eq!(farm.evaluations("dead").await.len(), 1, "nothing was made of what could not be read");

    dead.hide(false);
    dead.write("manifest.scm", &manifest(&[("dead", "--again")]));
    branchless.reset(&tip);
    farm.spec("pinned", &format!("{}commit = \"{}\"\n", spec(pinned), pinned.tip()));
    farm.run_once().await;
    for (name, evaluations) in [("fine", 2), ("dead", 2), ("branchless", 1), ("pinned", 1)] {
        assert_eq!(farm.evaluations(name).await.len(), evaluations, "{name}");
    }
}

fn reason_of(list: &serde_json::Value, channel: &Tree) -> String {
    let of_channel = list.as_array().unwrap().iter().find(|entry| entry["url"] == channel.url().as_str());
    of_channel.unwrap()["reason"].as_str().unwrap_or_default().to_owned()
}
