//! A client of the Guix Build Coordinator, for its client port.
//!
//! Every first submission has the flags that make the coordinator ignore a build that it already
//! has. So a build can be submitted twice.

mod events;
mod wire;

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use anyhow::{Context, ensure};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use serde_json::{Value, json};

pub use events::{BuildStateEvent, Events};
use wire::{clip, key, reference, words};

use super::{Answer, Cancellation, Report, Submission, Unavailable};
use crate::domain::attempt::Attempt;

/// The time limit of a whole request, from connecting to the last byte of the answer.
const TIME_LIMIT: Duration = Duration::from_secs(30);
/// How long the event stream may be silent before the connection is renewed.
const SILENCE: Duration = Duration::from_mins(10);

/// The user agent of all requests.
const USER_AGENT: &str = concat!("gorget/", env!("CARGO_PKG_VERSION"));

/// How much of an answer is read, in bytes.
const ANSWER_LIMIT: usize = 256 * 1024;

/// A Guix Build Coordinator.
#[derive(Debug, Clone)]
pub struct GuixBuildCoordinator {
    client: Client,
    /// The client for the event stream, which has no end.
    listener: Client,
    base: Url,
    emulating: Tags,
}

/// Keys and values.
pub type Tags = BTreeMap<String, String>;

/// An answer of the coordinator.
struct HttpAnswer {
    status: StatusCode,
    json: Value,
    text: String,
}

impl GuixBuildCoordinator {
    /// The coordinator whose client interface is at `url`, such as `http://127.0.0.1:8746`.
    /// Requests use no proxy, even if the environment names one. Nothing is sent yet.
    pub fn new(url: &str) -> anyhow::Result<Self> {
        Self::with_time_limit(url, TIME_LIMIT)
    }

    /// Sets the tags of agents that emulate the system that they build for. An agent emulates if it
    /// has all of these tags; if there are none, no agent does. A failure on such an agent is
    /// weaker evidence.
    #[must_use]
    pub fn with_emulating_agents(self, tags: Tags) -> Self {
        Self { emulating: tags, ..self }
    }

    /// The tags of agents that emulate.
    pub fn emulating_agents(&self) -> &Tags {
        &self.emulating
    }

    /// Whether a failure may be due to an agent that emulates.
    pub fn has_emulating_agents(&self) -> bool {
        !self.emulating.is_empty()
    }

    fn with_time_limit(url: &str, limit: Duration) -> anyhow::Result<Self> {
        let base = Url::parse(url).context("the coordinator's address is not a URL")?;
        ensure!(["http", "https"].contains(&base.scheme()), "the coordinator's address is not http or https");
        // A redirect would turn a POST into a GET.
        let client = || Client::builder().redirect(Policy::none()).no_proxy().user_agent(USER_AGENT);
        let listener = client().connect_timeout(limit).read_timeout(SILENCE);
        Ok(Self {
            client: client().timeout(limit).build().context("setting up an HTTP client")?,
            listener: listener.build().context("setting up an HTTP client")?,
            base,
            emulating: Tags::new(),
        })
    }

    /// Submits a build.
    pub async fn submit(&self, submission: &Submission) -> Result<Answer, Unavailable> {
        let request = self.client.post(self.at(&["builds"])).json(&wire::submission(submission));
        ask(request).await?.answer()
    }

    /// Cancels an attempt. The coordinator refuses if one of its other builds needs the attempt.
    pub async fn cancel(&self, reference: &str) -> Result<Cancellation, Unavailable> {
        let said = ask(self.client.post(self.at(&["build", reference, "cancel"]))).await?;
        if said.status.is_success() {
            return wire::cancellation(&said.json).ok_or_else(|| said.nonsense());
        }
        said.is_unknown()?;
        Ok(Cancellation::Unknown)
    }

    /// Sets the priority of an attempt; returns whether the coordinator knows the attempt.
    pub async fn reprioritise(&self, reference: &str, priority: i64) -> Result<bool, Unavailable> {
        let mut url = self.at(&["build", reference, "update-priority"]);
        url.query_pairs_mut().append_pair("new_priority", &priority.to_string());
        // It is unknown whether the coordinator reads the priority from the URL or from the body.
        let said = ask(self.client.post(url).json(&json!({ "new-priority": priority }))).await?;
        if said.status.is_success() {
            return Ok(true);
        }
        said.is_unknown()?;
        Ok(false)
    }

