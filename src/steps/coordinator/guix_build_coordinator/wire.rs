//! The messages to and from the coordinator, as far as they are known: its client interface is not
//! specified. So requests have few keys, and answers are read leniently: keys may have `-` or `_`,
//! and may end in `?`; unknown keys are ignored.

use chrono::NaiveDateTime;
use serde_json::{Value, json};

use crate::clock::Seconds;
use crate::domain::attempt::Attempt;
use crate::guix::store_path::StorePath;
use crate::steps::coordinator::{Cancellation, Report, Submission};

/// How much of a reason is kept, in characters.
const REASON_LIMIT: usize = 500;

/// The answers to a cancellation.
const CANCELLATIONS: [(&str, Cancellation); 4] = [
    ("build-canceled", Cancellation::Canceled),
    ("already-canceled", Cancellation::Canceled),
    ("already-processed", Cancellation::Over),
    ("skipped-as-build-required", Cancellation::Needed),
];

/// The names of events about the state of a build.
const EVENTS: [(&str, Attempt); 8] = [
    ("build-submitted", Attempt::Scheduled),
    ("build-start", Attempt::Started),
    ("build-started", Attempt::Started),
    ("build-success", Attempt::Succeeded),
    ("build-succeeded", Attempt::Succeeded),
    ("build-failure", Attempt::Failed),
    ("build-failed", Attempt::Failed),
    ("build-canceled", Attempt::Canceled),
];

/// The keys that may have the id of a build.
const NAMES: [&str; 3] = ["uuid", "build-id", "id"];
/// The keys that may have the store path of a derivation.
const DERIVATIONS: [&str; 2] = ["derivation", "derivation-name"];
/// The keys that may have the id of an agent.
const AGENTS: [&str; 3] = ["agent-id", "agent-uuid", "agent"];
/// The keys that may have the time of a start.
const START_TIMES: [&str; 3] = ["started-at", "start-time", "time"];

/// The body of `POST /builds`.
///
/// It does not ask for builds of inputs: Gorget decides what is queued, and the coordinator itself
/// notices missing inputs.
pub(super) fn submission(submission: &Submission) -> Value {
    let tags: Vec<Value> =
        submission.tags.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
    let mut body = json!({
        "derivation": submission.derivation,
        "priority": submission.priority,
        "substitute-urls": submission.substitute_urls,
        "tags": tags,
    });
    if !submission.again {
        // It is unknown whether these keys end in `?`; unknown keys do no harm.
        for flag in ["ignore-if-build-for-derivation-exists", "ignore-if-build-for-outputs-exists"] {
            body[flag] = true.into();
            body[format!("{flag}?")] = true.into();
        }
    }
    body
}

/// The outcome of a cancellation.
pub(super) fn cancellation(body: &Value) -> Option<Cancellation> {
    let result = key(body, "result")?.as_str()?.replace('_', "-");
    CANCELLATIONS.iter().find(|(word, _)| *word == result).map(|(_, meaning)| *meaning)
}

/// The state of a build, from `GET /build/UUID` or a list of builds.
pub(super) fn report(build: &Value) -> Option<Report> {
    let name = NAMES.iter().find_map(|name| reference(key(build, name)?))?;
    let is = |name: &str| key(build, name).is_some_and(is_true);
    let starts = key(build, "starts").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let time = |value: &Value, names: &[&str]| names.iter().find_map(|name| seconds(key(value, name)?));
    let mut steps = vec![(Attempt::Scheduled, time(build, &["created-at"]))];
    if let Some(last) = starts.last() {
        steps.push((Attempt::Started, time(last, &START_TIMES)));
    }
    let ended = time(build, &["end-time"]);
    if is("canceled") {
        steps.push((Attempt::Canceled, ended));
    }
    match key(build, "result").and_then(Value::as_str) {
        Some("success") => steps.push((Attempt::Succeeded, ended)),
        Some("failure") => steps.push((Attempt::Failed, ended)),
        _ => {}
    }
    let agent = starts.last().into_iter().chain([build]).find_map(agent);
    let derivation = derivation(build).and_then(|path| StorePath::parse(path.as_bytes()).ok());
    let derivation = derivation.map(|path| path.hash_text());
    Some(Report { reference: name, steps, note: note(build), derivation, tags: tags(build), agent })
}

/// The store path of the derivation in an event or a build.
fn derivation(value: &Value) -> Option<&str> {
    DERIVATIONS.iter().find_map(|name| key(value, name)?.as_str())
}

/// The id of the agent in a build.
fn agent(value: &Value) -> Option<String> {
    AGENTS.iter().find_map(|name| reference(key(value, name)?))
}

/// Why a build could not be set up, or why it failed, if the coordinator says.
fn note(build: &Value) -> Option<String> {
    let failures = key(build, "setup-failures").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let reason = |value: &Value| key(value, "failure-reason").filter(|value| !value.is_null()).map(words);
    match failures.last() {
        Some(last) => {
            let why = reason(last).unwrap_or_else(|| words(last));
            Some(format!("could not be set up {} times, the last time: {why}", failures.len()))
        }
        None => reason(build),
    }
}

/// The tags of a build or an agent.
pub(super) fn tags(build: &Value) -> Vec<(String, String)> {
    let pair = |tag: &Value| Some((key(tag, "key")?.as_str()?.into(), key(tag, "value")?.as_str()?.into()));
    key(build, "tags").and_then(Value::as_array).into_iter().flatten().filter_map(pair).collect()
}

