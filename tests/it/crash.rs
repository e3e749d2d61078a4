//! Power cuts, and a coordinator that comes and goes: nothing is lost, nothing is done twice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use crate::support::coordinator::{Mood, StandIn};
use crate::support::guix::{MODULES, Tree, entry, manifest};
use crate::support::program::{Farm, derivations, text};

const SPEC: &str = "build = { manifests = [\"manifest.scm\"] }";

fn farm_of(channel: &Tree, coordinator: Option<&StandIn>) -> Farm {
    let farm = Farm::new(coordinator.map(StandIn::url).as_deref());
    farm.spec("own", &format!("{SPEC}\n{}", channel.as_channel("own")));
    farm
}

/// The coordinator has every build that is wanted exactly once, as all others, and the farm knows that.
async fn assert_all_are_there_once(farm: &Farm, coordinator: &StandIn, count: usize) {
    let mut queue = farm.queue().await;
    queue.retain(|build| build["state"] != "canceling");
    assert!(queue.iter().all(|build| build["state"] == "submitted"), "{queue:?}");
    let wanted: Vec<String> = queue.iter().map(|build| text(&build["derivation"])).collect();
    let mut times = BTreeMap::new();
    for held in coordinator.builds() {
        *times.entry(held.derivation).or_insert(0) += 1;
    }
    assert!(times.values().all(|times| *times == 1), "{times:?}");
    assert!(wanted.iter().all(|derivation| times.contains_key(derivation)), "{times:?} {wanted:?}");
    assert_eq!(queue.len(), count);
}

#[tokio::test]
async fn a_coordinator_that_is_away_or_loses_its_answers_gets_every_build_once() {
    let mut coordinator = StandIn::start().await;
    let channel = Tree::channel("manifest.scm", &manifest(&[("one", ""), ("two", "")]));
    let farm = farm_of(&channel, Some(&coordinator));
    coordinator.stop().await;
    farm.run_once().await;
    let queue = farm.queue().await;
    assert!(queue.iter().all(|build| build["state"] == "queued"), "{queue:?}");
    assert!(text(&queue[0]["answer"]).contains("refused"), "it says why: {queue:?}");

    coordinator.restart().await;
    farm.run_once().await;
    assert_all_are_there_once(&farm, &coordinator, 2).await;

    coordinator.feel(Mood::LosesAnswers);
    channel.write("manifest.scm", &manifest(&[("one", "--a"), ("two", "--a"), ("three", "")]));
    farm.run_once().await;
    let in_doubt = farm.queue().await.iter().filter(|build| build["state"] == "queued").count();
    assert_eq!(in_doubt, 3);

    coordinator.feel(Mood::Sound);
    tell_outputs(&farm, &coordinator).await;
    farm.run_once().await;
    assert_all_are_there_once(&farm, &coordinator, 3).await;
    let submissions = coordinator.submissions();
    farm.run_once().await;
    assert_eq!(coordinator.submissions(), submissions, "nothing is left to ask for");
}

/// Tells the coordinator what the builds of the queue make, as it would read it in their derivations.
async fn tell_outputs(farm: &Farm, coordinator: &StandIn) {
    for build in farm.queue().await {
        let said = farm.say(&["explain", "--json", &text(&build["derivation"])]).await;
        let story: Value = serde_json::from_str(&said.data).unwrap();
        let outputs: Vec<String> = story["jobs"][0]["outputs"].as_array().unwrap().iter().map(text).collect();
        let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
        coordinator.know_outputs(&text(&build["derivation"]), &outputs);
    }
}

/// Sixty packages; one in the middle takes its time.
fn sixty(flags: &str) -> String {
    let arguments = |number: usize| match number {
        40 => "(begin (sleep 2) '())".to_owned(),
        50 => "(error \"out of luck\")".to_owned(),
        _ => format!("(list #:configure-flags '({flags:?}))"),
    };
    let entries: String = (0..60).map(|number| entry(&format!("p{number}"), &arguments(number))).collect();
    format!("{MODULES}(packages->manifest (list {entries}))")
}

/// What can be seen of a farm, the times left out.
async fn end_state(farm: &Farm) -> (BTreeSet<(String, String)>, Vec<Value>) {
    let mut evaluations = farm.evaluations("own").await;
    for evaluation in &mut evaluations {
        let fields = evaluation.as_object_mut().unwrap();
        fields.retain(|name, _| {
            ["id", "revision", "state", "partial", "jobs_total", "jobs_done", "errors"]
                .contains(&name.as_str())
        });
    }
    (derivations(&farm.queue().await), evaluations)
}

#[tokio::test]
async fn an_evaluation_that_is_killed_begins_again_and_ends_as_if_nothing_had_been() {
    let channel = Tree::channel("manifest.scm", &sixty(""));
    let (farm, undisturbed) = (farm_of(&channel, None), farm_of(&channel, None));
    for round in 1..=2 {
        undisturbed.run_once().await;
        let mut process = farm.start(&["--once"]);
        let half_done = farm
            .until(&mut process, |status| {
                let newest = &status["evaluations"][0];
                newest["id"] == round && newest["jobs_done"].as_i64() > Some(0)
            })
            .await;
        process.kill();
        process.ended().await.unwrap();
        let newest = &half_done["evaluations"][0];
        assert_eq!(newest["state"], "running", "it was killed too late: {newest}");
        assert!(newest["jobs_done"].as_i64() < Some(60), "{newest}");

        farm.run_once().await;
        assert_eq!(end_state(&farm).await, end_state(&undisturbed).await);
        assert_eq!(farm.queue().await.len(), 59, "those of the first round were given up");
        channel.write("manifest.scm", &sixty("--other"));
    }
    assert_eq!(farm.diff(1, 2).await, undisturbed.diff(1, 2).await);
}

#[tokio::test]
async fn a_submission_that_is_killed_goes_on_and_hands_over_every_build_once() {
    let coordinator = StandIn::start().await;
    let names: Vec<String> = (0..40).map(|number| format!("p{number}")).collect();
    let packages: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
    let channel = Tree::channel("manifest.scm", &manifest(&packages));
    let farm = farm_of(&channel, Some(&coordinator));
    coordinator.feel(Mood::Slow);
    let process = farm.start(&["--once"]);
    while coordinator.builds().len() < 12 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    process.kill();
    drop(process);
    let held = coordinator.builds().len();
    let known = farm.queue().await.iter().filter(|build| build["state"] == "submitted").count();
    assert!(known < held && held < 40, "it was killed too late: {known} of {held}");

    coordinator.feel(Mood::Sound);
    farm.run_once().await;
    assert_all_are_there_once(&farm, &coordinator, 40).await;
}
