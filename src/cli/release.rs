//! `imgforge release`

use std::path::PathBuf;

use imgforge::flow;
use imgforge::flow::release::Publication;
use imgforge::model::name::{ChannelName, TierName, Version};
use imgforge::step::store::Store;
use serde_json::json;

use super::Context;
use super::export::threads;
use super::report::Failure;
use super::sign::KeyArgs;
use super::words::Words;
use super::workshop::{BuildArgs, RecipeArgs};

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
    store: Store,
    /// Folder for the packed archives
    #[arg(long, short, value_name = "DIR", default_value = "dist")]
    output: PathBuf,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    recipes: RecipeArgs,
    #[command(flatten)]
    build: BuildArgs,
}

impl Args {
    pub(crate) async fn run(self, context: &Context<'_>) -> Result<(), Failure> {
        let key = self.key.open(context)?;
        let mut workshop = self.recipes.workshop(context)?;
        self.build.equip(&mut workshop, context);
        let publication = Publication {
            tiers: self.tiers,
            version: self.version,
            channel: self.channel,
            store: self.store,
            folder: self.output,
            threads: threads(),
            now: context.config.now,
        };
        let hear = |event: imgforge::step::progress::Event<'_>| context.screen.hear(event);
        let published = flow::release::release(&workshop, &publication, &key, &hear).await?;
        let (release, channel) = (&published.release, &published.channel);
        let mut words = Words::default();
        for archive in &release.archives {
            words.archive(&archive.file, archive);
        }
        words.release(release).channel(channel).row("store", &publication.store);
        let object = json!({"release": **release, "channel": **channel, "signer": release.signer(), "store": publication.store.to_string()});
        context.screen.result(words.text(), &object);
        Ok(())
    }
}
