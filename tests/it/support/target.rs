//! A farm whose HTTP server strangers attack, while somebody honest asks it.

use std::time::{Duration, Instant};

use gorget::db::{Batch, Db, EvaluationWriter, Item, ItemKind, Pack, compress};
use gorget::guix::nar;
use gorget::guix::store_path::StorePath;
use gorget::sandbox::{Finished, Process};
use reqwest::Client;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::program::Farm;
use super::{Answers, Dice, LATEST, Port, begin, only_spec, spec};

/// A farm at work that has store items.
pub struct Target {
    pub farm: Farm,
    pub process: Process,
    pub port: Port,
    pub token: String,
    pub items: Items,
}

/// Its store items, each in a pack of its own.
pub struct Items {
    /// A small text.
    pub text: StorePath,
    /// An archive that cannot be compressed.
    pub large: StorePath,
    pub large_nar: Vec<u8>,
    /// Another one, which is smaller than 1 MiB.
    pub middling: StorePath,
    /// A text that can be compressed to almost nothing.
    pub long: StorePath,
}

/// How long that text is.
pub const LONG: usize = 60_000_000;

fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut dice = Dice(seed);
    (0..size).map(|_| u8::try_from(dice.roll(256)).unwrap()).collect()
}

fn source(name: &str, archive: &[u8]) -> StorePath {
    StorePath::of_source(name.as_bytes(), &Sha256::digest(archive).into()).unwrap()
}

fn pack(path: &StorePath, kind: ItemKind, contents: &[u8]) -> Pack {
    let (hash, name, length) = (path.hash_text(), path.name().to_owned(), contents.len() as u64);
    let item = Item { hash, name, kind, refs: vec![], start: 0, length };
    Pack { contents: compress(contents, 3).unwrap(), items: vec![item] }
}

/// Keeps these items; the large one is so large.
pub async fn fill(db: &Db, size: usize) -> Items {
    let of_text = |name: &str, words: &[u8]| StorePath::of_text(name.as_bytes(), words, &[""; 0]).unwrap();
    let (words, many) = (b"a small text".to_vec(), vec![b'a'; LONG]);
    let (text, long) = (of_text("text", &words), of_text("long", &many));
    let (large_nar, middling_nar) = (nar::of_file(&noise(7, size)), nar::of_file(&noise(8, 800_000)));
    let (large, middling) = (source("large", &large_nar), source("middling", &middling_nar));
    let packs = vec![
        pack(&text, ItemKind::Text, &words),
        pack(&large, ItemKind::Nar, &large_nar),
        pack(&middling, ItemKind::Nar, &middling_nar),
        pack(&long, ItemKind::Text, &many),
    ];
    let master = only_spec(db, spec("master")).await;
    let mut recorder = EvaluationWriter::new(begin(db, master, "a").await);
    recorder.record(db, &Batch { packs, ..Batch::default() }).await.unwrap();
    recorder.finish(db, false, &json!({}), 200).await.unwrap();
    Items { text, large, large_nar, middling, long }
}

impl Target {
    /// A farm that may open `files` files.
    pub async fn start(files: u32) -> Self {
        let farm = Farm::new(None);
        std::fs::create_dir_all(farm.state()).unwrap();
        let db = farm.db().await;
        let items = fill(&db, 24 << 20).await;
        db.close().await;
        std::fs::write(farm.state().join("events-token"), "s3cret\n").unwrap();
        assert_eq!(farm.say(&["key", "generate"]).await.code, Some(0));
        let port = Port::free();
        let process = farm.start_with_files(files, &["--listen", &port.address.to_string()]);
        let target = Self { farm, process, port, token: "s3cret".to_owned(), items };
        let begun = Instant::now();
        while TcpStream::connect(target.port.address).await.is_err() {
            assert!(begun.elapsed() < Duration::from_mins(1), "it does not listen");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        target
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.process.id().unwrap()).unwrap()).unwrap()
    }

    /// The most memory that it ever had, in MiB.
    pub fn peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
    }

    /// Sends something over a connection that stays open.
    pub async fn send(&self, bytes: &[u8]) -> Option<TcpStream> {
        let mut stream = TcpStream::connect(self.port.address).await.ok()?;
        // It may have been cut already.
        let _ = stream.write_all(bytes).await;
        Some(stream)
    }

    /// The same many times.
    pub async fn send_often(&self, count: usize, bytes: &[u8]) -> Vec<TcpStream> {
        let mut streams = Vec::new();
        for _ in 0..count {
            streams.extend(self.send(bytes).await);
        }
        streams
    }

    /// Asks for what an honest client and an honest coordinator ask for, again and again; gives how often.
    pub async fn be_honest(&self, span: Duration) -> usize {
        let client = Client::builder().pool_max_idle_per_host(0).timeout(LATEST).build().unwrap();
        let url = |path: &str| format!("http://{}/{path}", self.port.address);
        let event = json!({ "items": [{ "type": "build", "build_id": "1", "event": "started",
            "derivation": format!("/gnu/store/{}-x.drv", "0".repeat(32)) }] });
        let (begun, mut times, mut answers) = (Instant::now(), 0, Answers::default());
        while begun.elapsed() < span {
            let requests = [
                client.get(url("nix-cache-info")),
                client.get(url(&format!("{}.narinfo", self.items.text.hash_text()))),
                client.get(url(&format!("nar/{}", self.items.text.base_name()))),
                client
                    .post(url(&format!("build-server/1/build-events?token={}", self.token)))
                    .body(event.to_string()),
            ];
            for (number, request) in requests.into_iter().enumerate() {
                let asked = Instant::now();
                let answer = request.send().await;
                let took = asked.elapsed();
                let answer = answer.unwrap_or_else(|error| panic!("request {number}, {took:?}: {error}"));
                assert!(answer.status().is_success(), "request {number}: {}", answer.status());
                answers.add(&format!("request {number}"), took);
            }
            times += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        answers.assert_prompt();
        times
    }

    /// Ends it with a signal.
    pub async fn end(&mut self) -> Finished {
        kill_process(self.pid(), Signal::TERM).unwrap();
        let finished = self.process.finish(Duration::from_secs(10)).await.unwrap();
        assert!(finished.success(), "{}", finished.reason());
        finished
    }
}
