//! Builds reach a coordinator once, whatever happens on the way.

use gorget::steps::coordinator::{Answer, GuixBuildCoordinator, Submission, Unavailable};

use crate::support::coordinator::{Mood, StandIn};

const HELLO: &str = "/gnu/store/0a3vm1l4k7ss3n5icsrzfhffrgkqf1sm-hello-2.12.2.drv";
const OTHER_HELLO: &str = "/gnu/store/1b3vm1l4k7ss3n5icsrzfhffrgkqf1sm-hello-2.12.2.drv";
const SED: &str = "/gnu/store/2c3vm1l4k7ss3n5icsrzfhffrgkqf1sm-sed-4.9.drv";

fn build(derivation: &str) -> Submission {
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    Submission {
        derivation: derivation.to_owned(),
        priority: 550,
        tags: vec![pair("spec", "master"), pair("job", "hello.x86_64-linux")],
        substitute_urls: vec!["https://gorget.example.org".to_owned()],
        again: false,
    }
}

async fn farm() -> (StandIn, GuixBuildCoordinator) {
    let coordinator = StandIn::start().await;
    let adapter = GuixBuildCoordinator::new(&coordinator.url()).expect("it is a URL");
    (coordinator, adapter)
}

#[tokio::test]
async fn a_build_is_taken_once_with_all_that_was_said_about_it() {
    let (coordinator, adapter) = farm().await;
    let Ok(Answer::Accepted { reference }) = adapter.submit(&build(HELLO)).await else { panic!("it is new") };
    let reason = "build-already-exists-for-this-derivation".to_owned();
    assert_eq!(adapter.submit(&build(HELLO)).await, Ok(Answer::AlreadyThere { reason }));

    let builds = coordinator.builds();
    assert_eq!(builds.len(), 1);
    assert_eq!((&builds[0].uuid, builds[0].derivation.as_str()), (&reference, HELLO));
    assert_eq!(builds[0].priority, 550);
    assert_eq!(builds[0].tags, build(HELLO).tags);
    assert_eq!(builds[0].substitute_urls, build(HELLO).substitute_urls);
}

#[tokio::test]
async fn another_derivation_of_the_same_outputs_is_not_built_again() {
    let (coordinator, adapter) = farm().await;
    let output = "/gnu/store/3d3vm1l4k7ss3n5icsrzfhffrgkqf1sm-hello-2.12.2";
    coordinator.know_outputs(HELLO, &[output]);
    coordinator.know_outputs(OTHER_HELLO, &[output]);
    coordinator.know_outputs(SED, &["/gnu/store/4f3vm1l4k7ss3n5icsrzfhffrgkqf1sm-sed-4.9"]);
    assert!(matches!(adapter.submit(&build(HELLO)).await, Ok(Answer::Accepted { .. })));
    let reason = "build-already-exists-for-a-output".to_owned();
    assert_eq!(adapter.submit(&build(OTHER_HELLO)).await, Ok(Answer::AlreadyThere { reason }));
    assert!(matches!(adapter.submit(&build(SED)).await, Ok(Answer::Accepted { .. })));
    assert_eq!(coordinator.builds().len(), 2);
}

#[tokio::test]
async fn what_it_cannot_read_is_refused_in_its_own_words() {
    let (coordinator, adapter) = farm().await;
    let reason = "400 Bad Request: cannot read /gnu/store/hello".to_owned();
    assert_eq!(adapter.submit(&build("/gnu/store/hello")).await, Ok(Answer::Refused { reason }));
    assert_eq!(coordinator.builds(), []);
}

#[tokio::test]
async fn a_lost_answer_costs_no_second_build() {
    let (coordinator, adapter) = farm().await;
    coordinator.feel(Mood::LosesAnswers);
    let answer = adapter.submit(&build(HELLO)).await;
    assert!(answer.is_err(), "{answer:?}");
    assert_eq!(
        (coordinator.builds().len(), coordinator.submissions()),
        (1, 1),
        "it was taken, and not sent twice unasked"
    );

    coordinator.feel(Mood::Sound);
    assert!(matches!(adapter.submit(&build(HELLO)).await, Ok(Answer::AlreadyThere { .. })));
    assert_eq!(coordinator.builds().len(), 1);
}

#[tokio::test]
async fn a_coordinator_that_fails_or_is_away_gets_the_build_when_it_is_back() {
    let (mut coordinator, adapter) = farm().await;
    assert!(matches!(adapter.submit(&build(SED)).await, Ok(Answer::Accepted { .. })));
    coordinator.feel(Mood::Fails);
    let reason = "500 Internal Server Error: out of luck".to_owned();
    assert_eq!(adapter.submit(&build(HELLO)).await, Err(Unavailable(reason)));

    coordinator.feel(Mood::Sound);
    coordinator.stop().await;
    let answer = adapter.submit(&build(HELLO)).await;
    assert!(answer.is_err(), "{answer:?}");

    coordinator.restart().await;
    assert!(matches!(adapter.submit(&build(HELLO)).await, Ok(Answer::Accepted { .. })));
    assert_eq!(coordinator.builds().len(), 2, "what it had before, it still has");
}

#[tokio::test]
async fn a_wrong_address_refuses_nothing() {
    let (coordinator, _) = farm().await;
    let adapter = GuixBuildCoordinator::new(&format!("{}/elsewhere", coordinator.url())).unwrap();
    let answer = adapter.submit(&build(HELLO)).await;
    assert!(answer.is_err(), "{answer:?}");
    assert!(GuixBuildCoordinator::new("not a URL").is_err());
    assert!(GuixBuildCoordinator::new("file:///builds").is_err());
}
