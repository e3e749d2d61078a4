//! What monitors see of a farm.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use gorget::clock::Clock;
use gorget::db::Pausable;
use gorget::web::Web;

use crate::commands::a_farm;
use crate::pages::{serve_web, serving};
use crate::support::coordinator::{Mood, StandIn};
use crate::support::guix::{Tree, manifest};
use crate::support::program::Farm;
use crate::support::{Port, author, on_both};

/// More time than a farm takes on a slow machine.
const PATIENCE: Duration = Duration::from_mins(5);

async fn ask(url: &str, path: &str) -> (u16, String) {
    let answer = reqwest::get(format!("{url}{path}")).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// The names of the metrics of a type in an answer.
fn of_type<'a>(text: &'a str, wanted: &str) -> Vec<&'a str> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types.filter(|(_, kind)| *kind == wanted).map(|(name, _)| name).collect()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The documented metrics: those of the database, and those of a process.
fn documented() -> [BTreeSet<String>; 2] {
    let document = read("docs/operating.md");
    let tables: Vec<&str> = document.split("| metric | labels | meaning |").skip(1).collect();
    let names = |table: &str| -> BTreeSet<String> {
        let rows = table.lines().skip(1).take_while(|line| line.starts_with('|'));
        rows.filter_map(|line| Some(line.strip_prefix("| `")?.split('`').next()?.to_owned())).collect()
    };
    [names(tables[0]), names(tables[1])]
}

#[tokio::test]
async fn a_farm_is_ready_once_a_host_schedules() {
    on_both(async |db| {
        let (url, stop) = serving(db, false).await;
        let healthy = (200, "ok\n".to_owned());
        assert_eq!(ask(&url, "/healthz").await, healthy);
        assert_eq!(ask(&url, "/readyz").await, (503, "no host schedules\n".to_owned()));
        let host = gorget::db::NewHost {
            name: "one".to_owned(),
            identity: "1".to_owned(),
            roles: "schedule".to_owned(),
            systems: String::new(),
            workers: 1,
            memory: 1,
        };
        db.register(&host, 1000).await.unwrap();
        assert!(db.take_scheduler_lease("one", 1000).await.unwrap().is_some());
        assert_eq!(ask(&url, "/readyz").await, (200, "ready\n".to_owned()));
        // Nobody who has no token sees how the farm is.
        assert_eq!(ask(&url, "/metrics").await.0, 401);
        db.close().await;
        assert_eq!(ask(&url, "/readyz").await, (503, "the database fails\n".to_owned()));
        assert_eq!(ask(&url, "/healthz").await, healthy);
        stop.cancel();
    })
    .await;
}

