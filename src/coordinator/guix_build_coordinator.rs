//! The client side of the Guix Build Coordinator: `POST /builds` on its client port.
//!
//! Nobody has specified this interface, so what is sent is little, and what comes back is read
//! with patience: keys with `-` or `_`, unknown ones passed over. Every submission carries the flags that
//! make the coordinator pass over a build it has, so that the same one can be sent twice.

use std::error::Error;
use std::time::Duration;

use anyhow::{Context, ensure};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};
use serde_json::{Value, json};

use super::{Answer, Submission};

/// For a whole request, from connecting to the last byte of the answer.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// How much of an answer is read, in bytes.
const ANSWER_LIMIT: usize = 64 * 1024;

/// How much of a reason is kept, in characters.
const REASON_LIMIT: usize = 500;

/// A Guix Build Coordinator.
#[derive(Debug, Clone)]
pub struct GuixBuildCoordinator {
    client: Client,
    builds: Url,
}

impl GuixBuildCoordinator {
    /// The one whose client interface is at `url`, such as `http://127.0.0.1:8746`. It is asked
    /// directly, whatever proxy the environment names. Nothing is sent yet.
    pub fn new(url: &str) -> anyhow::Result<Self> {
        Self::with_time_limit(url, TIME_LIMIT)
    }

    fn with_time_limit(url: &str, limit: Duration) -> anyhow::Result<Self> {
        let builds = Url::parse(&format!("{}/builds", url.trim_end_matches('/')))
            .context("the coordinator's address is not a URL")?;
        ensure!(
            ["http", "https"].contains(&builds.scheme()),
            "the coordinator's address is not http or https"
        );
        // A redirected POST would become a GET.
        let client = Client::builder().timeout(limit).redirect(Policy::none()).no_proxy();
        Ok(Self { client: client.build().context("setting up an HTTP client")?, builds })
    }

    /// Asks for one build.
    pub async fn submit(&self, submission: &Submission) -> Answer {
        let request = self.client.post(self.builds.clone()).json(&request(submission));
        match request.send().await {
            Err(error) => Answer::Unavailable { reason: explain(error) },
            Ok(response) => {
                let status = response.status();
                match body(response).await {
                    Err(error) => Answer::Unavailable { reason: explain(error) },
                    Ok(body) => understand(status, &body),
                }
            }
        }
    }
}

/// What is sent.
///
/// Builds of inputs are not asked for: what is queued is Gorget's to decide, and inputs that miss
/// are the coordinator's own to notice.
fn request(submission: &Submission) -> Value {
    let tags: Vec<Value> =
        submission.tags.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
    json!({
        "derivation": submission.derivation,
        "priority": submission.priority,
        "substitute-urls": submission.substitute_urls,
        "tags": tags,
        // Whether these end in `?` is not known; unknown keys do no harm.
        "ignore-if-build-for-derivation-exists": true,
        "ignore-if-build-for-derivation-exists?": true,
        "ignore-if-build-for-outputs-exists": true,
        "ignore-if-build-for-outputs-exists?": true,
    })
}

/// The beginning of what it answered.
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

/// Makes sense of an answer.
fn understand(status: StatusCode, body: &[u8]) -> Answer {
    let json = serde_json::from_slice::<Value>(body).unwrap_or(Value::Null);
    let text = || clip(&String::from_utf8_lossy(body));
    if status.is_success() {
        return match (key(&json, "build-submitted").and_then(reference), key(&json, "no-build-submitted")) {
            (Some(reference), _) => Answer::Accepted { reference },
            (None, Some(why)) => Answer::AlreadyThere { reason: words(why) },
            (None, None) => Answer::Unavailable { reason: format!("its answer makes no sense: {}", text()) },
        };
    }
    let error = key(&json, "error").map(words);
    let speaks = error.is_some();
    let reason = format!("{status}: {}", error.unwrap_or_else(text));
    if is_about_the_build(status, speaks) {
        Answer::Refused { reason }
    } else {
        Answer::Unavailable { reason }
    }
}

/// Whether an error is about what was sent, and not about the way to the coordinator: a wrong address
/// or a proxy without a password must not cost the whole queue. `speaks` tells that it is the coordinator
/// who answers, in its own form.
fn is_about_the_build(status: StatusCode, speaks: bool) -> bool {
    match status.as_u16() {
        401 | 403 | 407 | 408 | 425 | 429 => false,
        404 | 405 => speaks,
        code => (400..500).contains(&code),
    }
}