    /// Reads the state of an attempt; `None` when the coordinator does not know it.
    pub async fn read(&self, reference: &str) -> Result<Option<Report>, Unavailable> {
        let said = ask(self.client.get(self.at(&["build", reference]))).await?;
        if said.status.is_success() {
            let report = wire::report(&said.json).ok_or_else(|| said.nonsense())?;
            return self.judge(report).await.map(Some);
        }
        said.is_unknown()?;
        Ok(None)
    }

    /// Turns a failure into one for other reasons if the agent emulates.
    async fn judge(&self, mut report: Report) -> Result<Report, Unavailable> {
        let failed = report.steps.iter().any(|(attempt, _)| *attempt == Attempt::Failed);
        if let Some(agent) = report.agent.as_ref().filter(|_| failed && self.has_emulating_agents()) {
            let said = ask(self.client.get(self.at(&["agent", agent]))).await?;
            if !said.status.is_success() {
                // Nothing is known of an agent that was removed, so the failure counts.
                return said.is_unknown().map(|()| report);
            }
            let tags = wire::tags(&said.json);
            if self.emulating.iter().all(|(key, value)| tags.contains(&(key.clone(), value.clone()))) {
                let failures = report.steps.iter_mut().filter(|(attempt, _)| *attempt == Attempt::Failed);
                failures.for_each(|(attempt, _)| *attempt = Attempt::FailedOther);
                report.note = Some(format!("it failed at agent {agent}, which emulates"));
            }
        }
        Ok(report)
    }

    /// Reads all attempts to build the store path `output`, including those that others submitted.
    pub async fn attempts_at(&self, output: &str) -> Result<Vec<Report>, Unavailable> {
        let path: Vec<&str> = ["output"].into_iter().chain(output.split('/').skip(1)).collect();
        let said = ask(self.client.get(self.at(&path))).await?;
        let builds = key(&said.json, "builds").and_then(Value::as_array);
        let Some(builds) = builds.filter(|_| said.status.is_success()) else { return Err(said.nonsense()) };
        let mut reports = Vec::with_capacity(builds.len());
        for build in builds {
            let report = wire::report(build).ok_or_else(|| said.nonsense())?;
            reports.push(self.judge(report).await?);
        }
        Ok(reports)
    }

