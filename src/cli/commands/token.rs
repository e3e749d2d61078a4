//! `gorget token`: what lets people and programs in.

use crate::cli::author::{ActionContext, refused};
use crate::cli::{Exit, open_db, output};
use crate::clock::{Clock, readable};
use crate::config::Config;
use crate::db::{NewToken, TokenId};
use crate::domain::access::Role;
use crate::view::access::Token;

/// Create, list or revoke tokens, with which people and programs use pages and the API
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Tokens {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Creates a token, and prints its secret, which is not stored
    Create(Create),
    /// Lists tokens, the newest first
    List {
        /// Write one JSON object for every token
        #[arg(long)]
        json: bool,
    },
    /// Revokes a token, and ends the browser sessions that were started with it
    Revoke {
        /// Number of the token, as `gorget token list` shows it
        token: i64,
    },
}

#[derive(Debug, clap::Args)]
struct Create {
    /// A name for the token, such as that of its owner
    name: String,
    /// The role: read, trigger (polls), operate (approve, retry, pin, pause), admin
    #[arg(long, value_parser = role)]
    role: Role,
    /// Permit changes of these specs only; `*` stands for any text
    #[arg(long = "spec", value_name = "PATTERN")]
    specs: Vec<String>,
    /// Let it expire after so many days
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(i64).range(1..=3650))]
    days: Option<i64>,
}

fn role(word: &str) -> Result<Role, String> {
    word.parse()
}

pub(in crate::cli) async fn run(args: &Tokens, config: Config) -> anyhow::Result<Exit> {
    match &args.action {
        Action::Create(args) => create(args, &config).await,
        Action::List { json } => list(*json, &config).await,
        Action::Revoke { token } => {
            let context = ActionContext::open(&config).await?;
            output::note(&context.actions().revoke_token(TokenId(*token)).await.map_err(refused)?);
            Ok(Exit::Done)
        }
    }
}

async fn create(args: &Create, config: &Config) -> anyhow::Result<Exit> {
    const DAY: i64 = 24 * 60 * 60;
    let context = ActionContext::open(config).await?;
    let actions = context.actions();
    let Create { name, role, specs, days } = args;
    let expires_at = days.map(|days| actions.now + days * DAY);
    let new = NewToken { name: name.clone(), role: *role, specs: specs.clone(), expires_at };
    let (id, secret) = actions.create_token(&new).await.map_err(refused)?;
    output::note(&format!("token {id} of {name} ({}): this is the only time that it is shown", role.word()));
    output::line(&secret)?;
    Ok(Exit::Done)
}

async fn list(json: bool, config: &Config) -> anyhow::Result<Exit> {
    let db = open_db::open(config).await?;
    let (rows, now) = (db.tokens().await?, Clock::System.now());
    let tokens: Vec<Token<'_>> = rows.iter().map(|row| Token::new(row, now)).collect();
    if json {
        tokens.iter().try_for_each(output::json)?;
        return Ok(Exit::Done);
    }
    let time = |at: Option<i64>| at.map_or_else(|| "-".to_owned(), readable);
    let lines = tokens.iter().map(|token| {
        vec![
            token.id.to_string(),
            token.name.to_owned(),
            token.role.word().to_owned(),
            if token.specs.is_empty() { "all".to_owned() } else { token.specs.join(" ") },
            token.made_by.to_owned(),
            time(token.used_at),
            time(token.expires_at),
            token.state.to_owned(),
        ]
    });
    output::table(&["NO.", "NAME", "ROLE", "SPECS", "MADE BY", "USED", "EXPIRES", ""], lines.collect())?;
    Ok(Exit::Done)
}
