//! `imgforge mirror`

use imgforge::flow;
use imgforge::flow::mirror::Copy;
use imgforge::model::name::{ChannelName, Version};
use imgforge::step::store::Address;
use serde_json::json;

use super::Context;
use super::publisher::PlaceArgs;
use super::report::Failure;
use super::words::Words;

/// Copy a verified release to another store, such as a folder on a USB stick
///
/// Every byte is verified on the way, and nothing is signed again: whoever fetches from the copy uses
/// the same key. The channel is copied too, unless the copy has a newer one.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where to: a folder or a bucket
    #[arg(value_name = "STORE")]
    to: Address,
    /// The version [default: where the channel points]
    #[arg(long, value_name = "V")]
    version: Option<Version>,
    /// The channel
    #[arg(long, value_name = "NAME", default_value = "stable")]
    channel: ChannelName,
    #[command(flatten)]
    place: PlaceArgs,
}

impl Args {
    pub(crate) async fn run(self, context: &Context<'_>) -> Result<(), Failure> {
        let publisher = self.place.open(context, None).await?;
        let copy = Copy {
            to: context.store(&self.to)?,
            version: self.version,
            channel: self.channel,
            cache: context.config.cache.join("archives"),
        };
        let hear = |event: imgforge::step::progress::Event<'_>| context.screen.hear(event);
        let copied = flow::mirror::mirror(&publisher, &copy, &hear).await?;
        let mut words = Words::default();
        words.release(&copied.release);
        match &copied.channel {
            Some(channel) => words.channel(channel),
            None => words.row("channel", "left alone: it does not point to this version"),
        };
        let objects = if copied.new == 1 { "object" } else { "objects" };
        let news = match copied.new {
            0 => "nothing new, all of it was there".to_owned(),
            new => format!("{new} new {objects}"),
        };
        words.row("copy", format!("{}  {news}", self.to));
        context.screen.result(words.text(), &json!({
            "release": *copied.release, "channel": copied.channel.as_ref().map(|channel| json!(**channel)),
            "store": self.to.to_string(), "new": copied.new,
        }));
        Ok(())
    }
}
