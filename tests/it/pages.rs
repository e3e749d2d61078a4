//! The farm in a browser, and for programs over HTTP.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use gorget::clock::Clock;
use gorget::config::Listen;
use gorget::db::{
    Batch, BlockKind, BuildRef, BuildState, Db, EvaluationId, EvaluationWriter, Item, ItemKind, JobError,
    NewBlock, NewDerivation, NewEvent, Pack,
};
use gorget::domain::attempt::Attempt;
use gorget::guix::derivation::Derivation;
use gorget::web::{Listener, Pages, Web, serve};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::redirect::Policy;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::commands::{a_farm, cover, settled};
use crate::support::guix::{Tree, manifest};
use crate::support::program::Farm;
use crate::support::{Port, begin, derivation, everything, hash, job, on_both, on_both_at, only_spec, spec};

/// All pages that the farm of the stories about commands has.
const PAGES: [&str; 30] = [
    "/branches",
    "/branches/staging",
    "/",
    "/specs/master",
    "/specs/staging",
    "/evaluations/2",
    "/evaluations/2?list=changed",
    "/evaluations/2?list=new",
    "/compare",
    "/compare/1..2",
    "/compare/1..2?system=x86_64-linux&list=errors",
    "/queue",
    "/queue?spec=staging&system=&state=awaiting-approval",
    "/coverage",
    "/coverage/master",
    "/jobs/master/x86_64-linux/vim.x86_64-linux",
    "/jobs/master/x86_64-linux/emacs.x86_64-linux",
    "/jobs?q=e",
    "/specs",
    "/specs?q=stag",
    "/pushes",
    "/evaluations/2/errors",
    "/evaluations/2/errors?cause=exception",
    "/builds",
    "/builds?spec=master&state=failed&name=g",
    "/builds/2",
    "/builds/3",
    "/packages/hello.x86_64-linux",
    "/farm",
    "/help/states",
];

/// What the policy of a page must not allow.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
     trusted-types gorget";

pub(crate) async fn serving(db: &Db, anonymous: bool) -> (String, CancellationToken) {
    let pages = Pages { routes: everything(), logs: "/nonexistent".into() };
    serve_web(Web { pages, anonymous, ..Web::new(db.clone(), Clock::manual(1000)) }).await
}

/// Serves until the result is cancelled; gives the address.
pub(crate) async fn serve_web(web: Web) -> (String, CancellationToken) {
    let listener = Listener::bind(&Listen::Address("127.0.0.1:0".to_owned())).await.unwrap();
    let (url, stop) = (listener.place(), CancellationToken::new());
    tokio::spawn(serve(listener, web, stop.clone()));
    (url, stop)
}

