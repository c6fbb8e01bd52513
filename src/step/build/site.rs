//! Where images are built: one connection and one session, for all tiers that were asked for.
//!
//! Tiers share their context as one input, the same for all of them, so BuildKit asks for its files
//! once; steps that they share, such as a common base, run once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, future, stream};

use super::blobs::{Blobs, EXPORT};
use super::cache::{CacheFrom, CacheTo};
use super::capabilities::Gives;
use super::differ::{self, Known, Unable};
use super::folders::{context_name, dockerfiles, share};
use super::import::{self, ImportError, Kept};
use super::session::{self, Session, Shared};
use super::solve::{Solved, solve};
use super::status::Told;
use super::transport::{self, Builder, Line, Needs};
use super::wanted::{Found, Reading};
use super::{BuildError, Built, Inputs, Steps};
use crate::model::archive;
use crate::model::context::{Entry, File, Source, Tree};
use crate::model::digest::Digest;
use crate::model::image::{Image, Mark, Raw};
use crate::model::plan::Plan;
use crate::model::policy::{Charter, Finding};
use crate::step::content::ContentStore;
use crate::step::engine::Engine;
use crate::step::layers;
use crate::step::progress::{Event, Hear, Work};

/// Solves at a time. BuildKit runs the steps of one side by side too, so more only compete.
const AT_ONCE: usize = 4;

/// One connection, one session.
pub(super) struct Site<'a> {
    pub(super) line: Line,
    pub(super) session: Session,
    /// Which of the session's contexts a plan reads.
    pub(super) contexts: Vec<String>,
    pub(super) inputs: &'a Inputs,
    trees: &'a [Tree],
    charters: &'a [Charter],
    store: &'a ContentStore,
    told: Told,
    /// Layers that were read where the builder keeps them.
    read: Known,
}

/// What was exported.
enum Taken<'a> {
    /// An image that is listed, and was judged by the same charter.
    Known(Image),
    /// Any other whose layers were read.
    Read(Image),
    /// Any other, from blobs that are in the store.
    New(Raw),
    /// Any other, still to be saved out of the engine.
    Kept(Kept<'a>),
}

/// An image that was exported, or that is listed.
struct Done<'a> {
    at: usize,
    taken: Taken<'a>,
    inputs: Digest,
    warnings: Vec<Finding>,
}

/// Builds images, tries them out by their charters, and takes their layers into the content store, in
/// the order of the plans. The plans of a platform stand together, and each platform has a builder of its
/// own where there is one. The first that fails cancels the others; so does dropping the future.
pub async fn build(
    plans: &[Plan],
    charters: &[Charter],
    inputs: &Inputs,
    builders: &[Builder],
    store: &ContentStore,
    hear: Hear<'_>,
) -> Result<Vec<Built>, BuildError> {
    inputs.check(plans)?;
    let mut at = 0;
    let sites = plans.chunk_by(|one, next| one.platform == next.platform).map(|plans| {
        let range = at..at + plans.len();
        at = range.end;
        build_at_one(plans, &charters[range.clone()], &inputs.contexts[range], inputs, builders, store, hear)
    });
    let built: Vec<Vec<Built>> = future::try_join_all(sites).await?;
    Ok(built.into_iter().flatten().collect())
}

/// Builds the plans of one platform on one builder.
async fn build_at_one(
    plans: &[Plan],
    charters: &[Charter],
    trees: &[Tree],
    inputs: &Inputs,
    builders: &[Builder],
    store: &ContentStore,
    hear: Hear<'_>,
) -> Result<Vec<Built>, BuildError> {
    let Some(first) = plans.first() else { return Ok(Vec::new()) };
    let needs = if plans.iter().any(Plan::runs) { Needs::Programs } else { Needs::Files };
    let line = transport::choose(builders, &first.platform, needs, hear).await?;
    line.capabilities.check(&line.address)?;
    line.capabilities.check_caches(&line.address, &inputs.cache_from, inputs.cache_to.as_ref())?;
    let site = Site::open(line, plans, charters, trees, inputs, store).await?;
    let site = &site;
    let builds = stream::iter(plans.iter().enumerate())
        .map(|(at, plan)| async move { site.build(plan, at, hear).await });
    let done: Result<Vec<Done<'_>>, BuildError> = builds.buffer_unordered(AT_ONCE).try_collect().await;
    let engine = match site.line.capabilities.gives {
        Gives::Blobs => return done.map(|done| finish(done, Vec::new())),
        Gives::Engine => Engine::connect(&site.line.address).await?,
    };
    let built = done.and_then(|done| {
        let kept: Vec<&Kept<'_>> = done.iter().filter_map(|done| done.taken.kept()).collect();
        let saved = if kept.is_empty() { Vec::new() } else { import::engine(&engine, &kept, store, hear)? };
        Ok(finish(done, saved))
    });
    // Whatever came of it, the names have served; so have those that a killed build left.
    let names: Vec<String> = (0..plans.len()).map(|at| site.name(at)).collect();
    let own = future::join_all(names.iter().map(|name| import::forget(&engine, name, hear)));
    future::join(own, import::sweep(&engine, hear)).await;
    built
}

