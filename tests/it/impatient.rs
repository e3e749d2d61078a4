//! Strangers ask for large store items, and hang up at once or take them slowly. Others are
//! answered meanwhile, and the program's memory stays small.

use std::time::{Duration, Instant};

use reqwest::Client;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::support::target::{LONG, Target};
use crate::support::{Answers, LATEST};

/// How long they go on.
const SPAN: Duration = Duration::from_secs(8);

fn get(path: &str) -> Vec<u8> {
    format!("GET /{path} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes()
}

/// Where the items are that take much.
fn places(target: &Target) -> [String; 4] {
    let (long, large) = (&target.items.long, &target.items.large);
    let narinfo = |hash| format!("{hash}.narinfo");
    let nar = |base_name| format!("nar/{base_name}");
    [narinfo(long.hash_text()), nar(long.base_name()), narinfo(large.hash_text()), nar(large.base_name())]
}

/// Asks for each of these 80 times, and hangs up before there can be an answer.
async fn hang_up(target: &Target) {
    let mut peers = JoinSet::new();
    for path in places(target) {
        for peer in 0..4 {
            let (address, request) = (target.port.address, get(&path));
            peers.spawn(async move {
                for time in 0..20 {
                    let mut stream = TcpStream::connect(address).await.unwrap();
                    // It may have been cut already.
                    let _ = stream.write_all(&request).await;
                    tokio::time::sleep(Duration::from_millis(20 + (peer * 7 + time) % 31)).await;
                }
            });
        }
    }
    peers.join_all().await;
}

/// Takes 16 KiB of an answer every 16 ms, again and again.
async fn dawdle(target: &Target, path: &str) {
    let request = get(path);
    loop {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(64 << 10).unwrap();
        let mut stream = socket.connect(target.port.address).await.unwrap();
        let _ = stream.write_all(&request).await;
        let mut buffer = [0; 16 << 10];
        while stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {
            tokio::time::sleep(Duration::from_millis(16)).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Somebody who takes whatever is sent at once, over a new connection each time.
struct Honest<'a> {
    target: &'a Target,
    client: Client,
}

impl<'a> Honest<'a> {
    fn new(target: &'a Target) -> Self {
        let client = Client::builder().pool_max_idle_per_host(0).timeout(4 * LATEST).build().unwrap();
        Self { target, client }
    }

    /// Fetches an item of this length, and says how long that took.
    async fn fetch(&self, path: &str, length: usize) -> Duration {
        let asked = Instant::now();
        let url = format!("http://{}/{path}", self.target.port.address);
        let answer = self.client.get(url).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        let found = answer.bytes().await.unwrap_or_else(|error| panic!("{path}: {error}")).len();
        assert!(length == 0 || found.abs_diff(length) < 200, "{path}: {found} bytes");
        asked.elapsed()
    }
}

#[tokio::test]
async fn work_for_whoever_hangs_up_takes_little_memory_and_delays_nobody() {
    let mut target = Target::start(1024).await;
    let somebody = Honest::new(&target);
    let middling = async {
        let (path, mut answers) = (format!("nar/{}", target.items.middling.base_name()), Answers::default());
        let begun = Instant::now();
        while begun.elapsed() < SPAN {
            answers.add("item", somebody.fetch(&path, 800_000).await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        answers.assert_prompt();
    };
    let (times, (), ()) = tokio::join!(target.be_honest(SPAN), middling, hang_up(&target));
    assert!(times > 1);
    assert!(target.peak() < 400, "{} MiB", target.peak());
    for (path, length) in places(&target).iter().zip([0, LONG, 0, target.items.large_nar.len()]) {
        somebody.fetch(path, length).await;
    }
    assert!(target.peak() < 400, "{} MiB", target.peak());
    target.end().await;
}

#[tokio::test]
async fn whoever_takes_large_items_slowly_keeps_no_other_item_from_anybody() {
    let mut target = Target::start(1024).await;
    let somebody = Honest::new(&target);
    let [_, long, _, large] = places(&target);
    let (info, nar) = (&target.items.middling.hash_text(), &target.items.middling.base_name());
    let (info, nar) = (format!("{info}.narinfo"), format!("nar/{nar}"));
    let honest = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (begun, mut answers) = (Instant::now(), Answers::default());
        while begun.elapsed() < SPAN {
            answers.add("description", somebody.fetch(&info, 0).await);
            answers.add("item", somebody.fetch(&nar, 800_000).await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        answers.assert_prompt();
    };
    let greedy = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        for (path, length) in [(&large, target.items.large_nar.len()), (&long, LONG)].repeat(2) {
            let took = somebody.fetch(path, length).await;
            assert!(took < 2 * LATEST, "{path}: {took:?}");
        }
    };
    let slow = async {
        let dawdlers = [&large, &large, &large, &large, &long, &long, &long, &long];
        futures_util::future::join_all(dawdlers.map(|path| dawdle(&target, path))).await;
    };
    tokio::select! {
        ((), ()) = async { tokio::join!(honest, greedy) } => {}
        () = slow => {}
    }
    assert!(target.peak() < 400, "{} MiB", target.peak());
    target.end().await;
}
