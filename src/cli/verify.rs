//! `imgforge verify`

use std::ops::Add;
use std::path::PathBuf;

use imgforge::flow;
use imgforge::flow::verify::{Currency, Log, Outcome, Question, Trust};
use imgforge::model::channel::Patience;
use imgforge::model::name::ChannelName;
use imgforge::model::report::{self, Check, Freshness, Integrity, Tally, Verification};
use imgforge::model::time::{SignedDuration, parse_duration};
use imgforge::step::check::Checked;
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
    /// The same; nobody where no key is named and no project is pinned.
    pub(crate) fn any(&self, context: &Context<'_>) -> Result<Option<Trust>, Failure> {
        let nobody = self.key.is_none() && pin::all(&context.config.pins)?.is_empty();
        if nobody { Ok(None) } else { self.trust(context).map(Some) }
    }

    /// The key named, or those of the pinned projects.
    pub(crate) fn trust(&self, context: &Context<'_>) -> Result<Trust, Failure> {
        if let Some(file) = &self.key {
            return Ok(Trust::Key(keyring::public_file(file)?));
        }
        let pins = pin::all(&context.config.pins)?;
        if pins.is_empty() { Err(pin::PinError::Nobody.into()) } else { Ok(Trust::Pins(pins)) }
    }
}

/// How long a channel is believed.
#[derive(clap::Args)]
pub(crate) struct PatienceArgs {
    /// Believe a channel that was signed at most so long ago, such as 45d, and not until it expires
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    max_age: Option<SignedDuration>,
}

impl PatienceArgs {
    pub(crate) fn patience(&self) -> Patience {
        self.max_age.map_or(Patience::UntilItExpires, Patience::MaxAge)
    }
}

/// Verify archives offline, against the release that they carry
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
    /// The channel that says whether the release is current, if its file is there [default: stable]
    #[arg(long, value_name = "NAME")]
    channel: Option<ChannelName>,
    #[command(flatten)]
    patience: PatienceArgs,
}

impl Args {
    pub(crate) fn run(self, context: &Context<'_>) -> Result<(), Failure> {
        let mut log = Log::default();
        self.verify(context, &mut log).map_err(|failure| failure.with_checks(json!(checks(&log))))
    }

    fn verify(self, context: &Context<'_>, log: &mut Log) -> Result<(), Failure> {
        let question = Question {
            trust: self.trust.trust(context)?,
            path: self.path,
            channel: self.channel.unwrap_or_else(ChannelName::stable),
            patience: self.patience.patience(),
            state: context.config.state.clone(),
            now: context.config.now,
        };
        let hear = |event: imgforge::step::progress::Event<'_>| context.screen.hear(event);
        let sound = flow::verify::verify(&question, log, &hear)?;
        let release = &sound.release;
        let mut words = Words::default();
        words.release(release);
        if sound.trust > 0 {
            words.row("trust", format!("document {}, which the pinned key leads to", sound.trust));
        }
        for archive in sound.archives.iter().map(Checked::archive) {
            words.row("archive", format!("{}  every byte matches", archive.file));
            words.row("image", format!("{}  {}", archive.image.tag, archive.image.config.digest));
        }
        let verified = sound.archives.iter().map(Checked::tally).fold(Tally::default(), Add::add);
        words.row("verified", verified);
        let (said, freshness, sequence) = currency(&sound.currency);
        words.row("integrity", "OK").row("freshness", said);
        let report = Verification {
            project: release.project.clone(),
            version: release.version.clone(),
            signer: release.signer(),
            release: release.sealed_digest(),
            trust: sound.trust,
            sequence,
            integrity: Integrity::Ok,
            freshness,
            archives: sound.archives.iter().map(|checked| (**checked.archive()).clone()).collect(),
            verified,
            checks: checks(log),
        };
        context.screen.result(words.text(), &json!(report));
        Ok(())
    }
}

/// In words, in one word, and the sequence of the channel that says so.
pub(crate) fn currency(currency: &Currency) -> (String, Freshness, Option<u64>) {
    match currency {
        Currency::Fresh { sequence, expires } => {
            (format!("OK: the channel beside it says so until {expires}"), Freshness::Fresh, Some(*sequence))
        }
        Currency::Stale { sequence, since } => {
            (format!("stale: the channel beside it expired on {since}"), Freshness::Stale, Some(*sequence))
        }
        Currency::Superseded { sequence, by } => (
            format!("superseded: the channel beside it points to {by}"),
            Freshness::Superseded,
            Some(*sequence),
        ),
        Currency::Unknown(why) => (format!("unknown: {why}"), Freshness::Unknown, None),
    }
}

fn checks(log: &Log) -> Vec<Check> {
    let result = |outcome| match outcome {
        Outcome::Ok => report::Outcome::Ok,
        Outcome::Failed => report::Outcome::Failed,
        Outcome::Unknown => report::Outcome::Unknown,
    };
    let said = |check: &imgforge::flow::verify::Check| Check {
        check: check.name,
        of: check.of.clone(),
        result: result(check.result),
    };
    log.0.iter().map(said).collect()
}
