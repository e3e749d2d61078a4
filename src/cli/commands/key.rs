//! `gorget key`: the key with which derivations are signed.

use std::path::PathBuf;

use crate::cli::{Exit, output, user_error};
use crate::config::Config;
use crate::guix::signature::SigningKey;

/// Create, import or show the key with which derivations are signed
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Key {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Creates a new key pair, such as `guix archive --generate-key` creates
    Generate,
    /// Takes the key pair of this machine's Guix, or of another directory with `signing-key.sec` and
    /// `signing-key.pub`
    Import {
        /// Where they are
        #[arg(default_value = "/etc/guix")]
        directory: PathBuf,
    },
    /// Prints the public key, for `guix archive --authorize` on the machines that build
    Show,
}

pub(in crate::cli) fn run(args: &Key, config: &Config) -> anyhow::Result<Exit> {
    let file = &config.web.signing_key;
    let key = match &args.action {
        Action::Show if !file.exists() => {
            let hint = "hint: `gorget key generate` creates one";
            return Err(user_error(format!("there is no key in {}\n{hint}", file.display())));
        }
        Action::Show => SigningKey::load(file)?,
        Action::Generate | Action::Import { .. } if file.exists() => {
            return Err(user_error(format!(
                "there is a key in {}\nhint: remove it first, and the public one beside it; machines that build have to authorize the new one",
                file.display()
            )));
        }
        Action::Generate => SigningKey::generate()?,
        Action::Import { directory } => SigningKey::load(&directory.join("signing-key.sec"))?,
    };
    if !matches!(args.action, Action::Show) {
        key.store(file)?;
        output::note(&format!(
            "key written to {}; machines that build have to authorize it:",
            file.display()
        ));
    }
    key.public_text().lines().try_for_each(output::line)?;
    Ok(Exit::Done)
}
