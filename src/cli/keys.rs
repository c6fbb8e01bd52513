//! `imgforge keys`

use std::path::{Path, PathBuf};

use imgforge::model::key::{KeyError, PublicKey};
use imgforge::step::keyring::{self, KeyringError};
use serde_json::json;
use zeroize::Zeroizing;

use super::Context;
use super::password::{PasswordArgs, Purpose};
use super::report::Failure;

/// Make, import and show signing keys, in cosign's format
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

/// Where a key pair goes.
#[derive(clap::Args)]
struct Place {
    /// Folder for the key pair
    #[arg(long, value_name = "DIR", default_value = "keys")]
    output: PathBuf,
    /// Name of the two files: NAME.key and NAME.pub
    #[arg(long, value_name = "NAME", default_value = "cosign")]
    name: String,
    #[command(flatten)]
    password: PasswordArgs,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Make an ECDSA P-256 key pair; the private half is encrypted with a password
    Generate {
        #[command(flatten)]
        place: Place,
    },
    /// Take over a private key: PKCS#8, SEC1 or RSA PEM, or one that cosign encrypted
    Import {
        /// The private key
        #[arg(value_name = "FILE")]
        source: PathBuf,
        /// Password of an encrypted source, in a file [default: the new key's password]
        #[arg(long, value_name = "FILE")]
        source_password_file: Option<PathBuf>,
        #[command(flatten)]
        place: Place,
    },
    /// Show what a key is, and the fingerprint that people compare
    Show {
        /// A public key, or a private key, which needs its password
        #[arg(value_name = "FILE", default_value = "keys/cosign.pub")]
        key: PathBuf,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Print the public key of a private key
    Public {
        /// The private key
        #[arg(value_name = "FILE", default_value = "keys/cosign.key")]
        key: PathBuf,
        #[command(flatten)]
        password: PasswordArgs,
    },
}

impl Args {
    pub(crate) fn run(self, context: &Context<'_>) -> Result<(), Failure> {
        match self.command {
            Command::Generate { place } => {
                let password = place.password.read(context, Purpose::Choose)?;
                let public = keyring::generate(&place.output, &place.name, password.as_bytes())?;
                show(context, &place, &public);
            }
            Command::Import { source, source_password_file, place } => {
                let password = place.password.read(context, Purpose::Choose)?;
                let old = match source_password_file {
                    Some(file) => {
                        let text =
                            std::fs::read_to_string(&file).map_err(|error| Failure::file(&file, &error))?;
                        Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned())
                    }
                    None => password.clone(),
                };
                let public = keyring::import(
                    &source,
                    old.as_bytes(),
                    &place.output,
                    &place.name,
                    password.as_bytes(),
                )?;
                show(context, &place, &public);
            }
            Command::Show { key, password } => {
                let public = match keyring::public_file(&key) {
                    Err(KeyringError::Refused(_, KeyError::Label(label)))
                        if label.contains("PRIVATE KEY") =>
                    {
                        open(context, &key, &password)?
                    }
                    other => other?,
                };
                let words = format!(
                    "algorithm    {}\nfingerprint  {}\nshort        {}",
                    public.algorithm(),
                    public.fingerprint(),
                    public.fingerprint().short()
                );
                context.screen.result(&words, &object(&public));
            }
            Command::Public { key, password } => {
                let public = open(context, &key, &password)?;
                context.screen.result(&public.to_pem(), &object(&public));
            }
        }
        Ok(())
    }
}

/// The public half of a private key.
fn open(context: &Context<'_>, key: &Path, password: &PasswordArgs) -> Result<PublicKey, Failure> {
    let password = password.read(context, Purpose::Open)?;
    let public = keyring::open(key, password.as_bytes())?.public().clone();
    warn_exposed(context, key);
    Ok(public)
}

/// Says when others can read a private key: a password can be guessed.
pub(crate) fn warn_exposed(context: &Context<'_>, key: &Path) {
    if keyring::is_exposed(key) {
        let path = key.display();
        context.screen.warn(&format!("others can read `{path}`; `chmod 600 {path}` stops that"));
    }
}

fn object(public: &PublicKey) -> serde_json::Value {
    json!({
        "algorithm": public.algorithm().to_string(), "fingerprint": public.fingerprint(),
        "short": public.fingerprint().short(), "publicKey": public.to_pem(),
    })
}

fn show(context: &Context<'_>, place: &Place, public: &PublicKey) {
    let (private_file, public_file) = keyring::files(&place.output, &place.name);
    let words = format!(
        "private key  {}  keep it secret and backed up\npublic key   {}  give it to operators\nfingerprint  {}",
        private_file.display(),
        public_file.display(),
        public.fingerprint()
    );
    let object =
        json!({"privateKey": private_file, "publicKey": public_file, "fingerprint": public.fingerprint()});
    context.screen.result(&words, &object);
}