/// Reads an event about the state of a build: the store path of the derivation, if the event has
/// it, the id of the build, and its state.
pub(super) fn event(name: &str, data: &str) -> Option<(Option<String>, String, Attempt)> {
    let name = name.replace('_', "-").replace("cancelled", "canceled");
    let (_, attempt) = EVENTS.iter().find(|(word, _)| *word == name)?;
    let data: Value = serde_json::from_str(data).ok()?;
    let reference = NAMES.iter().find_map(|name| reference(key(&data, name)?))?;
    Some((derivation(&data).map(str::to_owned), reference, *attempt))
}

/// The value of `name` in an object, whichever spelling the key has.
pub(super) fn key<'a>(json: &'a Value, name: &str) -> Option<&'a Value> {
    let same = |key: &str| key.trim_end_matches('?').replace('_', "-") == name;
    json.as_object()?.iter().find(|(key, _)| same(key)).map(|(_, value)| value)
}

/// The id of a build: a string, a number, or an object that has one.
pub(super) fn reference(value: &Value) -> Option<String> {
    let name = match value {
        Value::String(name) => name.clone(),
        Value::Number(number) => number.to_string(),
        Value::Object(_) => return ["uuid", "id"].into_iter().find_map(|name| reference(key(value, name)?)),
        _ => return None,
    };
    (!name.is_empty() && name.len() <= 200 && !name.contains(char::is_control)).then_some(name)
}

/// Databases store true as 1.
fn is_true(value: &Value) -> bool {
    value.as_bool().unwrap_or(value.as_i64() == Some(1))
}

/// A point in time, UTC: `2026-01-02 03:04:05`, or seconds since 1970.
fn seconds(value: &Value) -> Option<Seconds> {
    let text = value.as_str().map(|text| text.replace('T', " "));
    let read = |text: String| NaiveDateTime::parse_from_str(text.get(..19)?, "%Y-%m-%d %H:%M:%S").ok();
    text.and_then(read).map_or_else(|| value.as_i64(), |time| Some(time.and_utc().timestamp()))
}

/// A string as it is, anything else as JSON.
pub(super) fn words(value: &Value) -> String {
    value.as_str().map_or_else(|| clip(&value.to_string()), clip)
}

pub(super) fn clip(text: &str) -> String {
    text.chars().take(REASON_LIMIT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Report {
        report(&serde_json::from_str(text).unwrap()).unwrap()
    }

    #[test]
    fn how_far_a_build_is_can_be_spelt_in_many_ways() {
        use Attempt::{Canceled, Failed, Scheduled, Started, Succeeded};
        let steps = |text: &str| read(text).steps.iter().map(|(attempt, _)| *attempt).collect::<Vec<_>>();
        assert_eq!(steps(r#"{"uuid": "a", "processed": false, "canceled": false}"#), [Scheduled]);
        assert_eq!(steps(r#"{"uuid": "a", "processed": 0, "canceled?": 1}"#), [Scheduled, Canceled]);
        let started = r#"{"uuid": "a", "starts": [{"agent_id": "x", "time": "2026-01-02 03:04:05"}]}"#;
        assert_eq!(read(started).steps[1], (Started, Some(1_767_323_045)));
        assert_eq!(read(started).agent.as_deref(), Some("x"));
        let ended = r#"{"uuid": "a", "result": "failure", "end_time": "2026-01-02T03:04:05Z"}"#;
        assert_eq!(read(ended).steps[1], (Failed, Some(1_767_323_045)));
        assert_eq!(steps(r#"{"uuid": "a", "result": "success", "starts": []}"#), [Scheduled, Succeeded]);
        assert_eq!(report(&json!({ "uuid": "\u{1b}" })), None);
        let hash = "0123456789abcdfghijklmnpqrsvwxyz";
        let of = json!({ "uuid": "a", "derivation_name": format!("/gnu/store/{hash}-x.drv") });
        assert_eq!(report(&of).unwrap().derivation.as_deref(), Some(hash));
        assert_eq!(report(&json!([])), None);
    }

    #[test]
    fn why_a_build_does_not_go_on_is_kept() {
        let text =
            r#"{"uuid": "a", "setup_failures": [{"agent-id": "x", "failure-reason": "missing_inputs"}]}"#;
        assert_eq!(read(text).note.unwrap(), "could not be set up 1 times, the last time: missing_inputs");
        assert_eq!(read(r#"{"uuid": "a", "failure-reason": null}"#).note, None);
    }

    #[test]
    fn events_are_known_by_their_names() {
        let derivation = "/gnu/store/x.drv";
        assert_eq!(
            event("build-submitted", r#"{"id": "a", "derivation": "/gnu/store/x.drv", "tags": []}"#),
            Some((Some(derivation.to_owned()), "a".to_owned(), Attempt::Scheduled))
        );
        assert_eq!(
            event("build_failure", r#"{"build_id": "a", "agent_id": "b"}"#),
            Some((None, "a".to_owned(), Attempt::Failed))
        );
        assert_eq!(event("agent-status-update", r#"{"id": "a"}"#), None);
        assert_eq!(event("build-success", "{"), None);
    }
}
