//! What happens is told as it happens.

use std::time::{Duration, Instant};

use gorget::db::{Db, EvaluationId};
use reqwest::Response;

use crate::commands::a_farm;
use crate::pages::serving;
use crate::support::{author, on_both};

/// A stream of events, as it is read.
struct Told {
    answer: Response,
    text: String,
}

/// One event: its number, its kind, and what it says.
type Event = (Option<i64>, String, String);

impl Told {
    async fn begin(url: &str, query: &str, last: Option<&str>) -> Self {
        Self::begin_with(&reqwest::Client::new(), url, query, last).await
    }

    async fn begin_with(client: &reqwest::Client, url: &str, query: &str, last: Option<&str>) -> Self {
        let mut request = client.get(format!("{url}/api/v1/events{query}"));
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        assert_eq!(answer.headers()["cache-control"], "no-store");
        Self { answer, text: String::new() }
    }

    /// The next event; nothing when the stream is over.
    async fn next(&mut self) -> Option<Event> {
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < Duration::from_secs(20), "nothing happens");
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    let found = event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
                    found.map(|value| value.trim().to_owned())
                };
                let found = field("event").map(|kind| {
                    let id = field("id").and_then(|id| id.parse().ok());
                    (id, kind, field("data").unwrap_or_default())
                });
                let read = self.text.len() - rest.len();
                self.text.drain(..read);
                if found.is_some() {
                    return found;
                }
                continue;
            }
            let chunk = tokio::time::timeout(Duration::from_secs(20), self.answer.chunk()).await.unwrap();
            self.text += std::str::from_utf8(&chunk.ok().flatten()?).unwrap();
        }
    }

    /// The next event of a kind.
    async fn until(&mut self, kind: &str) -> Event {
        loop {
            let event = self.next().await.unwrap();
            if event.1 == kind {
                return event;
            }
        }
    }
}

async fn act(db: &Db, now: i64) {
    db.request_polls(&[], "all branches", &author(), now).await.unwrap();
}

#[tokio::test]
async fn a_stream_tells_what_happens_and_goes_on_where_it_was() {
    on_both(async |db| {
        a_farm(db).await;
        let (url, stop) = serving(db, true).await;
        let mut first = Told::begin(&url, "", None).await;
        let hello = first.next().await.unwrap();
        let (_, newest) = db.event_bounds().await.unwrap().unwrap();
        assert_eq!(hello, (None, "hello".to_owned(), format!("{{\"newest\":{newest}}}")));
        act(db, 1001).await;
        db.retry_evaluation(EvaluationId(2), &author(), 1002).await.unwrap().unwrap();
        let begun = Instant::now();
        let heard = first.until("evaluation").await;
        assert!(begun.elapsed() < Duration::from_secs(5));
        assert!(heard.2.contains("\"evaluation\":4") && heard.2.contains("\"spec\":\"master\""), "{heard:?}");
        drop(first);
        act(db, 1003).await;
        act(db, 1004).await;
        let last = heard.0.unwrap();
        for (query, header) in [(String::new(), Some(last.to_string())), (format!("?after={last}"), None)] {
            let mut again = Told::begin(&url, &query, header.as_deref()).await;
            assert_eq!(again.next().await.unwrap().1, "hello");
            let missed = [again.next().await.unwrap(), again.next().await.unwrap()];
            assert_eq!(
                missed.map(|event| (event.0, event.1)),
                [1, 2].map(|by| (Some(last + by), "action".to_owned()))
            );
        }
        for unknown in ["-5", "999999"] {
            let mut unknown_to = Told::begin(&url, "", Some(unknown)).await;
            unknown_to.next().await;
            assert_eq!(unknown_to.next().await.unwrap().1, "reset", "after {unknown}");
        }
        stop.cancel();
    })
    .await;
}

#[tokio::test]
async fn of_many_events_about_builds_the_newest_is_enough() {
    on_both(async |db| {
        a_farm(db).await;
        let builds = async || {
            let all = db.events_after(0, 1000).await.unwrap();
            all.into_iter()
                .filter(|event| event.kind == "builds")
                .map(|event| (event.at, event.id))
                .collect::<Vec<_>>()
        };
        let before = builds().await;
        assert!(!before.is_empty());
        let failed: Vec<_> = db.blockers().await.unwrap().iter().map(|one| one.build.id).collect();
        for now in 1000..1004 {
            assert!(db.retry_builds(&failed, "x", &author(), now).await.unwrap() <= 1);
        }
        let after = builds().await;
        assert_eq!(after.len(), before.len() + 1, "{after:?}");
        assert!(after.last().unwrap().1 > before.last().unwrap().1);
    })
    .await;
}

#[tokio::test]
async fn many_streams_do_not_keep_the_farm_from_stopping() {
    on_both(async |db| {
        a_farm(db).await;
        let (url, stop) = serving(db, true).await;
        let (client, mut streams) = (reqwest::Client::new(), Vec::new());
        for _ in 0..150 {
            streams.push(Told::begin_with(&client, &url, "", None).await);
        }
        act(db, 1001).await;
        let begun = Instant::now();
        for stream in &mut streams {
            stream.until("action").await;
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        let begun = Instant::now();
        stop.cancel();
        for stream in &mut streams {
            while stream.next().await.is_some() {}
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    })
    .await;
}
