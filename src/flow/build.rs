//! From a recipe to an image in the content store.

mod family;

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Error;
use crate::model::image::Image;
use crate::model::name::{Platform, StageName, TierName};
use crate::model::plan::{Ask, Plan};
use crate::model::sbom::denied::Pattern;
use crate::step::bootstrap::Reuse;
use crate::step::build::{Builder, CacheFrom, CacheTo, Steps};
use crate::step::engine::{Address, Engine};
use crate::step::progress::{Event, Hear};
use crate::step::web::Downloads;
use crate::step::{compare, load, read};

pub(super) use family::Family;

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
    /// Where results of steps come from.
    pub cache_from: Vec<CacheFrom>,
    /// Where results of steps go.
    pub cache_to: Option<CacheTo>,
    /// Threads that compress.
    pub threads: usize,
    /// The engine that images are also loaded into.
    pub load: Option<Address>,
    /// Whether downloads must be pinned.
    pub demand: Demand,
    /// How to download.
    pub downloads: Downloads,
    /// Licences that no image may hold.
    pub denied: Vec<Pattern>,
}

/// What is demanded of a tier's downloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// Pinned or not.
    Any,
    /// Pinned, all of them.
    Locked,
}

/// Resolves a tier's recipe.
pub fn plan(workshop: &Workshop, tier: &TierName, ask: &Ask) -> Result<Plan, Error> {
    Ok(read::recipes(&workshop.recipes)?.plan(tier, ask)?)
}

/// Builds tiers, side by side and with what they share made once; the images come in the order asked.
pub async fn build(
    workshop: &Workshop,
    tools: &Tools,
    tiers: &[TierName],
    ask: &Ask,
    hear: Hear<'_>,
) -> Result<Vec<Image>, Error> {
    of_plans(workshop, tools, plans(workshop, tiers, ask)?, hear).await
}

/// Builds tiers for several platforms; the images come by platform, and in it in the order asked.
pub(super) async fn build_for(
    workshop: &Workshop,
    tools: &Tools,
    tiers: &[TierName],
    platforms: &[Platform],
    ask: &Ask,
    hear: Hear<'_>,
) -> Result<Vec<Image>, Error> {
    if platforms.is_empty() {
        // The plan says what is wrong with the project.
        return build(workshop, tools, tiers, ask, hear).await;
    }
    let mut all = Vec::new();
    for platform in platforms {
        let ask = Ask { platform: Some(platform.clone()), ..ask.clone() };
        all.extend(plans(workshop, tiers, &ask)?);
    }
    of_plans(workshop, tools, all, hear).await
}

async fn of_plans(
    workshop: &Workshop,
    tools: &Tools,
    plans: Vec<Plan>,
    hear: Hear<'_>,
) -> Result<Vec<Image>, Error> {
    let family = Family::gather(workshop, tools, plans, Steps::Cached, hear).await?;
    let images = family.build(hear).await?;
    if let Some(address) = &tools.load {
        let engine = Engine::connect(address).await?;
        for image in &images {
            // The image in normal form, which is the one that ships, not what the builder wrote.
            load::from_store(&engine, image, family.store(), hear).await?;
        }
    }
    Ok(images)
}

/// Builds tiers twice, every step anew, and refuses the first that is not the same image both times.
///
/// The root filesystem is made once: it is an input of the recipe, like the context, and what differs
/// in it from one day to the next is Debian's.
pub async fn check(
    workshop: &Workshop,
    tools: &Tools,
    tiers: &[TierName],
    ask: &Ask,
    hear: Hear<'_>,
) -> Result<Vec<Image>, Error> {
    let plans = plans(workshop, tiers, ask)?;
    let family = Family::gather(workshop, tools, plans, Steps::Again, hear).await?;
    let mut rounds = Vec::new();
    for number in ["first", "second"] {
        hear(Event::Doing(&format!("building everything anew, for the {number} time")));
        rounds.push(family.build(hear).await?);
    }
    for ((tier, one), other) in tiers.iter().zip(&rounds[0]).zip(&rounds[1]) {
        if let Some(difference) = compare::images(one, other, family.store())? {
            return Err(Error::Unreproducible { tier: tier.clone(), difference });
        }
    }
    Ok(rounds.swap_remove(1))
}

pub(super) fn plans(workshop: &Workshop, tiers: &[TierName], ask: &Ask) -> Result<Vec<Plan>, Error> {
    let recipes = read::recipes(&workshop.recipes)?;
    tiers.iter().map(|tier| Ok(recipes.plan(tier, ask)?)).collect()
}