#[tokio::test]
async fn every_metric_is_documented_and_says_how_the_farm_is() {
    on_both(async |db| {
        a_farm(db).await;
        db.pause(&Pausable::Submission, "", &author(), 900).await.unwrap();
        let web = Web { anonymous: true, ..Web::new(db.clone(), Clock::manual(1000)) };
        let (url, stop) = serve_web(web).await;
        let (status, text) = ask(&url, "/metrics").await;
        assert_eq!(status, 200, "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
        let gauges: Vec<&str> = of_type(&text, "gauge");
        // Labels come in the order of a hash table.
        let name = |line: &str| line.split(['{', ' ']).next().unwrap_or_default().to_owned();
        let mut lines: Vec<&str> =
            text.lines().filter(|line| gauges.contains(&name(line).as_str())).collect();
        lines.sort_unstable();
        insta::assert_snapshot!("metrics", lines.join("\n"));
        let [documented, _] = documented();
        // What there is nothing of in this farm has no sample.
        let gauges: BTreeSet<String> = gauges.into_iter().map(str::to_owned).collect();
        let absent: Vec<&String> = documented.difference(&gauges).collect();
        assert_eq!(absent, ["gorget_builds_unserved"]);
        assert_eq!(gauges.difference(&documented).count(), 0, "{gauges:?}");
        stop.cancel();
    })
    .await;
}

/// The value of a sample; 0 if there is none.
fn value(text: &str, sample: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}

/// Asks for metrics until `enough` is true of them.
async fn until(url: &str, enough: impl Fn(&str) -> bool) -> String {
    let begun = Instant::now();
    loop {
        let text = reqwest::get(format!("{url}/metrics")).await;
        let text = match text {
            Ok(answer) => answer.text().await.unwrap(),
            Err(_) => String::new(),
        };
        if enough(&text) {
            return text;
        }
        assert!(begun.elapsed() < PATIENCE, "{text}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test]
async fn what_a_farm_does_is_counted() {
    let channel = Tree::channel("manifest.scm", &manifest(&[("one", "")]));
    let coordinator = StandIn::start().await;
    let farm = Farm::new(Some(&coordinator.url()));
    farm.spec("own", &format!("build = {{ manifests = [\"manifest.scm\"] }}\n{}", channel.as_channel("own")));
    let port = Port::free();
    let url = format!("http://{}", port.address);
    let mut process = farm.start(&["--listen", &port.address.to_string()]);
    let accepted = "gorget_submissions_total{coordinator=\"default\",outcome=\"accepted\"}";
    let text = until(&url, |text| value(text, accepted) > 0.5).await;
    for (sample, expected) in [
        (accepted, 1.0),
        ("gorget_build_queue_seconds_count{system=\"x86_64-linux\"}", 1.0),
        ("gorget_evaluation_duration_seconds_count{system=\"x86_64-linux\",outcome=\"complete\"}", 1.0),
        ("gorget_fetches_total{outcome=\"succeeded\"}", 1.0),
    ] {
        assert!((value(&text, sample) - expected).abs() < 0.5, "{sample}: {text}");
    }
    assert!(value(&text, "gorget_polls_total{outcome=\"succeeded\"}") > 0.5, "{text}");
    assert!(value(&text, "gorget_steps_total{step=\"evaluate\",outcome=\"worked\"}") > 0.5, "{text}");
    // An answer is counted once it is given.
    let metrics = "gorget_http_requests_total{method=\"GET\",route=\"/metrics\",class=\"2xx\"}";
    let text = until(&url, |text| value(text, metrics) > 0.5).await;
    // The names of counters end in `_total`, where they are described as well.
    let counters = of_type(&text, "counter").into_iter().map(|name| format!("{name}_total"));
    let histograms = of_type(&text, "histogram").into_iter().map(str::to_owned);
    assert_eq!(counters.chain(histograms).collect::<BTreeSet<String>>(), documented()[1]);

    coordinator.feel(Mood::Fails);
    channel.write("manifest.scm", &manifest(&[("two", "")]));
    assert_eq!(farm.say(&["poll"]).await.code, Some(0));
    let away = "gorget_submissions_total{coordinator=\"default\",outcome=\"unavailable\"}";
    until(&url, |text| value(text, away) > 0.5).await;
    process.kill();
    let _ = process.finish(PATIENCE).await;
}

/// The metrics of Gorget that a text names.
fn named(text: &str) -> BTreeSet<String> {
    let is_part = |char: char| char.is_ascii_alphanumeric() || char == '_';
    let words = text.split(|char| !is_part(char)).filter(|word| word.starts_with("gorget_"));
    let series = |word: &str| -> String {
        let ends = ["_bucket", "_count", "_sum"].into_iter();
        ends.fold(word, |word, end| word.strip_suffix(end).unwrap_or(word)).to_owned()
    };
    words.map(series).collect()
}

#[test]
fn alerts_and_the_dashboard_name_metrics_that_exist() {
    let [farm, process] = documented();
    let known: BTreeSet<String> = farm.union(&process).cloned().collect();
    let rules = named(&read("packaging/prometheus/gorget.rules.yml"));
    assert!(rules.len() > 8 && rules.is_subset(&known), "{rules:?}");
    let dashboard: serde_json::Value = serde_json::from_str(&read("packaging/grafana/gorget.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let shown = named(&targets.map(|target| target["expr"].as_str().unwrap()).collect::<Vec<_>>().join("\n"));
    let hidden: Vec<&String> = known.difference(&shown).collect();
    assert!(shown.is_subset(&known) && hidden.is_empty(), "{shown:?} {hidden:?}");
}
