//! Tokens, and the browser sessions that were begun with them.
//!
//! # Guarantees
//!
//! * A secret is never stored, only its hash.
//! * A session has the permissions of its token, and ends with it.

use serde_json::json;

use crate::clock::Seconds;
use crate::db::log::audit::record;
use crate::db::{Db, Error, Result, TokenId, stored};
use crate::domain::access::{Action, Author, Role};

/// A session ends after this long without a request.
const IDLE: Seconds = 12 * 60 * 60;
/// A session ends after this long in any case.
const SESSION: Seconds = 7 * 24 * 60 * 60;
/// Most sessions of a token; beyond that, the oldest end.
const MOST_SESSIONS: i64 = 100;
/// Precision of `used_at`.
const EXACT: Seconds = 10 * 60;

/// A token to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// The name for people.
    pub name: String,
    /// What it permits.
    pub role: Role,
    /// Patterns of the specs that the token may change; empty for all.
    pub specs: Vec<String>,
    /// When the token expires.
    pub expires_at: Option<Seconds>,
}

/// A token or a browser session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The number of the token.
    pub id: TokenId,
    /// The name for people.
    pub name: String,
    /// What it permits.
    pub role: Role,
    /// See [`NewToken::specs`].
    pub specs: Vec<String>,
    /// Whether it is a browser session.
    pub is_session: bool,
    /// The author who made it.
    pub made_by: String,
    /// When it was made.
    pub made_at: Seconds,
    /// When it expires.
    pub expires_at: Option<Seconds>,
    /// When it was last used, give or take ten minutes.
    pub used_at: Option<Seconds>,
    /// When somebody revoked it.
    pub revoked_at: Option<Seconds>,
}

impl Token {
    /// Whether it still grants access.
    pub fn is_valid(&self, now: Seconds) -> bool {
        let is_idle = self.is_session && self.used_at.unwrap_or(self.made_at) + IDLE <= now;
        self.revoked_at.is_none() && !is_idle && self.expires_at.is_none_or(|end| now < end)
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    id: TokenId,
    name: String,
    role: String,
    specs: String,
    is_session: bool,
    made_by: String,
    made_at: Seconds,
    expires_at: Option<Seconds>,
    used_at: Option<Seconds>,
    revoked_at: Option<Seconds>,
}

impl TryFrom<Row> for Token {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let what = || format!("token {}", row.id);
        let role = row.role.parse().map_err(|reason| Error::Damaged { what: what(), reason })?;
        let specs = stored(&row.specs, what)?;
        let Row { id, name, is_session, made_by, made_at, expires_at, used_at, revoked_at, .. } = row;
        Ok(Self { id, name, role, specs, is_session, made_by, made_at, expires_at, used_at, revoked_at })
    }
}

/// Selects [`Row`]s; a session gets the role, specs and end of its token. A condition follows.
macro_rules! tokens {
    ($condition:literal) => {
        concat!(
            "select t.id, t.name, coalesce(p.role, t.role) as role, coalesce(p.specs, t.specs) as specs,
               t.session_of is not null as is_session, t.made_by, t.made_at,
               case when p.expires_at < t.expires_at then p.expires_at else t.expires_at end as expires_at,
               t.used_at, coalesce(p.revoked_at, t.revoked_at) as revoked_at
             from token t left join token p on p.id = t.session_of ",
            $condition
        )
    };
}

impl Db {
    /// Makes a token; `hash` is the hash of its secret.
    pub async fn create_token(
        &self,
        new: &NewToken,
        hash: &str,
        author: &Author,
        now: Seconds,
    ) -> Result<TokenId> {
        const ADD: &str = "insert into token (name, role, specs, hash, made_by, made_at, expires_at)
            values ($1, $2, $3, $4, $5, $6, $7) returning id";
        let NewToken { name, role, specs, expires_at } = new;
        let patterns = json!(specs).to_string();
        let mut tx = self.begin().await?;
        let id: TokenId = each!(&mut tx, tx => sqlx::query_scalar(ADD).bind(name).bind(role.word())
            .bind(&patterns).bind(hash).bind(&author.name).bind(now).bind(expires_at).fetch_one(&mut **tx).await?);
        let subject = format!("token {id} ({name}, {})", role.word());
        record(&mut tx, author, Action::CreateToken, &subject, now).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Begins a session with a token; `hash` is the hash of the session's own secret. Sessions that
    /// have ended are deleted.
    pub async fn begin_session(
        &self,
        token: &Token,
        hash: &str,
        author: &Author,
        now: Seconds,
    ) -> Result<()> {
        const FORGET: &str = "delete from token where session_of is not null
            and (revoked_at is not null or expires_at <= $1 or coalesce(used_at, made_at) <= $2)";
        const OLDEST: &str = "delete from token where session_of = $1 and id not in
            (select id from token where session_of = $1 order by id desc limit $2)";
        const ADD: &str =
            "insert into token (name, role, specs, hash, session_of, made_by, made_at, expires_at)
            select name, role, specs, $2, id, name, $3, $4 from token where id = $1";
        let mut tx = self.begin().await?;
        execute!(&mut tx, FORGET, now, now - IDLE);
        execute!(&mut tx, OLDEST, token.id, MOST_SESSIONS - 1);
        execute!(&mut tx, ADD, token.id, hash, now, now + SESSION);
        execute!(&mut tx, "update token set used_at = $2 where id = $1", token.id, now);
        record(&mut tx, author, Action::Login, &format!("token {}", token.id), now).await?;
        tx.commit().await
    }

    /// Ends a session.
    pub async fn end_session(&self, session: TokenId) -> Result<()> {
        let mut tx = self.begin().await?;
        execute!(&mut tx, "delete from token where id = $1 and session_of is not null", session);
        tx.commit().await
    }

    /// The token or session whose secret has this hash, valid or not.
    pub async fn token(&self, hash: &str) -> Result<Option<Token>> {
        const SQL: &str = tokens!("where t.hash = $1");
        let row: Option<Row> =
            each!(&self.readers, pool => sqlx::query_as(SQL).bind(hash).fetch_optional(pool).await?);
        row.map(Token::try_from).transpose()
    }

    /// All tokens, without sessions; the newest first.
    pub async fn tokens(&self) -> Result<Vec<Token>> {
        const SQL: &str = tokens!("where t.session_of is null order by t.id desc");
        let rows: Vec<Row> = each!(&self.readers, pool => sqlx::query_as(SQL).fetch_all(pool).await?);
        rows.into_iter().map(Token::try_from).collect()
    }

    /// Revokes a token. Returns `false` if there is none, or it was revoked before.
    pub async fn revoke_token(&self, id: TokenId, author: &Author, now: Seconds) -> Result<bool> {
        const SQL: &str = "update token set revoked_at = $2 where id = $1 and revoked_at is null
            and session_of is null";
        let mut tx = self.begin().await?;
        let found = execute!(&mut tx, SQL, id, now) > 0;
        if found {
            record(&mut tx, author, Action::RevokeToken, &format!("token {id}"), now).await?;
        }
        tx.commit().await?;
        Ok(found)
    }

    /// Records that a token was used, unless the stored time is recent enough.
    pub async fn note_use(&self, token: &Token, now: Seconds) -> Result<()> {
        if token.used_at.is_some_and(|used| now - used < EXACT) {
            return Ok(());
        }
        let mut tx = self.begin().await?;
        execute!(&mut tx, "update token set used_at = $2 where id = $1", token.id, now);
        tx.commit().await
    }
}
