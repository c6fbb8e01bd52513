//! `imgforge export`

use std::path::PathBuf;

use imgforge::flow;
use imgforge::model::name::{Platform, TierName, Version};
use imgforge::model::plan::Ask;
use serde_json::json;

use super::Context;
use super::report::Failure;
use super::words::Words;
use super::workshop::RecipeArgs;

/// Write built images as plain .tar.gz files that any `docker load` reads
///
/// The same image always gives the same bytes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which images; build them first
    #[arg(required = true, value_name = "TIER")]
    tiers: Vec<TierName>,
    /// Folder to write to
    #[arg(long, short, value_name = "DIR", default_value = "dist")]
    output: PathBuf,
    #[command(flatten)]
    recipes: RecipeArgs,
    /// Version of the image [default: the project's]
    #[arg(long, value_name = "V")]
    version: Option<Version>,
    /// Platform of the image [default: the first of the project's]
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<Platform>,
}

impl Args {
    pub(crate) fn run(self, context: &Context<'_>) -> Result<(), Failure> {
        let workshop = self.recipes.workshop(context)?;
        let hear = |event: imgforge::step::progress::Event<'_>| context.screen.hear(event);
        let mut packing = flow::export::Packing::into(&self.output, threads());
        let mut words = Words::default();
        let mut archives = Vec::new();
        for tier in &self.tiers {
            let (version, platform) = (self.version.clone(), self.platform.clone());
            let ask = Ask { version, platform, ..Ask::default() };
            let exported = flow::export::export(&workshop, tier, &ask, &mut packing, &hear)?;
            words.archive(exported.path.display(), &exported.archive);
            archives.push(json!({"path": exported.path, "archive": exported.archive}));
        }
        context.screen.result(words.text(), &json!({"archives": archives}));
        Ok(())
    }
}

/// Threads that compress: one for each core.
pub(crate) fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get)
}