/// What was built, in the order of the plans. `saved` are the images that the engine kept, in that of `done`.
fn finish(done: Vec<Done<'_>>, saved: Vec<Raw>) -> Vec<Built> {
    let mut saved = saved.into_iter();
    let built = done.into_iter().filter_map(|Done { at, taken, inputs, warnings }| {
        let raw = match taken {
            Taken::Known(image) => return Some((at, Built::Known(image))),
            Taken::Read(image) => return Some((at, Built::Read { image, inputs, warnings })),
            Taken::New(raw) => raw,
            Taken::Kept(_) => saved.next()?,
        };
        Some((at, Built::New { raw, inputs, warnings }))
    });
    let mut built: Vec<(usize, Built)> = built.collect();
    built.sort_by_key(|(at, _)| *at);
    built.into_iter().map(|(_, built)| built).collect()
}

impl<'a> Taken<'a> {
    fn kept(&self) -> Option<&Kept<'a>> {
        if let Self::Kept(kept) = self { Some(kept) } else { None }
    }
}

impl<'a> Site<'a> {
    async fn open(
        mut line: Line,
        plans: &[Plan],
        charters: &'a [Charter],
        trees: &'a [Tree],
        inputs: &'a Inputs,
        store: &'a ContentStore,
    ) -> Result<Self, BuildError> {
        let (shared, contexts) = share(trees);
        let mut folders: BTreeMap<String, Arc<Tree>> =
            shared.into_iter().enumerate().map(|(at, tree)| (context_name(at), Arc::new(tree))).collect();
        folders.insert("dockerfile".to_owned(), Arc::new(dockerfiles(plans)));
        folders.extend([differ::folder()]);
        let mut stores = BTreeMap::from([(EXPORT.to_owned(), store.clone())]);
        let local = inputs.cache_from.iter().filter_map(|from| match from {
            CacheFrom::Local(folder) => Some(folder),
            CacheFrom::Registry(_) => None,
        });
        let written = match &inputs.cache_to {
            Some(CacheTo::Local(folder, _)) => Some(folder),
            _ => None,
        };
        for folder in local.chain(written) {
            let cache = ContentStore::open(folder).map_err(ImportError::Content)?;
            stores.insert(format!("local:{}", folder.display()), cache);
        }
        let secrets = inputs.secrets.iter().map(|(id, path)| (id.to_string(), path.clone())).collect();
        let shared = Shared { folders, secrets, blobs: Blobs::of(&stores) };
        // BuildKit keeps what it was sent under this key and asks only for what changed since; from one version
        // to the next, that is little.
        let tiers: Vec<&str> = plans.iter().map(|plan| plan.tier.as_str()).collect();
        let key = format!("imgforge/{}/{}/{}", plans[0].tag.project(), tiers.join("+"), plans[0].platform);
        let session = session::open(&mut line.control, Arc::new(shared), &key).await?;
        let contexts = contexts.into_iter().map(context_name).collect();
        let site = Self {
            line,
            session,
            contexts,
            inputs,
            trees,
            charters,
            store,
            told: Told::of(plans),
            read: Known::default(),
        };
        site.foresee(plans);
        Ok(site)
    }

    /// While the builder unpacks a root filesystem that was made here, its layer is made here too.
    fn foresee(&self, plans: &[Plan]) {
        let mut known = BTreeSet::new();
        for (plan, tree) in plans.iter().zip(self.trees).filter(|(plan, _)| self.reads(plan)) {
            let epoch = u64::try_from(plan.epoch.as_second()).unwrap_or(0);
            for root in plan.rootfs.keys().filter_map(|path| tree.get(path)) {
                if let Entry::File(File { source: Source::Disk(path), digest, .. }) = root
                    && known.insert((*digest, epoch))
                    && !self.store.has_foreseen(digest, epoch)
                {
                    layers::foresee(path.clone(), *digest, epoch, self.store.clone());
                }
            }
        }
    }

    async fn build<'b>(&self, plan: &'b Plan, at: usize, hear: Hear<'_>) -> Result<Done<'b>, BuildError> {
        let begun = Work::Build.begin();
        let done = self.judged(plan, at, hear).await?;
        begun.end(&archive::file_name(&plan.tier, &plan.version, &plan.platform), hear);
        Ok(done)
    }