    /// Opens the event stream, from after the event `last` on.
    pub async fn follow(&self, last: Option<&str>) -> Result<Events, Unavailable> {
        let mut request = self.listener.get(self.at(&["events"])).header("Accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let response = request.send().await.map_err(explain)?;
        if !response.status().is_success() {
            return Err(Unavailable(format!("its events: {}", response.status())));
        }
        Ok(Events::new(response))
    }

    fn at(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }
}

async fn ask(request: RequestBuilder) -> Result<HttpAnswer, Unavailable> {
    let response = request.send().await.map_err(explain)?;
    let status = response.status();
    Ok(HttpAnswer::new(status, &body(response).await.map_err(explain)?))
}

/// The beginning of the body.
async fn body(mut response: Response) -> reqwest::Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = ANSWER_LIMIT - body.len();
        if chunk.len() >= room {
            body.extend_from_slice(&chunk[..room]);
            break;
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

impl HttpAnswer {
    fn new(status: StatusCode, body: &[u8]) -> Self {
        let json = serde_json::from_slice(body).unwrap_or(Value::Null);
        Self { status, json, text: clip(&String::from_utf8_lossy(body)) }
    }

    /// The outcome of a submission.
    fn answer(&self) -> Result<Answer, Unavailable> {
        if !self.status.is_success() {
            return self.refusal().map(|reason| Answer::Refused { reason });
        }
        match (key(&self.json, "build-submitted").and_then(reference), key(&self.json, "no-build-submitted"))
        {
            (Some(reference), _) => Ok(Answer::Accepted { reference }),
            (None, Some(why)) => Ok(Answer::AlreadyThere { reason: words(why) }),
            (None, None) => Err(self.nonsense()),
        }
    }

    fn reason(&self) -> String {
        let error = key(&self.json, "error").map(words);
        format!("{}: {}", self.status, error.unwrap_or_else(|| self.text.clone()))
    }

    fn nonsense(&self) -> Unavailable {
        if self.status.is_success() {
            Unavailable(format!("invalid answer: {}", self.text))
        } else {
            Unavailable(self.reason())
        }
    }

    /// Why the coordinator rejects the build. An error of the connection is `Unavailable` instead:
    /// a wrong address, or a proxy without a password, must not reject the whole queue.
    fn refusal(&self) -> Result<String, Unavailable> {
        let about_the_build = match self.status.as_u16() {
            401 | 403 | 407 | 408 | 425 | 429 => false,
            // The form of the answer shows that it comes from the coordinator.
            404 | 405 => key(&self.json, "error").is_some(),
            code => (400..500).contains(&code),
        };
        if about_the_build { Ok(self.reason()) } else { Err(Unavailable(self.reason())) }
    }

    /// Whether the coordinator answers that it does not know the attempt; any other answer is an
    /// error.
    fn is_unknown(&self) -> Result<(), Unavailable> {
        let speaks = key(&self.json, "error").is_some();
        if self.status == StatusCode::NOT_FOUND && speaks { Ok(()) } else { Err(self.nonsense()) }
    }
}

/// An error with its causes, and without the URL, which may contain a password.
fn explain(error: reqwest::Error) -> Unavailable {
    let error = error.without_url();
    let mut causes = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    Unavailable(clip(&causes.join(": ")))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    fn understand(code: u16, body: &str) -> Result<Answer, Unavailable> {
        HttpAnswer::new(StatusCode::from_u16(code).unwrap(), body.as_bytes()).answer()
    }

    fn accepted(reference: &str) -> Answer {
        Answer::Accepted { reference: reference.to_owned() }
    }

    #[test]
    fn answers_are_understood_in_any_spelling() {
        let known = Answer::AlreadyThere { reason: "build-already-exists-for-a-output".to_owned() };
        for (body, expected) in [
            (r#"{"build-submitted": "3b1f"}"#, accepted("3b1f")),
            (r#"{"build_submitted": "3b1f", "later": {"key": []}}"#, accepted("3b1f")),
            (r#"{"build-submitted": {"id": 17}}"#, accepted("17")),
            (
                r#"{"build-submitted": null, "no-build-submitted": "build-already-exists-for-a-output"}"#,
                known.clone(),
            ),
            (r#"{"no_build_submitted": "build-already-exists-for-a-output"}"#, known),
        ] {
            assert_eq!(understand(200, body), Ok(expected), "{body}");
        }
        for body in [
            "",
            "[]",
            "<html>",
            "{}",
            r#"{"build-submitted": ""}"#,
            r#"{"build-submitted": true}"#,
            "{\"build-submitted\": \"\\u001b\"}",
        ] {
            let Err(Unavailable(reason)) = understand(200, body) else { panic!("{body}") };
            assert!(reason.contains(body), "{reason}");
        }
    }

    #[test]
    fn only_what_is_about_the_build_refuses_it() {
        let error = r#"{"error": "no such derivation"}"#;
        let refused = |code: u16, body: &str| understand(code, body).is_ok();
        for code in [400, 404, 409, 422] {
            assert!(refused(code, error), "{code}");
        }
        for code in [301, 401, 403, 407, 408, 429, 500, 502, 503, 504] {
            assert!(!refused(code, error), "{code}");
        }
        assert!(refused(400, "<html>") && !refused(404, "<html>"), "a wrong address refuses nothing");
        let answer = understand(400, r#"{"error": {"details": [1]}}"#);
        assert_eq!(answer, Ok(Answer::Refused { reason: r#"400 Bad Request: {"details":[1]}"#.to_owned() }));
    }

    /// Sends a submission to a server that handles its first connection with `answer`.
    async fn asked<F: Future<Output = ()>>(limit: Duration, answer: impl FnOnce(TcpStream) -> F) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it has an address");
        let url = format!("http://ada:s3cret@{address}/");
        let coordinator = GuixBuildCoordinator::with_time_limit(&url, limit).expect("it is a URL");
        let submission = Submission {
            derivation: "/gnu/store/x.drv".into(),
            priority: 0,
            tags: vec![],
            substitute_urls: vec![],
            again: false,
        };
        let serve = async {
            let (mut stream, _) = listener.accept().await.expect("somebody connects");
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            answer(stream).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            answer = coordinator.submit(&submission) => answer.unwrap_err().0,
            () = serve => unreachable!("it never ends"),
        }
    }

    #[tokio::test]
    async fn a_coordinator_that_does_not_answer_is_given_up() {
        let reason = asked(Duration::from_millis(300), async |_stream| std::future::pending().await).await;
        assert!(reason.contains("timed out") && !reason.contains("s3cret"), "{reason}");
    }

    #[tokio::test]
    async fn an_answer_without_end_is_not_read_to_its_end() {
        let flood = async |mut stream: TcpStream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            while stream.write_all(&[b'x'; 8192]).await.is_ok() {}
        };
        let reason = asked(Duration::from_mins(1), flood).await;
        assert!(reason.starts_with("invalid answer: xxx") && reason.len() < 600, "{reason}");
    }
}
