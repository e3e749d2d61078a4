//! Who may see and change what, from the command line, pages and the API.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use gorget::clock::Clock;
use gorget::db::{AuditEntry, BuildState, Claimant, Db, NewToken, Pausable, QueueFilter, TokenId};
use gorget::domain::access::{Role, secret};
use gorget::farm::actions::Actions;
use gorget::web::{Kind, Route, Web, routes};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::commands::{a_farm, settled};
use crate::pages::{serve_web, serving};
use crate::support::program::Farm;
use crate::support::{author, on_both, on_both_at};

/// When the stories happen, as the server has it.
const NOW: i64 = 1000;

/// Makes a token; gives its number and its secret.
async fn token(db: &Db, role: Role, specs: &[&str], expires_at: Option<i64>) -> (TokenId, String) {
    let specs = specs.iter().map(ToString::to_string).collect();
    let new = NewToken { name: format!("a {} token", role.word()), role, specs, expires_at };
    Actions { db, author: &author(), now: 900 }.create_token(&new).await.unwrap()
}

fn client() -> Client {
    Client::builder().redirect(Policy::none()).build().unwrap()
}

/// The request that a route takes, for something that the farm has.
fn request(client: &Client, url: &str, route: &Route) -> RequestBuilder {
    let mut path = route.path.clone();
    for (name, value) in [
        ("{name}", "master"),
        ("{id}", "2"),
        ("{spec}", "master"),
        ("{system}", "x86_64-linux"),
        ("{job}", "vim.x86_64-linux"),
        ("{kind}", "spec"),
        ("{file}", "00000000000000000000000000000000-x.drv"),
    ] {
        path = path.replace(name, value);
    }
    client.request(route.method.parse().unwrap(), format!("{url}{path}"))
}

/// Everything that a request might have changed.
async fn state(db: &Db) -> Value {
    let builds = db.queue(&QueueFilter::default(), 1000).await.unwrap();
    json!({
        "builds": builds.iter().map(|build| (build.id, build.state)).collect::<Vec<_>>(),
        "evaluations": db.evaluations(None, None, 100).await.unwrap().iter().map(|one| (one.id, one.pinned)).collect::<Vec<_>>(),
        "pauses": format!("{:?}", db.pauses().await.unwrap()),
        "pushes": format!("{:?}", db.all_pushes(100).await.unwrap()),
        "branches": format!("{:?}", db.branches().await.unwrap()),
        "waivers": format!("{:?}", db.waivers(0).await.unwrap()),
        "tokens": db.tokens().await.unwrap().iter().map(|one| (one.id, one.revoked_at)).collect::<Vec<_>>(),
    })
}

