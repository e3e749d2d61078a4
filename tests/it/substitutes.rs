//! What substitute servers have is not built; what nobody knows is not taken for missing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use gorget::clock::Clock;
use gorget::config::Location;
use gorget::db::{Batch, Build, BuildState, Db, EvaluationWriter, NewDerivation, QueueFilter};
use gorget::farm::reconciler::run_until_idle;
use gorget::guix::narinfo::Narinfo;
use gorget::guix::signature::{AuthorizedKeys, SigningKey};
use gorget::guix::store_path::StorePath;
use gorget::steps::substitutes::{QuerySubstitutes, Server};
use serde_json::json;
use tokio::net::TcpListener;

use crate::support::daemon::Machine;
use crate::support::guix::{Tree, manifest};
use crate::support::program::Farm;
use crate::support::{begin, context, derivation, job, on_both, only_spec, spec};

/// How the server treats an item; what it has no word for, it does not have.
#[derive(Clone)]
pub(crate) enum Word {
    /// It says this.
    Says(String),
    /// It fails with this code, and asks to be left alone for so many seconds.
    Fails(StatusCode, Option<u32>),
    /// It never answers.
    Hangs,
}

/// A substitute server that does what a story wants.
#[derive(Clone, Default)]
pub(crate) struct StandIn {
    words: Arc<Mutex<BTreeMap<String, Word>>>,
    requests: Arc<AtomicUsize>,
}

impl StandIn {
    pub(crate) async fn start() -> (Self, Location) {
        let stand_in = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/{file}", get(answer)).with_state(stand_in.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (stand_in, Location::new(url))
    }

    /// About the output of the derivation called `word`.
    pub(crate) fn about(&self, word: &str, says: Option<Word>) {
        let hash = output(word).hash_text();
        let mut words = self.words.lock().unwrap();
        match says {
            Some(says) => words.insert(hash, says),
            None => words.remove(&hash),
        };
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.swap(0, Ordering::Relaxed)
    }
}

async fn answer(State(stand_in): State<StandIn>, Path(file): Path<String>, headers: HeaderMap) -> Response {
    let agent = headers.get("user-agent").and_then(|agent| agent.to_str().ok());
    assert!(agent.is_some_and(|agent| agent.starts_with("gorget/")), "{agent:?}");
    stand_in.requests.fetch_add(1, Ordering::Relaxed);
    let hash = file.strip_suffix(".narinfo").unwrap_or(&file);
    let word = stand_in.words.lock().unwrap().get(hash).cloned();
    match word {
        None => StatusCode::NOT_FOUND.into_response(),
        Some(Word::Says(text)) => text.into_response(),
        Some(Word::Fails(code, None)) => code.into_response(),
        Some(Word::Fails(code, Some(pause))) => (code, [("retry-after", pause.to_string())]).into_response(),
        Some(Word::Hangs) => std::future::pending().await,
    }
}

/// The store path of the output of the derivation called `word`.
pub(crate) fn output(word: &str) -> StorePath {
    StorePath::of_text::<&[u8]>(word.as_bytes(), b"", &[]).unwrap()
}

pub(crate) fn with_output(word: &str) -> NewDerivation {
    NewDerivation { outputs: vec![("out".to_owned(), output(word).base_name())], ..derivation(word, &[]) }
}

/// What a server says about the output of `word`, signed with `key`.
pub(crate) fn signed(word: &str, key: &SigningKey) -> Word {
    let info = Narinfo { path: output(word), nar_hash: [1; 32], nar_size: 120, references: vec![] };
    let signed = info.signed_part();
    let signature = key.sign("farm", &signed).unwrap();
    Word::Says(format!("{signed}Signature: {signature}\nURL: nar/x\nCompression: none\n"))
}

pub(crate) fn trusting(keys: &[&SigningKey]) -> Arc<AuthorizedKeys> {
    let entries = keys.iter().map(|key| format!("(entry {} (tag (guix import)))", key.public_text()));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("(acl {})", entries.collect::<String>())).unwrap();
    Arc::new(AuthorizedKeys::load(file.path()).unwrap())
}

