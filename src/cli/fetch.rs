//! `imgforge fetch`

use std::str::FromStr;

use imgforge::flow;
use imgforge::flow::fetch::{Bond, Order, Proof, Which};
use imgforge::model::channel::Freshness;
use imgforge::model::name::{ChannelName, Platform, ProjectName, TierName, Version};
use imgforge::step::load::Retag;
use imgforge::step::pin::Pin;
use imgforge::step::store::Address;
use imgforge::step::{keyring, pin};
use serde_json::json;

use super::Context;
use super::report::Failure;
use super::verify::{PatienceArgs, TrustArgs};
use super::words::Words;

/// Download an image, verify every byte, and load it into Docker
///
/// Signatures and bytes are always verified, before Docker sees anything. With --verify the engine
/// is asked afterwards what it has: image ID, layers and platform must be the signed ones, and a
/// container is created from the image and removed. Nothing is started.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which image: TIER, TIER@VERSION or PROJECT/TIER
    #[arg(value_name = "[PROJECT/]TIER[@VERSION]")]
    image: Wanted,
    /// Also prove that what Docker has is what was signed
    #[arg(long)]
    verify: bool,
    /// The channel to follow; with @VERSION, the one that is asked whether it was withdrawn [default: stable]
    #[arg(long, value_name = "NAME")]
    channel: Option<ChannelName>,
    /// Where releases live [default: where the pinned project says]
    #[arg(long, value_name = "STORE")]
    from: Option<Address>,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    patience: PatienceArgs,
    /// Platform of the image [default: this machine's]
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<Platform>,
    /// Let the image take its tag from another one
    #[arg(long, alias = "replace-tag")]
    replace: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) project: Option<ProjectName>,
    pub(crate) tier: TierName,
    pub(crate) version: Option<Version>,
}

impl FromStr for Wanted {
    type Err = imgforge::model::name::BadName;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (image, version) =
            text.split_once('@').map_or((text, None), |(image, version)| (image, Some(version)));
        let (project, tier) =
            image.split_once('/').map_or((None, image), |(project, tier)| (Some(project), tier));
        Ok(Self {
            project: project.map(str::parse).transpose()?,
            tier: tier.parse()?,
            version: version.map(str::parse).transpose()?,
        })
    }
}

impl Args {
    pub(crate) async fn run(self, context: &Context<'_>) -> Result<(), Failure> {
        let pin = self.pin(context)?;
        let bond = if self.trust.key.is_some() { Bond::Once } else { Bond::Pinned };
        let order = Order {
            project: pin.project,
            tier: self.image.tier,
            platform: self.platform.map_or_else(this_platform, Ok)?,
            which: which(self.image.version, self.channel)?,
            store: context.store(self.from.as_ref().unwrap_or(&pin.store))?,
            pinned: pin.key,
            bond,
            patience: self.patience.patience(),
            cache: context.config.cache.join("archives"),
            state: context.config.state.clone(),
            engine: context.config.endpoints.engine()?,
            retag: if self.replace { Retag::Allow } else { Retag::Refuse },
            proof: if self.verify { Proof::Proven } else { Proof::Loaded },
            now: context.config.now,
        };
        let hear = |event: imgforge::step::progress::Event<'_>| context.screen.hear(event);
        let fetched = flow::fetch::fetch(&order, &hear).await?;
        let (release, archive) = (&fetched.release, &fetched.archive);
        let mut words = Words::default();
        if let Some(channel) = &fetched.channel {
            words.channel(&channel.0);
        }
        words.release(release);
        if fetched.trust > 0 {
            words.row("trust", format!("document {}, which the pinned key leads to", fetched.trust));
        }
        words.row("archive", format!("{}  every byte matches", fetched.path.display()));
        match &fetched.loaded {
            Some(loaded) => words
                .row("image", format!("{}  {}", archive.image.tag, loaded.id))
                .row("proof", "Docker has this image: its ID, layers and platform are the signed ones;")
                .row("", "a container was created from it and removed"),
            None => words
                .row("image", &archive.image.tag)
                .row("proof", "not asked for: `--verify` also asks Docker what it has"),
        };
        words.row("integrity", "OK");
        let (fresh, freshness) = match &fetched.channel {
            Some((_, Freshness::Fresh)) => ("OK".to_owned(), "fresh"),
            Some((_, Freshness::Stale(since))) => {
                (format!("stale since {since}, accepted with `--max-age`"), "stale")
            }
            None => ("not asked for: a pinned version".to_owned(), "unknown"),
        };
        words.row("freshness", fresh);
        context.screen.result(words.text(), &json!({
            "project": release.project, "version": release.version, "tier": archive.tier,
            "signer": release.signer(), "channel": fetched.channel.as_ref().map(|(channel, _)| json!(**channel)),
            "file": fetched.path, "archive": **archive, "integrity": "ok",
            "freshness": freshness, "trust": fetched.trust,
            "loaded": fetched.loaded.as_ref().map(|loaded| json!({"id": loaded.id})),
        }));
        Ok(())
    }

    /// The pinned project, or the one that `--key` and `--from` describe for this one fetch.
    fn pin(&self, context: &Context<'_>) -> Result<Pin, Failure> {
        match (&self.trust.key, &self.from, &self.image.project) {
            (Some(key), Some(store), Some(project)) => {
                Ok(Pin { project: project.clone(), key: keyring::public_file(key)?, store: store.clone() })
            }
            (Some(_), _, _) => Err(Failure::usage(
                "`--key` needs to know the project and the store",
                "write `imgforge fetch --verify PROJECT/TIER --key cosign.pub --from STORE`",
            )),
            (None, _, Some(project)) => Ok(pin::get(&context.config.pins, project)?),
            (None, _, None) => Ok(pin::only(&context.config.pins)?),
        }
    }
}

fn which(version: Option<Version>, channel: Option<ChannelName>) -> Result<Which, Failure> {
    match (version, channel) {
        (Some(version), channel) => Ok(Which::Pinned(version, channel.map_or_else(stable, Ok)?)),
        (None, channel) => Ok(Which::Channel(channel.map_or_else(stable, Ok)?)),
    }
}

/// The channel of those who name none.
pub(crate) fn stable() -> Result<ChannelName, Failure> {
    "stable".parse().map_err(|error| Failure::usage(error, "name a channel"))
}

pub(crate) fn this_platform() -> Result<Platform, Failure> {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("linux/{architecture}")
        .parse()
        .map_err(|error| Failure::usage(error, "name a platform with `--platform linux/amd64`"))
}
