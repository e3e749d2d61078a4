//! What monitors see of a farm.

use std::collections::BTreeSet;
use std::path::Path;

use gorget::clock::Clock;
use gorget::db::Pausable;
use gorget::web::Web;

use crate::commands::a_farm;
use crate::pages::{serve_web, serving};
use crate::support::{author, on_both};

async fn ask(url: &str, path: &str) -> (u16, String) {
    let answer = reqwest::get(format!("{url}{path}")).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
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
        // Labels come in the order of a hash table.
        let mut lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        lines.sort_unstable();
        insta::assert_snapshot!("metrics", lines.join("\n"));
        let names: BTreeSet<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next()).collect();
        let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operating.md");
        let document = std::fs::read_to_string(document).unwrap();
        let documented: BTreeSet<&str> =
            document.lines().filter_map(|line| line.strip_prefix("| `gorget_")?.split('`').next()).collect();
        let documented: BTreeSet<String> = documented.iter().map(|name| format!("gorget_{name}")).collect();
        let documented: BTreeSet<&str> = documented.iter().map(String::as_str).collect();
        // What there is nothing of in this farm has no sample.
        let absent: Vec<&str> = documented.difference(&names).copied().collect();
        assert_eq!(absent, ["gorget_builds_unserved"]);
        assert_eq!(names.difference(&documented).count(), 0, "{names:?}");
        stop.cancel();
    })
    .await;
}
