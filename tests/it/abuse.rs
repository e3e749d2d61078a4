//! Strangers do to the HTTP server what they can; whoever is honest is answered within a second meanwhile, and the
//! program ends when it is told to.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gorget::config::Listen;
use gorget::db::Db;
use gorget::guix::signature::SigningKey;
use gorget::guix::store_path::StorePath;
use gorget::web::{Listener, Web, serve};
use reqwest::StatusCode;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use sqlx::{Connection as _, SqliteConnection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::guix::Tree;
use crate::support::target::{Target, fill};

/// How long abuse goes on.
const SPAN: Duration = Duration::from_secs(4);

/// What a server says on a connection until it closes it.
async fn heard(mut stream: TcpStream) -> String {
    let mut said = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut said)).await.unwrap();
    String::from_utf8_lossy(&said).into_owned()
}

fn post(token: &str, length: usize) -> String {
    format!(
        "POST /build-server/1/build-events?token={token} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
    )
}

#[tokio::test]
async fn nothing_is_read_of_whoever_does_not_know_the_token() {
    let mut target = Target::start(1024).await;
    let body: Arc<[u8]> = vec![b' '; 30 << 20].into();
    let floods = async {
        let mut floods = JoinSet::new();
        for _ in 0..60 {
            let (address, body) = (target.port.address, Arc::clone(&body));
            floods.spawn(async move {
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream.write_all(post("wrong", body.len()).as_bytes()).await.unwrap();
                stream.write_all(&body).await.is_err()
            });
        }
        assert!(floods.join_all().await.into_iter().all(|was_cut| was_cut), "all of a body was read");
    };
    let (times, ()) = tokio::join!(target.be_honest(SPAN), floods);
    assert!(times > 1);
    // Slow bodies are not waited for, and large ones not even with the token.
    let slow = target.send(post("wrong", 1000).as_bytes()).await.unwrap();
    assert!(heard(slow).await.starts_with("HTTP/1.1 403"));
    let large = target.send(post(&target.token, 2 << 20).as_bytes()).await.unwrap();
    assert!(heard(large).await.starts_with("HTTP/1.1 413"));
    let _open = target.send_often(50, post("wrong", 1000).as_bytes()).await;
    let late = target.send(post(&target.token, 1000).as_bytes()).await.unwrap();
    assert!(heard(late).await.starts_with("HTTP/1.1 408"), "a slow body is given up");
    assert!(target.peak() < 150, "{} MiB", target.peak());
    let _slow = target.send_often(8, post(&target.token, 1000).as_bytes()).await;
    target.end().await;
}

