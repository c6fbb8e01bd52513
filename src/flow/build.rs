//! From a recipe to an image in the content store.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::Error;
use crate::model::image::{Image, Mark};
use crate::model::lock::pins::Locking;
use crate::model::name::{Platform, StageName, TierName};
use crate::model::plan::{Ask, Plan};
use crate::model::policy::{self, Charter, Finding, Refusal};
use crate::model::provenance;
use crate::model::sbom::denied::Pattern;
use crate::step::bootstrap::{self, Pinned, Reuse};
use crate::step::build::{self, Builder, Built, CacheFrom, CacheTo, Inputs, Steps};
use crate::step::content::ContentStore;
use crate::step::engine::{Address, Engine};
use crate::step::progress::{Event, Hear};
use crate::step::web::{Downloads, Web};
use crate::step::{compare, gather, inspect, inventory, load, normalise, obtain, pack, read};

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
    of_plans(workshop, tools, &plans(workshop, tiers, ask)?, hear).await
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
    of_plans(workshop, tools, &all, hear).await
}

async fn of_plans(
    workshop: &Workshop,
    tools: &Tools,
    plans: &[Plan],
    hear: Hear<'_>,
) -> Result<Vec<Image>, Error> {
    let charters = charters(tools, plans);
    let store = ContentStore::open(&workshop.content)?;
    let inputs = inputs(workshop, tools, plans, &charters, &store, Steps::Cached, hear).await?;
    let images = round(tools, plans, &charters, &inputs, &store, hear).await?;
    if let Some(address) = &tools.load {
        let engine = Engine::connect(address).await?;
        for image in &images {
            // The image in normal form, which is the one that ships, not what the builder wrote.
            load::from_store(&engine, image, &store, hear).await?;
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
    let charters = charters(tools, &plans);
    let store = ContentStore::open(&workshop.content)?;
    let inputs = inputs(workshop, tools, &plans, &charters, &store, Steps::Again, hear).await?;
    let mut rounds = Vec::new();
    for number in ["first", "second"] {
        hear(Event::Doing(&format!("building everything anew, for the {number} time")));
        rounds.push(round(tools, &plans, &charters, &inputs, &store, hear).await?);
    }
    for ((tier, one), other) in tiers.iter().zip(&rounds[0]).zip(&rounds[1]) {
        if let Some(difference) = compare::images(one, other, &store)? {
            return Err(Error::Unreproducible { tier: tier.clone(), difference });
        }
    }
    Ok(rounds.swap_remove(1))
}

/// Builds every plan, brings the images into normal form, judges them, and only then lists them: what the
/// policy of one tier refuses is not there for the others either.
pub(super) async fn round(
    tools: &Tools,
    plans: &[Plan],
    charters: &[Charter],
    inputs: &Inputs,
    store: &ContentStore,
    hear: Hear<'_>,
) -> Result<Vec<Image>, Error> {
    let built = Box::pin(build::build(plans, charters, inputs, &tools.builders, store, hear)).await?;
    let (mut known, mut looked) = (normalise::Known::default(), inspect::Looked::default());
    let mut images = Vec::new();
    let mut judged = Vec::new();
    for ((plan, charter), built) in plans.iter().zip(charters).zip(built) {
        let (raw, inputs, warnings) = match built {
            Built::Known(image) => {
                images.push(image);
                continue;
            }
            Built::New { raw, inputs, warnings } => (raw, inputs, warnings),
        };
        hear(Event::Doing(&format!("bringing `{}` into normal form", plan.tag)));
        let image = normalise::image(&raw, store, plan.epoch, &mut known)?;
        hear(Event::Doing(&format!("looking into `{}`", plan.tag)));
        let base = raw.base.max(charter.base);
        let mut evidence = inspect::image(&image, base, charter, store, tools.threads, &mut looked)?;
        if charter.settings.size.is_some() {
            evidence.archive = Some(pack::size(&image, store, tools.threads)?);
        }
        if !charter.denied.is_empty() {
            evidence.packages = Some(inventory::image(&image, store)?);
        }
        let findings = [warnings, policy::judge(charter, &evidence)].concat();
        let warnings = Refusal::unless_fine(&image.tag, findings, policy::NOT_LISTED)?;
        tell(&warnings, hear);
        // What was warned about is said again next time.
        let mark = warnings.is_empty().then(|| Mark { inputs, charter: charter.digest() });
        judged.push((images.len(), raw.image.config.digest, mark));
        images.push(image);
    }
    for (at, origin, mark) in judged {
        store.list(&images[at], &origin, mark)?;
    }
    // Also of images that were known: another recipe may have made the same one before.
    for ((plan, context), image) in plans.iter().zip(&inputs.contexts).zip(&images) {
        let stated = provenance::predicate(plan, context.digest()).to_string();
        store.remember_provenance(image, stated.as_bytes())?;
    }
    Ok(images)
}

/// By what the images of these plans are judged.
pub(super) fn charters(tools: &Tools, plans: &[Plan]) -> Vec<Charter> {
    plans.iter().map(|plan| Charter::of(plan, &tools.denied)).collect()
}

pub(super) fn plans(workshop: &Workshop, tiers: &[TierName], ask: &Ask) -> Result<Vec<Plan>, Error> {
    let recipes = read::recipes(&workshop.recipes)?;
    tiers.iter().map(|tier| Ok(recipes.plan(tier, ask)?)).collect()
}

/// What the plans read: root filesystems are made once, files are hashed once.
pub(super) async fn inputs(
    workshop: &Workshop,
    tools: &Tools,
    plans: &[Plan],
    charters: &[Charter],
    store: &ContentStore,
    steps: Steps,
    hear: Hear<'_>,
) -> Result<Inputs, Error> {
    let mut made = BTreeMap::new();
    let mut contexts = Vec::new();
    let mut hashed = gather::Files::default();
    obtain_pinned(plans, tools, store, hear).await?;
    for (plan, charter) in plans.iter().zip(charters) {
        let mut rootfs = BTreeMap::new();
        for (path, debian) in &plan.rootfs {
            // A tier that is locked and one that is not have different bases at one path; so do platforms.
            let pin = plan.lock.base();
            let base = (path.clone(), plan.platform.clone(), pin.map(|pin| pin.of));
            if !made.contains_key(&base) {
                let pinned = pin.map(|pin| Pinned { pin, store });
                let tar = bootstrap::debian(debian, &plan.platform, pinned, &tools.bases, tools.reuse, hear)
                    .await?;
                made.insert(base.clone(), tar);
            }
            rootfs.extend(made.get(&base).map(|tar| (path.clone(), tar.clone())));
        }
        let context = gather::context(plan, &workshop.recipes, &rootfs, &mut hashed, store)?;
        let leaks = gather::leaks(charter, plan, &context, &mut hashed)?;
        tell(&Refusal::unless_fine(&plan.tag, leaks, policy::NOT_SENT)?, hear);
        contexts.push(context);
    }
    Ok(Inputs {
        contexts,
        secrets: tools.secrets.clone(),
        steps,
        cache_from: tools.cache_from.clone(),
        cache_to: tools.cache_to.clone(),
    })
}

/// Brings what is pinned into the store, once for all plans; says so where nothing is.
async fn obtain_pinned(
    plans: &[Plan],
    tools: &Tools,
    store: &ContentStore,
    hear: Hear<'_>,
) -> Result<(), Error> {
    let mut said = BTreeSet::new();
    let mut files = Vec::new();
    for plan in plans {
        match (&plan.lock, tools.demand) {
            (Locking::Pinned(pins), _) => files.extend(pins.iter().flat_map(|pin| &pin.files)),
            (Locking::Free(reason), Demand::Locked) => {
                return Err(Error::Unlocked { tier: plan.tier.clone(), reason: reason.clone() });
            }
            (Locking::Free(reason), Demand::Any) if said.insert(reason) => {
                hear(Event::Warning(&format!("not locked: {reason}")));
            }
            (Locking::Free(_), Demand::Any) => {}
        }
    }
    if !files.is_empty() {
        obtain::files(files, store, &Web::new(&tools.downloads)?, hear).await?;
    }
    Ok(())
}

fn tell(warnings: &[Finding], hear: Hear<'_>) {
    for warning in warnings {
        hear(Event::Warning(&format!("{warning}; {}", warning.fix)));
    }
}