#[tokio::test]
async fn every_route_refuses_who_may_not_use_it() {
    on_both(async |db| {
        a_farm(db).await;
        let (url, stop) = serving(db, false).await;
        let expired = token(db, Role::Admin, &[], Some(NOW)).await.1;
        let (revoked_id, revoked) = token(db, Role::Admin, &[], None).await;
        assert!(db.revoke_token(revoked_id, &author(), 950).await.unwrap());
        let mut secrets = Vec::new();
        for role in Role::ALL {
            secrets.push((role, token(db, role, &[], None).await.1));
        }
        let elsewhere = token(db, Role::Admin, &["other-*"], None).await.1;
        let session = session_of(&url, &secrets[3].1).await;
        let unknown = secret::written([1; 32]);
        let before = state(db).await;
        let client = client();
        let mut denials = 0;
        for route in routes() {
            let Some(needed) = route.role else { continue };
            let is_change = route.method != "GET";
            let name = format!("{} {}", route.method, route.path);
            let send = async |request: RequestBuilder| request.send().await.unwrap();
            let none = send(request(&client, &url, &route)).await;
            let expected = if route.kind == Kind::Page && !is_change { 303 } else { 401 };
            assert_eq!(none.status(), expected, "{name}");
            for wrong in ["", "x", &unknown, &expired, &revoked] {
                let answer = send(request(&client, &url, &route).bearer_auth(wrong)).await;
                assert_eq!(answer.status(), expected, "{name} with {wrong:?}");
            }
            for (role, secret) in secrets.iter().filter(|(role, _)| *role < needed) {
                let answer = send(request(&client, &url, &route).bearer_auth(secret)).await;
                assert_eq!(answer.status(), 403, "{name} as {role:?}");
                denials += 1;
            }
            if is_change {
                let cookie = format!("gorget={session}");
                let foreign = [
                    None,
                    Some(("origin", "https://evil.example.org")),
                    Some(("sec-fetch-site", "cross-site")),
                ];
                for header in foreign {
                    let mut asking = request(&client, &url, &route).header("cookie", &cookie);
                    if let Some((name, value)) = header {
                        asking = asking.header(name, value);
                    }
                    assert_eq!(send(asking).await.status(), 403, "{name} with {header:?}");
                }
                // What is of the farm, or of another spec, is not theirs to change. Of what there is none, nobody is told.
                let answer = send(request(&client, &url, &route).bearer_auth(&elsewhere)).await;
                let is_refused = [403, 404, 422].contains(&answer.status().as_u16());
                assert!(is_refused, "{name} of another spec: {}", answer.status());
            }
        }
        assert_eq!(state(db).await, before);
        assert!(denials > 50, "{denials}");
        let audit = db.audit(None, 1000).await.unwrap();
        let of_role = |entry: &&AuditEntry| entry.action == "refuse" && entry.subject.contains(" /");
        assert_eq!(audit.iter().filter(of_role).count(), denials);
        assert!(
            routes().iter().filter(|route| route.role.is_some_and(|role| role > Role::Trigger)).count() > 20
        );
        stop.cancel();
    })
    .await;
}

#[tokio::test]
async fn who_may_read_sees_everything_but_what_is_for_admins() {
    on_both(async |db| {
        a_farm(db).await;
        let (url, stop) = serving(db, true).await;
        let admin = token(db, Role::Admin, &[], None).await.1;
        let client = client();
        for route in routes().iter().filter(|route| route.method == "GET" && route.kind != Kind::Open) {
            if route.path == "/assets/{file}" || route.path == "/login" {
                continue;
            }
            let anonymous = request(&client, &url, route).send().await.unwrap();
            let expected: &[u16] = match (route.role, route.kind) {
                (Some(Role::Admin), Kind::Page) => &[303],
                (Some(Role::Admin), _) => &[401],
                // Some take parameters, and some lead elsewhere.
                _ => &[200, 303, 400, 404],
            };
            assert!(
                expected.contains(&anonymous.status().as_u16()),
                "{}: {}",
                route.path,
                anonymous.status()
            );
            let known = request(&client, &url, route).bearer_auth(&admin).send().await.unwrap();
            assert!(
                [200, 303, 400, 404].contains(&known.status().as_u16()),
                "{}: {}",
                route.path,
                known.status()
            );
        }
        let page = client.get(format!("{url}/specs/master")).send().await.unwrap().text().await.unwrap();
        assert!(!page.contains("method=\"post\""), "who may only read has no buttons: {page}");
        let page = client.get(format!("{url}/specs/master")).bearer_auth(&admin);
        let page = page.send().await.unwrap().text().await.unwrap();
        assert!(page.contains("action=\"/specs/master/poll\""), "{page}");
        stop.cancel();
    })
    .await;
}

