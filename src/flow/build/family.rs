//! Tiers that are built together: what they read is brought once, what they share is made once.

use std::collections::{BTreeMap, BTreeSet};

use super::{Demand, Tools, Workshop};
use crate::flow::Error;
use crate::model::context::{Entry, Tree};
use crate::model::image::Image;
use crate::model::lock::pins::Locking;
use crate::model::plan::Plan;
use crate::model::policy::{self, Charter, Finding, Refusal};
use crate::model::provenance;
use crate::step::bootstrap::{self, Pinned};
use crate::step::build::{self, Built, Given, Inputs, Steps};
use crate::step::content::ContentStore;
use crate::step::progress::{Event, Hear};
use crate::step::web::Web;
use crate::step::{gather, inspect, inventory, normalise, obtain, pack};

/// Plans, by what their images are judged, and all that they read.
pub(in crate::flow) struct Family<'a> {
    tools: &'a Tools,
    plans: Vec<Plan>,
    charters: Vec<Charter>,
    inputs: Inputs,
    store: ContentStore,
}

impl<'a> Family<'a> {
    /// Brings what the plans read: root filesystems are made once, files are hashed once.
    pub(in crate::flow) async fn gather(
        workshop: &Workshop,
        tools: &'a Tools,
        plans: Vec<Plan>,
        steps: Steps,
        hear: Hear<'_>,
    ) -> Result<Self, Error> {
        let charters: Vec<Charter> = plans.iter().map(|plan| Charter::of(plan, &tools.denied)).collect();
        let store = ContentStore::open(&workshop.content)?;
        obtain_pinned(&plans, tools, &store, hear).await?;
        let mut made = BTreeMap::new();
        let mut roots = Vec::new();
        for plan in &plans {
            let mut own = Vec::new();
            for (path, debian) in &plan.rootfs {
                // A tier that is locked and one that is not have different bases at one path; so do platforms.
                let pin = plan.lock.base();
                let base = (path.clone(), plan.platform.clone(), pin.map(|pin| pin.of));
                if !made.contains_key(&base) {
                    let pinned = pin.map(|pin| Pinned { pin, store: &store });
                    let (folder, reuse) = (&tools.bases, tools.reuse);
                    let root = bootstrap::debian(debian, &plan.platform, pinned, folder, reuse, hear).await?;
                    made.insert(base.clone(), root);
                }
                own.extend(made.get(&base).map(|root| (path, root.clone())));
            }
            roots.push(own);
        }
        let (mut files, mut contexts) = (gather::Files::default(), Vec::new());
        for ((plan, charter), own) in plans.iter().zip(&charters).zip(roots) {
            let mut context = gather::context(plan, &workshop.recipes, &mut files, &store)?;
            let leaks = gather::leaks(charter, plan, &context, &mut files)?;
            tell(&Refusal::unless_fine(&plan.tag, leaks, policy::NOT_SENT)?, hear);
            for (path, root) in own {
                context.insert(path, Entry::File(root));
            }
            contexts.push(context);
        }
        let (secrets, cache_from, cache_to) =
            (tools.secrets.clone(), tools.cache_from.clone(), tools.cache_to.clone());
        let inputs = Inputs { contexts, secrets, steps, cache_from, cache_to };
        Ok(Self { tools, plans, charters, inputs, store })
    }

    /// Where the images are.
    pub(in crate::flow) fn store(&self) -> &ContentStore {
        &self.store
    }

    /// Each plan, and the files that it is built of.
    pub(in crate::flow) fn plans(&self) -> impl Iterator<Item = (&Plan, &Tree)> {
        self.plans.iter().zip(&self.inputs.contexts)
    }

    /// Builds every plan, brings the images into normal form, judges them, and only then lists them: what
    /// the policy of one tier refuses is not there for the others either.
    pub(in crate::flow) async fn build(&self, hear: Hear<'_>) -> Result<Vec<Image>, Error> {
        let Self { tools, plans, charters, inputs, store } = self;
        let (built, asides) =
            Box::pin(build::build(plans, charters, inputs, &tools.builders, store, hear)).await?;
        let judged = self.judge(built, hear);
        for aside in asides {
            match &judged {
                Ok(_) => Box::pin(aside.keep(hear)).await?,
                Err(_) => Box::pin(aside.forget(hear)).await,
            }
        }
        judged
    }

    fn judge(&self, built: Vec<Built>, hear: Hear<'_>) -> Result<Vec<Image>, Error> {
        let Self { tools, plans, charters, store, .. } = self;
        let (mut known, mut looked) = (normalise::Known::default(), inspect::Looked::default());
        let mut images = Vec::new();
        let mut judged = Vec::new();
        for ((plan, charter), built) in plans.iter().zip(charters).zip(built) {
            let Built { image, mark, warnings } = built;
            let (image, base) = match image {
                Given::Known(image) => {
                    images.push(image);
                    continue;
                }
                Given::Read(image) => (image, 0),
                Given::New(raw) => {
                    hear(Event::Doing(&format!("bringing `{}` into normal form", plan.tag)));
                    (normalise::image(&raw, store, plan.epoch, &mut known)?, raw.base)
                }
            };
            hear(Event::Doing(&format!("looking into `{}`", plan.tag)));
            let base = base.max(charter.base);
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
            judged.push((images.len(), warnings.is_empty().then_some(mark)));
            images.push(image);
        }
        store.list(&judged.into_iter().map(|(at, mark)| (&images[at], mark)).collect::<Vec<_>>())?;
        // Also of images that were known: another recipe may have made the same one before.
        for ((plan, context), image) in self.plans().zip(&images) {
            let stated = provenance::predicate(plan, context.digest()).to_string();
            store.remember_provenance(image, stated.as_bytes())?;
        }
        Ok(images)
    }
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
