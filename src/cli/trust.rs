//! `imgforge trust`

use std::path::PathBuf;

use imgforge::model::name::ProjectName;
use imgforge::step::keyring;
use imgforge::step::pin::{self, Pin};
use imgforge::step::store::Address;
use serde_json::json;

use super::Context;
use super::report::Failure;
use super::words::Words;

/// Pin the projects whose images this machine may load
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
        /// Where its releases live: a folder
        #[arg(long, value_name = "STORE")]
        from: Address,
    },
    /// Show the projects that are trusted
    Show,
}

impl Args {
    pub(crate) fn run(self, context: &Context<'_>) -> Result<(), Failure> {
        let config = &context.config.pins;
        let pins = match self.command {
            Command::Add { project, key, from } => {
                // Relative folders would mean something else in the next shell.
                let Address::Directory(folder) = from;
                let folder = std::fs::canonicalize(&folder)
                    .or_else(|_| std::path::absolute(&folder))
                    .map_err(|error| Failure::file(&folder, &error))?;
                let pin =
                    Pin { project, key: keyring::public_file(&key)?, store: Address::Directory(folder) };
                pin::add(config, &pin)?;
                vec![pin]
            }
            Command::Show => pin::all(config)?,
        };
        let mut words = Words::default();
        for pin in &pins {
            words.row("project", &pin.project).row("key", pin.key.fingerprint()).row("store", &pin.store);
        }
        if pins.is_empty() {
            words.row("nobody", "run `imgforge trust add PROJECT --key cosign.pub --from STORE`");
        }
        let object: Vec<_> = pins
            .iter()
            .map(|pin| json!({"project": pin.project, "key": pin.key.fingerprint(), "store": pin.store.to_string()}))
            .collect();
        context.screen.result(words.text(), &json!({"trusted": object}));
        Ok(())
    }
}
