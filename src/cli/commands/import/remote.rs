//! Specifications of a running Cuirass, which it lists at `/jobsets`. The list lacks introductions
//! of channels and names of custom modules.

use std::time::Duration;

use anyhow::Context as _;
use reqwest::Url;
use serde::Deserialize;
use serde_json::Value;

use super::jobset::{Channel, Jobset};
use super::{Found, fetched, json};
use crate::cli::user_error;

/// The time limit for the answer.
const TIME_LIMIT: Duration = Duration::from_mins(1);

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Specification {
    name: String,
    build: Value,
    channels: Vec<ListedChannel>,
    #[serde(default)]
    period: i64,
    priority: i64,
    systems: Vec<String>,
    #[serde(default)]
    build_outputs: Vec<Value>,
    #[serde(default)]
    notifications: Vec<Value>,
}

#[derive(Deserialize)]
struct ListedChannel {
    name: String,
    url: String,
    branch: String,
    /// A text, or false or null.
    #[serde(default)]
    commit: Value,
}

pub(super) fn client() -> anyhow::Result<reqwest::Client> {
    let client = reqwest::Client::builder().timeout(TIME_LIMIT).user_agent("gorget");
    client.build().context("setting up an HTTP client")
}

/// A source without the user and the password of a URL, for messages and comments.
pub(super) fn shown(source: &str) -> String {
    let Ok(mut url) = Url::parse(source) else { return source.to_owned() };
    if url.username().is_empty() && url.password().is_none() {
        return source.to_owned();
    }
    // This fails only for a URL that cannot have any.
    let _ = url.set_username("").and_then(|()| url.set_password(None));
    url.to_string()
}

/// All specifications of the Cuirass at `url`.
pub(super) async fn jobsets(url: &str) -> anyhow::Result<Vec<Found>> {
    if Url::parse(url).is_err() {
        // It may contain a password.
        return Err(user_error("this is no URL of a Cuirass\nhint: write it as https://HOST/"));
    }
    let address = format!("{}/jobsets", url.trim_end_matches('/'));
    let place = shown(&address);
    let specifications: Vec<Specification> = json(&fetched(&address, &place).await?, &place)?;
    Ok(specifications.into_iter().map(|specification| jobset(specification, &place)).collect())
}

fn jobset(given: Specification, place: &str) -> Found {
    let place = format!("{place}: {}", given.name);
    let failed = |reason: String| format!("{place} cannot be imported: {reason}");
    let mut jobset = Jobset::new(&given.name, place.clone())?;
    match &given.build {
        Value::String(word) => jobset.build(word, None).map_err(failed)?,
        Value::Object(fields) if fields.len() == 1 => {
            for (word, items) in fields {
                let items =
                    serde_json::from_value(items.clone()).map_err(|error| failed(error.to_string()))?;
                jobset.build(word, Some(items)).map_err(failed)?;
            }
        }
        other => return Err(failed(format!("`build` is {other}"))),
    }
    jobset.channels(given.channels.into_iter().map(channel).collect());
    jobset.priority(given.priority);
    jobset.period(given.period);
    jobset.systems(given.systems);
    jobset.lists_no_introductions();
    for (what, listed) in [("build-outputs", &given.build_outputs), ("notifications", &given.notifications)] {
        if !listed.is_empty() {
            jobset.note(format!("Its `{what}` have no counterpart."));
        }
    }
    Ok(jobset)
}

fn channel(given: ListedChannel) -> Channel {
    let commit = given.commit.as_str().filter(|commit| !commit.is_empty()).map(ToOwned::to_owned);
    Channel { name: given.name, url: given.url, branch: given.branch, commit, introduction: None }
}
