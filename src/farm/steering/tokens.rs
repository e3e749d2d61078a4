use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use super::{Refusal, Result, Steering, conflict, missing};
use crate::db::{NewToken, TokenId};
use crate::domain::access::secret;

impl Steering<'_> {
    /// Makes a token; gives its number and its secret, which is nowhere else. Nobody makes one that permits more
    /// than their own.
    pub async fn create_token(&self, new: &NewToken) -> Result<(TokenId, String)> {
        self.check(None)?;
        if new.role > self.author.role {
            return Err(Refusal::Forbidden(format!("{} is not {}", self.author.name, new.role.word())));
        }
        if new.name.trim().is_empty() || new.name.len() > 100 || new.name.contains(char::is_control) {
            return conflict("a token needs a name, of at most 100 characters");
        }
        let secret = random_secret()?;
        let id = self.db.create_token(new, &secret::hash(&secret), self.author, self.now).await?;
        Ok((id, secret))
    }

    /// A token is not valid any more, nor are the sessions that were begun with it.
    pub async fn revoke_token(&self, id: TokenId) -> Result<String> {
        self.check(None)?;
        if !self.db.revoke_token(id, self.author, self.now).await? {
            return missing(format!("there is no valid token {id}\nhint: `gorget token list` lists them"));
        }
        Ok(format!("token {id} is revoked"))
    }
}

/// A secret that nobody can guess.
pub fn random_secret() -> std::result::Result<String, Errno> {
    let mut bytes = [0; 32];
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    Ok(secret::written(bytes))
}
