use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use super::{Actions, Refusal, Result, missing};
use crate::db::{NewToken, TokenId};
use crate::domain::access::secret;
use crate::domain::spec::sanitize;

/// Longest name, in characters.
const LONGEST_NAME: usize = 100;

impl Actions<'_> {
    /// Makes a token; returns its number and its secret, which is stored nowhere. An author cannot
    /// make a token that permits more than the author's own.
    pub async fn create_token(&self, new: &NewToken) -> Result<(TokenId, String)> {
        self.check(None).await?;
        if new.role > self.author.role {
            return Err(Refusal::Forbidden(format!("{} is not {}", self.author.name, new.role.word())));
        }
        check_name(&new.name)?;
        if new.specs.iter().any(|pattern| pattern.trim().is_empty()) {
            return Err(Refusal::Wrong(
                "a pattern of specs is empty; without any, a token is for all".to_owned(),
            ));
        }
        let secret = random_secret()?;
        let id = self.db.create_token(new, &secret::hash(&secret), self.author, self.now).await?;
        Ok((id, secret))
    }

    /// Revokes a token, and ends the sessions that were begun with it.
    pub async fn revoke_token(&self, id: TokenId) -> Result<String> {
        self.check(None).await?;
        if !self.db.revoke_token(id, self.author, self.now).await? {
            return missing(format!("there is no valid token {id}\nhint: `gorget token list` lists them"));
        }
        Ok(format!("token {id} is revoked"))
    }
}

/// Rejects names that nobody could tell apart from others in the audit log.
fn check_name(name: &str) -> Result<()> {
    let is_plain = !name.trim().is_empty() && sanitize(name) == name && name.chars().count() <= LONGEST_NAME;
    if !is_plain || name.starts_with("cli:") || name.starts_with("hook:") || name == "anonymous" {
        return Err(Refusal::Wrong(format!(
            "a token needs a name of at most {LONGEST_NAME} characters that are shown, other than `anonymous`, `cli:…` and `hook:…`"
        )));
    }
    Ok(())
}

/// A secret that nobody can guess.
pub fn random_secret() -> std::result::Result<String, Errno> {
    let mut bytes = [0; 32];
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    Ok(secret::written(bytes))
}
