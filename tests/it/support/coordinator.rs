//! A stand-in for the Guix Build Coordinator's client port: real HTTP, and a memory of its builds.
//!
//! It is written from the description of the interface and shares nothing with the adapter.

use std::collections::{HashMap, HashSet};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Map, Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::{Notify, broadcast, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::io::ReaderStream;

use crate::support::{Dice, Port};

/// A coordinator that listens, or has been stopped.
pub struct StandIn {
    port: Port,
    memory: Shared,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

/// How it treats requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mood {
    /// As it should.
    #[default]
    Sound,
    /// It does what was asked, and its answer never arrives.
    LosesAnswers,
    /// It answers 500 and does nothing.
    Fails,
    /// It does what was asked at once, and answers after a while.
    Slow,
    /// It tells everything twice, and what was before once more.
    Repeats,
    /// It does what was asked at once, and answers when it feels otherwise.
    KeepsAnswers,
    /// Of each request it is drawn by lot, from this seed, whether it is as it should be, loses its answer, or fails.
    Fickle(u64),
}

/// A build that it keeps.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Held {
    /// Its UUID.
    pub uuid: String,
    pub derivation: String,
    pub priority: i64,
    pub tags: Vec<(String, String)>,
    pub substitute_urls: Vec<String>,
    pub canceled: bool,
    pub started: bool,
    /// The agent that began it last, if that has a name.
    pub agent: Option<String>,
    /// Whether it succeeded, once it has come to its end.
    pub result: Option<bool>,
    /// How often no agent could set it up.
    pub setup_failures: usize,
}

#[derive(Default)]
struct Memory {
    mood: watch::Sender<Mood>,
    /// Rings when an answer is kept back.
    keeps: Arc<Notify>,
    dice: Dice,
    builds: Vec<Held>,
    outputs: HashMap<String, HashSet<String>>,
    /// The tags of agents, by their names.
    agents: HashMap<String, Vec<(String, String)>>,
    inputs: HashMap<String, HashSet<String>>,
    submissions: usize,
    /// Makes its names of builds differ from those of others.
    port: u16,
    /// What it told since it was started: name and data.
    events: Vec<(&'static str, Value)>,
    listeners: Option<broadcast::Sender<()>>,
    silent: bool,
}

type Shared = Arc<Mutex<Memory>>;
type Answer = (StatusCode, Json<Value>);

impl StandIn {
    /// One that listens on a free port.
    pub async fn start() -> Self {
        let mut stand_in = Self { port: Port::free(), memory: Arc::default(), running: None };
        stand_in.memory().port = stand_in.port.address.port();
        stand_in.restart().await;
        stand_in
    }

    /// Its client address.
    pub fn url(&self) -> String {
        format!("http://{}", self.port.address)
    }

    /// What it keeps, in the order in which it was taken.
    pub fn builds(&self) -> Vec<Held> {
        self.memory().builds.clone()
    }

    /// How many submissions have reached it.
    pub fn submissions(&self) -> usize {
        self.memory().submissions
    }

    /// Changes how it treats requests from now on.
    pub fn feel(&self, mood: Mood) {
        let mut memory = self.memory();
        memory.keeps = Arc::default();
        if let Mood::Fickle(seed) = mood {
            memory.dice = Dice(seed);
        }
        memory.mood.send_replace(mood);
    }

    /// Returns when it has done what was asked, and keeps the answer back.
    pub async fn has_something_to_answer(&self) {
        let keeps = Arc::clone(&self.memory().keeps);
        keeps.notified().await;
    }

    /// What it told by itself since it was started: names and data of its events.
    pub fn told(&self) -> Vec<(&'static str, Value)> {
        self.memory().events.clone()
    }

    /// From now on it has no events, as some may have none.
    pub fn fall_silent(&self) {
        self.memory().silent = true;
    }

    /// Tells it what a derivation makes; it cannot read the store.
    pub fn know_outputs(&self, derivation: &str, outputs: &[&str]) {
        let outputs = outputs.iter().map(ToString::to_string).collect();
        self.memory().outputs.insert(derivation.to_owned(), outputs);
    }

