//! Checks URLs and branches, so that they are safe to pass to Git.

use std::path::{Component, Path};

use thiserror::Error;

/// The schemes that Git may fetch by. Any other `NAME://` or `NAME::` makes Git run a program
/// `git-remote-NAME`.
const SCHEMES: [&str; 5] = ["https", "http", "ssh", "git", "file"];

/// Why something is not a URL that Gorget fetches from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum UrlError {
    /// The URL is empty.
    #[error("this URL is empty")]
    Empty,
    /// It would be taken for an option.
    #[error("this URL, its host or its path begins with `-`")]
    Option,
    /// It has a blank or a control character in it.
    #[error("this URL has a blank or a control character in it")]
    Blank,
    /// A plain path has one in it. Git takes `%20` in a path literally.
    #[error("this path has a blank or a control character in it")]
    BlankInPath,
    /// It has a `#` or a `?` after the address, as web pages have.
    #[error("this URL has a `#` or a `?` in it")]
    Fragment,
    /// `ext::` and other transport helpers run programs.
    #[error("this URL asks for a transport helper")]
    Helper,
    /// The scheme is unknown.
    #[error("Gorget does not fetch by this scheme")]
    Scheme,
    /// It has a password in it, or a user of a web server, which is as secret as a password.
    #[error("this URL has credentials in it")]
    Credentials,
    /// It has a scheme, but no host or no path.
    #[error("this URL is not complete")]
    Incomplete,
    /// It is a path that depends on the working directory.
    #[error("this is neither a URL nor an absolute path")]
    Relative,
}

impl UrlError {
    /// What to do about it.
    pub fn hint(self) -> &'static str {
        match self {
            Self::Credentials => "leave them out, and let git find them (`git help credentials`)",
            Self::Relative => "a directory of this machine begins with `/`",
            Self::Incomplete => "a URL looks like `https://HOST/PATH` or `file:///PATH`",
            Self::Blank => "write `%20` for a blank",
            Self::BlankInPath => "write `file://` before the path, and `%20` for each blank",
            Self::Fragment => "leave it out; `branch` and `commit` say what is fetched",
            Self::Empty | Self::Option | Self::Helper | Self::Scheme => {
                "use https, http, ssh, git, file, `user@host:path` or an absolute path"
            }
        }
    }
}

/// Refuses what Git would not take as a plain address to fetch from, and URLs with credentials.
pub fn check_url(url: &str) -> Result<(), UrlError> {
    if url.is_empty() {
        return Err(UrlError::Empty);
    }
    if url.chars().any(|char| char.is_control() || char.is_whitespace()) {
        return Err(if url.starts_with('/') { UrlError::BlankInPath } else { UrlError::Blank });
    }
    if url.starts_with('-') {
        return Err(UrlError::Option);
    }
    let word = url.find(|char: char| !char.is_ascii_alphanumeric() && !"+-.".contains(char));
    match word.map(|end| (&url[..end], &url[end..])) {
        Some((_, rest)) if rest.starts_with("::") => Err(UrlError::Helper),
        Some((scheme, rest)) if rest.starts_with("://") => check_absolute(scheme, &rest[3..]),
        _ if url.starts_with('/') => Ok(()),
        _ => check_scp(url),
    }
}

/// Checks the part after `scheme://`.
fn check_absolute(scheme: &str, rest: &str) -> Result<(), UrlError> {
    if !SCHEMES.contains(&scheme) {
        return Err(UrlError::Scheme);
    }
    let (authority, path) = rest.split_at(rest.find('/').ok_or(UrlError::Incomplete)?);
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if user.contains(':') || (authority.contains('@') && scheme.starts_with("http")) {
        return Err(UrlError::Credentials);
    }
    if authority.starts_with('-') || host.starts_with('-') {
        return Err(UrlError::Option);
    }
    // In a file name these characters have no special meaning.
    if scheme != "file" && path.contains(['#', '?']) {
        return Err(UrlError::Fragment);
    }
    if path == "/" || (host.is_empty() != (scheme == "file")) {
        return Err(UrlError::Incomplete);
    }
    Ok(())
}

/// Checks `user@host:path`, the form of `scp`.
fn check_scp(url: &str) -> Result<(), UrlError> {
    let (host, path) = url.split_once(':').ok_or(UrlError::Relative)?;
    let before_host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    if host.contains('/') {
        return Err(UrlError::Relative);
    }
    if before_host.starts_with('-') || path.starts_with('-') {
        return Err(UrlError::Option);
    }
    // `user:password@host:path`
    if path.split('/').next().is_some_and(|first| first.contains('@')) {
        return Err(UrlError::Credentials);
    }
    if before_host.is_empty() || path.is_empty() { Err(UrlError::Incomplete) } else { Ok(()) }
}

