//! The signatures of deliveries. All comparisons take the same time, whatever is wrong.

use std::fmt;
use std::path::Path;

use anyhow::ensure;
use axum::http::HeaderMap;
use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::clock::Seconds;
use crate::config::HookKind;
use crate::web::Token;

/// The shortest secret, in bytes.
const SHORTEST: usize = 16;
/// The longest id of a delivery, in bytes.
const LONGEST_ID: usize = 200;
/// How far the time of a signature may be away from now.
const TOLERANCE: Seconds = 5 * 60;
/// What precedes the key in a secret of Standard Webhooks.
const PREFIX: &str = "whsec_";

/// The secrets of one webhook. There are several while one is being replaced.
pub(super) struct Secrets(Vec<String>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(…)")
    }
}

impl Secrets {
    pub(super) fn load(kind: HookKind, file: &Path) -> anyhow::Result<Self> {
        let text = fs_err::read_to_string(file)?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let secrets: Vec<String> = lines.map(ToOwned::to_owned).collect();
        ensure!(
            !secrets.is_empty() && secrets.iter().all(|secret| secret.len() >= SHORTEST),
            "{} needs a secret of at least {SHORTEST} characters in each line\nhint: `openssl rand -hex 32` makes one",
            file.display()
        );
        let secrets = Self(secrets);
        let are_keys = secrets.keys().filter(|key| key.len() >= SHORTEST).count() == secrets.0.len();
        ensure!(
            kind != HookKind::Standard || are_keys,
            "{} needs a secret of Standard Webhooks in each line: {PREFIX} and the base64 of at least {SHORTEST} bytes\n\
             hint: `echo {PREFIX}$(openssl rand -base64 32)` makes one",
            file.display()
        );
        Ok(secrets)
    }

    /// Whether one of them, as it is, signs `parts`.
    fn sign(&self, parts: &[&[u8]], signature: &[u8]) -> bool {
        self.0.iter().any(|secret| is_signed(secret.as_bytes(), parts, signature))
    }

    /// The keys of Standard Webhooks among them.
    fn keys(&self) -> impl Iterator<Item = Vec<u8>> {
        self.0.iter().filter_map(|secret| BASE64.decode(secret.strip_prefix(PREFIX)?.as_bytes()).ok())
    }
}

fn is_signed(key: &[u8], parts: &[&[u8]], signature: &[u8]) -> bool {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return false };
    for part in parts {
        mac.update(part);
    }
    mac.verify_slice(signature).is_ok()
}

/// The headers of which one has the signature of a delivery.
fn signature_headers(kind: HookKind) -> &'static [&'static str] {
    match kind {
        HookKind::Forgejo => &["x-forgejo-signature", "x-gitea-signature"],
        HookKind::Github => &["x-hub-signature-256"],
        HookKind::Gitlab => &["webhook-signature", "x-gitlab-token"],
        HookKind::Standard => &["webhook-signature"],
    }
}

/// Whether a delivery has a signature, right or wrong.
pub(super) fn is_signed_at_all(kind: HookKind, headers: &HeaderMap) -> bool {
    signature_headers(kind).iter().any(|name| headers.contains_key(*name))
}

/// Checks the signature of a delivery. Returns the sender's id for the delivery, or what is wrong.
pub(super) fn check(
    kind: HookKind,
    secrets: &Secrets,
    headers: &HeaderMap,
    body: &[u8],
    now: Seconds,
) -> Result<Option<String>, &'static str> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let id = |names: &[&str]| {
        let found = names.iter().find_map(|name| header(name));
        found.filter(|id| id.len() <= LONGEST_ID).map(ToOwned::to_owned)
    };
    let is_right = match kind {
        HookKind::Forgejo => {
            let given = header("x-forgejo-signature").or_else(|| header("x-gitea-signature"));
            given.is_some_and(|given| is_hex_signed(secrets, body, given))
        }
        HookKind::Github => {
            let given = header("x-hub-signature-256").and_then(|given| given.strip_prefix("sha256="));
            given.is_some_and(|given| is_hex_signed(secrets, body, given))
        }
        HookKind::Gitlab if header("webhook-signature").is_none() => {
            let given = header("x-gitlab-token").map(Token::new);
            given.is_some_and(|given| secrets.0.iter().any(|secret| Token::new(secret) == given))
        }
        HookKind::Gitlab | HookKind::Standard => return standard(secrets, headers, body, now),
    };
    if !is_right {
        return Err("the signature is wrong");
    }
    Ok(match kind {
        HookKind::Forgejo => id(&["x-forgejo-delivery", "x-gitea-delivery"]),
        HookKind::Github => id(&["x-github-delivery"]),
        HookKind::Gitlab | HookKind::Standard => id(&["idempotency-key", "x-gitlab-event-uuid"]),
    })
}

fn is_hex_signed(secrets: &Secrets, body: &[u8], given: &str) -> bool {
    HEXLOWER_PERMISSIVE.decode(given.as_bytes()).is_ok_and(|given| secrets.sign(&[body], &given))
}

/// Checks a signature of Standard Webhooks, which is over the id and the time, too.
fn standard(
    secrets: &Secrets,
    headers: &HeaderMap,
    body: &[u8],
    now: Seconds,
) -> Result<Option<String>, &'static str> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let (Some(id), Some(time), Some(given)) =
        (header("webhook-id"), header("webhook-timestamp"), header("webhook-signature"))
    else {
        return Err("a delivery needs webhook-id, webhook-timestamp and webhook-signature");
    };
    let parts = [id.as_bytes(), b".", time.as_bytes(), b".", body];
    let signatures =
        given.split(' ').filter_map(|one| BASE64.decode(one.strip_prefix("v1,")?.as_bytes()).ok());
    let signatures: Vec<Vec<u8>> = signatures.take(8).collect();
    let is_right = secrets.keys().any(|key| signatures.iter().any(|one| is_signed(&key, &parts, one)));
    if !is_right || id.is_empty() || id.len() > LONGEST_ID {
        return Err("the signature is wrong");
    }
    let time: Option<Seconds> = time.parse().ok();
    if time.is_none_or(|time| now.abs_diff(time) > TOLERANCE.unsigned_abs()) {
        return Err("the signature is older or newer than five minutes");
    }
    Ok(Some(id.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(
        kind: HookKind,
        secret: &str,
        headers: &[(&'static str, &str)],
        body: &[u8],
        now: Seconds,
    ) -> bool {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        check(kind, &Secrets(vec![secret.to_owned()]), &headers.collect(), body, now).is_ok()
    }

    #[test]
    fn signatures_that_their_documentation_gives_are_right() {
        let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let (secret, header) = ("It's a Secret to Everybody", [("x-hub-signature-256", signature)]);
        assert!(checked(HookKind::Github, secret, &header, b"Hello, World!", 0));
        assert!(!checked(HookKind::Github, secret, &header, b"Hello, World?", 0));
        let headers = [
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("webhook-timestamp", "1614265330"),
            ("webhook-signature", "v1,AAAA v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= v2,x"),
        ];
        let (secret, body) = ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b"{\"test\": 2432232314}");
        for kind in [HookKind::Standard, HookKind::Gitlab] {
            for (now, expected) in
                [(1_614_265_030, true), (1_614_265_029, false), (1_614_265_630, true), (1_614_265_631, false)]
            {
                assert_eq!(checked(kind, secret, &headers, body, now), expected, "{now}");
            }
        }
    }
}
