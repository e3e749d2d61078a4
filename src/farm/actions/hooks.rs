use super::{Actions, Refusal, Result, missing};
use crate::db::Branch;
use crate::domain::spec::{is_pattern, matches_pattern};

/// A push that a forge reports. Nothing in it is trusted: it only says what to poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportedPush {
    /// The URLs of the repository, as the forge has them.
    pub urls: Vec<String>,
    /// The name of the branch.
    pub branch: String,
}

impl Actions<'_> {
    /// Requests a poll of a branch that a forge says has moved. `delivery` is the name of the webhook,
    /// and the forge's id for this report. Returns the number of the delivery; `None` if it was
    /// reported before.
    pub async fn report_push(
        &self,
        delivery: (&str, Option<&str>),
        push: &ReportedPush,
    ) -> Result<Option<i64>> {
        let branches = self.db.branches().await?;
        let urls: Vec<String> = push.urls.iter().map(|url| plain(url)).collect();
        let of_repository: Vec<&Branch> =
            branches.iter().filter(|branch| urls.contains(&plain(&branch.url))).collect();
        if of_repository.is_empty() {
            return missing("no spec names this repository");
        }
        let is_meant = |branch: &&&Branch| {
            branch.name == push.branch
                || is_pattern(&branch.name) && matches_pattern(&branch.name, &push.branch)
        };
        let meant: Vec<&Branch> = of_repository.iter().filter(is_meant).copied().collect();
        let ids: Vec<_> = meant.iter().map(|branch| branch.id).collect();
        let names: Vec<String> =
            meant.iter().map(|branch| format!("{} of {}", branch.name, branch.url)).collect();
        let recorded =
            self.db.record_delivery(delivery, (&ids, &names.join(", ")), self.author, self.now).await;
        recorded.map_err(Refusal::Db)
    }
}

/// A URL without what makes no difference.
fn plain(url: &str) -> String {
    let url = url.trim_end_matches('/').trim_end_matches(".git").trim_end_matches('/');
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    format!("{}://{}/{path}", scheme.to_ascii_lowercase(), host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_repository_are_the_same() {
        let expected = "https://git.example.org/Guix/guix";
        for url in [
            "https://git.example.org/Guix/guix.git",
            "https://Git.Example.org/Guix/guix/",
            "HTTPS://git.example.org/Guix/guix.git/",
        ] {
            assert_eq!(plain(url), expected);
        }
        assert_eq!(plain("/srv/repository.git"), "/srv/repository");
        assert_eq!(plain("git@example.org:guix.git"), "git@example.org:guix");
        assert_ne!(plain("https://git.example.org/guix/guix.git"), expected, "a path has its case");
        assert_ne!(plain("http://git.example.org/Guix/guix.git"), expected);
    }
}