    /// Builds, and tries the image out unless the same inputs gave one before that was good.
    async fn judged<'b>(&self, plan: &'b Plan, at: usize, hear: Hear<'_>) -> Result<Done<'b>, BuildError> {
        let charter = &self.charters[at];
        let inputs = super::digest(plan, &self.trees[at]);
        let mark = Mark { inputs, charter: charter.digest() };
        let done = |(taken, warnings)| Done { at, taken, inputs, warnings };
        let marked = self.inputs.steps == Steps::Cached && self.store.is_marked(&plan.tag, &mark);
        let known = if marked { self.store.image(&plan.tag, &plan.platform).ok() } else { None };
        let known = known.map(|(image, _)| image);
        if let Some(known) = &known
            && self.is_idle(plan, at, hear).await?
        {
            return Ok(done((Taken::Known(known.clone()), Vec::new())));
        }
        if self.reads(plan)
            && let Some(taken) = self.read(plan, at, known, hear).await?
        {
            return Ok(done(taken));
        }
        self.exported(plan, at, charter, hear).await.map(done)
    }

    /// Whether BuildKit has the results of all steps. Then nothing came of them since the image was made of the
    /// same inputs, and looked at: it is the one that would come out again. A cache that is wanted is written.
    async fn is_idle(&self, plan: &Plan, at: usize, hear: Hear<'_>) -> Result<bool, BuildError> {
        let name = self.inputs.cache_to.as_ref().map(|_| self.name(at));
        let asked = self.solving(plan, at, name.as_deref(), None, None)?;
        let Solved { answer, idle, .. } = solve(&self.line, asked, &self.told, hear).await?;
        self.keep_cache(plan, &answer)?;
        Ok(idle)
    }

    /// Whether layers of this image may be read where the builder keeps them. Those of an image that it starts
    /// from would not stay byte for byte, and a cache inside an image goes where the image goes.
    fn reads(&self, plan: &Plan) -> bool {
        self.line.capabilities.gives == Gives::Engine
            && self.inputs.cache_to.is_none()
            && plan.image.is_none()
            && differ::runs_on(&plan.platform)
    }

    /// Builds, tries the image out, and reads its layers where the builder keeps them; nothing where that cannot be
    /// done.
    async fn read<'b>(
        &self,
        plan: &'b Plan,
        at: usize,
        known: Option<Image>,
        hear: Hear<'_>,
    ) -> Result<Option<(Taken<'b>, Vec<Finding>)>, BuildError> {
        let (session, epoch, store, read) = (self.session.id.as_str(), plan.epoch, self.store, &self.read);
        let reading = Reading { session, epoch, store, read, known: known.as_ref() };
        let asked = self.solving(plan, at, None, Some(&self.charters[at]), Some(reading))?;
        let Found { findings, read, .. } = solve(&self.line, asked, &self.told, hear).await?.found;
        match read {
            Some(Ok(image)) if known.as_ref() == Some(&image) => Ok(Some((Taken::Known(image), findings))),
            Some(Ok(image)) => Ok(Some((Taken::Read(image), findings))),
            Some(Err(Unable::Kept(error))) => Err(error.into()),
            Some(Err(Unable::Broken(why))) => {
                hear(Event::Warning(&format!("`{}` is saved by the engine, which is slow: {why}", plan.tag)));
                Ok(None)
            }
            Some(Err(Unable::Apart(why))) => {
                hear(Event::Doing(&format!("having `{}` saved by the engine: {why}", plan.tag)));
                Ok(None)
            }
            None => Ok(None),
        }
    }

    /// Builds, tries the image out, and has it exported.
    async fn exported<'b>(
        &self,
        plan: &'b Plan,
        at: usize,
        charter: &Charter,
        hear: Hear<'_>,
    ) -> Result<(Taken<'b>, Vec<Finding>), BuildError> {
        let name = self.name(at);
        let asked = self.solving(plan, at, Some(&name), Some(charter), None)?;
        let Solved { answer, found: Found { findings, base, .. }, .. } =
            solve(&self.line, asked, &self.told, hear).await?;
        self.keep_cache(plan, &answer)?;
        let taken = match self.line.capabilities.gives {
            Gives::Blobs => {
                let manifest = answer.get("containerimage.digest").map(String::as_str).unwrap_or_default();
                Taken::New(import::blobs(manifest, &base, plan, self.store)?)
            }
            Gives::Engine => {
                let id = answer.get("containerimage.config.digest").or(answer.get("containerimage.digest"));
                Taken::Kept(Kept { name, id: id.cloned(), base, plan })
            }
        };
        Ok((taken, findings))
    }
}
