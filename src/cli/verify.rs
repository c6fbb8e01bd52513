//! `imgforge verify`

use std::path::PathBuf;

use imgforge::flow;
use imgforge::flow::verify::Trust;
use imgforge::step::{keyring, pin};
use serde_json::json;

use super::Context;
use super::report::Failure;
use super::words::Words;

/// Whose signature counts.
#[derive(clap::Args)]
pub(crate) struct TrustArgs {
    /// The public key to trust [default: the project pinned with `imgforge trust add`]
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
}

impl TrustArgs {
    /// The key named, or those of the pinned projects.
    fn trust(&self, context: &Context<'_>) -> Result<Trust, Failure> {
        if let Some(file) = &self.key {
            return Ok(Trust::Key(keyring::public_file(file)?));
        }
        let pins = pin::all(&context.config.pins)?;
        if pins.is_empty() { Err(pin::PinError::Nobody.into()) } else { Ok(Trust::Pins(pins)) }
    }
}

/// Verify archives offline, against the release beside them
///
/// Checks the signature of the release, then every byte of the archive, then that it holds the very
/// image that the release describes. Never opens a socket.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// An archive, or a folder with a release
    #[arg(value_name = "FILE|DIR")]
    path: PathBuf,
    #[command(flatten)]
    trust: TrustArgs,
}

impl Args {
    pub(crate) fn run(self, context: &Context<'_>) -> Result<(), Failure> {
        let trust = self.trust.trust(context)?;
        let hear = |event: imgforge::step::progress::Event<'_>| context.screen.hear(event);
        let sound = flow::verify::verify(&self.path, &trust, &hear)?;
        let release = &sound.release;
        let mut words = Words::default();
        words.release(release);
        for archive in &sound.archives {
            words.row("archive", format!("{}  every byte matches", archive.file));
            words.row("image", format!("{}  {}", archive.image.tag, archive.image.config.digest));
        }
        words.row("integrity", "OK").row("freshness", "unknown: offline, so a newer release may exist");
        let archives: Vec<_> = sound.archives.iter().map(|archive| json!(**archive)).collect();
        context.screen.result(
            words.text(),
            &json!({
                "project": release.project, "version": release.version, "signer": release.signer(),
                "integrity": "ok", "freshness": "unknown", "archives": archives,
            }),
        );
        Ok(())
    }
}
