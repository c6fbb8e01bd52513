//! `imgforge release`

use std::collections::BTreeSet;
use std::path::PathBuf;

use imgforge::flow;
use imgforge::flow::release::{Keys, Publication};
use imgforge::model::name::{ChannelName, TierName, VariableName, Version};
use imgforge::step::store::Address;
use serde_json::json;

use super::Context;
use super::export::threads;
use super::publisher::PinnedArgs;
use super::report::Failure;
use super::sign::KeyArgs;
use super::words::Words;
use super::workshop::{BuildArgs, RecipeArgs, pair};

/// Build, pack, sign and publish a version, then move the channel to it
///
/// The channel moves last, after everything was read back from the store and verified. Running it
/// again is harmless: what was published stays, and a version never changes its content.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which images
    #[arg(required = true, value_name = "TIER")]
    tiers: Vec<TierName>,
    /// The version, such as 1.4.0
    #[arg(long, value_name = "V")]
    version: Version,
    /// The channel that will point to this version
    #[arg(long, value_name = "NAME", default_value = "stable")]
    channel: ChannelName,
    /// Where releases live: a folder, such as a mounted disk or a web server's root
    #[arg(long, value_name = "STORE", env = "IMGFORGE_STORE", default_value = "dist/store")]
    store: Address,
    /// Folder for the packed archives
    #[arg(long, short, value_name = "DIR", default_value = "dist")]
    output: PathBuf,
    #[command(flatten)]
    key: KeyArgs,
    /// The private key that seals the channel [default: the same key]
    #[arg(long, value_name = "FILE")]
    channel_key: Option<PathBuf>,
    #[command(flatten)]
    pinned: PinnedArgs,
    #[command(flatten)]
    recipes: RecipeArgs,
    /// Replace the default of a build argument
    #[arg(long = "build-arg", value_name = "NAME=VALUE", value_parser = pair::<VariableName>)]
    variables: Vec<(VariableName, String)>,
    #[command(flatten)]
    build: BuildArgs,
}

impl Args {
    pub(crate) async fn run(self, context: &Context<'_>) -> Result<(), Failure> {
        let release = self.key.open(context)?;
        let channel = match &self.channel_key {
            Some(file) => self.key.open_at(context, file)?,
            None => self.key.open(context)?,
        };
        let keys = Keys { release, channel };
        let workshop = self.recipes.workshop(context)?;
        let project = imgforge::step::read::recipes(&workshop.recipes)?.project()?.name;
        let tools = self.build.tools(context)?;
        let tiers: BTreeSet<TierName> = self.tiers.into_iter().collect();
        let publication = Publication {
            tiers: tiers.into_iter().collect(),
            args: self.variables.into_iter().collect(),
            state: context.config.state.clone(),
            pinned: self.pinned.key(context, &project, keys.release.public())?,
            version: self.version,
            channel: self.channel,
            store: context.store(&self.store)?,
            folder: self.output,
            threads: threads(),
            now: context.config.now,
        };
        let hear = |event: imgforge::step::progress::Event<'_>| context.screen.hear(event);
        let published = flow::release::release(&workshop, &tools, &publication, &keys, &hear).await?;
        let (release, channel) = (&published.release, &published.channel);
        let mut words = Words::default();
        for archive in &release.archives {
            words.archive(&archive.file, archive);
        }
        words.release(release).channel(channel).row("store", &self.store);
        let object = json!({"release": **release, "channel": **channel, "signer": release.signer(), "store": self.store.to_string()});
        context.screen.result(words.text(), &object);
        Ok(())
    }
}
