//! What a coordinator tells of builds moves them on, however often and in whatever order it does.

use gorget::clock::Clock;
use gorget::config::Listen;
use gorget::db::{BuildState, Db, QueueFilter};
use gorget::web::{EventSource, Listener, Token, Web, serve};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::{evaluate, hash, on_both, only_spec, spec, spec_id};

/// A farm with builds of `gcc1` and `vim1`, and the address at which it takes events.
async fn farm(db: &Db) -> (String, CancellationToken) {
    let master = only_spec(db, spec("master")).await;
    let id = evaluate(db, master, "a", &[("gcc", "gcc1"), ("vim", "vim1")]).await;
    db.queue_builds(id, BuildState::Queued, 500).await.unwrap();
    let listener = Listener::bind(&Listen::Address("127.0.0.1:0".to_owned())).await.unwrap();
    let (url, stop) = (listener.place(), CancellationToken::new());
    let web = Web { event_sources: event_sources(), ..Web::new(db.clone(), Clock::manual(1000)) };
    tokio::spawn(serve(listener, web, stop.clone()));
    (format!("{url}/build-server/1/build-events"), stop)
}

/// One that may use any number but that of another one.
fn event_sources() -> Vec<EventSource> {
    let source = |name: &str, id, word| EventSource {
        coordinator: name.to_owned(),
        id,
        token: Token::new(word),
        asks_about_failures: id.is_some(),
    };
    vec![source("default", None, "s3cret"), source("other", Some(2), "0ther")]
}

fn event(word: &str, name: &str, event: &str) -> Value {
    let derivation = format!("/gnu/store/{}-{word}.drv", hash(word));
    json!({ "type": "build", "build_id": name, "derivation": derivation, "event": event, "timestamp": 1_644_400_000 })
}

/// Sends a body, and gives the code and the error of the answer.
async fn post(url: &str, body: String) -> (StatusCode, Value) {
    let answer = reqwest::Client::new().post(url).body(body).send().await.unwrap();
    let code = answer.status();
    let text = answer.text().await.unwrap();
    (code, serde_json::from_str::<Value>(&text).map_or(Value::Null, |mut answer| answer["error"].take()))
}

async fn tell(url: &str, items: &[Value]) {
    let url = format!("{url}?token=s3cret");
    let told = post(&url, json!({ "items": items }).to_string()).await;
    assert_eq!(told, (StatusCode::NO_CONTENT, Value::Null));
}

/// State and name at the coordinator of both builds.
async fn states(db: &Db) -> Vec<(BuildState, Option<String>)> {
    let builds = db.queue(&QueueFilter::default(), 10).await.unwrap();
    builds.into_iter().map(|build| (build.state, build.reference)).collect()
}

#[tokio::test]
async fn builds_go_from_scheduled_to_their_end_and_hear_everything_once() {
    on_both(async |db| {
        let (url, stop) = farm(db).await;
        tell(&url, &[event("gcc1", "a", "scheduled"), event("vim1", "b", "started")]).await;
        let named = |name: &str| Some(name.to_owned());
        assert_eq!(
            states(db).await,
            [(BuildState::Submitted, named("a")), (BuildState::Building, named("b"))],
            "even if the answer to the submission was lost"
        );
        // The news of a start come late, and twice.
        tell(&url, &[event("gcc1", "a", "succeeded")]).await;
        tell(&url, &[event("gcc1", "a", "started"), event("vim1", "b", "failed")]).await;
        tell(&url, &[event("gcc1", "a", "started"), event("gcc1", "a", "succeeded")]).await;
        assert_eq!(
            states(db).await.iter().map(|(state, _)| *state).collect::<Vec<_>>(),
            [BuildState::Succeeded, BuildState::Failed]
        );
        let gcc = &db.queue(&QueueFilter::default(), 10).await.unwrap()[0];
        let events = db.build_events(gcc.id).await.unwrap();
        let words: Vec<_> = events.iter().map(|event| (event.attempt.word(), event.happened_at)).collect();
        let at = Some(1_644_400_000);
        assert_eq!(words, [("scheduled", at), ("succeeded", at), ("started", at)]);

        // A second attempt at what failed.
        tell(&url, &[event("vim1", "c", "scheduled")]).await;
        assert_eq!(states(db).await[1], (BuildState::Submitted, named("c")));
        tell(&url, &[event("vim1", "c", "failed-other"), event("vim1", "d", "succeeded")]).await;
        assert_eq!(states(db).await[1].0, BuildState::Succeeded);
        stop.cancel();
    })
    .await;
}