    /// Tells it what a derivation needs.
    pub fn know_inputs(&self, derivation: &str, inputs: &[&str]) {
        let inputs = inputs.iter().map(ToString::to_string).collect();
        self.memory().inputs.insert(derivation.to_owned(), inputs);
    }

    /// An agent begins the newest build of what is called `name`.
    pub fn begin(&self, name: &str) {
        self.change(name, "build-started", |build| build.started = true);
    }

    /// It has an agent called `name` with these tags.
    pub fn know_agent(&self, name: &str, tags: &[(&str, &str)]) {
        let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        self.memory().agents.insert(name.to_owned(), tags);
    }

    /// An agent asks for the newest build of what is called `name`, and begins it if it may: one that has
    /// tags gets only builds that have the same.
    pub fn begin_at(&self, name: &str, agent: &str) -> bool {
        let mut allowed = false;
        let tags = self.memory().agents[agent].clone();
        self.change(name, "build-started", |build| {
            allowed = tags.iter().all(|tag| build.tags.contains(tag));
            if allowed {
                build.started = true;
                build.agent = Some(agent.to_owned());
            }
        });
        allowed
    }

    /// The newest build of what is called `name` comes to its end.
    pub fn finish(&self, name: &str, success: bool) {
        let event = if success { "build-success" } else { "build-failure" };
        self.change(name, event, |build| build.result = Some(success));
    }

    /// Somebody else gives it up there.
    pub fn cancel(&self, name: &str) {
        self.change(name, "build-canceled", |build| build.canceled = true);
    }

    /// An agent cannot set it up.
    pub fn fail_setup(&self, name: &str) {
        self.change(name, "build-setup-failure", |build| build.setup_failures += 1);
    }

    /// Its disk is lost.
    pub fn forget_everything(&self) {
        self.memory().builds.clear();
    }

    fn change(&self, name: &str, event: &'static str, how: impl FnOnce(&mut Held)) {
        let mut memory = self.memory();
        let ending = format!("-{name}.drv");
        let found = memory.builds.iter_mut().rev().find(|held| held.derivation.ends_with(&ending));
        let build = found.unwrap_or_else(|| panic!("it has no {name}"));
        how(build);
        let data = json!({ "build_id": build.uuid, "agent_id": "a" });
        memory.tell(event, data);
    }

    /// Nobody listens afterwards; what it keeps, it keeps.
    pub async fn stop(&mut self) {
        if let Some((stop, server)) = self.running.take() {
            let _ = stop.send(());
            self.memory().listeners = None;
            server.await.expect("the server ends");
        }
    }

    /// Listens again, on the same port as before. What it told before, it does not know any more.
    pub async fn restart(&mut self) {
        self.stop().await;
        let listener = listen(self.port.address).await;
        {
            let mut memory = self.memory();
            memory.events.clear();
            memory.listeners = Some(broadcast::channel(64).0);
        }
        let router = Router::new()
            .route("/builds", post(submit))
            .route("/build/{uuid}", get(show))
            .route("/build/{uuid}/cancel", post(cancel))
            .route("/agent/{uuid}", get(show_agent))
            .route("/build/{uuid}/update-priority", post(update_priority))
            .route("/output/{*path}", get(makers))
            .layer(from_fn_with_state(self.memory.clone(), be_moody))
            .route("/events", get(events))
            .with_state(self.memory.clone());
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
        lock(&self.memory)
    }
}

/// Listens where somebody may just have ended to. A process that some other story begins at this moment has that one's
/// socket as well, until it has become its program.
async fn listen(address: SocketAddr) -> TcpListener {
    for _ in 0..1000 {
        match TcpListener::bind(address).await {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                std::thread::sleep(Duration::from_millis(2));
            }
            listener => return listener.expect("an address of this machine"),
        }
    }
    panic!("somebody else listens at {address}");
}

fn lock(memory: &Shared) -> MutexGuard<'_, Memory> {
    memory.lock().expect("nobody panicked with it")
}

