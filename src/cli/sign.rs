//! `imgforge sign`

use std::path::{Path, PathBuf};

use imgforge::flow;
use imgforge::step::keyring::{self, SigningKey};
use serde_json::json;

use super::Context;
use super::keys::warn_exposed;
use super::password::{PasswordArgs, Purpose};
use super::report::Failure;
use super::words::Words;
use super::workshop::RecipeArgs;

/// Whose signature.
#[derive(clap::Args)]
pub(crate) struct KeyArgs {
    /// The private key
    #[arg(long, value_name = "FILE", default_value = "keys/cosign.key")]
    key: PathBuf,
    #[command(flatten)]
    password: PasswordArgs,
}

impl KeyArgs {
    pub(crate) fn open(&self, context: &Context<'_>) -> Result<SigningKey, Failure> {
        self.open_at(context, &self.key)
    }

    /// Opens another key with the same password options.
    pub(crate) fn open_at(&self, context: &Context<'_>, file: &Path) -> Result<SigningKey, Failure> {
        if !file.exists() {
            let reason = format!("there is no private key `{}`", file.display());
            return Err(Failure::usage(
                reason,
                "make one with `imgforge keys generate`, or name it with `--key FILE`",
            ));
        }
        warn_exposed(context, file);
        let password = self.password.read(context, Purpose::Open)?;
        Ok(keyring::open(file, password.as_bytes())?)
    }
}

/// Sign exported archives: writes a sealed release, SHA256SUMS and its signature beside them
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Archives of one version in one folder; with `--detached`, any files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Only write `FILE.sig` beside each file, which openssl and `cosign verify-blob` check
    #[arg(long)]
    detached: bool,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    recipes: RecipeArgs,
}

impl Args {
    pub(crate) fn run(self, context: &Context<'_>) -> Result<(), Failure> {
        let key = self.key.open(context)?;
        if self.detached {
            let signatures = flow::sign::detached(&self.files, &key)?;
            let mut words = Words::default();
            for signature in &signatures {
                words.row("wrote", signature.display());
            }
            let signer = key.public().fingerprint();
            words.row("key", signer);
            context.screen.result(words.text(), &json!({"signatures": signatures, "signer": signer}));
            return Ok(());
        }
        let workshop = self.recipes.workshop(context)?;
        let hear = |event: imgforge::step::progress::Event<'_>| context.screen.hear(event);
        let release = flow::sign::sign(&workshop, &self.files, &key, context.config.now, &hear)?;
        let folder = self.files[0].parent().unwrap_or(Path::new("")).to_owned();
        let sealed = folder.join(imgforge::model::release::FILE_NAME);
        let words = format!(
            "signed {} {} with key {}\nwrote  {}, SHA256SUMS, SHA256SUMS.sig",
            release.project,
            release.version,
            release.signer(),
            sealed.display()
        );
        context
            .screen
            .result(&words, &json!({"release": *release, "signer": release.signer(), "file": sealed}));
        Ok(())
    }
}
