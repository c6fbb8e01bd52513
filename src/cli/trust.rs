//! `imgforge trust`

use std::path::PathBuf;

use imgforge::model::key::{PublicKey, TrustedKeys};
use imgforge::model::name::ProjectName;
use imgforge::model::trust::Trusted;
use imgforge::step::pin::{self, Pin};
use imgforge::step::store::Address;
use imgforge::step::{keyring, remember};
use serde_json::json;

use super::Context;
use super::report::Failure;
use super::rotate::{RotateArgs, SignArgs};
use super::words::Words;

/// Pin the projects whose images this machine may load; hand over to other keys
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Trust a project's key; compare the fingerprint with the project's over another way first
    Add {
        /// The project, as it names itself
        project: ProjectName,
        /// Its public key
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// Where its releases live: an address such as `https://dl.example.org/images`, a folder, or a bucket,
        /// `s3://BUCKET/PREFIX`
        #[arg(long, value_name = "STORE")]
        from: Address,
    },
    /// Show the projects that are trusted, and whose signature counts for them now
    Show,
    /// Hand over to other keys; operators follow without doing anything
    Rotate(Box<RotateArgs>),
    /// Add a signature to a handover that waits for more
    Sign(Box<SignArgs>),
}

impl Args {
    pub(crate) async fn run(self, context: &Context<'_>) -> Result<(), Failure> {
        let config = &context.config.pins;
        let pins = match self.command {
            Command::Add { project, key, from } => {
                // Relative folders would mean something else in the next shell.
                let store = match from {
                    Address::Directory(folder) => Address::Directory(
                        std::fs::canonicalize(&folder)
                            .or_else(|_| std::path::absolute(&folder))
                            .map_err(|error| Failure::file(&folder, &error))?,
                    ),
                    elsewhere => elsewhere,
                };
                let pin = Pin { project, key: keyring::public_file(&key)?, store };
                pin::add(config, &pin)?;
                let trusted = Trusted::pin(pin.project.clone(), pin.key.clone());
                remember::of(&context.config.state, &pin.project, &trusted).begin()?;
                vec![pin]
            }
            Command::Show => pin::all(config)?,
            Command::Rotate(args) => return args.run(context).await,
            Command::Sign(args) => return args.run(context).await,
        };
        let mut words = Words::default();
        let mut objects = Vec::new();
        for pin in &pins {
            let trusted = Trusted::pin(pin.project.clone(), pin.key.clone());
            let memory = remember::of(&context.config.state, &pin.project, &trusted);
            let trusted = trusted.follow(&memory.chain()?)?;
            words.row("project", &pin.project).row("key", pin.key.fingerprint()).row("store", &pin.store);
            if trusted.version() > 0 {
                words.trusted(&trusted);
            }
            let names = |keys: &TrustedKeys| keys.iter().map(PublicKey::fingerprint).collect::<Vec<_>>();
            let (root, threshold) = trusted.root();
            objects.push(json!({
                "project": pin.project, "key": pin.key.fingerprint(), "store": pin.store.to_string(),
                "version": trusted.version(), "root": names(root), "threshold": threshold,
                "release": names(trusted.release_keys()), "channel": names(trusted.channel_keys()),
            }));
        }
        if pins.is_empty() {
            words.row("nobody", "run `imgforge trust add PROJECT --key cosign.pub --from STORE`");
        }
        context.screen.result(words.text(), &json!({"trusted": objects}));
        Ok(())
    }
}