/// Whether a URL names a directory of this machine.
pub fn is_local(url: &str) -> bool {
    url.starts_with('/') || url.starts_with("file://")
}

/// Why something is not the name of a branch: the rule that it breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("this is not the name of a branch: {0}")]
pub struct BranchError(&'static str);

impl BranchError {
    /// The broken rule.
    pub fn rule(self) -> &'static str {
        self.0
    }
}

/// Refuses what Git does not accept as the name of a branch.
pub fn check_branch(name: &str) -> Result<(), BranchError> {
    let part_is_bad =
        |part: &str| part.is_empty() || part.starts_with('.') || part.strip_suffix(".lock").is_some();
    let rules = [
        (name.is_empty(), "it is empty"),
        (name.starts_with('-'), "it begins with `-`"),
        (name == "HEAD" || name == "@", "Git gives it another meaning"),
        (name.starts_with("refs/"), "leave out `refs/heads/`"),
        (name.chars().any(char::is_control), "a control character is in it"),
        (name.contains(|char| " ~^:?*[\\".contains(char)), "one of `~ ^ : ? * [ \\` or a blank is in it"),
        (name.contains("..") || name.contains("@{"), "`..` or `@{` is in it"),
        (name.ends_with('.'), "it ends with `.`"),
        (
            name.split('/').any(part_is_bad),
            "a part between slashes is empty, begins with `.` or ends with `.lock`",
        ),
    ];
    rules.into_iter().find(|(broken, _)| *broken).map_or(Ok(()), |(_, rule)| Err(BranchError(rule)))
}

/// Whether `path` stays inside the tree that it is relative to, for any tree.
pub fn is_inside(path: &str) -> bool {
    let path_is_plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    path_is_plain && !path.is_empty() && !path.starts_with('-') && !path.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn git_gets_no_url_that_it_would_take_for_something_else() {
        use UrlError::{
            Blank, BlankInPath, Credentials, Empty, Fragment, Helper, Incomplete, Option, Relative, Scheme,
        };
        let table = [
            ("https://git.example.org/guix.git", None),
            ("http://localhost:8080/guix", None),
            ("ssh://git@example.org:2222/guix.git", None),
            ("git://example.org/guix", None),
            ("file:///srv/git/guix", None),
            ("git@example.org:guix/guix.git", None),
            ("example.org:guix", None),
            ("[::1]:guix", None),
            ("https://[::1]/guix", None),
            ("/srv/git/guix", None),
            ("/srv/a::b", None),
            ("/srv/a#b?c", None),
            ("file:///srv/a%20b#c", None),
            ("/srv/a b", Some(BlankInPath)),
            ("https://example.org/y.git#main", Some(Fragment)),
            ("https://example.org/y?ref=main", Some(Fragment)),
            ("", Some(Empty)),
            ("--upload-pack=touch x", Some(Blank)),
            ("--upload-pack=x", Some(Option)),
            ("ssh://-oProxyCommand=x/y", Some(Option)),
            ("ssh://git@-oProxyCommand=x/y", Some(Option)),
            ("git@-oProxyCommand=x:y", Some(Option)),
            ("host:-x", Some(Option)),
            ("ext::sh -c x", Some(Blank)),
            ("ext::x", Some(Helper)),
            ("fd::17", Some(Helper)),
            ("::x", Some(Helper)),
            ("ftp://example.org/x", Some(Scheme)),
            ("HTTPS://example.org/x", Some(Scheme)),
            ("ext+x://example.org/x", Some(Scheme)),
            ("://example.org/x", Some(Scheme)),
            ("https://user:secret@example.org/x", Some(Credentials)),
            ("https://token@example.org/x", Some(Credentials)),
            ("ssh://user:secret@example.org/x", Some(Credentials)),
            ("ssh://a@b:c@example.org/x", Some(Credentials)),
            ("user:secret@example.org:x", Some(Credentials)),
            ("https:///x", Some(Incomplete)),
            ("https://example.org", Some(Incomplete)),
            ("file://host/x", Some(Incomplete)),
            ("guix", Some(Relative)),
            ("../guix", Some(Relative)),
            ("./a:b", Some(Relative)),
            ("https://example.org/a\u{1b}[2J", Some(Blank)),
        ];
        for (url, expected) in table {
            assert_eq!(check_url(url).err(), expected, "{url}");
        }
    }

    #[test]
    fn a_path_of_a_manifest_stays_inside_its_channel() {
        for path in ["etc/manifests/release.scm", "a", "a..b/c"] {
            assert!(is_inside(path), "{path}");
        }
        for path in ["", "/etc/passwd", "../x", "a/../../x", ".", "-x", "a\0b", "a\n"] {
            assert!(!is_inside(path), "{path}");
        }
    }
}