/// Wants builds of these derivations since the second 500.
pub(crate) async fn want(db: &Db, commit: &str, derivations: Vec<NewDerivation>) {
    let spec_id = match db.specs().await.unwrap().first() {
        Some(stored) => stored.id,
        None => only_spec(db, spec("master")).await,
    };
    let jobs = derivations.iter().map(|derivation| job(&derivation.name, &derivation.name)).collect();
    let mut recorder = EvaluationWriter::new(begin(db, spec_id, commit).await);
    let id = recorder.evaluation();
    recorder.record(db, &Batch { derivations, jobs, ..Batch::default() }).await.unwrap();
    recorder.finish(db, false, &json!({}), 200).await.unwrap();
    db.queue_builds(id, BuildState::Pending, 500).await.unwrap();
}

fn query(db: &Db, servers: Vec<Server>, clock: &Clock) -> QuerySubstitutes {
    QuerySubstitutes::new(&context(db, clock), servers)
}

/// The builds in a state, by job.
async fn builds(db: &Db, state: BuildState) -> BTreeMap<String, Build> {
    let filter = QueueFilter { state: Some(state), ..QueueFilter::default() };
    let builds = db.queue(&filter, 1000).await.unwrap();
    builds.into_iter().map(|build| (build.job.clone(), build)).collect()
}

async fn names(db: &Db, state: BuildState) -> Vec<String> {
    builds(db, state).await.into_keys().collect()
}

#[tokio::test]
async fn what_a_server_has_with_a_signature_that_counts_is_not_queued() {
    on_both(async |db| {
        let (key, foreign) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let (server, url) = StandIn::start().await;
        server.about("there", Some(signed("there", &key)));
        server.about("foreign", Some(signed("foreign", &foreign)));
        server.about("liar", Some(signed("there", &key)));
        let Word::Says(text) = signed("tampered", &key) else { unreachable!() };
        server.about("tampered", Some(Word::Says(text.replace("NarSize: 120", "NarSize: 121"))));
        let Word::Says(text) = signed("unsigned", &key) else { unreachable!() };
        let unsigned: String = text.split_inclusive('\n').filter(|line| !line.contains("Sig")).collect();
        server.about("unsigned", Some(Word::Says(unsigned)));
        let words = ["there", "foreign", "liar", "tampered", "unsigned", "missing"];
        want(db, "a", words.map(with_output).to_vec()).await;
        let clock = Clock::manual(1000);
        let servers = vec![Server::new(&url, trusting(&[&key]), 4).unwrap()];
        assert!(run_until_idle(&mut query(db, servers, &clock)).await.unwrap());

        let there = builds(db, BuildState::Substituted).await;
        assert_eq!(there.keys().collect::<Vec<_>>(), ["there"]);
        assert_eq!(there["there"].answer.as_deref(), Some(url.as_str()));
        let queued = names(db, BuildState::Queued).await;
        assert_eq!(queued, ["foreign", "liar", "missing", "tampered", "unsigned"]);
        assert_eq!(server.requests(), 6);
    })
    .await;
}

#[tokio::test]
async fn every_output_must_be_somewhere() {
    on_both(async |db| {
        let key = SigningKey::generate().unwrap();
        let (first, first_url) = StandIn::start().await;
        let (second, second_url) = StandIn::start().await;
        first.about("left", Some(signed("left", &key)));
        second.about("right", Some(signed("right", &key)));
        let both = |name: &str, words: [&str; 2]| {
            let outputs = words.map(|word| (word.to_owned(), output(word).base_name())).to_vec();
            NewDerivation { outputs, ..derivation(name, &[]) }
        };
        want(db, "a", vec![both("split", ["left", "right"]), both("half", ["left", "nowhere"])]).await;
        let keys = trusting(&[&key]);
        let servers = [first_url, second_url].map(|url| Server::new(&url, Arc::clone(&keys), 4).unwrap());
        run_until_idle(&mut query(db, servers.to_vec(), &Clock::manual(1000))).await.unwrap();
        assert_eq!(names(db, BuildState::Substituted).await, ["split"]);
        assert_eq!(names(db, BuildState::Queued).await, ["half"]);
        assert_eq!((first.requests(), second.requests()), (3, 2), "what one has, no other is asked for");
    })
    .await;
}