/// The value of `name` in an object, however the key is spelt.
fn key<'a>(json: &'a Value, name: &str) -> Option<&'a Value> {
    let same = |key: &str| key.trim_end_matches('?').replace('_', "-") == name;
    json.as_object()?.iter().find(|(key, _)| same(key)).map(|(_, value)| value)
}

/// A build's name: a string, a number, or an object that has one.
fn reference(value: &Value) -> Option<String> {
    let name = match value {
        Value::String(name) => name.clone(),
        Value::Number(number) => number.to_string(),
        Value::Object(_) => return ["uuid", "id"].into_iter().find_map(|name| reference(key(value, name)?)),
        _ => return None,
    };
    (!name.is_empty() && name.len() <= 200 && !name.contains(char::is_control)).then_some(name)
}

/// A string as it is, anything else as JSON.
fn words(value: &Value) -> String {
    value.as_str().map_or_else(|| clip(&value.to_string()), clip)
}

fn clip(text: &str) -> String {
    text.chars().take(REASON_LIMIT).collect()
}

/// An error with its causes, and without the URL, which may hold a password.
fn explain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut causes = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    clip(&causes.join(": "))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    fn accepted(reference: &str) -> Answer {
        Answer::Accepted { reference: reference.to_owned() }
    }

    #[test]
    fn answers_are_understood_in_any_spelling() {
        let understand =
            |code: u16, body: &str| understand(StatusCode::from_u16(code).unwrap(), body.as_bytes());
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
            assert_eq!(understand(200, body), expected, "{body}");
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
            let Answer::Unavailable { reason } = understand(200, body) else { panic!("{body}") };
            assert!(reason.contains(body), "{reason}");
        }
    }

    #[test]
    fn only_what_is_about_the_build_refuses_it() {
        let error = r#"{"error": "no such derivation"}"#;
        let refused = |code: u16, body: &str| {
            matches!(understand(StatusCode::from_u16(code).unwrap(), body.as_bytes()), Answer::Refused { .. })
        };
        for code in [400, 404, 409, 422] {
            assert!(refused(code, error), "{code}");
        }
        for code in [301, 401, 403, 407, 408, 429, 500, 502, 503, 504] {
            assert!(!refused(code, error), "{code}");
        }
        assert!(refused(400, "<html>") && !refused(404, "<html>"), "a wrong address refuses nothing");
        let answer = understand(StatusCode::BAD_REQUEST, br#"{"error": {"details": [1]}}"#);
        assert_eq!(answer, Answer::Refused { reason: r#"400 Bad Request: {"details":[1]}"#.to_owned() });
    }

    /// Asks a server that does `answer` with its first connection.
    async fn asked<F: Future<Output = ()>>(limit: Duration, answer: impl FnOnce(TcpStream) -> F) -> Answer {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it has an address");
        let url = format!("http://ada:s3cret@{address}/");
        let coordinator = GuixBuildCoordinator::with_time_limit(&url, limit).expect("it is a URL");
        let submission = Submission {
            derivation: "/gnu/store/x.drv".into(),
            priority: 0,
            tags: vec![],
            substitute_urls: vec![],
        };
        let serve = async {
            let (mut stream, _) = listener.accept().await.expect("somebody connects");
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            answer(stream).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            answer = coordinator.submit(&submission) => answer,
            () = serve => unreachable!("it never ends"),
        }
    }

    #[tokio::test]
    async fn a_coordinator_that_does_not_answer_is_given_up() {
        let answer = asked(Duration::from_millis(300), async |_stream| std::future::pending().await).await;
        let Answer::Unavailable { reason } = answer else { panic!("{answer:?}") };
        assert!(reason.contains("timed out") && !reason.contains("s3cret"), "{reason}");
    }

    #[tokio::test]
    async fn an_answer_without_end_is_not_read_to_its_end() {
        let flood = async |mut stream: TcpStream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            while stream.write_all(&[b'x'; 8192]).await.is_ok() {}
        };
        let answer = asked(Duration::from_mins(1), flood).await;
        let Answer::Unavailable { reason } = answer else { panic!("{answer:?}") };
        assert!(reason.starts_with("its answer makes no sense: xxx") && reason.len() < 600, "{reason}");
    }
}
