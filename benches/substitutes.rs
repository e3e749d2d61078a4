//! What serving and asking for substitutes costs: `cargo bench --bench substitutes`.
//!
//! * narinfos that Gorget describes and signs in a second, with one thread for all of it, from a
//!   database with 100,000 derivations, in the order in which they were added and in any order;
//! * signatures that are checked in a second, which is what an item costs that is there;
//! * 100,000 look-ups at a static server in the same process, for the first time and from the
//!   database, when nothing, every tenth item or everything is there.

#![expect(clippy::too_many_lines, reason = "a measurement is read from its beginning to its end")]
#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on has failed")]
#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gorget::clock::Clock;
use gorget::config::{Listen, Location};
use gorget::db::{
    Batch, BuildState, Claimant, Db, EvaluationWriter, Item, ItemKind, NewDerivation, NewJob, Pack,
};
use gorget::domain::job::JobMetadata;
use gorget::domain::revision::{ChannelCommit, Revision};
use gorget::domain::spec::{Build, Spec, Subset, System};
use gorget::farm::context::{Context, Mode};
use gorget::farm::reconciler::run_until_idle;
use gorget::guix::narinfo::Narinfo;
use gorget::guix::signature::{AuthorizedKeys, SigningKey};
use gorget::guix::store_path::StorePath;
use gorget::steps::substitutes::{QuerySubstitutes, Server};
use gorget::web::{Listener, Web, serve};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// How many derivations there are, and look-ups.
const COUNT: usize = 100_000;
/// How long narinfos are asked for.
const SPAN: Duration = Duration::from_secs(5);

fn main() {
    let runtime = |threads| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(threads).enable_all().build().unwrap()
    };
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("served.db");
    let hashes = runtime(2).block_on(fill(file.to_str().unwrap()));
    for (order, step) in [("as they were added", 1), ("in any order", 48_611)] {
        let per_second = serving(file.to_str().unwrap(), &hashes, step);
        println!("narinfos served on one core, {order}: {per_second:.0} a second");
    }
    println!("signatures checked on one core: {:.0} a second", checking());
    for (there, what) in [(0, "nothing is"), (10, "one in ten is"), (1, "everything is")] {
        let file = directory.path().join(format!("asked-{there}.db"));
        runtime(2).block_on(asking(file.to_str().unwrap(), there, what));
    }
}

/// The store path of the derivation `number`, and its text: as long as most are, and as random.
fn derivation(number: usize) -> (StorePath, String) {
    let mut text = String::from("Derive([(\"out\",\"/gnu/store/\",\"\",\"\")],[],[");
    for input in 0..12 {
        let path =
            StorePath::of_text::<&[u8]>(b"input", format!("{number} {input}").as_bytes(), &[]).unwrap();
        let _ = write!(text, "{}\"{path}\"", if input == 0 { "" } else { "," });
    }
    text.push_str("],\"x86_64-linux\",\"/gnu/store/guile\",[\"--no-auto-compile\"],[(\"out\",\"\")])");
    (
        StorePath::of_text::<&[u8]>(format!("package-{number}.drv").as_bytes(), text.as_bytes(), &[])
            .unwrap(),
        text,
    )
}

async fn recorder(db: &Db) -> EvaluationWriter {
    let spec: Spec = serde_json::from_value(json!({
        "name": "all", "channels": [{ "name": "guix", "url": "u", "branch": "master" }], "build": Build::from(Subset::All),
        "systems": ["x86_64-linux"], "period": "every 5m", "priority": 5, "active": true, "first": "queue",
    }))
    .unwrap();
    db.sync_specs(&[spec]).await.unwrap();
    let id = db.specs().await.unwrap()[0].id;
    let commit = ChannelCommit::new("guix", "u", "c");
    let systems = [System::new("x86_64-linux").unwrap()];
    db.request_evaluations(id, &Revision::new(vec![commit]), &Subset::All.into(), &systems, 0).await.unwrap();
    EvaluationWriter::new(db.claim_evaluation(&Claimant::default(), 0).await.unwrap().unwrap())
}

/// Makes a database with all the derivations, in packs of one MiB; gives their hashes.
async fn fill(file: &str) -> Vec<String> {
    let db = Db::open(file).await.unwrap();
    let mut recorder = recorder(&db).await;
    let mut hashes = Vec::with_capacity(COUNT);
    let (mut contents, mut items) = (Vec::new(), Vec::new());
    for number in 0..COUNT {
        let (path, text) = derivation(number);
        hashes.push(path.hash_text());
        items.push(Item {
            hash: path.hash_text(),
            name: path.name().to_owned(),
            kind: ItemKind::Text,
            refs: vec![],
            start: contents.len() as u64,
            length: text.len() as u64,
        });
        contents.extend_from_slice(text.as_bytes());
        if contents.len() >= 1 << 20 || number + 1 == COUNT {
            let packed = zstd::encode_all(&contents[..], 3).unwrap();
            contents.clear();
            let packs = vec![Pack { contents: packed, items: std::mem::take(&mut items) }];
            recorder.record(&db, &Batch { packs, ..Batch::default() }).await.unwrap();
        }
    }
    db.close().await;
    hashes
}

