//! A stand-in for the Guix Build Coordinator's client port: real HTTP, and a memory of its builds.
//!
//! It is written from the description of the interface and shares nothing with the adapter.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A coordinator that listens, or has been stopped.
pub struct StandIn {
    address: SocketAddr,
    memory: Arc<Mutex<Memory>>,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

/// How it treats requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mood {
    /// As it should.
    #[default]
    Sound,
    /// It keeps the build, and its answer never arrives.
    LosesAnswers,
    /// It answers 500 and keeps nothing.
    Fails,
    /// It keeps the build at once, and answers after a while.
    Slow,
}

/// A build that it keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its UUID.
    pub uuid: String,
    pub derivation: String,
    pub priority: i64,
    pub tags: Vec<(String, String)>,
    pub substitute_urls: Vec<String>,
}

#[derive(Default)]
struct Memory {
    mood: Mood,
    builds: Vec<Held>,
    outputs: HashMap<String, HashSet<String>>,
    requests: usize,
}

impl StandIn {
    /// One that listens on a free port.
    pub async fn start() -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut stand_in = Self { address, memory: Arc::default(), running: None };
        stand_in.restart().await;
        stand_in
    }

    /// Its client address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it keeps, in the order in which it was taken.
    pub fn builds(&self) -> Vec<Held> {
        self.memory().builds.clone()
    }

    /// How many requests have reached it.
    pub fn requests(&self) -> usize {
        self.memory().requests
    }

    /// Changes how it treats requests from now on.
    pub fn feel(&self, mood: Mood) {
        self.memory().mood = mood;
    }

    /// Tells it what a derivation makes; it cannot read the store.
    pub fn know_outputs(&self, derivation: &str, outputs: &[&str]) {
        let outputs = outputs.iter().map(ToString::to_string).collect();
        self.memory().outputs.insert(derivation.to_owned(), outputs);
    }

    /// Nobody listens afterwards; what it keeps, it keeps.
    pub async fn stop(&mut self) {
        if let Some((stop, server)) = self.running.take() {
            let _ = stop.send(());
            server.await.expect("the server ends");
        }
    }

    /// Listens again, on the same port as before.
    pub async fn restart(&mut self) {
        self.stop().await;
        let listener = TcpListener::bind(self.address).await.expect("the port is free");
        self.address = listener.local_addr().expect("it has an address");
        let router = Router::new().route("/builds", post(submit)).with_state(self.memory.clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            axum::serve(listener, router).with_graceful_shutdown(stopped).await.expect("it serves");
        });
        self.running = Some((stop, server));
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().expect("nobody panicked with it")
    }
}

async fn submit(
    State(memory): State<Arc<Mutex<Memory>>>,
    headers: HeaderMap,
    body: String,
) -> (StatusCode, Json<Value>) {
    let (mood, answer) = {
        let mut memory = memory.lock().expect("nobody panicked with it");
        memory.requests += 1;
        let answer = match memory.mood {
            Mood::Fails => (StatusCode::INTERNAL_SERVER_ERROR, json!({ "error": "out of luck" })),
            Mood::Sound | Mood::LosesAnswers | Mood::Slow => match read(&headers, &body) {
                Err(fault) => (StatusCode::BAD_REQUEST, json!({ "error": fault })),
                Ok(wanted) => (StatusCode::OK, memory.take(wanted)),
            },
        };
        (memory.mood, answer)
    };
    match mood {
        // Ends the task that serves the connection, and with it the connection, without a word.
        Mood::LosesAnswers => resume_unwind(Box::new("the answer is lost")),
        Mood::Slow => tokio::time::sleep(Duration::from_millis(300)).await,
        Mood::Sound | Mood::Fails => {}
    }
    (answer.0, Json(answer.1))
}

/// A request whose fields are what they should be.
struct Wanted {
    build: Held,
    unless_derivation: bool,
    unless_outputs: bool,
}

impl Memory {
    fn take(&mut self, wanted: Wanted) -> Value {
        let Wanted { mut build, unless_derivation, unless_outputs } = wanted;
        if unless_derivation && self.builds.iter().any(|held| held.derivation == build.derivation) {
            return json!({ "no-build-submitted": "build-already-exists-for-this-derivation" });
        }
        let makes_the_same =
            |held: &Held| match (self.outputs.get(&held.derivation), self.outputs.get(&build.derivation)) {
                (Some(one), Some(other)) => !one.is_disjoint(other),
                _ => false,
            };
        if unless_outputs && self.builds.iter().any(makes_the_same) {
            return json!({ "no-build-submitted": "build-already-exists-for-a-output" });
        }
        build.uuid = format!("00000000-0000-4000-8000-{:012x}", self.builds.len() + 1);
        let answer = json!({ "build-submitted": build.uuid });
        self.builds.push(build);
        answer
    }
}

fn read(headers: &HeaderMap, body: &str) -> Result<Wanted, String> {
    if headers.get("content-type").is_none_or(|kind| kind != "application/json") {
        return Err("the content type is not application/json".to_owned());
    }
    let body: Value = serde_json::from_str(body).map_err(|error| error.to_string())?;
    let body = body.as_object().ok_or("not an object")?;
    let derivation = text(body.get("derivation").unwrap_or(&Value::Null), "derivation")?;
    if !derivation.starts_with("/gnu/store/") || derivation.strip_suffix(".drv").is_none() {
        return Err(format!("cannot read {derivation}"));
    }
    let priority = match body.get("priority") {
        None => 0,
        Some(priority) => priority.as_i64().ok_or("priority: not a whole number")?,
    };
    let tags = list(body, "tags")?.iter().map(tag).collect::<Result<_, _>>()?;
    let urls = list(body, "substitute-urls")?.iter().map(|url| text(url, "substitute-urls"));
    let substitute_urls = urls.collect::<Result<_, _>>()?;
    Ok(Wanted {
        build: Held { uuid: String::new(), derivation, priority, tags, substitute_urls },
        unless_derivation: flag(body, "ignore-if-build-for-derivation-exists")?,
        unless_outputs: flag(body, "ignore-if-build-for-outputs-exists")?,
    })
}

fn text(value: &Value, name: &str) -> Result<String, String> {
    value.as_str().map(ToOwned::to_owned).ok_or_else(|| format!("{name}: not a string"))
}

fn list<'a>(body: &'a Map<String, Value>, name: &str) -> Result<&'a [Value], String> {
    match body.get(name) {
        None => Ok(&[]),
        Some(list) => list.as_array().map(Vec::as_slice).ok_or_else(|| format!("{name}: not an array")),
    }
}

fn tag(tag: &Value) -> Result<(String, String), String> {
    match tag.as_object() {
        Some(pair) if pair.len() == 2 && pair.contains_key("key") && pair.contains_key("value") => {
            Ok((text(&pair["key"], "a tag's key")?, text(&pair["value"], "a tag's value")?))
        }
        _ => Err("tags: not a key and a value".to_owned()),
    }
}

fn flag(body: &Map<String, Value>, name: &str) -> Result<bool, String> {
    match body.get(name) {
        None => Ok(false),
        Some(flag) => flag.as_bool().ok_or_else(|| format!("{name}: neither true nor false")),
    }
}
