//! Why a job is queued, or is not.

use gorget::sandbox::Process;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::support::Port;
use crate::support::coordinator::StandIn;
use crate::support::guix::{MODULES, Tree, entry, manifest};
use crate::support::program::{Farm, text};

async fn explain(farm: &Farm, job: &str) -> Value {
    let said = farm.say(&["explain", "--json", job]).await;
    assert_eq!(said.code, Some(0), "{}", said.talk);
    serde_json::from_str(&said.data).unwrap()
}

async fn rule(farm: &Farm, job: &str) -> String {
    text(&explain(farm, job).await["jobs"][0]["rule"])
}

#[tokio::test]
async fn a_job_is_explained_from_the_queue_to_its_result() {
    let channel = Tree::channel("manifest.scm", &manifest(&[("one", ""), ("two", "")]));
    let mut coordinator = StandIn::start().await;
    let farm = Farm::new(Some(&coordinator.url()));
    let build = "build = { manifests = [\"manifest.scm\"] }";
    farm.spec("own", &format!("{build}\n{}", channel.as_channel("own")));
    farm.configure("[web]\npublic-url = \"https://farm.example.org\"");
    coordinator.stop().await;
    farm.say(&["run", "--once"]).await;
    let story = explain(&farm, "two-1").await["jobs"][0].take();
    assert_eq!(
        (&story["rule"], &story["ahead"]),
        (&"in-doubt".into(), &json!({ "count": 1, "next": ["one-1"] }))
    );
    let told = farm.say(&["explain", "two-1"]).await.data;
    assert!(told.contains("1 build comes before it: one-1"), "{told}");
    assert!(told.contains("next attempt in"), "{told}");
    let derivation = text(&story["derivation"]);
    assert_eq!(explain(&farm, &derivation).await["jobs"][0]["job"], "two-1");

    coordinator.restart().await;
    farm.run_once().await;
    assert_eq!(rule(&farm, "two-1").await, "submitted");
    let held = &coordinator.builds()[0];
    assert_eq!(held.substitute_urls, ["https://farm.example.org"], "the farm has the derivations itself");

    // The coordinator tells how it went on.
    let port = Port::free();
    let address = port.address;
    let mut process = farm.start(&["--listen", &address.to_string()]);
    send_event(&farm, &mut process, address, &derivation, "succeeded").await;
    assert_eq!(rule(&farm, "two-1").await, "succeeded");
    let told = farm.say(&["explain", "two-1"]).await.data;
    assert!(told.contains("succeeded as their-name"), "{told}");
}

async fn send_event(
    farm: &Farm,
    process: &mut Process,
    address: std::net::SocketAddr,
    derivation: &str,
    event: &str,
) {
    while TcpStream::connect(address).await.is_err() {
        let ended = tokio::time::timeout(std::time::Duration::from_millis(50), process.ended()).await;
        assert!(ended.is_err(), "it ended before it listened");
    }
    let token = std::fs::read_to_string(farm.state().join("events-token")).unwrap();
    let items = json!({ "items": [
        { "type": "build", "build_id": "their-name", "derivation": derivation, "event": event }
    ] });
    let url = format!("http://{address}/build-server/1/build-events?token={}", token.trim());
    let answer = reqwest::Client::new().post(url).body(items.to_string()).send().await.unwrap();
    assert_eq!(answer.status(), 204);
}

#[tokio::test]
async fn what_is_known_the_same_or_broken_is_told_apart() {
    let raising = entry("three", "(error \"out of luck\")");
    let text_of = |more: &str| format!("{MODULES}(packages->manifest (list {}{more}))", entry("one", "'()"));
    let channel = Tree::channel("manifest.scm", &text_of(&raising));
    let farm = Farm::new(None);
    let build = "build = { manifests = [\"manifest.scm\"] }";
    farm.spec("first", &format!("{build}\nfirst = \"record\"\n{}", channel.as_channel("own")));
    farm.run_once().await;
    assert_eq!(rule(&farm, "one-1").await, "known");
    let broken = explain(&farm, "three-1").await;
    assert_eq!((&broken["jobs"], &broken["errors"][0]["evaluation"]), (&json!([]), &1.into()));
    assert!(text(&broken["errors"][0]["message"]).contains("out of luck"));

    farm.spec("second", &format!("{build}\n{}", channel.as_channel("own")));
    farm.run_once().await;
    let told = farm.say(&["explain", "one-1"]).await.data;
    assert!(told.contains("one-1 of first"), "{told}");
    assert!(told.contains("it is the same build as one-1 of second"), "{told}");

    let told = farm.say(&["explain", "one"]).await.data;
    assert!(told.contains("one-1 of first"), "a package's name does, too: {told}");

    let said = farm.say(&["explain", "ne-1"]).await;
    assert_eq!(said.code, Some(1));
    assert!(said.talk.contains("hint: there are one-1"), "{}", said.talk);
    let said = farm.say(&["explain", "nobody's"]).await;
    assert!(said.talk.contains("no evaluation has a job called nobody's"), "{}", said.talk);
}