#[tokio::test]
async fn what_is_changed_over_the_api_is_done_and_written_down() {
    on_both(async |db| {
        a_farm(db).await;
        let (url, stop) = serving(db, true).await;
        let operator = token(db, Role::Operate, &["staging"], None).await.1;
        let admin = token(db, Role::Admin, &[], None).await.1;
        let client = client();
        let post = async |path: &str, secret: &str, body: Value| -> (u16, Value) {
            let request = client.post(format!("{url}/api/v1{path}")).bearer_auth(secret).json(&body);
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.json().await.unwrap())
        };
        let nothing = || json!({});
        let (status, answer) = post("/evaluations/3/approve", &operator, nothing()).await;
        assert_eq!(
            (status, &answer),
            (200, &json!({ "done": "approved builds of evaluation 3 (staging, x86_64-linux): 2" }))
        );
        assert!(db.awaiting_approval().await.unwrap().is_empty());
        assert_eq!(
            post("/evaluations/3/approve", &operator, nothing()).await.0,
            404,
            "nothing awaits it any more"
        );
        let (status, answer) = post("/evaluations/2/retry", &operator, nothing()).await;
        assert_eq!(status, 403, "{answer}");
        assert_eq!(answer["detail"], "a operate token may not change the spec master");
        assert_eq!(post("/evaluations/2/retry", &admin, nothing()).await.0, 200);
        assert_eq!(post("/evaluations/2/retry", &admin, nothing()).await.0, 409);
        assert_eq!(post("/evaluations/99/pin", &admin, nothing()).await.0, 404);
        assert_eq!(post("/evaluations/2/pin", &admin, nothing()).await.0, 200);
        assert_eq!(post("/evaluations/2/unpin", &admin, nothing()).await.0, 200);
        assert_eq!(post("/specs/staging/poll", &operator, nothing()).await.0, 200);
        assert_eq!(post("/specs/nowhere/poll", &admin, nothing()).await.0, 404);
        let failed = QueueFilter { state: Some(BuildState::Failed), ..QueueFilter::default() };
        let gcc = db.queue(&failed, 10).await.unwrap()[0].id;
        assert_eq!(post(&format!("/builds/{gcc}/retry"), &admin, nothing()).await.0, 200);
        assert_eq!(db.build(gcc).await.unwrap().unwrap().state, BuildState::Queued);
        assert_eq!(post(&format!("/builds/{gcc}/retry"), &admin, nothing()).await.0, 409, "it did not fail");
        let none = json!({ "done": "0 builds are queued again" });
        assert_eq!(post("/builds/retry", &admin, json!({ "spec": "master" })).await, (200, none));
        let why = json!({ "reason": "freeze" });
        assert_eq!(post("/pauses/spec/staging", &operator, why.clone()).await.0, 200);
        assert_eq!(post("/pauses/spec/staging", &operator, why.clone()).await.0, 409);
        assert_eq!(post("/pauses/system/x86_64-linux", &operator, why).await.0, 403, "that is the farm's");
        assert_eq!(post("/pauses/moon/full", &admin, nothing()).await.0, 404);
        for reason in ["a\0b", "two\nlines", &"x".repeat(501)] {
            let (status, answer) = post("/pauses/spec/master", &admin, json!({ "reason": reason })).await;
            assert_eq!(status, 422, "{answer}");
        }
        assert_eq!(
            post("/builds/retry?spec=master", &admin, nothing()).await.0,
            400,
            "filters stand in the body"
        );
        for name in ["cli:root", "anonymous", "", "\u{202e}x"] {
            assert_eq!(
                post("/tokens", &admin, json!({ "name": name, "role": "read" })).await.0,
                422,
                "{name:?}"
            );
        }
        let untyped = client.post(format!("{url}/api/v1/builds/retry")).bearer_auth(&admin).body("{}");
        assert_eq!(untyped.send().await.unwrap().status(), 415);
        let foreign = client.post(format!("{url}/api/v1/poll")).basic_auth("x", Some(&admin));
        let foreign = foreign.header("sec-fetch-site", "cross-site").send().await.unwrap();
        assert_eq!(foreign.status(), 403, "browsers send the password of HTTP Basic by themselves");
        let pauses: Value =
            client.get(format!("{url}/api/v1/pauses")).send().await.unwrap().json().await.unwrap();
        assert_eq!(pauses["items"][0]["reason"], "freeze");
        let (status, made) =
            post("/tokens", &admin, json!({ "name": "bot", "role": "trigger", "days": 7, "specs": [] }))
                .await;
        assert_eq!(status, 201, "{made}");
        let bot = made["token"].as_str().unwrap();
        assert_eq!(post("/poll", bot, nothing()).await.0, 200);
        assert_eq!(post(&format!("/tokens/{}/revoke", made["id"]), &admin, nothing()).await.0, 200);
        assert_eq!(post("/poll", bot, nothing()).await.0, 401);
        for body in [
            json!({ "name": "x", "role": "king" }),
            json!({ "name": "x", "role": "read", "days": "0" }),
            json!({ "name": "x", "role": "read", "specs": [1] }),
            json!({ "unknown": "x" }),
        ] {
            assert_eq!(post("/tokens", &admin, body).await.0, 422);
        }
        let form = with_form(client.post(format!("{url}/api/v1/poll")).bearer_auth(&admin), &[("spec", "")]);
        assert_eq!(form.send().await.unwrap().status(), 415, "a form of another site could be sent so");
        let audit: Value = client
            .get(format!("{url}/api/v1/audit"))
            .bearer_auth(&admin)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let lines: Vec<String> = audit["items"]
            .as_array()
            .unwrap()
            .iter()
            .rev()
            .filter(|entry| entry["author"] != "cli:test")
            .map(|entry| {
                format!("{} {} {}", entry["author"], entry["action"], entry["subject"]).replace('"', "")
            })
            .collect();
        insta::assert_snapshot!("audit", lines.join("\n"));
        stop.cancel();
    })
    .await;
}