#[tokio::test]
async fn a_canceled_build_is_queued_when_it_is_wanted_again() {
    on_both(async |db| {
        let (url, stop) = farm(db).await;
        let master = spec_id(db, "master").await;
        tell(&url, &[event("gcc1", "a", "canceled"), event("vim1", "b", "failed")]).await;
        evaluate(db, master, "b", &[("vim", "vim1")]).await;
        let id = evaluate(db, master, "c", &[("gcc", "gcc1"), ("vim", "vim1")]).await;
        assert_eq!(db.queue_builds(id, BuildState::Queued, 600).await.unwrap(), 1);
        assert_eq!(states(db).await[0], (BuildState::Queued, None));
        tell(&url, &[event("gcc1", "a", "canceled")]).await;
        assert_eq!(states(db).await[0].0, BuildState::Queued, "that is old news");
        tell(&url, &[event("gcc1", "c", "scheduled")]).await;
        assert_eq!(states(db).await[0].0, BuildState::Submitted);
        stop.cancel();
    })
    .await;
}

#[tokio::test]
async fn what_is_wrong_is_told_and_changes_nothing() {
    on_both(async |db| {
        let (url, stop) = farm(db).await;
        let good = event("gcc1", "a", "started");
        let with_token = format!("{url}?token=s3cret");
        let of = |items: Value| json!({ "items": items }).to_string();
        let wrong = |code: StatusCode, error: &str| (code, Value::from(error));
        let bad = |error| wrong(StatusCode::BAD_REQUEST, error);
        assert_eq!(post(&url, of(json!([good]))).await, bad("no token provided"));
        let guess = format!("{url}?token=secret");
        assert_eq!(post(&guess, of(json!([good]))).await, wrong(StatusCode::FORBIDDEN, "error"));
        for (body, error) in [
            ("{", "could not parse body as JSON"),
            ("{}", "missing items key"),
            (r#"{"items": []}"#, "no items to process"),
        ] {
            assert_eq!(post(&with_token, body.to_owned()).await, bad(error), "{body}");
        }
        for (name, value) in [
            ("derivation", json!("/etc/passwd")),
            ("derivation", Value::Null),
            ("build_id", json!("\u{1b}[2J")),
            ("build_id", json!({})),
            ("event", json!(7)),
        ] {
            let mut broken = good.clone();
            broken[name] = value;
            let (code, error) = post(&with_token, of(json!([good, broken]))).await;
            assert_eq!(code, StatusCode::BAD_REQUEST, "{broken}");
            assert!(error.as_str().unwrap().starts_with("item 1: "), "{error}");
        }
        assert_eq!(states(db).await, [(BuildState::Queued, None), (BuildState::Queued, None)]);

        let mut other = good.clone();
        other["type"] = json!("agent");
        let mut timeless = good;
        timeless["timestamp"] = json!(false);
        timeless["newer"] = json!(["key"]);
        tell(&url, &[other, event("sdl9", "x", "started"), event("vim1", "y", "exploded"), timeless]).await;
        assert_eq!(states(db).await[0].0, BuildState::Building);
        assert_eq!(states(db).await[1].0, BuildState::Queued);
        stop.cancel();
    })
    .await;
}
