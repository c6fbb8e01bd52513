//! `imgforge channel`

use imgforge::flow;
use imgforge::flow::pointer::Current;
use imgforge::model::channel::Channel;
use imgforge::model::name::{ChannelName, Version};
use imgforge::model::seal::Verified;
use imgforge::model::time;
use serde_json::json;

use super::Context;
use super::publisher::PlaceArgs;
use super::report::Failure;
use super::sign::KeyArgs;
use super::words::Words;

/// Look at channels, point one to another version, renew them before they expire
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Show where channels point, and until when they say so
    Show {
        /// Only this one
        channel: Option<ChannelName>,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Point a channel to a version that was published, forward or back
    Set {
        /// The channel
        channel: ChannelName,
        /// A version in the store
        version: Version,
        /// Let nobody who follows the channel load a version below this one any more
        #[arg(long, value_name = "V")]
        floor: Option<Version>,
        #[command(flatten)]
        key: KeyArgs,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Sign channels again before they expire, unchanged: for cron
    Renew {
        /// Only these
        channels: Vec<ChannelName>,
        #[command(flatten)]
        key: KeyArgs,
        #[command(flatten)]
        place: PlaceArgs,
    },
}

impl Args {
    pub(crate) async fn run(self, context: &Context<'_>) -> Result<(), Failure> {
        match self.command {
            Command::Show { channel, place } => {
                let publisher = place.open(context, None).await?;
                let mut found = publisher.channels().await?;
                if let Some(name) = channel {
                    found.retain(|(other, _)| *other == name);
                    if found.is_empty() {
                        return Err(flow::Error::NoChannel(name).into());
                    }
                }
                list(context, &found);
            }
            Command::Set { channel, version, floor, key, place } => {
                let key = key.open(context)?;
                let publisher = place.open(context, Some(key.public())).await?;
                let moved = flow::channel::set(&publisher, &channel, &version, floor, &key).await?;
                show(context, &[moved]);
            }
            Command::Renew { channels, key, place } => {
                let key = key.open(context)?;
                let publisher = place.open(context, Some(key.public())).await?;
                show(context, &flow::channel::renew(&publisher, &channels, &key).await?);
            }
        }
        Ok(())
    }
}

/// The result of a command that moved channels.
pub(crate) fn show(context: &Context<'_>, channels: &[Verified<Channel>]) {
    let mut words = Words::default();
    for channel in channels {
        words.whole_channel(channel);
    }
    if channels.is_empty() {
        words.row("nothing", "the store has no channel of this project");
    }
    let objects: Vec<_> =
        channels.iter().map(|channel| json!({"channel": **channel, "signer": channel.signer()})).collect();
    context.screen.result(words.text(), &json!({"channels": objects}));
}

fn list(context: &Context<'_>, found: &[(ChannelName, Current)]) {
    let (mut words, mut objects) = (Words::default(), Vec::new());
    let now = context.config.now;
    for (name, current) in found {
        let Some(channel) = &current.channel else {
            words.row("channel", format!("{name} is sealed by a key that does not count any more"));
            objects.push(json!({"name": name, "channel": null, "freshness": "unknown"}));
            continue;
        };
        words.whole_channel(channel);
        let left = channel.expires.duration_since(now);
        let fresh = left.is_positive();
        let said = time::words(left.abs());
        words.row("", if fresh { format!("fresh for {said}") } else { format!("expired {said} ago") });
        let freshness = if fresh { "fresh" } else { "stale" };
        objects.push(
            json!({"name": name, "channel": **channel, "signer": channel.signer(), "freshness": freshness}),
        );
    }
    if found.is_empty() {
        words.row("nothing", "the store has no channel of this project");
    }
    context.screen.result(words.text(), &json!({"channels": objects}));
}
