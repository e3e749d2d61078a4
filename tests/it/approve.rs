//! What awaits approval, or was canceled, says so, and is built when somebody wants that.

use serde_json::Value;

use crate::support::guix::{Tree, manifest};
use crate::support::program::{Farm, text};

async fn rule(farm: &Farm, job: &str) -> (String, String) {
    let said = farm.say(&["explain", "--json", job]).await;
    let story: Value = serde_json::from_str(&said.data).unwrap();
    (text(&story["jobs"][0]["rule"]), text(&story["jobs"][0]["because"]))
}

#[tokio::test]
async fn too_many_builds_wait_for_a_person_and_what_is_superseded_is_given_up() {
    let channel = Tree::channel("manifest.scm", &manifest(&[("one", ""), ("two", "")]));
    let farm = Farm::new(None);
    let build = "build = { manifests = [\"manifest.scm\"] }\nbudget = 1\nretry-failed = \"next\"";
    farm.spec("own", &format!("{build}\n{}", channel.as_channel("own")));
    let said = farm.say(&["run", "--once"]).await;
    assert_eq!(said.code, Some(0), "{}", said.talk);
    assert!(said.talk.contains("hint: `gorget approve 1` has them built"), "{}", said.talk);

    let (word, because) = rule(&farm, "one-1").await;
    assert_eq!(word, "awaiting-approval");
    assert!(because.contains("more new builds than the budget of own, which is 1"), "{because}");
    let held = farm.status().await["awaiting_approval"].take();
    assert_eq!((&held[0]["evaluation"], &held[0]["count"]), (&1.into(), &2.into()));
    let told = farm.say(&["status"]).await.data;
    assert!(told.contains("await approval (2 builds):") && told.contains("`gorget approve 1`"), "{told}");

    for wrong in [&["approve", "owm"][..], &["approve", "7"], &["approve", "own", "--system", "i686-linux"]] {
        let said = farm.say(wrong).await;
        assert_eq!(said.code, Some(1));
        assert!(said.talk.contains("hint: `gorget status` shows what awaits approval"), "{}", said.talk);
    }
    let said = farm.say(&["approve", "--json", "own"]).await;
    let told: Value = serde_json::from_str(&said.data).unwrap();
    assert_eq!((&told["evaluation"], &told["spec"], &told["count"]), (&1.into(), &"own".into(), &2.into()));
    assert_eq!(rule(&farm, "one-1").await.0, "new-outputs");

    channel.write("manifest.scm", &manifest(&[("one", "--other"), ("two", "")]));
    farm.run_once().await;
    let states: Vec<(String, String)> =
        farm.queue().await.iter().map(|build| (text(&build["job"]), text(&build["state"]))).collect();
    let queued = |job: &str| (job.to_owned(), "queued".to_owned());
    assert_eq!(states, [queued("two-1"), queued("one-1")], "the former one-1 is gone");

    channel.write("manifest.scm", &manifest(&[("two", "")]));
    farm.run_once().await;
    let (word, because) = rule(&farm, "one-1").await;
    assert_eq!(word, "superseded");
    assert!(because.contains("evaluation 3 of own no longer has it"), "{because}");
}
