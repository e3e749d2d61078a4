//! Removes credentials from URLs in texts.
//!
//! Tools print URLs with tokens in them, which configuration put there. All output of tools goes
//! through [`without_credentials`] before it is logged, stored or shown.

/// Removes the credentials of all URLs in a text. Git's configuration may put tokens into URLs, and
/// Git's messages repeat them. User and password are removed (only the password of SSH URLs), and
/// every query.
pub fn without_credentials(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((start, mark)) = next_authority(rest) {
        let (before, after) = rest.split_at(start);
        shown.push_str(before);
        shown.push_str(&after[..mark.len()]);
        let is_ssh = before.ends_with("ssh");
        rest = authority(&after[mark.len()..], mark.len() > 3, is_ssh, &mut shown);
    }
    shown.push_str(rest);
    shown
}

/// The position of the next `://`, plain or percent-encoded.
fn next_authority(text: &str) -> Option<(usize, &'static str)> {
    text.bytes().enumerate().find_map(|(at, byte)| match byte {
        b':' | b'%' => {
            ["://", "%3A%2F%2F"].into_iter().find(|mark| begins(text, at, mark)).map(|mark| (at, mark))
        }
        _ => None,
    })
}

fn begins(text: &str, at: usize, mark: &str) -> bool {
    let found = text.as_bytes().get(at..at + mark.len());
    found.is_some_and(|found| found.eq_ignore_ascii_case(mark.as_bytes()))
}

/// Writes the rest of a URL without its secrets to `shown`; returns the text after the URL.
fn authority<'a>(text: &'a str, encoded: bool, is_ssh: bool, shown: &mut String) -> &'a str {
    let ends = |(at, char): (usize, char)| {
        let slash = encoded && (char == '&' || begins(text, at, "%2F"));
        (slash || char.is_whitespace() || char.is_control() || "/?#".contains(char)).then_some(at)
    };
    let (authority, rest) = text.split_at(text.char_indices().find_map(ends).unwrap_or(text.len()));
    let at = if encoded && !authority.contains('@') { "%40" } else { "@" };
    match authority.rsplit_once(at) {
        Some((user, host)) => {
            let kept = if is_ssh { user.split(':').next().unwrap_or_default() } else { "***" };
            shown.push_str(kept);
            if is_ssh && kept.len() < user.len() {
                shown.push_str(":***");
            }
            shown.push_str(at);
            shown.push_str(host);
        }
        None => shown.push_str(authority),
    }
    // Another URL may begin in the path of this one.
    let ends = |char: char| char.is_whitespace() || char.is_control() || "'\"<>`".contains(char);
    let stops = |(at, char): (usize, char)| {
        let stop = ends(char) || char == '?' || begins(rest, at, "://") || begins(rest, at, "%3A%2F%2F");
        stop.then_some(at)
    };
    let (path, rest) = rest.split_at(rest.char_indices().find_map(stops).unwrap_or(rest.len()));
    shown.push_str(path);
    if !rest.starts_with('?') {
        return rest;
    }
    shown.push_str("?***");
    &rest[rest.find(ends).unwrap_or(rest.len())..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_url_in_a_text_shows_its_credentials() {
        let table = [
            (
                "fatal: unable to access 'https://me:s3cret@x/y/': 401",
                "fatal: unable to access 'https://***@x/y/': 401",
            ),
            ("https://s3cret@x", "https://***@x"),
            ("HTTP://a:s3cret@b@x:80/y http://s3cret@z/", "HTTP://***@x:80/y http://***@z/"),
            ("http://me:s3'cret\"<@x/y", "http://***@x/y"),
            ("ssh://git@x/y@z", "ssh://git@x/y@z"),
            ("git+ssh://git:s3cret@x/y", "git+ssh://git:***@x/y"),
            ("https://x/y?access_token=s3cret' and", "https://x/y?***' and"),
            ("https://x?s3cret", "https://x?***"),
            ("https%3A%2F%2Fme%3As3cret%40x%2Fy", "https%3A%2F%2F***%40x%2Fy"),
            ("https%3a%2f%2fs3cret@x%2fy", "https%3a%2f%2f***@x%2fy"),
            ("https://x/proxy/https://me:s3cret@y/z", "https://x/proxy/https://***@y/z"),
            ("https://x/r/https%3A%2F%2Fs3cret%40y/z", "https://x/r/https%3A%2F%2F***%40y/z"),
            ("https://é:s3cret@ü/ä", "https://***@ü/ä"),
            ("git@x:a/b, a@b, ://, a://", "git@x:a/b, a@b, ://, a://"),
            ("https://x/y@z#a", "https://x/y@z#a"),
        ];
        for (text, expected) in table {
            let shown = without_credentials(text);
            assert_eq!(shown, expected);
            assert!(!shown.contains("s3cret"), "{shown}");
            assert_eq!(without_credentials(&shown), shown, "twice does no harm");
        }
    }

    #[test]
    fn texts_of_every_kind_take_time_in_proportion() {
        for part in ["://", "http://a@", "%3A%2F%2F", "://a/", "?", "@", ":", "%", "http://x/?a=b "] {
            let text = part.repeat((4 << 20) / part.len());
            assert!(without_credentials(&text).len() <= 2 * text.len());
        }
    }
}
