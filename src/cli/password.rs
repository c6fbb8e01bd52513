//! Passwords of private keys: `--password-file`, then `COSIGN_PASSWORD`, then the terminal.
//! Never an argument, because every user of a machine can read those.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::Context;
use super::report::Failure;

/// Where the password comes from.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct PasswordArgs {
    /// File with the password; a final line break does not count
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// Whether a mistyped password would be noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It opens something.
    Open,
    /// It will close something: a typing error would lock the key for ever.
    Choose,
}

impl PasswordArgs {
    pub(crate) fn read(&self, context: &Context<'_>, purpose: Purpose) -> Result<Zeroizing<String>, Failure> {
        if let Some(file) = &self.password_file {
            let text = std::fs::read_to_string(file).map_err(|error| Failure::file(file, &error))?;
            let text = Zeroizing::new(text);
            return Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()));
        }
        if let Some(password) = &context.config.password {
            return Ok(password.clone());
        }
        if !std::io::stdin().is_terminal() {
            return Err(Failure::no_password());
        }
        let ask = |prompt: &str| {
            rpassword::prompt_password(prompt).map(Zeroizing::new).map_err(|_| Failure::no_password())
        };
        let password = ask("Password of the private key: ")?;
        if purpose == Purpose::Choose && ask("The same again: ")? != password {
            return Err(Failure::usage("the two passwords differ", "nothing was written, try again"));
        }
        Ok(password)
    }
}