async fn be_moody(State(memory): State<Shared>, request: Request, next: Next) -> Response {
    let mood = lock(&memory).mood_now();
    if mood == Mood::Fails {
        let mut answer = Response::new(Body::from(json!({ "error": "out of luck" }).to_string()));
        *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        return answer;
    }
    let answer = next.run(request).await;
    match mood {
        // Ends the task that serves the connection, and with it the connection, without a word.
        Mood::LosesAnswers => resume_unwind(Box::new("the answer is lost")),
        Mood::Slow => tokio::time::sleep(Duration::from_millis(300)).await,
        Mood::KeepsAnswers => {
            let mut moods = lock(&memory).mood.subscribe();
            lock(&memory).keeps.notify_one();
            let _ = moods.wait_for(|mood| *mood != Mood::KeepsAnswers).await;
        }
        Mood::Sound | Mood::Fails | Mood::Repeats | Mood::Fickle(_) => {}
    }
    answer
}

async fn submit(State(memory): State<Shared>, headers: HeaderMap, body: String) -> Answer {
    let mut memory = lock(&memory);
    memory.submissions += 1;
    match read(&headers, &body) {
        Err(fault) => (StatusCode::BAD_REQUEST, Json(json!({ "error": fault }))),
        Ok(wanted) => (StatusCode::OK, Json(memory.take(wanted))),
    }
}

fn unknown() -> Answer {
    (StatusCode::NOT_FOUND, Json(json!({ "error": "no build found" })))
}

async fn show(State(memory): State<Shared>, Path(uuid): Path<String>) -> Answer {
    let memory = lock(&memory);
    let build = memory.builds.iter().find(|held| held.uuid == uuid);
    build.map_or_else(unknown, |build| (StatusCode::OK, Json(description(build))))
}

async fn show_agent(State(memory): State<Shared>, Path(uuid): Path<String>) -> Answer {
    let memory = lock(&memory);
    let Some(tags) = memory.agents.get(&uuid) else { return unknown() };
    let tags: Vec<Value> = tags.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
    (StatusCode::OK, Json(json!({ "uuid": uuid, "active": true, "tags": tags })))
}

async fn makers(State(memory): State<Shared>, Path(path): Path<String>) -> Answer {
    let (memory, path) = (lock(&memory), format!("/{path}"));
    let makes = |held: &&Held| memory.outputs.get(&held.derivation).is_some_and(|set| set.contains(&path));
    let short = |held: &Held| {
        let mut build = description(held);
        build.as_object_mut().expect("it is one").retain(|key, _| key != "tags" && key != "starts");
        build
    };
    let builds: Vec<Value> = memory.builds.iter().filter(makes).map(short).collect();
    (StatusCode::OK, Json(json!({ "builds": builds })))
}

async fn cancel(State(memory): State<Shared>, Path(uuid): Path<String>) -> Answer {
    let mut memory = lock(&memory);
    let Some(place) = memory.builds.iter().position(|held| held.uuid == uuid) else { return unknown() };
    let build = memory.builds[place].clone();
    let waiting = |held: &&Held| !held.canceled && held.result.is_none();
    let needs = |held: &Held| {
        memory.inputs.get(&held.derivation).is_some_and(|inputs| inputs.contains(&build.derivation))
    };
    let result = if build.canceled {
        "already-canceled"
    } else if build.result.is_some() {
        "already-processed"
    } else if memory.builds.iter().filter(waiting).any(needs) {
        "skipped-as-build-required"
    } else {
        memory.builds[place].canceled = true;
        memory.tell("build-canceled", json!({ "id": uuid }));
        "build-canceled"
    };
    (StatusCode::OK, Json(json!({ "result": result })))
}

async fn update_priority(
    State(memory): State<Shared>,
    Path(uuid): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    let mut memory = lock(&memory);
    let Some(priority) = query.get("new_priority").and_then(|text| text.parse().ok()) else {
        return (StatusCode::BAD_REQUEST, Json(json!({ "error": "new_priority: not a whole number" })));
    };
    let Some(build) = memory.builds.iter_mut().find(|held| held.uuid == uuid) else { return unknown() };
    build.priority = priority;
    (StatusCode::OK, Json(json!({ "result": "ok" })))
}

