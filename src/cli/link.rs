//! `imgforge link`

use std::time::Duration;

use imgforge::flow;
use imgforge::flow::link::Wanted;
use imgforge::model::name::{ChannelName, Platform};
use imgforge::model::time::{self, SignedDuration};
use serde_json::json;

use super::Context;
use super::fetch::{Image, this_platform};
use super::publisher::PlaceArgs;
use super::report::Failure;
use super::words::Words;

/// Make a link that anybody may download an archive with, for a while
///
/// The link is for one archive of a signed release in a bucket, and for reading it. Whoever has it
/// still verifies what comes with the project's key.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which image: TIER or TIER@VERSION
    #[arg(value_name = "TIER[@VERSION]")]
    image: Image,
    /// How long the link works: up to 7d
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = lifetime)]
    expires: Duration,
    /// The channel that says which version is meant
    #[arg(long, value_name = "NAME", default_value = "stable")]
    channel: ChannelName,
    /// Platform of the image [default: this machine's]
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<Platform>,
    #[command(flatten)]
    place: PlaceArgs,
}

/// As S3 and R2 have it.
const LONGEST: Duration = Duration::from_hours(7 * 24);

fn lifetime(text: &str) -> Result<Duration, String> {
    let lifetime = time::parse_duration(text).map_err(|error| error.to_string())?;
    match Duration::try_from(lifetime) {
        Ok(lifetime) if (Duration::from_secs(1)..=LONGEST).contains(&lifetime) => Ok(lifetime),
        _ => Err("a link works for 1s to 7d".to_owned()),
    }
}

impl Args {
    pub(crate) async fn run(self, context: &Context<'_>) -> Result<(), Failure> {
        if self.image.project.is_some() {
            return Err(Failure::usage(
                "a link is to an image of the project at hand",
                "write TIER or TIER@VERSION, and `--project NAME`",
            ));
        }
        let publisher = self.place.open(context, None).await?;
        let wanted = Wanted {
            tier: self.image.tier,
            version: self.image.version,
            channel: self.channel,
            platform: self.platform.map_or_else(this_platform, Ok)?,
            lifetime: self.expires,
        };
        let link = flow::link::link(&publisher, &wanted).await?;
        let lifetime = SignedDuration::try_from(self.expires).unwrap_or(SignedDuration::MAX);
        let expires = time::after(context.config.now, lifetime);
        let mut words = Words::default();
        words.archive(&link.archive.file, &link.archive).row("expires", expires).row("link", &link.url);
        let object =
            json!({"url": link.url, "expires": expires, "version": link.version, "archive": *link.archive});
        context.screen.result(words.text(), &object);
        Ok(())
    }
}