/// Narinfos a second. The client has a thread of its own.
fn serving(file: &str, hashes: &[String], step: usize) -> f64 {
    let server = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (listener, db) = server.block_on(async {
        let listener = Listener::bind(&Listen::Address("127.0.0.1:0".to_owned())).await.unwrap();
        (listener, Db::open(file).await.unwrap())
    });
    let (url, end) = (listener.place(), CancellationToken::new());
    let key = Some(SigningKey::generate().unwrap());
    let web = Web { key, ..Web::new(db, Clock::System) };
    let ended = end.clone();
    let thread = std::thread::spawn(move || server.block_on(serve(listener, web, ended)).unwrap());
    let client = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (asked, seconds) = client.block_on(async {
        let client = reqwest::Client::new();
        let (begun, mut asked, mut place) = (Instant::now(), 0_u32, 0);
        while begun.elapsed() < SPAN {
            let hash = &hashes[place];
            place = (place + step) % hashes.len();
            let answer = client.get(format!("{url}/{hash}.narinfo")).send().await.unwrap();
            assert!(answer.text().await.unwrap().contains("Signature"));
            asked += 1;
        }
        (asked, begun.elapsed().as_secs_f64())
    });
    end.cancel();
    thread.join().unwrap();
    f64::from(asked) / seconds
}

type Words = Arc<HashMap<String, String>>;

/// A server that does nothing but answer `GET /FILE` from memory, so that it is the asking that is measured.
async fn answer(mut stream: TcpStream, words: Words) {
    let mut read = Vec::new();
    while let Ok(1..) = stream.read_buf(&mut read).await {
        if !read.ends_with(b"\r\n\r\n") {
            continue;
        }
        let file = str::from_utf8(&read).unwrap().split(' ').nth(1).unwrap().trim_start_matches('/');
        let text = match words.get(file) {
            Some(word) => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{word}", word.len()),
            None => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
        };
        read.clear();
        stream.write_all(text.as_bytes()).await.unwrap();
    }
}

async fn answer_all(listener: TcpListener, words: Words) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(answer(stream, Arc::clone(&words)));
    }
}

/// CPU time of this process, in seconds.
fn cpu() -> f64 {
    Duration::from_millis(gorget::sandbox::measure_tree(std::process::id())[0].cpu_ms).as_secs_f64()
}

/// Signatures that one core checks in a second.
fn checking() -> f64 {
    let key = SigningKey::generate().unwrap();
    let signature = key.sign("bench", "text").unwrap();
    let keys = authorizing(&key);
    let (begun, mut checked) = (Instant::now(), 0_u32);
    while begun.elapsed() < Duration::from_secs(2) {
        keys.check(&signature, "text").unwrap();
        checked += 1;
    }
    f64::from(checked) / begun.elapsed().as_secs_f64()
}

fn authorizing(key: &SigningKey) -> AuthorizedKeys {
    let acl = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(acl.path(), format!("(acl (entry {} (tag (guix import))))", key.public_text())).unwrap();
    AuthorizedKeys::load(acl.path()).unwrap()
}

/// Polls all items up at a server that has every item whose number is divisible by `there`.
async fn asking(file: &str, there: usize, what: &str) {
    let key = SigningKey::generate().unwrap();
    let (mut words, mut derivations, mut jobs) = (HashMap::new(), Vec::new(), Vec::new());
    for number in 0..COUNT {
        let path = StorePath::of_text::<&[u8]>(format!("package-{number}").as_bytes(), b"", &[]).unwrap();
        let (name, hash) = (format!("package-{number}"), path.hash_text());
        let outputs = vec![("out".to_owned(), path.base_name())];
        if there > 0 && number % there == 0 {
            let info = Narinfo { path, nar_hash: [1; 32], nar_size: 1, references: vec![] };
            let signed = info.signed_part();
            let signature = key.sign("bench", &signed).unwrap();
            words.insert(format!("{hash}.narinfo"), format!("{signed}Signature: {signature}\n"));
        }
        let system = "x86_64-linux".to_owned();
        jobs.push(NewJob { name: name.clone(), derivation: hash.clone(), metadata: JobMetadata::default() });
        derivations.push(NewDerivation { hash, name, system, outputs, inputs: vec![] });
    }
    let keys = Arc::new(authorizing(&key));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Location::new(format!("http://{}", listener.local_addr().unwrap()));
    tokio::spawn(answer_all(listener, Arc::new(words)));

    let db = Db::open(file).await.unwrap();
    let mut recorder = recorder(&db).await;
    let id = recorder.evaluation();
    recorder.record(&db, &Batch { derivations, jobs, ..Batch::default() }).await.unwrap();
    recorder.finish(&db, false, &json!({}), 0).await.unwrap();
    db.queue_builds(id, BuildState::Pending, 0).await.unwrap();
    let server = Server::new(&url, keys, 64).unwrap();
    let context = Context::new(db.clone(), Clock::manual(0), Mode::Continuous, "here");
    let mut query = QuerySubstitutes::new(&context, vec![server]);
    let (begun, before) = (Instant::now(), cpu());
    run_until_idle(&mut query).await.unwrap();
    let (cold, used) = (begun.elapsed().as_secs_f64(), cpu() - before);

    let names: Vec<String> = (0..COUNT)
        .map(|number| {
            StorePath::of_text::<&[u8]>(format!("package-{number}").as_bytes(), b"", &[]).unwrap().hash_text()
        })
        .collect();
    let begun = Instant::now();
    for piece in names.chunks(4096) {
        let piece: Vec<&str> = piece.iter().map(String::as_str).collect();
        assert_eq!(db.lookups(url.as_str(), &piece, 0).await.unwrap().len(), piece.len());
    }
    let warm = begun.elapsed().as_secs_f64();
    println!(
        "{COUNT} look-ups when {what} there: {cold:.1} s ({used:.1} s of CPU with the server's), builds settled; \
         again from the database {warm:.2} s"
    );
}