#[tokio::test]
async fn a_server_that_fails_says_nothing_and_is_left_alone_for_a_while() {
    on_both(async |db| {
        let key = SigningKey::generate().unwrap();
        let (server, url) = StandIn::start().await;
        for word in ["one", "two"] {
            server.about(word, Some(Word::Fails(StatusCode::BAD_GATEWAY, None)));
        }
        want(db, "a", ["one", "two"].map(with_output).to_vec()).await;
        let clock = Clock::manual(1000);
        let mut query = query(db, vec![Server::new(&url, trusting(&[&key]), 1).unwrap()], &clock);
        run_until_idle(&mut query).await.unwrap();
        let waiting = builds(db, BuildState::Pending).await;
        assert_eq!(waiting.keys().collect::<Vec<_>>(), ["one", "two"], "nobody knows");
        let said = waiting["one"].answer.as_deref().unwrap();
        assert!(said.contains("502") && said.contains(url.as_str()), "{said}");
        let next = db.failing_servers().await.unwrap()[0].next_attempt;
        assert!((1010..=1015).contains(&next), "{next}");
        assert_eq!(server.requests(), 2);

        clock.advance(next - 1001);
        run_until_idle(&mut query).await.unwrap();
        assert_eq!(server.requests(), 0, "it is left alone");
        clock.advance(1);
        server.about("two", Some(Word::Fails(StatusCode::TOO_MANY_REQUESTS, Some(100))));
        run_until_idle(&mut query).await.unwrap();
        let [failing] = &db.failing_servers().await.unwrap()[..] else { panic!() };
        assert_eq!((failing.failures, failing.next_attempt), (2, next + 100), "as long as it asked for");

        clock.advance(100);
        server.about("one", Some(signed("one", &key)));
        server.about("two", Some(Word::Says("<html>a captive portal</html>".to_owned())));
        run_until_idle(&mut query).await.unwrap();
        assert_eq!(names(db, BuildState::Substituted).await, ["one"], "one item's trouble is not another's");
        assert_eq!(names(db, BuildState::Pending).await, ["two"]);
        assert_eq!(db.failing_servers().await.unwrap(), []);

        clock.advance(1800);
        run_until_idle(&mut query).await.unwrap();
        let queued = builds(db, BuildState::Queued).await;
        let said = queued["two"].answer.as_deref().unwrap();
        assert!(said.starts_with("queued without an answer from http://"), "{said}");

        assert_eq!(db.failing_servers().await.unwrap().len(), 1);
        db.forget_other_servers(&[url.as_str()]).await.unwrap();
        assert_eq!(db.failing_servers().await.unwrap().len(), 1);
        db.forget_other_servers(&[]).await.unwrap();
        assert_eq!(db.failing_servers().await.unwrap(), [], "nobody asks it any more");
    })
    .await;
}

/// Object stores do not say what they lack to those who may not list it.
#[tokio::test]
async fn what_is_forbidden_is_missing_unless_everything_is() {
    on_both(async |db| {
        let key = SigningKey::generate().unwrap();
        let (server, url) = StandIn::start().await;
        let words: Vec<String> = (0..20).map(|number| format!("forbidden-{number}")).collect();
        for word in &words {
            server.about(word, Some(Word::Fails(StatusCode::FORBIDDEN, None)));
        }
        let introduce = |word| server.words.lock().unwrap().insert("nix-cache-info".to_owned(), word);
        introduce(Word::Fails(StatusCode::FORBIDDEN, None));
        let mut all: Vec<NewDerivation> = words.iter().map(|word| with_output(word)).collect();
        all.push(with_output("there"));
        server.about("there", Some(signed("there", &key)));
        want(db, "a", all).await;
        let clock = Clock::manual(1000);
        let mut query = query(db, vec![Server::new(&url, trusting(&[&key]), 1).unwrap()], &clock);
        run_until_idle(&mut query).await.unwrap();
        assert_eq!(builds(db, BuildState::Queued).await.len(), 0, "nothing is decided");
        let said = builds(db, BuildState::Pending).await["forbidden-0"].answer.clone().unwrap();
        assert!(said.contains("403"), "{said}");

        introduce(Word::Says("StoreDir: /gnu/store\nWantMassQuery: 0\n".to_owned()));
        clock.advance(3600);
        server.requests();
        run_until_idle(&mut query).await.unwrap();
        assert_eq!(builds(db, BuildState::Queued).await.len(), 20);
        assert_eq!(names(db, BuildState::Substituted).await, ["there"]);
        assert!(server.requests() <= 22, "it is asked once what it is");
    })
    .await;
}