/// What stands in `<main>`, a tag a line.
fn body(page: &str) -> String {
    let main = page.split_once("<main id=\"main\">").unwrap().1.split_once("</main>").unwrap().0;
    let main = main.replace("><", ">\n<");
    let lines = main.lines().map(str::trim).filter(|line| !line.is_empty() && !line.contains("<svg"));
    let lines = lines.filter(|line| !line.starts_with("<path") && !line.starts_with("<circle"));
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn pages_show_the_same_of_a_farm_on_both_databases_and_write_nothing() {
    on_both(async |db| {
        a_farm(db).await;
        let (url, stop) = serving(db, true).await;
        // Whoever began to write now would wait for ever.
        db.permit_writes(0);
        let mut text = String::new();
        for page in PAGES {
            let answer = reqwest::get(format!("{url}{page}")).await.unwrap();
            assert_eq!(answer.status(), 200, "{page}");
            assert_eq!(answer.headers()["content-security-policy"], POLICY);
            assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
            let html = answer.text().await.unwrap();
            assert!(html.len() < 100 << 10, "{page}: {} bytes", html.len());
            writeln!(text, "GET {page}\n{}\n", settled(&body(&html))).unwrap();
        }
        insta::assert_snapshot!("pages", text);
        stop.cancel();
    })
    .await;
}

#[tokio::test]
async fn programs_get_what_commands_say() {
    on_both_at(async |db, location| {
        a_farm(db).await;
        let farm = Farm::new(None);
        farm.at_database(location);
        let (url, stop) = serving(db, true).await;
        let get = async |path: &str| -> Value {
            reqwest::get(format!("{url}/api/v1/{path}")).await.unwrap().json().await.unwrap()
        };
        let said = async |words: &[&str]| -> Value {
            let said = farm.say(words).await;
            assert_eq!(said.code, Some(0), "{}", said.talk);
            let lines: Vec<Value> =
                said.data.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            if lines.len() == 1 { lines[0].clone() } else { lines.into() }
        };
        for (path, words) in [
            ("evaluations/2", ["status", "2", "--json"].as_slice()),
            ("jobs/vim.x86_64-linux", &["explain", "vim.x86_64-linux", "--json"]),
            ("builds/3", &["builds", "3", "--json"]),
            (
                "jobs/hello.x86_64-linux?spec=master",
                &["explain", "hello.x86_64-linux", "--spec", "master", "--json"],
            ),
        ] {
            assert_eq!(get(path).await, said(words).await, "{path}");
        }
        // Coordinators are those of the configuration.
        for (path, words) in [
            ("status", ["status", "--json"].as_slice()),
            ("status?spec=staging&system=x86_64-linux", &["status", "--spec", "staging", "--json"]),
        ] {
            let [mut here, mut there] = [get(path).await, said(words).await];
            here["coordinators"] = Value::Null;
            there["coordinators"] = Value::Null;
            assert_eq!(here, there, "{path}");
        }
        for (path, words) in [("builds", ["builds", "--json"].as_slice()), ("pushes", &["pushes", "--json"])]
        {
            let items = get(path).await["items"].take();
            let items = items.as_array().unwrap();
            let items = if items.len() == 1 { items[0].clone() } else { json!(items) };
            assert_eq!(items, said(words).await, "{path}");
        }
        assert_eq!(get("builds?state=failed").await["items"][0]["job"], "gcc.x86_64-linux");
        for (path, words) in [
            ("compare/1..2", ["diff", "1", "2", "--json"].as_slice()),
            ("compare/bbbb..master", &["diff", "bbbb", "master", "--json"]),
            ("specs/master/failures", &["failures", "master", "--json"]),
        ] {
            assert_eq!(get(path).await["items"], json!([said(words).await]), "{path}");
        }
        assert_eq!(
            get("history/hello.x86_64-linux").await["items"],
            said(&["history", "hello.x86_64-linux", "--json"]).await
        );
        assert_eq!(
            get("specs/staging/verdicts").await["items"],
            said(&["verdict", "staging", "--history", "--json"]).await
        );
        for feed in ["/branches.atom", "/branches/staging/verdicts.atom"] {
            let answer = reqwest::get(format!("{url}{feed}")).await.unwrap();
            assert_eq!(answer.headers()["content-type"], "application/atom+xml; charset=utf-8");
            let text = answer.text().await.unwrap();
            let ids: Vec<&str> = text.lines().filter(|line| line.contains("<id>")).collect();
            assert_eq!(ids.len(), 3, "{text}");
            assert!(
                ids[1].contains("urn:gorget:branches:staging:470:2") && ids[2].contains("staging:460:1"),
                "{text}"
            );
            assert!(text.contains("<title>staging: must-change</title>"), "{text}");
        }
        assert_eq!(get("verdicts").await["items"], json!([said(&["verdict", "--json"]).await]));
        let file = reqwest::get(format!("{url}/api/v1/evaluations/1/channels.scm")).await.unwrap();
        assert_eq!(file.text().await.unwrap(), farm.say(&["channels", "1"]).await.data);
        let (mut all, mut before) = (Vec::new(), String::new());
        loop {
            let page = get(&format!("evaluations?limit=1{before}")).await;
            all.extend(page["items"].as_array().unwrap().clone());
            let Some(next) = page["next_before"].as_i64() else { break };
            before = format!("&before={next}");
        }
        assert_eq!(json!(all), get("status").await["evaluations"]);
        let trouble = get("trouble").await;
        let kinds: Vec<&str> =
            trouble.as_array().unwrap().iter().map(|one| one["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["awaiting-approval", "failed-build", "silent-host", "blocked-spec"]);
        for path in [
            "evaluations/99",
            "compare/1..99",
            "compare/1",
            "history/emaxx",
            "specs/x/failures",
            "specs/x/verdicts",
            "jobs/emaxx",
            "status?spec=nowhere",
            "queue?system=x86",
            "queue?state=fialed",
            "builds/99",
            "builds/x",
            "builds?disturbed=perhaps",
            "builds?before=x",
            "builds?state=fialed",
            "packages/emaxx",
            "derivations/x.drv",
            "derivations/00000000000000000000000000000000-x.drv",
            "evaluations/99/errors",
            "evaluations/2/errors?after=99",
            "nothing/at/all",
        ] {
            let answer = reqwest::get(format!("{url}/api/v1/{path}")).await.unwrap();
            assert_eq!(answer.status(), 404);
            assert_eq!(answer.headers()["content-type"], "application/problem+json");
            let problem: Value = answer.json().await.unwrap();
            assert_eq!(problem["status"], 404, "{problem}");
        }
        stop.cancel();
    })
    .await;
}

/// The page of the derivation that [`hostile_derivation`] makes.
const HOSTILE_DERIVATION: &str = "/derivations/00000000000000000000000000000000-evil.drv";

/// A derivation whose builder, arguments and environment mean harm, and its file.
fn hostile_derivation(evil: &str) -> (NewDerivation, Pack) {
    let text = |text: &str| Cow::Owned(text.as_bytes().to_vec());
    let long = format!("{evil}{}", "x".repeat(100_000));
    let contents = Derivation {
        outputs: vec![],
        inputs: vec![(text(&format!("/gnu/store/{evil}.drv")), vec![text(evil)])],
        sources: vec![text(evil)],
        system: text("x86_64-linux"),
        builder: text(evil),
        arguments: vec![text(evil), text(&long)],
        environment: (0..500).map(|place| (text(&format!("{place}{evil}")), text(&long[..400]))).collect(),
    };
    let contents = contents.print();
    let hash = "0".repeat(32);
    let length = contents.len() as u64;
    let (kind, refs) = (ItemKind::Text, Vec::new());
    let item = Item { hash: hash.clone(), name: "evil.drv".to_owned(), kind, refs, start: 0, length };
    let pack = Pack { contents: zstd::encode_all(&contents[..], 3).unwrap(), items: vec![item] };
    (NewDerivation { hash, name: "evil".to_owned(), ..derivation("two", &[]) }, pack)
}

#[tokio::test]
async fn hostile_text_stays_text_on_every_page() {
    let evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{7*7}}\u{202e}\u{2066}\u{1b}[31m\u{0085}\u{7}&amp;";
    on_both(async |db| {
        let master = only_spec(db, spec("master")).await;
        let mut recorder = EvaluationWriter::new(begin(db, master, "a").await);
        let (drv, pack) = hostile_derivation(evil);
        let batch = Batch {
            derivations: vec![derivation("one", &[]), drv],
            packs: vec![pack],
            jobs: vec![job(evil, "one")],
            errors: vec![JobError {
                name: format!("e{evil}"),
                cause: evil.into(),
                message: format!("{evil}\n{evil}"),
            }],
            ..Batch::default()
        };
        recorder.record(db, &batch).await.unwrap();
        recorder.finish(db, false, &json!({}), 200).await.unwrap();
        db.queue_builds(EvaluationId(1), BuildState::Queued, 300).await.unwrap();
        db.route(&everything()).await.unwrap();
        let build = BuildRef::Derivation(hash("one"));
        let event =
            NewEvent { build, reference: evil.to_owned(), attempt: Attempt::Failed, happened_at: None };
        assert_eq!(db.record_events("default", &[event], 400).await.unwrap().changed, 1);
        let block =
            NewBlock { target: evil, kind: BlockKind::Failed, reason: evil, push: None, next_attempt: 500 };
        db.block_spec(master, &block, 450).await.unwrap();
        let verdict = json!({
            "spec": "master", "base": evil, "word": "must-change",
            "reasons": [
                { "word": "must-change", "code": evil, "count": 2, "text": evil, "system": evil },
                { "word": "must-change", "code": evil, "count": 0, "text": evil, "system": null },
            ],
            "systems": [{
                "system": evil, "required": true, "evaluation": 1, "revision": evil, "base": 1,
                "base_revision": evil, "classes": { "regression": 2 }, "jobs": { "regression": [evil] },
                "causes": [{
                    "build": 2, "answer": evil, "classes": { "regression": 2 }, "spec": evil, "job": evil,
                    "jobs": [evil],
                }],
            }],
        });
        db.record_verdict(master, &serde_json::from_value(verdict).unwrap(), 460).await.unwrap();
        cover(db, master, evil).await;
        let (url, stop) = serving(db, true).await;
        let client = reqwest::Client::new();
        let get = async |path: &str| {
            let answer = client.get(format!("{url}{path}")).send().await.unwrap();
            let status = answer.status();
            (status, answer.text().await.unwrap())
        };
        let listed = get("/api/v1/trouble").await.1;
        assert!(listed.contains("alert(1)"), "{listed}");
        let hostile = ["%3Cscript%3E", "a%22%3E%3Cb%3E", "%E2%80%AE", "..%2F..", "%00", "{{7*7}}"];
        let mut paths = [
            "/",
            "/specs",
            "/specs/master",
            "/evaluations/1",
            "/evaluations/1/errors",
            "/queue",
            "/builds",
            "/builds/1",
            "/pushes",
            HOSTILE_DERIVATION,
            "/branches",
            "/branches/master",
            "/coverage",
            "/coverage/master",
        ]
        .map(str::to_owned)
        .to_vec();
        let name = utf8_percent_encode(evil, NON_ALPHANUMERIC).to_string();
        paths.push(format!("/packages/{name}"));
        paths.push(format!("/builds?state=failed&name={name}"));
        paths.push(format!("/evaluations/1/errors?cause={name}"));
        for word in hostile {
            paths.extend(
                [
                    "/specs/W",
                    "/branches/W",
                    "/coverage/W",
                    "/coverage/master?system=W",
                    "/coverage/master?after=W",
                    "/evaluations/W",
                    "/compare/W..W",
                    "/compare?base=W&target=W",
                    "/jobs?q=W",
                    "/jobs/W/W/W",
                    "/queue?spec=W&system=W&state=W",
                    "/builds?name=W",
                    "/builds?spec=W&system=W&state=W&name=W&disturbed=W&before=W&limit=W",
                    "/builds/W",
                    "/packages/W?spec=W",
                    "/derivations/W",
                    "/evaluations/W/errors",
                    "/evaluations/1/errors?cause=W",
                    "/specs?q=W&after=W",
                    "/pushes?branch=W",
                ]
                .map(|path| path.replace('W', word)),
            );
        }
        paths.push(format!("/jobs?q={}", "a".repeat(20_000)));
        for path in paths {
            let (status, page) = get(&path).await;
            assert!(!status.is_server_error(), "{path}: {status}");
            let page = page.replacen("<script src=\"/assets/idiomorph.js\" defer>", "", 1);
            let page = page.replacen("<script type=\"module\" src=\"/assets/live.js\">", "", 1);
            let begins = |tag: &str| page.contains(tag);
            assert!(!begins("<script") && !begins("<img") && !begins("<b>alert"), "{path}: {page}");
            let is_bad = |c: char| (c.is_control() && c != '\n') || ['\u{202e}', '\u{2066}'].contains(&c);
            assert_eq!(page.chars().find(|c| is_bad(*c)), None, "{path}");
            assert!(!page.contains("49"), "{path}: no template is evaluated twice");
        }
        for feed in ["/branches.atom", "/branches/master/verdicts.atom"] {
            let (_, text) = get(feed).await;
            let is_bad = |c: char| (c.is_control() && c != '\n') || ['\u{202e}', '\u{2066}'].contains(&c);
            assert!(!text.contains("<script") && !text.contains(is_bad), "{text}");
        }
        let (_, page) = get("/branches/master").await;
        assert!(page.contains("&#60;script&#62;alert(1)"), "{page}");
        for path in ["/evaluations/1", "/evaluations/1/errors", "/builds/1", "/builds", HOSTILE_DERIVATION] {
            let (status, page) = get(path).await;
            assert!(status == 200 && page.contains("&#60;script&#62;alert(1)"), "{path}: {page}");
        }
        stop.cancel();
    })
    .await;
}

#[tokio::test]
async fn who_may_not_read_gets_derivations_only() {
    on_both(async |db| {
        a_farm(db).await;
        let (url, stop) = serving(db, false).await;
        let client = reqwest::Client::builder().redirect(Policy::none()).build().unwrap();
        for page in PAGES {
            let answer = client.get(format!("{url}{page}")).send().await.unwrap();
            assert_eq!(answer.status(), 303, "{page}");
            assert!(answer.headers()["location"].to_str().unwrap().starts_with("/login?back="), "{page}");
        }
        assert_eq!(reqwest::get(format!("{url}/api/v1/status")).await.unwrap().status(), 401);
        assert_eq!(reqwest::get(format!("{url}/nix-cache-info")).await.unwrap().status(), 200);
        stop.cancel();
    })
    .await;
}

#[tokio::test]
async fn a_page_that_has_not_changed_is_not_sent_again() {
    on_both(async |db| {
        a_farm(db).await;
        let (url, stop) = serving(db, true).await;
        let client = reqwest::Client::new();
        let first = client.get(format!("{url}/specs/master")).send().await.unwrap();
        let tag = first.headers()["etag"].clone();
        let ask = client.get(format!("{url}/specs/master")).header("if-none-match", &tag);
        let again = ask.send().await.unwrap();
        assert_eq!((again.status().as_u16(), again.text().await.unwrap().as_str()), (304, ""));
        let other =
            client.get(format!("{url}/specs/staging")).header("if-none-match", &tag).send().await.unwrap();
        assert_eq!(other.status(), 200);
        for method in [reqwest::Method::POST, reqwest::Method::PUT, reqwest::Method::DELETE] {
            let refused = client.request(method, format!("{url}/specs/master")).send().await.unwrap();
            assert_eq!(refused.status(), 405);
        }
        stop.cancel();
    })
    .await;
}

#[tokio::test]
async fn a_real_evaluation_is_followed_from_page_to_page() {
    let channel = Tree::channel("manifest.scm", &manifest(&[("one", ""), ("two", "")]));
    let farm = Farm::new(None);
    farm.spec(
        "small",
        &format!("build = {{ manifests = [\"manifest.scm\"] }}\n{}", channel.as_channel("own")),
    );
    let port = Port::free();
    let url = format!("http://127.0.0.1:{}", port.address.port());
    let mut process = farm.start(&["--listen", &format!("127.0.0.1:{}", port.address.port())]);
    farm.until(&mut process, |status| status["evaluations"][0]["state"] == "complete").await;
    let get = async |path: &str| reqwest::get(format!("{url}{path}")).await.unwrap().text().await.unwrap();
    let overview = get("/").await;
    assert!(overview.contains("href=\"/specs/small\""), "{overview}");
    let spec = get("/specs/small").await;
    assert!(spec.contains("href=\"/evaluations/1\"") && spec.contains("complete"), "{spec}");
    let mut queue = get("/queue").await;
    for _ in 0..100 {
        if queue.contains("one-1") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        queue = get("/queue").await;
    }
    assert!(queue.contains("href=\"/jobs/small/x86_64-linux/one-1\""), "{queue}");
    let why = get("/jobs/small/x86_64-linux/one-1").await;
    assert!(why.contains("/gnu/store/") && why.contains("queued"), "{why}");
    // From the list of builds to the build, its derivation, and an input of that.
    let next = async |page: String, place: &str| {
        let href = page.split_once(place).unwrap_or_else(|| panic!("no {place} in {page}")).1;
        get(&format!("{place}{}", href.split_once('"').unwrap().0)[6..]).await
    };
    let builds = get("/builds?spec=small&state=queued&name=one").await;
    let build = next(builds, "href=\"/builds/").await;
    assert!(build.contains("Jobs with its outputs"), "{build}");
    let derivation = next(build, "href=\"/derivations/").await;
    assert!(
        derivation.contains("Environment of the builder") && derivation.contains("/bin/guile"),
        "{derivation}"
    );
    let input = next(derivation, "href=\"/derivations/").await;
    assert!(input.contains("Outputs"), "{input}");
    process.kill();
}