#[tokio::test]
async fn connections_that_only_begin_a_request_keep_nobody_out_not_even_git() {
    let mut target = Target::start(300).await;
    let channel = Tree::channel("README", "nothing\n");
    target.farm.spec("own", &format!("build = \"hello\"\n{}", channel.as_channel("own")));
    let begun = b"GET /nix-cache-info HTTP/1.1\r\nHost: x\r\n";
    let heads = async {
        let mut streams = target.send_often(320, begun).await;
        let since = Instant::now();
        while since.elapsed() < SPAN {
            streams.extend(target.send_often(5, begun).await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        streams
    };
    let (_, streams) = tokio::join!(target.be_honest(SPAN), heads);
    assert!(streams.len() >= 320);
    // Fetching takes git.
    let Target { farm, process, .. } = &mut target;
    let fetched = farm.until(process, |status| {
        status["evaluations"].as_array().is_some_and(|all| all.iter().any(|found| found["spec"] == "own"))
    });
    tokio::time::timeout(Duration::from_mins(2), fetched).await.expect("git is kept out");
    target.be_honest(Duration::from_secs(1)).await;
    let finished = target.end().await;
    let log = String::from_utf8_lossy(&finished.stderr).into_owned();
    assert!(!log.contains("Too many open files"), "{log}");
}

#[tokio::test]
async fn peers_that_take_nothing_get_little_memory_and_keep_nobody_out() {
    let mut target = Target::start(1024).await;
    let large = format!("GET /nar/{} HTTP/1.1\r\nHost: x\r\n\r\n", target.items.large.base_name());
    let small = format!("GET /{}.narinfo HTTP/1.1\r\nHost: x\r\n\r\n", target.items.text.hash_text());
    let greedy = async {
        let mut streams = target.send_often(280, large.as_bytes()).await;
        // Answers that nobody takes pile up as well.
        let pipelined = small.repeat(2000);
        for _ in 0..10 {
            let sent = tokio::time::timeout(Duration::from_millis(100), target.send(pipelined.as_bytes()));
            streams.extend(sent.await.ok().flatten());
        }
        tokio::time::sleep(SPAN).await;
        streams
    };
    let (_, streams) = tokio::join!(target.be_honest(2 * SPAN), greedy);
    assert!(target.peak() < 600, "{} MiB", target.peak());
    drop(streams);
    let url = format!("http://{}/nar/{}", target.port.address, target.items.large.base_name());
    let whole = loop {
        let answer = reqwest::get(&url).await.unwrap();
        if answer.status() != StatusCode::SERVICE_UNAVAILABLE {
            break answer.bytes().await.unwrap();
        }
    };
    assert!(whole == target.items.large_nar, "{} bytes", whole.len());
    let _open = target.send_often(20, large.as_bytes()).await;
    target.end().await;
}

/// The spec file is a named pipe that nobody writes into: reading it never ends.
#[tokio::test]
async fn a_file_that_hangs_does_not_keep_the_program_from_ending() {
    let mut target = Target::start(1024).await;
    let pipe = target.farm.spec("pipe", "");
    std::fs::remove_file(&pipe).unwrap();
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    // Specs are read every ten seconds.
    assert!(target.be_honest(Duration::from_secs(12)).await > 1);
    target.end().await;
}

/// Flips a bit of the pack at this share of its length.
async fn flip(database: &str, pack: i64, share: f64) {
    let mut connection = SqliteConnection::connect(database).await.unwrap();
    let mut contents: Vec<u8> = sqlx::query_scalar("select contents from store_pack where id = $1")
        .bind(pack)
        .fetch_one(&mut connection)
        .await
        .unwrap();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    let place = (contents.len() as f64 * share) as usize;
    contents[place] ^= 4;
    let update = sqlx::query("update store_pack set contents = $1 where id = $2").bind(contents).bind(pack);
    update.execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn what_has_rotted_is_neither_signed_nor_served_and_verify_finds_it() {
    for size in [2000, 200_000, 3 << 20] {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("gorget.db").to_str().unwrap().to_owned();
        let db = Db::open(&database).await.unwrap();
        let items = fill(&db, size).await;
        db.close().await;
        for (share, pack) in [(0.1, 2), (0.5, 2), (0.9, 2), (0.7, 1)] {
            flip(&database, pack, share).await;
            let db = Db::open(&database).await.unwrap();
            let listener = Listener::bind(&Listen::Address("127.0.0.1:0".to_owned())).await.unwrap();
            let (url, stop) = (listener.place(), CancellationToken::new());
            let (clock, key) = (gorget::clock::Clock::manual(1000), Some(SigningKey::generate().unwrap()));
            let web = Web { key, ..Web::new(db.clone(), clock) };
            let server = tokio::spawn(serve(listener, web, stop.clone()));
            let status = async |path: String| reqwest::get(format!("{url}/{path}")).await.unwrap().status();
            let both = async |path: &StorePath| {
                let narinfo = status(format!("{}.narinfo", path.hash_text())).await;
                (narinfo, status(format!("nar/{}", path.base_name())).await)
            };
            let (rotten, good) =
                if pack == 2 { (&items.large, &items.text) } else { (&items.text, &items.large) };
            let failed = StatusCode::INTERNAL_SERVER_ERROR;
            assert_eq!(both(rotten).await, (failed, failed), "{size} bytes, {share}");
            assert_eq!(both(good).await, (StatusCode::OK, StatusCode::OK), "{size} bytes, {share}");
            let findings = db.verify().await.unwrap();
            let found = findings.iter().filter(|finding| finding.rule == "items");
            assert!(found.count() > 0, "{findings:?}");
            stop.cancel();
            server.await.unwrap().unwrap();
            db.close().await;
            flip(&database, pack, share).await;
        }
    }
}
