//! The parameters of a query, as clients of Cuirass write them: `+` stays `+`, because
//! `(guix ci)` sends names of jobs without escapes.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use percent_encoding::percent_decode_str;

use super::{Fault, wrong};

/// The parameters of a query, in their order.
pub(in crate::web) struct Parameters(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Parameters {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(parts.uri.query().unwrap_or_default()))
    }
}

impl Parameters {
    fn of(query: &str) -> Self {
        let plain = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        Self(pairs.map(|(name, value)| (plain(name), plain(value))).collect())
    }

    /// The value of a parameter, if it is not empty.
    pub(super) fn word(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// The value of a parameter that is a whole number.
    pub(super) fn number(&self, name: &str) -> Result<Option<i64>, Fault> {
        let parse = |word: &str| word.parse().map_err(|_| wrong(format!("`{name}` is a whole number")));
        self.word(name).map(parse).transpose()
    }

    pub(super) fn needed(&self, name: &str) -> Result<i64, Fault> {
        self.number(name)?.ok_or_else(|| wrong(format!("this takes `{name}`, a whole number")))
    }

    /// How many rows to list: `nr`, which is needed.
    pub(super) fn limit(&self, most: i64) -> Result<i64, Fault> {
        let number = self.needed("nr")?;
        if number < 0 {
            return Err(wrong("`nr` is not negative"));
        }
        Ok(number.min(most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plus_stays_a_plus() {
        let given = Parameters::of("nr=20&names=gtk+.x,c%2B%2B.x&empty=&x&id=a");
        assert_eq!(given.word("names"), Some("gtk+.x,c++.x"));
        assert_eq!((given.word("empty"), given.word("x"), given.word("y")), (None, None, None));
        assert!(matches!(given.limit(10), Ok(10)) && matches!(given.limit(100), Ok(20)));
        assert!(given.number("id").is_err() && given.needed("empty").is_err());
    }
}