/// However long it is, and however slowly it comes.
#[tokio::test]
async fn a_narinfo_without_end_is_not_read_to_its_end() {
    let key = SigningKey::generate().unwrap();
    let (server, url) = StandIn::start().await;
    let Word::Says(text) = signed("endless", &key) else { unreachable!() };
    server.about("endless", Some(Word::Says(text + &"x: y\n".repeat(100_000))));
    let asker = Server::new(&url, trusting(&[&key]), 1).unwrap();
    let answers = asker.ask(vec![output("endless").base_name()]).await;
    assert!(answers.known.is_empty() && answers.failure.unwrap().reason.contains("too long"));
}

#[tokio::test]
async fn a_server_that_is_away_or_hangs_holds_up_only_what_it_is_asked_for() {
    on_both(async |db| {
        let key = SigningKey::generate().unwrap();
        let away = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let away = Location::new(format!("http://ada:s3cret@{away}"));
        let (server, url) = StandIn::start().await;
        server.about("there", Some(signed("there", &key)));
        want(db, "a", ["there", "other"].map(with_output).to_vec()).await;
        let keys = trusting(&[&key]);
        let servers = [away, url].map(|url| Server::new(&url, Arc::clone(&keys), 4).unwrap());
        let mut query = query(db, servers.to_vec(), &Clock::manual(1000));
        run_until_idle(&mut query).await.unwrap();
        assert_eq!(names(db, BuildState::Substituted).await, ["there"]);
        let waiting = builds(db, BuildState::Pending).await;
        let said = waiting["other"].answer.as_deref().unwrap();
        assert!(!said.contains("s3cret") && !said.contains("ada"), "{said}");

        server.about("slow", Some(Word::Hangs));
        want(db, "b", vec![with_output("slow")]).await;
        let step = run_until_idle(&mut query);
        assert!(tokio::time::timeout(Duration::from_millis(300), step).await.is_err(), "it still waits");
        assert_eq!(names(db, BuildState::Pending).await, ["other", "slow"], "and nothing was decided");
    })
    .await;
}