fn description(build: &Held) -> Value {
    let tags: Vec<Value> =
        build.tags.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
    let starts: Vec<Value> = build
        .started
        .then(|| json!({ "agent-id": build.agent.as_deref().unwrap_or("a"), "time": "2026-01-02 03:04:05" }))
        .into_iter()
        .collect();
    let failure = json!({ "agent-id": "a", "failure-reason": "missing_inputs" });
    let mut text = json!({
        "uuid": build.uuid, "derivation-name": build.derivation, "priority": build.priority,
        "processed": build.result.is_some(), "canceled": build.canceled, "tags": tags, "starts": starts,
        "created-at": "2026-01-02 03:00:00", "setup-failures": vec![failure; build.setup_failures],
    });
    if let Some(success) = build.result {
        text["result"] = if success { "success" } else { "failure" }.into();
        text["end-time"] = "2026-01-02 03:14:05".into();
    }
    text
}

async fn events(State(memory): State<Shared>, headers: HeaderMap) -> Result<Response, StatusCode> {
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse::<usize>().ok());
    let (mut told, mut bell) = {
        let memory = lock(&memory);
        if memory.silent {
            return Err(StatusCode::NOT_FOUND);
        }
        let listeners = memory.listeners.as_ref().ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
        (last.unwrap_or(memory.events.len()), listeners.subscribe())
    };
    let (reader, mut writer) = tokio::io::duplex(1 << 16);
    tokio::spawn(async move {
        loop {
            let text: String = {
                let memory = lock(&memory);
                let repeats = *memory.mood.borrow() == Mood::Repeats;
                let from = if repeats { 0 } else { told.min(memory.events.len()) };
                let times = if repeats { 2 } else { 1 };
                told = memory.events.len();
                let news = memory.events[from..].iter().enumerate();
                let line = |(number, (name, data)): (usize, &(&str, Value))| {
                    let id = from + number + 1;
                    format!("id: {id}\nevent: {name}\ndata: {data}\n\n").repeat(times)
                };
                news.map(line).collect()
            };
            if writer.write_all(text.as_bytes()).await.is_err() {
                return;
            }
            if let Err(broadcast::error::RecvError::Closed) = bell.recv().await {
                return;
            }
        }
    });
    let answer = Response::builder().header("content-type", "text/event-stream");
    Ok(answer.body(Body::from_stream(ReaderStream::new(reader))).expect("it is one"))
}

/// A request whose fields are what they should be.
struct Wanted {
    build: Held,
    unless_derivation: bool,
    unless_outputs: bool,
}

impl Memory {
    /// How it treats the request that has just come.
    fn mood_now(&mut self) -> Mood {
        let mood = *self.mood.borrow();
        match mood {
            Mood::Fickle(_) => match self.dice.roll(3) {
                0 => Mood::Sound,
                1 => Mood::LosesAnswers,
                _ => Mood::Fails,
            },
            mood => mood,
        }
    }

    fn take(&mut self, wanted: Wanted) -> Value {
        let Wanted { mut build, unless_derivation, unless_outputs } = wanted;
        let alive = || self.builds.iter().filter(|held| !held.canceled);
        if unless_derivation && alive().any(|held| held.derivation == build.derivation) {
            return json!({ "no-build-submitted": "build-already-exists-for-this-derivation" });
        }
        let makes_the_same =
            |held: &Held| match (self.outputs.get(&held.derivation), self.outputs.get(&build.derivation)) {
                (Some(one), Some(other)) => !one.is_disjoint(other),
                _ => false,
            };
        if unless_outputs && alive().any(makes_the_same) {
            return json!({ "no-build-submitted": "build-already-exists-for-a-output" });
        }
        build.uuid = format!("{:08x}-0000-4000-8000-{:012x}", self.port, self.submissions);
        let answer = json!({ "build-submitted": build.uuid });
        self.tell("build-submitted", json!({ "id": build.uuid, "derivation": build.derivation }));
        self.builds.push(build);
        answer
    }

    fn tell(&mut self, name: &'static str, data: Value) {
        self.events.push((name, data));
        if let Some(listeners) = &self.listeners {
            let _ = listeners.send(());
        }
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
        build: Held { derivation, priority, tags, substitute_urls, ..Held::default() },
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
