use std::collections::HashMap;
use std::error::Error;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use reqwest::header::{CACHE_CONTROL, HeaderMap, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use tokio::sync::{OnceCell, Semaphore};
use tokio::task::JoinSet;

use crate::clock::Seconds;
use crate::config::Location;
use crate::guix::narinfo;
use crate::guix::signature::AuthorizedKeys;

/// The time limit for connecting.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// The time limit for a whole request.
const TIME_LIMIT: Duration = Duration::from_secs(15);
/// The largest narinfo that is read, in bytes.
const LARGEST: usize = 256 << 10;
/// The user agent of requests.
const USER_AGENT: &str = concat!("gorget/", env!("CARGO_PKG_VERSION"));
/// How many requests may fail before the server is left alone for a while.
const MAX_FAILURES: usize = 8;

/// How long a "yes" is cached if the server does not say, which is as long as `guix substitute`
/// does. It is never cached longer, whatever the server says: keys can be revoked.
const PRESENT_TIME: Seconds = 36 * 3600;
/// How long a "no" is cached if the server does not say.
const ABSENT_TIME: Seconds = 600;

/// The longest time, in seconds, for which a server is left alone at its own request.
const LONGEST_PAUSE: Seconds = 3600;

/// A substitute server.
#[derive(Debug, Clone)]
pub struct Server {
    /// Its URL without secrets, which is its name in the database.
    pub name: String,
    url: Location,
    client: Client,
    keys: Arc<AuthorizedKeys>,
    at_once: usize,
    /// One for each request that may be under way, whoever asks.
    turns: Arc<Semaphore>,
}

/// The answers of a server for several items.
#[derive(Debug, Default)]
pub struct Answers {
    /// Whether an item exists, and for how many seconds to cache that, by the item's base name.
    pub known: HashMap<String, (bool, Seconds)>,
    /// Why there is no answer for the other items.
    pub failure: Option<Failure>,
}

/// A failure of a server to answer everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The last error.
    pub reason: String,
    /// For how many seconds it asks to be left alone.
    pub pause: Seconds,
    /// Whether it answers nothing, or was given up; otherwise, only some items failed.
    pub is_down: bool,
}

/// The outcome of one request.
enum Reply {
    Known(bool, Seconds),
    Forbidden,
    Failed { reason: String, pause: Seconds },
}

/// The shared state of the requests to one server.
struct Round {
    waiting: Mutex<Vec<String>>,
    answers: Mutex<Answers>,
    failures: AtomicUsize,
    /// Whether the server serves `/nix-cache-info`, if that was asked.
    serves_cache_info: OnceCell<bool>,
}

impl Server {
    /// The server at `url`, which gets at most `at_once` requests at a time. Only items signed with
    /// one of `keys` count.
    pub fn new(url: &Location, keys: Arc<AuthorizedKeys>, at_once: usize) -> anyhow::Result<Self> {
        let client = Client::builder()
            .connect_timeout(CONNECT_LIMIT)
            .timeout(TIME_LIMIT)
            .redirect(redirects(is_private(url.as_str())))
            .user_agent(USER_AGENT)
            .pool_max_idle_per_host(at_once);
        let client = client.build().context("setting up an HTTP client")?;
        let turns = Arc::new(Semaphore::new(at_once));
        Ok(Self { name: url.to_string(), url: url.clone(), client, keys, at_once, turns })
    }

    /// Asks for the items with these base names, with concurrent requests over persistent
    /// connections.
    pub async fn ask(&self, base_names: Vec<String>) -> Answers {
        let count = base_names.len();
        let round = Round {
            waiting: Mutex::new(base_names),
            answers: Mutex::default(),
            failures: AtomicUsize::new(0),
            serves_cache_info: OnceCell::new(),
        };
        let round = Arc::new(round);
        let mut askers = JoinSet::new();
        for _ in 0..self.at_once.min(count) {
            askers.spawn(asker(self.clone(), Arc::clone(&round)));
        }
        askers.join_all().await;
        let mut answers = round.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut answers = std::mem::take(&mut *answers);
        let given_up = round.failures.load(Ordering::Relaxed) >= MAX_FAILURES;
        if let Some(failure) = &mut answers.failure {
            failure.is_down = given_up || answers.known.is_empty();
        }
        answers
    }

