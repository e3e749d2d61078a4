//! The types of the values of `gorget.toml`. Deserializing checks them.

use std::num::NonZeroUsize;
use std::time::Duration;

use serde::Deserialize;

use super::Location;
use crate::domain::spec::{System, interval};
use crate::git::PrivateHost;

/// A system that Guix knows.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(super) struct KnownSystem(pub(super) System);

impl TryFrom<String> for KnownSystem {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let known = || format!("`{text}` is not a system of Guix: write one of {}", System::KNOWN.join(", "));
        System::new(&text).map(Self).ok_or_else(known)
    }
}

/// A number of branches.
#[derive(Deserialize)]
#[serde(try_from = "usize")]
pub(super) struct Branches(pub(super) NonZeroUsize);

impl TryFrom<usize> for Branches {
    type Error = &'static str;

    fn try_from(number: usize) -> Result<Self, Self::Error> {
        let number = NonZeroUsize::new(number).filter(|number| number.get() <= 1000);
        number.map(Self).ok_or("write a number from 1 to 1000")
    }
}

/// A host or a network.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Host(pub(super) PrivateHost);

impl TryFrom<String> for Host {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Self)
    }
}

/// A URL of a web server.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Url(pub(super) Location);

impl TryFrom<String> for Url {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match reqwest::Url::parse(&text) {
            Ok(url) if ["http", "https"].contains(&url.scheme()) => Ok(Self(Location::new(text))),
            _ => Err("this is not a URL that begins with `http://` or `https://`"),
        }
    }
}

/// A URL of a web server, or the empty string.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(super) struct OptionalUrl(pub(super) Option<Url>);

impl TryFrom<String> for OptionalUrl {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.is_empty() { Ok(Self(None)) } else { Url::try_from(text).map(|url| Self(Some(url))) }
    }
}

/// A duration, written `30s`, `5m`, `6h` or `1d`.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Time(pub(super) Duration);

impl TryFrom<String> for Time {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let seconds =
            interval(&text).and_then(|seconds| u64::try_from(seconds).ok()).filter(|seconds| *seconds > 0);
        seconds.map(|seconds| Self(Duration::from_secs(seconds))).ok_or_else(|| {
            format!("`{text}` is not a duration: write a whole number and s, m, h or d, such as `5m`")
        })
    }
}

/// A number of bytes, written `512M`, `12G` or `1T`, in powers of 1024.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Size(pub(super) u64);

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let bytes = [('M', 1 << 20), ('G', 1 << 30), ('T', 1 << 40)].into_iter().find_map(|(unit, size)| {
            let digits =
                text.strip_suffix(unit).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
            digits.parse::<u64>().ok()?.checked_mul(size)
        });
        bytes.filter(|bytes| *bytes > 0).map(Self).ok_or_else(|| {
            format!("`{text}` is not a size: write a whole number and M, G or T, such as `12G`")
        })
    }
}
