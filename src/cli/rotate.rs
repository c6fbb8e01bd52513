//! `imgforge trust rotate` and `imgforge trust sign`

use std::path::{Path, PathBuf};

use imgforge::flow::trust::{Keep, Rotated, Rotation};
use imgforge::flow::{self, pointer::Publisher};
use imgforge::model::key::PublicKey;
use imgforge::step::atomic;
use imgforge::step::keyring::{self, SigningKey};
use serde_json::json;

use super::Context;
use super::keys::warn_exposed;
use super::password::{PasswordArgs, Purpose};
use super::publisher::PlaceArgs;
use super::report::Failure;
use super::words::Words;

/// Options of `imgforge trust rotate`.
#[derive(clap::Args)]
pub(crate) struct RotateArgs {
    /// A private key that signs the change: a root key of now, or of afterwards [repeatable]
    #[arg(long = "key", value_name = "FILE", default_value = "keys/cosign.key")]
    keys: Vec<PathBuf>,
    /// A private key that takes the place of the first `--key` in all its roles
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    /// Public keys that may change keys from now on [repeatable; default: as now]
    #[arg(long, value_name = "FILE")]
    root: Vec<PathBuf>,
    /// How many root keys have to agree
    #[arg(long, value_name = "N")]
    threshold: Option<usize>,
    /// Public keys that may seal releases from now on [repeatable; default: as now]
    #[arg(long, value_name = "FILE")]
    release: Vec<PathBuf>,
    /// Public keys that may seal channels from now on [repeatable; default: as now]
    #[arg(long, value_name = "FILE")]
    channel: Vec<PathBuf>,
    /// Let releases that are in the store now count on, though their key loses its role; leave it out
    /// when the key may be in other hands
    #[arg(long)]
    keep_releases: bool,
    /// Where the document is kept while it waits for signatures [default: trust-<N>.jsonl]
    #[arg(long, value_name = "FILE")]
    draft: Option<PathBuf>,
    #[command(flatten)]
    password: PasswordArgs,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Options of `imgforge trust sign`.
#[derive(clap::Args)]
pub(crate) struct SignArgs {
    /// The document that waits for signatures
    file: PathBuf,
    /// A private root key, of now or of afterwards
    #[arg(long, value_name = "FILE", default_value = "keys/cosign.key")]
    key: PathBuf,
    #[command(flatten)]
    password: PasswordArgs,
    #[command(flatten)]
    place: PlaceArgs,
}

impl RotateArgs {
    pub(crate) async fn run(self, context: &Context<'_>) -> Result<(), Failure> {
        let mut keys = Vec::new();
        for path in self.keys.iter().chain(&self.to) {
            keys.push(open(context, path, &self.password)?);
        }
        let publisher = self.place.open(context, Some(keys[0].public())).await?;
        let mut rotation = Rotation {
            root: public(&self.root)?,
            threshold: self.threshold,
            release: public(&self.release)?,
            channel: public(&self.channel)?,
            keep: if self.keep_releases { Keep::Published } else { Keep::None },
        };
        if self.to.is_some() {
            let (from, to) = (keys[0].public().clone(), keys[keys.len() - 1].public().clone());
            let trusted = &publisher.trusted;
            let swap = |keys: &imgforge::model::key::TrustedKeys| {
                Some(keys.iter().map(|key| if *key == from { to.clone() } else { key.clone() }).collect())
            };
            rotation.root = rotation.root.or_else(|| swap(trusted.root().0));
            rotation.release = rotation.release.or_else(|| swap(trusted.release_keys()));
            rotation.channel = rotation.channel.or_else(|| swap(trusted.channel_keys()));
        }
        let next = publisher.trusted.version().saturating_add(1);
        let draft = self.draft.unwrap_or_else(|| PathBuf::from(format!("trust-{next}.jsonl")));
        let rotated = flow::trust::rotate(&publisher, rotation, &keys).await?;
        tell(context, &publisher, rotated, &draft)
    }
}

impl SignArgs {
    pub(crate) async fn run(self, context: &Context<'_>) -> Result<(), Failure> {
        let key = open(context, &self.key, &self.password)?;
        let publisher = self.place.open(context, Some(key.public())).await?;
        let rotated = flow::trust::sign(&publisher, &self.file, key).await?;
        tell(context, &publisher, rotated, &self.file)
    }
}

fn open(context: &Context<'_>, path: &Path, password: &PasswordArgs) -> Result<SigningKey, Failure> {
    let password = password.read(context, Purpose::Open)?;
    let key = keyring::open(path, password.as_bytes())?;
    warn_exposed(context, path);
    Ok(key)
}

fn public(files: &[PathBuf]) -> Result<Option<Vec<PublicKey>>, Failure> {
    if files.is_empty() {
        return Ok(None);
    }
    let keys: Result<Vec<_>, _> = files.iter().map(|file| keyring::public_file(file)).collect();
    Ok(Some(keys?))
}

fn tell(context: &Context<'_>, publisher: &Publisher, rotated: Rotated, draft: &Path) -> Result<(), Failure> {
    let mut words = Words::default();
    match rotated {
        Rotated::Waiting { step, missing } => {
            atomic::write(draft, &step.bytes(), 0o644).map_err(|error| Failure::file(draft, &error))?;
            words.row("waiting", &missing);
            words.row("draft", draft.display());
            words.row(
                "next",
                format!("another root key: `imgforge trust sign {} --key FILE`", draft.display()),
            );
            let object = json!({"published": false, "draft": draft, "missing": missing.to_string()});
            context.screen.result(words.text(), &object);
        }
        Rotated::Published { trusted, renewed, orphaned, dropped } => {
            words.row("project", &publisher.project).trusted(&trusted);
            for name in &renewed {
                words.row("channel", format!("{name} counts on"));
            }
            for name in &orphaned {
                words
                    .row("channel", format!("{name} is refused until you point it to a release that counts"));
            }
            for version in &dropped {
                words.row("release", format!("{version} does not count any more"));
            }
            words.row("store", publisher.store.address());
            let object = json!({
                "published": true, "project": publisher.project, "version": trusted.version(),
                "renewed": renewed, "orphaned": orphaned, "dropped": dropped,
            });
            context.screen.result(words.text(), &object);
        }
    }
    Ok(())
}