    async fn ask_for(&self, base_name: &str) -> Reply {
        let hash = base_name.split_once('-').map_or(base_name, |(hash, _)| hash);
        let url = format!("{}/{hash}.narinfo", self.url.as_str().trim_end_matches('/'));
        let failed = |reason: String| Reply::Failed { reason, pause: 0 };
        let response = match self.client.get(url).send().await {
            Ok(response) => response,
            Err(error) => return failed(explain(error)),
        };
        let headers = response.headers();
        match response.status() {
            StatusCode::OK => {
                let time = max_age(headers).unwrap_or(PRESENT_TIME);
                match body(response).await {
                    Ok(body) if body.len() > LARGEST => failed("its narinfo is too long".to_owned()),
                    Ok(body) => self.judge(base_name, &body, time),
                    Err(error) => failed(explain(error)),
                }
            }
            StatusCode::FORBIDDEN => Reply::Forbidden,
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                Reply::Known(false, max_age(headers).unwrap_or(ABSENT_TIME))
            }
            status => {
                let pause = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
                Reply::Failed { reason: status.to_string(), pause: pause.unwrap_or(0) }
            }
        }
    }

    /// Decides what it means that the server forbids an item. Object stores do that for items that
    /// they do not have, unless the client may list their contents. A server that forbids
    /// everything fails.
    async fn forbidden(&self, round: &Round) -> Reply {
        let probe = async || {
            let url = format!("{}/nix-cache-info", self.url.as_str().trim_end_matches('/'));
            let Ok(response) = self.client.get(url).send().await else { return false };
            let is_good = response.status() == StatusCode::OK;
            is_good && body(response).await.is_ok_and(|body| body.starts_with(b"StoreDir:"))
        };
        if *round.serves_cache_info.get_or_init(probe).await {
            Reply::Known(false, ABSENT_TIME)
        } else {
            Reply::Failed { reason: StatusCode::FORBIDDEN.to_string(), pause: 0 }
        }
    }

    /// Evaluates a narinfo. If no client would accept it because of its signature, it counts as
    /// missing; a text that is not a narinfo is a failure.
    fn judge(&self, base_name: &str, body: &[u8], time: Seconds) -> Reply {
        let received = match narinfo::read(body) {
            Ok(received) => received,
            Err(error) => return Reply::Failed { reason: error.to_string(), pause: 0 },
        };
        let reason = if received.path.base_name() == base_name {
            match received.signature.map(|signature| self.keys.check(signature, received.signed)) {
                Some(Ok(())) => return Reply::Known(true, time),
                Some(Err(distrust)) => distrust.to_string(),
                None => "it is not signed".to_owned(),
            }
        } else {
            "it is about another store item".to_owned()
        };
        tracing::warn!(server = self.name, item = base_name, "substitute ignored: {reason}");
        Reply::Known(false, ABSENT_TIME)
    }
}

/// Asks for one item after the other, until none is left or too many requests have failed.
async fn asker(server: Server, round: Arc<Round>) {
    while round.failures.load(Ordering::Relaxed) < MAX_FAILURES {
        let Ok(_turn) = server.turns.acquire().await else { return };
        let next = round.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let Some(base_name) = next else { return };
        let reply = match server.ask_for(&base_name).await {
            Reply::Forbidden => server.forbidden(&round).await,
            reply => reply,
        };
        let mut answers = round.answers.lock().unwrap_or_else(PoisonError::into_inner);
        match reply {
            Reply::Known(present, time) => {
                answers.known.insert(base_name, (present, time));
            }
            Reply::Failed { reason, pause } => {
                let weight = if pause > 0 { MAX_FAILURES } else { 1 };
                round.failures.fetch_add(weight, Ordering::Relaxed);
                let longest = answers.failure.as_ref().map_or(pause, |before| pause.max(before.pause));
                answers.failure = Some(Failure { reason, pause: longest.min(LONGEST_PAUSE), is_down: false });
            }
            Reply::Forbidden => {}
        }
    }
}

/// How long an answer may be cached, if the server says.
fn max_age(headers: &HeaderMap) -> Option<Seconds> {
    let words = headers.get(CACHE_CONTROL)?.to_str().ok()?.split(',');
    let mut seconds = words.filter_map(|word| word.trim().strip_prefix("max-age=")?.parse::<Seconds>().ok());
    seconds.next().map(|seconds| seconds.clamp(0, PRESENT_TIME))
}

/// Reads the body, up to the point where it is known to be too long.
async fn body(mut response: Response) -> reqwest::Result<Vec<u8>> {
    let mut body = Vec::new();
    while body.len() <= LARGEST
        && let Some(chunk) = response.chunk().await?
    {
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Follows some redirects, but a public server must not make us contact this machine or its
/// neighbors.
fn redirects(from_private: bool) -> Policy {
    Policy::custom(move |attempt| {
        if attempt.previous().len() > 3 {
            attempt.error("too many redirects")
        } else if !from_private && is_private(attempt.url().as_str()) {
            attempt.error("it redirects to a private address")
        } else {
            attempt.follow()
        }
    })
}

/// Whether a URL names this machine or a private network, as far as its text shows.
fn is_private(url: &str) -> bool {
    let host = reqwest::Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned));
    let Some(host) = host else { return true };
    let host = host.trim_matches(['[', ']']).trim_end_matches('.');
    match host.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V4(address)) => {
            let [first, second, ..] = address.octets();
            let is_shared = first == 100 && (64..128).contains(&second);
            first == 0
                || is_shared
                || address.is_loopback()
                || address.is_private()
                || address.is_link_local()
        }
        Ok(IpAddr::V6(address)) => {
            let is_local = address.is_unique_local() || address.is_unicast_link_local();
            is_local || address.is_loopback() || address.is_unspecified()
        }
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

/// An error with its causes, and without the URL, which may contain a password.
fn explain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_known_however_they_are_written() {
        for host in [
            "localhost",
            "a.localhost.",
            "127.0.0.1",
            "2130706433",
            "0x7f.1",
            "10.1.2.3",
            "192.168.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "[::1]",
            "[::ffff:10.0.0.1]",
            "[fe80::1]",
            "[fd00::1]",
        ] {
            assert!(is_private(&format!("http://{host}:8080/x")), "{host}");
        }
        for host in ["ci.guix.gnu.org", "192.0.2.1", "100.128.0.1", "[2001:db8::1]", "localhost.example.org"]
        {
            assert!(!is_private(&format!("https://{host}/")), "{host}");
        }
    }
}
