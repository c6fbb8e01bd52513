//! From a recipe to an image in the content store.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Error;
use crate::model::image::Image;
use crate::model::name::{StageName, TierName};
use crate::model::plan::{Ask, Plan};
use crate::step::bootstrap::{self, Reuse};
use crate::step::build::{self, Builder, Built, Inputs};
use crate::step::content::ContentStore;
use crate::step::engine::{Address, Engine};
use crate::step::progress::{Event, Hear};
use crate::step::{gather, load, normalise, read};

/// Where recipes and images are.
#[derive(Debug, Clone)]
pub struct Workshop {
    /// Folder of the recipes.
    pub recipes: PathBuf,
    /// Folder of the content store.
    pub content: PathBuf,
}

/// What a build works with.
#[derive(Debug, Clone)]
pub struct Tools {
    /// What may build, the preferred first.
    pub builders: Vec<Builder>,
    /// Folder of root filesystems made before.
    pub bases: PathBuf,
    /// Whether a root filesystem made before will do.
    pub reuse: Reuse,
    /// Files with secrets.
    pub secrets: BTreeMap<StageName, PathBuf>,
    /// The engine that images are also loaded into.
    pub load: Option<Address>,
}

/// Resolves a tier's recipe.
pub fn plan(workshop: &Workshop, tier: &TierName, ask: &Ask) -> Result<Plan, Error> {
    Ok(read::recipes(&workshop.recipes)?.plan(tier, ask)?)
}

/// Builds one tier.
pub async fn build(
    workshop: &Workshop,
    tools: &Tools,
    tier: &TierName,
    ask: &Ask,
    hear: Hear<'_>,
) -> Result<Image, Error> {
    let plan = plan(workshop, tier, ask)?;
    let mut rootfs = BTreeMap::new();
    for (path, debian) in &plan.rootfs {
        let tar = bootstrap::debian(debian, &plan.platform, &tools.bases, tools.reuse, hear).await?;
        rootfs.insert(path.clone(), tar);
    }
    let context = gather::context(&plan, &workshop.recipes, &rootfs)?;
    let inputs = Inputs { context, secrets: tools.secrets.clone() };
    let store = ContentStore::open(&workshop.content)?;
    let image = match build::build(&plan, inputs, &tools.builders, &store, hear).await? {
        Built::Known(image) => image,
        Built::New(raw) => {
            hear(Event::Doing("bringing the image into normal form"));
            normalise::image(&raw, &store, plan.epoch)?
        }
    };
    if let Some(address) = &tools.load {
        // The image in normal form, which is the one that ships, not what the builder wrote.
        load::from_store(&Engine::connect(address).await?, &image, &store, hear).await?;
    }
    Ok(image)
}