/// Logs in; gives the secret of the session.
async fn session_of(url: &str, secret: &str) -> String {
    let answer = log_in(url, secret, "/").await;
    assert_eq!(answer.status(), 303);
    let cookie = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.contains("; HttpOnly; SameSite=Lax") && !cookie.contains("Secure"), "{cookie}");
    cookie.split(['=', ';']).nth(1).unwrap().to_owned()
}

/// A request with the fields of a form.
fn with_form(request: RequestBuilder, fields: &[(&str, &str)]) -> RequestBuilder {
    let escaped = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let pairs: Vec<String> =
        fields.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
    request.header("content-type", "application/x-www-form-urlencoded").body(pairs.join("&"))
}

async fn log_in(url: &str, secret: &str, back: &str) -> Response {
    let request = client().post(format!("{url}/login")).header("origin", url);
    with_form(request, &[("token", secret), ("back", back)]).send().await.unwrap()
}

#[tokio::test]
async fn a_browser_logs_in_changes_something_and_logs_out() {
    on_both(async |db| {
        a_farm(db).await;
        let (url, stop) = serving(db, false).await;
        let (id, secret) = token(db, Role::Admin, &[], None).await;
        let wrong = log_in(&url, "gorget_wrong", "/queue").await;
        assert_eq!(wrong.status(), 403);
        assert!(wrong.text().await.unwrap().contains("This token is not valid."));
        for (back, expected) in [
            ("/queue?spec=master", "/queue?spec=master"),
            ("//evil.example.org", "/"),
            ("/\t/evil.example.org", "/"),
            ("/\u{1}", "/"),
            ("https://evil", "/"),
        ] {
            assert_eq!(log_in(&url, &secret, back).await.headers()["location"], expected);
        }
        let stranger =
            with_form(client().post(format!("{url}/login")), &[("token", &secret)]).send().await.unwrap();
        assert_eq!(stranger.status(), 403, "another site logs nobody in");
        let session = session_of(&url, &secret).await;
        assert_eq!(log_in(&url, &session, "/").await.status(), 403, "a session begins no other");
        let (client, cookie) = (client(), format!("gorget={session}"));
        let get = async |path: &str| {
            client.get(format!("{url}{path}")).header("cookie", &cookie).send().await.unwrap()
        };
        let post = async |path: &str, fields: &[(&str, &str)]| {
            let request =
                client.post(format!("{url}{path}")).header("cookie", &cookie).header("origin", &url);
            with_form(request, fields).send().await.unwrap()
        };
        let overview = get("/").await.text().await.unwrap();
        assert!(
            overview.contains("a admin token") && overview.contains("/evaluations/3/approve"),
            "{overview}"
        );
        let done = post("/evaluations/3/approve", &[("back", "/")]).await;
        assert_eq!((done.status().as_u16(), done.headers()["location"].to_str().unwrap()), (303, "/"));
        let refused = post("/evaluations/3/approve", &[("back", "/")]).await;
        assert_eq!(refused.status(), 404);
        let page = refused.text().await.unwrap();
        assert!(page.contains("a admin token") && page.contains("Log out"), "{page}");
        assert!(
            page.contains("nothing of evaluation 3 awaits approval") && page.contains("gorget status"),
            "{page}"
        );
        let made =
            post("/admin/tokens", &[("name", "<b>bot"), ("role", "read"), ("specs", ""), ("days", "")]).await;
        assert_eq!(made.headers()["cache-control"], "no-store");
        let made = made.text().await.unwrap();
        assert!(made.contains("<pre>gorget_") && made.contains("&#60;b&#62;bot"), "{made}");
        assert!(!get("/admin/tokens").await.text().await.unwrap().contains("<pre>"), "it is shown once");
        assert!(get("/admin/audit").await.text().await.unwrap().contains("evaluation 3"));
        assert_eq!(
            client.get(format!("{url}/")).bearer_auth(&session).send().await.unwrap().status(),
            303,
            "it is no token"
        );
        let out = post("/logout", &[]).await;
        assert!(out.headers()["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
        assert_eq!(get("/").await.status(), 303, "the session is over");
        let cookie = format!("gorget={}", session_of(&url, &secret).await);
        assert!(db.revoke_token(id, &author(), NOW).await.unwrap());
        let revoked = client.get(format!("{url}/")).header("cookie", cookie).send().await.unwrap();
        assert_eq!(revoked.status(), 303, "its token is revoked");
        stop.cancel();
    })
    .await;
}

#[tokio::test]
async fn a_session_ends_when_nobody_uses_it() {
    on_both(async |db| {
        a_farm(db).await;
        let clock = Clock::manual(NOW);
        let (url, stop) = serve_web(Web::new(db.clone(), clock.clone())).await;
        let secret = token(db, Role::Read, &[], None).await.1;
        let client = client();
        // A request in a session; its use is written down beside.
        let get = async |session: &str| {
            let request = client.get(format!("{url}/")).header("cookie", format!("gorget={session}"));
            let status = request.send().await.unwrap().status().as_u16();
            let used = async || db.token(&secret::hash(session)).await.unwrap().and_then(|one| one.used_at);
            for _ in 0..100 {
                if status != 200 || used().await == Some(clock.now()) {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            panic!("its use is not written down");
        };
        let session = session_of(&url, &secret).await;
        for _ in 0..4 {
            assert_eq!(get(&session).await, 200);
            clock.advance(11 * 60 * 60);
        }
        assert_eq!(get(&session).await, 200, "it is used");
        clock.advance(12 * 60 * 60);
        assert_eq!(get(&session).await, 303, "it was idle");
        let session = session_of(&url, &secret).await;
        for _ in 0..15 {
            clock.advance(11 * 60 * 60);
            assert_eq!(get(&session).await, 200);
        }
        clock.advance(11 * 60 * 60);
        assert_eq!(get(&session).await, 303, "no session is older than a week");
        stop.cancel();
    })
    .await;
}

#[tokio::test]
async fn what_is_paused_is_neither_evaluated_nor_submitted() {
    on_both(async |db| {
        a_farm(db).await;
        let by = author();
        let actions = Actions { db, author: &by, now: NOW };
        actions.retry(gorget::db::EvaluationId(2)).await.unwrap();
        let host = Claimant { host: "one".to_owned(), ..Claimant::default() };
        let submissions = async || db.next_submissions("default", NOW, 100).await.unwrap().len();
        let all = submissions().await;
        assert!(all > 0);
        let waits = [
            (Pausable::Spec("master".to_owned()), 0),
            (Pausable::System("x86_64-linux".to_owned()), 0),
            (Pausable::Host("one".to_owned()), all),
        ];
        for (what, left) in waits {
            actions.pause(&what, "").await.unwrap();
            assert_eq!(db.claim_evaluation(&host, NOW).await.unwrap(), None, "{what:?}");
            assert_eq!(submissions().await, left, "{what:?}");
            actions.resume(&what).await.unwrap();
        }
        actions.pause(&Pausable::Submission, "").await.unwrap();
        assert_eq!(submissions().await, 0);
        actions.resume(&Pausable::Submission).await.unwrap();
        assert_eq!(submissions().await, all);
        actions.pause(&Pausable::Host("one".to_owned()), "").await.unwrap();
        let other = Claimant { host: "two".to_owned(), ..Claimant::default() };
        assert!(db.claim_evaluation(&other, NOW).await.unwrap().is_some(), "another host is not paused");
        assert!(actions.pause(&Pausable::Host("two".to_owned()), "").await.is_err(), "there is none");
    })
    .await;
}

#[tokio::test]
async fn the_command_line_makes_the_first_token_and_writes_down_what_it_does() {
    on_both_at(async |db, location| {
        a_farm(db).await;
        let farm = Farm::new(None);
        farm.at_database(location);
        let mut text = String::new();
        for words in [
            &["token", "create", "ada", "--role", "admin"][..],
            &["token", "create", "bot", "--role", "trigger", "--spec", "*-team", "--days", "7"],
            &["token", "create", "x", "--role", "king"],
            &["token", "revoke", "2"],
            &["token", "revoke", "2"],
            &["token", "list"],
            &["pause", "--spec", "master", "--reason", "freeze"],
            &["pause", "--spec", "master"],
            &["pause", "--spec", "nowhere"],
            &["pause", "--submission"],
            &["pause", "--spec", "master", "--submission"],
            &["status", "--spec", "master"],
            &["explain", "hello.x86_64-linux", "--spec", "master"],
            &["resume", "--spec", "master"],
            &["resume", "--spec", "master"],
            &["retry"],
            &["retry", "--builds", "--spec", "master"],
            &["pin", "2"],
            &["audit"],
        ] {
            let said = farm.say(words).await;
            if words.starts_with(&["token", "create"]) && said.code == Some(0) {
                assert!(secret::is_secret(said.data.trim()), "{}", said.data);
                assert!(db.token(&secret::hash(said.data.trim())).await.unwrap().is_some());
            }
            let data: Vec<&str> = said.data.lines().filter(|line| !line.starts_with("gorget_")).collect();
            let is_shown =
                |line: &&&str| !["status", "explain"].contains(&words[0]) || line.contains("paused");
            let data: Vec<&str> = data.iter().filter(is_shown).copied().collect();
            write!(
                text,
                "$ gorget {}\n{}\n{}\n",
                words.join(" "),
                settled(&data.join("\n")),
                settled(&said.talk)
            )
            .unwrap();
        }
        let user = db.audit(None, 1).await.unwrap().remove(0);
        let text = text.replace(&user.author, "cli:USER").replace(&user.origin, "HOST");
        let days = text.lines().map(|line| {
            let is_date = |word: &str| {
                word.len() == 10 && word.starts_with("20")
                    || word.len() == 8 && word.matches(':').count() == 2
            };
            line.split(' ')
                .map(|word| if is_date(word) { "DATE" } else { word })
                .collect::<Vec<_>>()
                .join(" ")
        });
        insta::assert_snapshot!("access_commands", days.collect::<Vec<_>>().join("\n"));
    })
    .await;
}

#[tokio::test]
async fn bodies_that_do_not_come_keep_nobody_from_pages() {
    on_both(async |db| {
        a_farm(db).await;
        let (url, stop) = serving(db, false).await;
        let place = url.trim_start_matches("http://").to_owned();
        let head = "POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 60000\r\nConnection: close\r\n\r\n";
        let mut slow = Vec::new();
        for _ in 0..10 {
            let mut stream = TcpStream::connect(&place).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            slow.push(stream);
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        for path in ["/login", "/assets/style.css", "/nix-cache-info"] {
            let begun = Instant::now();
            assert_eq!(reqwest::get(format!("{url}{path}")).await.unwrap().status(), 200, "{path}");
            assert!(begun.elapsed() < Duration::from_secs(2), "{path}: {:?}", begun.elapsed());
        }
        let mut answer = String::new();
        slow[0].read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
        stop.cancel();
    })
    .await;
}