#[tokio::test]
async fn what_was_said_is_believed_for_a_while_and_asked_again_when_it_is_wanted_anew() {
    on_both(async |db| {
        let key = SigningKey::generate().unwrap();
        let (server, url) = StandIn::start().await;
        server.about("there", Some(signed("there", &key)));
        let clock = Clock::manual(1000);
        let mut query = query(db, vec![Server::new(&url, trusting(&[&key]), 4).unwrap()], &clock);
        let all = || ["there", "missing"].map(with_output).to_vec();
        want(db, "a", all()).await;
        run_until_idle(&mut query).await.unwrap();
        assert_eq!(server.requests(), 2);

        // Gone from the branch, and back.
        want(db, "b", vec![]).await;
        want(db, "c", all()).await;
        assert_eq!(names(db, BuildState::Pending).await, ["there"]);
        run_until_idle(&mut query).await.unwrap();
        assert_eq!(
            (names(db, BuildState::Substituted).await, server.requests()),
            (vec!["there".to_owned()], 0)
        );

        server.about("there", None);
        clock.advance(37 * 3600);
        want(db, "d", vec![]).await;
        want(db, "e", all()).await;
        run_until_idle(&mut query).await.unwrap();
        assert_eq!(names(db, BuildState::Queued).await, ["missing", "there"], "the server lost it");
        assert_eq!(server.requests(), 1);
        clock.advance(37 * 3600);
        run_until_idle(&mut query).await.unwrap();
        assert!(db.lookups(url.as_str(), &[&output("missing").hash_text()], 0).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_real_guix_publish_is_understood_and_trusted_by_its_key_only() {
    let machine = Machine::new();
    let program = "(use-modules (guix store))
        (with-store store (display (add-text-to-store store \"there\" \"text\")))";
    let finished = machine.run(program, "").await;
    assert!(finished.success(), "{}", finished.reason());
    let path = String::from_utf8(finished.stdout).unwrap();
    let there = StorePath::parse(path.trim().as_bytes()).unwrap();
    let (_publish, url) = machine.publish().await;
    let server = |keys| Server::new(&Location::new(url.clone()), keys, 4).unwrap();
    let missing = output("missing").base_name();
    let names = vec![there.base_name(), missing.clone()];

    let keys = AuthorizedKeys::load(&machine.settings().join("acl")).unwrap();
    let answers = server(Arc::new(keys)).ask(names.clone()).await;
    assert_eq!(answers.failure, None);
    assert!(answers.known[&there.base_name()].0);
    assert!(!answers.known[&missing].0);
    let stranger = server(Arc::default()).ask(names).await;
    assert!(!stranger.known[&there.base_name()].0);

    // Its key can become a farm's.
    let farm = Farm::new(None);
    assert!(farm.say(&["key", "show"]).await.talk.contains("gorget key generate"));
    let imported = farm.say(&["key", "import", machine.settings().to_str().unwrap()]).await;
    assert_eq!(imported.code, Some(0), "{}", imported.talk);
    let public_key = std::fs::read_to_string(machine.settings().join("signing-key.pub")).unwrap();
    assert_eq!(farm.say(&["key", "show"]).await.data.trim(), public_key.trim());
}

#[tokio::test]
async fn a_farm_leaves_to_a_server_what_that_has() {
    let channel = Tree::channel("manifest.scm", &manifest(&[("one", ""), ("two", "")]));
    let build = "build = { manifests = [\"manifest.scm\"] }";
    let spec = format!("{build}\n{}", channel.as_channel("own"));
    // Another farm tells which outputs there are.
    let scout = Farm::new(None);
    scout.spec("own", &spec);
    scout.run_once().await;
    let explained = scout.say(&["explain", "--json", "one-1"]).await;
    let explained: serde_json::Value = serde_json::from_str(&explained.data).unwrap();
    let output = explained["jobs"][0]["outputs"][0].as_str().unwrap();
    let path = StorePath::parse(output.as_bytes()).unwrap();

    let key = SigningKey::generate().unwrap();
    let (server, url) = StandIn::start().await;
    let info = Narinfo { path: path.clone(), nar_hash: [1; 32], nar_size: 120, references: vec![] };
    let signed = info.signed_part();
    let says = format!("{signed}Signature: {}\n", key.sign("farm", &signed).unwrap());
    server.words.lock().unwrap().insert(path.hash_text(), Word::Says(says));

    let farm = Farm::new(None);
    farm.spec("own", &spec);
    let acl = farm.state().with_file_name("acl");
    std::fs::write(&acl, format!("(acl (entry {} (tag (guix import))))", key.public_text())).unwrap();
    farm.configure(&format!("[substitutes]\nservers = [\"{}\"]\nacl = \"acl\"", url.as_str()));
    farm.run_once().await;
    let states: BTreeMap<String, String> = farm
        .queue()
        .await
        .iter()
        .map(|build| (build["job"].as_str().unwrap().to_owned(), build["state"].as_str().unwrap().to_owned()))
        .collect();
    let state = |job: &str, state: &str| (job.to_owned(), state.to_owned());
    assert_eq!(
        states.into_iter().collect::<Vec<_>>(),
        [state("one-1", "substituted"), state("two-1", "queued")]
    );
    let explained = farm.say(&["explain", "one-1"]).await.data;
    assert!(explained.contains(&format!("not queued: {} has its outputs", url.as_str())), "{explained}");

    std::fs::remove_file(&acl).unwrap();
    let said = farm.say(&["run", "--once"]).await;
    assert_eq!(said.code, Some(1));
    assert!(said.talk.contains("acl"), "{}", said.talk);
}
