//! A farm that serves an honest client while a hostile channel is evaluated.
//!
//! The program itself runs beside a client that asks for a page of the server and a narinfo, posts an
//! event as a coordinator does, and watches the host's heartbeat. Every answer has to arrive within a
//! second, and the program's own memory has to stay below a ceiling, whatever the channel does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use git2::Oid;
use gorget::db::Db;
use gorget::guix::store_path::StorePath;
use gorget::sandbox::Process;
use reqwest::Client;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::program::Farm;
use super::{Answers, LATEST, Port};
use crate::repository::Remote;

/// The most memory that the program itself may hold at any time, in bytes.
const CEILING: u64 = 300 << 20;
/// A host renews its lease every ten seconds; two that are missing would be noticed.
const HEARTBEAT: i64 = 20;
/// SIGTERM ends the program within this time.
const STOP: Duration = Duration::from_secs(10);
/// A story that takes longer than this hangs.
const PATIENCE: Duration = Duration::from_mins(8);

/// What a hostile channel is made of.
pub struct Story {
    pub name: &'static str,
    /// Code of the module `(evil packages)`, after a prelude that defines `good` and `fine`.
    pub code: String,
    /// Other files at the top of the channel: mode, name and content.
    pub files: Vec<(&'static str, String, Vec<u8>)>,
    /// More files, with a second commit.
    pub second: Vec<(&'static str, String, Vec<u8>)>,
    /// The spec's `build`, in TOML.
    pub build: String,
    /// Other lines of the spec.
    pub options: &'static str,
    /// How the evaluation ends.
    pub end: End,
}

/// How the evaluation of a hostile channel ends.
pub enum End {
    /// The packages `good` and `fine` have the derivations that they have in a channel that means no harm.
    Whole,
    /// It ends: all of the revision is at fault, so all of it may fail.
    Ends,
    /// Its revision cannot be evaluated, and the reason holds this text.
    Fails(&'static str),
}

impl Story {
    /// The packages `good`, `bad` and `fine` of a channel with this code.
    pub fn new(name: &'static str, code: impl Into<String>) -> Self {
        Self {
            name,
            code: code.into(),
            files: Vec::new(),
            second: Vec::new(),
            build: r#"{ packages = ["good", "bad", "fine"] }"#.to_owned(),
            options: "",
            end: End::Whole,
        }
    }

    /// The channel as a repository, at its first commit.
    fn repository(&self) -> Remote {
        let remote = Remote::new();
        let commit = self.commit(&remote, None);
        remote.set("main", Some(&commit));
        remote
    }

    /// Commits the channel; with a parent, its second commit.
    fn commit(&self, remote: &Remote, parent: Option<&str>) -> String {
        let module = format!("{}\n{}", super::hostile::PRELUDE, self.code);
        let mut inner = vec![("100644", b"packages.scm".to_vec(), remote.blob(module))];
        let mut outer: Vec<(&str, Vec<u8>, Oid)> = Vec::new();
        let second = if parent.is_some() { &self.second[..] } else { &[] };
        for (mode, name, content) in self.files.iter().chain(second) {
            let blob = remote.blob(content);
            match name.strip_prefix("evil/") {
                Some(name) => inner.push((mode, name.as_bytes().to_vec(), blob)),
                None => outer.push((mode, name.as_bytes().to_vec(), blob)),
            }
        }
        outer.push(("40000", b"evil".to_vec(), tree(remote, inner)));
        remote.commit_tree(tree(remote, outer), parent)
    }

    fn spec(&self, remote: &Remote) -> String {
        format!(
            "build = {}\nevery = \"10s\"\nfirst = \"queue\"\n{}\n[[channel]]\nname = \"evil\"\nurl = \"{}\"\nbranch = \"main\"\n",
            self.build,
            self.options,
            remote.url()
        )
    }
}

/// A tree of these entries in Git's order.
fn tree(remote: &Remote, mut entries: Vec<(&str, Vec<u8>, Oid)>) -> Oid {
    entries.sort_by_key(|(mode, name, _)| {
        let mut key = name.clone();
        if *mode == "40000" {
            key.push(b'/');
        }
        key
    });
    let entries: Vec<_> = entries.iter().map(|(mode, name, id)| (*mode, &name[..], *id)).collect();
    remote.tree(&entries)
}

/// A running farm with one innocent channel, evaluated, and an honest client.
pub struct Siege {
    farm: Farm,
    url: String,
    process: Process,
    db: Db,
    client: Client,
    answers: Answers,
    /// Jobs and derivations of the innocent channel.
    innocent: BTreeMap<String, String>,
    narinfo: String,
    event: String,
    /// Nobody has any business here.
    outside: TempDir,
}

impl Siege {
    /// Starts a farm and has an innocent channel evaluated.
    pub async fn begin() -> Self {
        let farm = Farm::new(None);
        let port = Port::free();
        let evaluate = "memory = \"2G\"\npackage-time = \"10s\"\nevaluation-time = \"3m\"\n";
        farm.configure_evaluate(evaluate);
        farm.configure(&format!("[web]\nlisten = \"{}\"\n", port.address));
        let url = format!("http://{}", port.address);
        let innocent =
            Story { build: r#"{ packages = ["good", "fine"] }"#.to_owned(), ..Story::new("innocent", "") };
        let remote = innocent.repository();
        farm.spec("innocent", &innocent.spec(&remote));
        let mut process = farm.start(&[]);
        farm.until(&mut process, |status| is_evaluated(status, "innocent", 1)).await;
        let db = farm.db().await;
        let jobs = jobs(&db, &farm, "innocent").await;
        assert_eq!(jobs.len(), 2, "{jobs:?}");
        let derivation = StorePath::parse(jobs["good.x86_64-linux"].as_bytes()).unwrap();
        let token = std::fs::read_to_string(farm.state().join("events-token")).unwrap();
        let token = token.trim();
        Self {
            narinfo: format!("{url}/{}.narinfo", derivation.hash_text()),
            event: format!("{url}/build-server/1/build-events?token={token}"),
            client: Client::builder().timeout(LATEST).build().unwrap(),
            answers: Answers::default(),
            outside: tempfile::tempdir().unwrap(),
            innocent: jobs,
            farm,
            url,
            process,
            db,
        }
    }

    /// A directory of the host that no evaluation has any business with.
    pub fn outside(&self) -> &Path {
        self.outside.path()
    }

    /// Has the story's channel evaluated, ends the program in the middle of that and starts it again, and
    /// checks everything that has to hold.
    pub async fn tell(&mut self, story: &Story) {
        let before = files(self.outside());
        let remote = story.repository();
        self.farm.spec(story.name, &story.spec(&remote));
        if !story.second.is_empty() {
            self.evaluated(story, 1).await;
            let tip = remote.git.refname_to_id("refs/heads/main").unwrap().to_string();
            let second = story.commit(&remote, Some(&tip));
            remote.set("main", Some(&second));
            self.farm.say(&["poll", story.name]).await;
        }
        let commits = if story.second.is_empty() { 1 } else { 2 };
        self.stop_in_the_middle(story, commits).await;
        self.evaluated(story, commits).await;
        self.check(story).await;
        assert_eq!(files(self.outside()), before, "{}: a file of the host was written", story.name);
        std::fs::remove_file(self.farm.spec_file(story.name)).unwrap();
    }

    /// Puts a figure into the output of the test.
    #[expect(clippy::print_stderr, reason = "figures are shown with the tests' output")]
    fn note(figure: &str) {
        eprintln!("{figure}");
    }

    /// SIGTERM while the hostile channel is evaluated, or, if that is soon over, after it.
    async fn stop_in_the_middle(&mut self, story: &Story, commits: usize) {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(40) {
            let status = self.probe(story).await;
            let running = evaluations(&status, story.name).any(|state| state == "running");
            if running && begun.elapsed() > Duration::from_secs(5) || is_over(&status, story.name, commits) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let pid = i32::try_from(self.process.id().unwrap()).unwrap();
        let stopped = Instant::now();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
        let ended = tokio::time::timeout(STOP, self.process.ended()).await;
        assert!(ended.is_ok(), "{}: SIGTERM did not end the program within {STOP:?}", story.name);
        Self::note(&format!("{}: SIGTERM took {:?}", story.name, stopped.elapsed()));
        self.process = self.farm.start(&[]);
        let waited = Instant::now();
        while self.client.get(format!("{}/nix-cache-info", self.url)).send().await.is_err() {
            assert!(waited.elapsed() < Duration::from_secs(20), "{}: it does not start again", story.name);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until the spec's newest revision has been evaluated, and asks all the time.
    async fn evaluated(&mut self, story: &Story, commits: usize) {
        let begun = Instant::now();
        loop {
            let status = self.probe(story).await;
            if is_over(&status, story.name, commits) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{}: it does not end: {status:#}", story.name);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Asks for everything once; gives the status.
    async fn probe(&mut self, story: &Story) -> Value {
        let name = story.name;
        let page = self.client.get(format!("{}/nix-cache-info", self.url));
        let narinfo = self.client.get(&self.narinfo);
        let derivation = &self.innocent["good.x86_64-linux"];
        let event = json!({ "items": [{ "type": "build", "build_id": "x", "derivation": derivation,
                                        "event": "started", "timestamp": 1_644_400_000 }] });
        let event = self.client.post(&self.event).body(event.to_string());
        for (what, request) in [("page", page), ("narinfo", narinfo), ("event", event)] {
            let asked = Instant::now();
            let answer = request.send().await.unwrap_or_else(|error| panic!("{name}: {what}: {error:?}"));
            assert!(answer.status().is_success(), "{name}: {what}: {}", answer.status());
            let took = asked.elapsed();
            self.answers.add(what, took);
        }
        let now = gorget::clock::Clock::System.now();
        let hosts = self.db.hosts().await.unwrap();
        let age = hosts.iter().map(|host| now - host.heartbeat_at).min().unwrap();
        assert!(age <= HEARTBEAT, "{name}: the last heartbeat is {age} s old");
        let peak = peak(self.process.id().unwrap());
        assert!(peak < CEILING, "{name}: the program held {} MiB", peak >> 20);
        self.farm.status().await
    }

    async fn check(&mut self, story: &Story) {
        let name = story.name;
        self.answers.assert_prompt();
        let peak = peak(self.process.id().unwrap()) >> 20;
        Self::note(&format!("{name}: the program held {peak} MiB at most"));
        let status = self.farm.status().await;
        match story.end {
            End::Whole => {
                let found = jobs(&self.db, &self.farm, name).await;
                for (job, derivation) in &self.innocent {
                    assert_eq!(found.get(job), Some(derivation), "{name}: {status:#}");
                }
            }
            End::Ends => {}
            End::Fails(reason) => {
                let said = reasons(&status, name);
                assert_ne!(reason, "", "{name}: which reason is expected? {status:#}");
                assert!(evaluations(&status, name).all(|state| state == "failed"), "{name}: {status:#}");
                assert!(said.iter().any(|said| said.contains(reason)), "{name}: {said:?}, not {reason}");
            }
        }
    }
}

/// Every file below a directory, with its content.
fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.clone(), std::fs::read(path).unwrap_or_default())).collect()
}

/// The most memory that a process has held, in bytes.
pub fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() << 10
}

/// States of the evaluations of a spec.
fn evaluations<'a>(status: &'a Value, spec: &'a str) -> impl Iterator<Item = &'a str> {
    let all = status["evaluations"].as_array().unwrap().iter();
    all.filter(move |evaluation| evaluation["spec"] == spec)
        .map(|evaluation| evaluation["state"].as_str().unwrap())
}

/// Why evaluations of a spec failed, or why it is blocked.
fn reasons(status: &Value, spec: &str) -> Vec<String> {
    let all =
        [&status["evaluations"], &status["blocked_specs"]].into_iter().filter_map(Value::as_array).flatten();
    let all = all.filter(|one| one["spec"] == spec);
    all.filter_map(|one| one["reason"].as_str().map(str::to_owned)).collect()
}

/// Whether so many evaluations of a spec have ended.
fn is_evaluated(status: &Value, spec: &str, commits: usize) -> bool {
    evaluations(status, spec).filter(|state| !["pending", "running"].contains(state)).count() >= commits
}

/// The same, or the spec is blocked.
fn is_over(status: &Value, spec: &str, commits: usize) -> bool {
    let blocked = status["blocked_specs"].as_array();
    blocked.is_some_and(|blocked| blocked.iter().any(|block| block["spec"] == spec))
        || is_evaluated(status, spec, commits)
}

/// Jobs and derivations of the newest evaluation of a spec.
async fn jobs(db: &Db, farm: &Farm, spec: &str) -> BTreeMap<String, String> {
    let evaluations = farm.evaluations(spec).await;
    let newest = evaluations.last().unwrap();
    let number = gorget::db::EvaluationId(newest["id"].as_i64().unwrap());
    let jobs = db.jobs(number).await.unwrap_or_else(|error| panic!("{error}: {newest:#}"));
    jobs.into_iter().map(|job| (job.name.clone(), job.derivation.clone())).collect()
}
