//! Where images are built: one connection and one session, for all tiers that were asked for.
//!
//! Tiers share their context as one input, the same for all of them, so BuildKit asks for its files
//! once; steps that they share, such as a common base, run once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{StreamExt as _, TryStreamExt as _, future, stream};

use super::ahead::Ahead;
use super::aside::Aside;
use super::blobs::{Blobs, EXPORT};
use super::cache::{CacheFrom, CacheTo};
use super::capabilities::Gives;
use super::differ::{self, Known, Unable};
use super::folders::{context_name, dockerfiles, share};
use super::import::{self, ImportError, Kept};
use super::session::{self, Session, Shared};
use super::solve::{Solved, solve};
use super::status::Told;
use super::stock::Stock;
use super::transport::{self, Builder, Line, Needs};
use super::wanted::{Found, Reading};
use super::{BuildError, Built, Given, Inputs, Steps};
use crate::model::archive;
use crate::model::context::Tree;
use crate::model::image::{Image, Mark, Raw};
use crate::model::plan::Plan;
use crate::model::policy::{Charter, Finding};
use crate::step::content::{ContentStore, Pending};
use crate::step::engine::Engine;
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
    pub(super) trees: &'a [Tree],
    pub(super) charters: &'a [Charter],
    /// The content store, and what of it was hashed.
    pub(super) stock: Stock,
    /// What is done meanwhile.
    ahead: Ahead,
    /// The mark of each plan, and the image that had it.
    last: Vec<(Pending, Option<Image>)>,
    /// Plans whose image turned out to be that one.
    same: Mutex<Vec<usize>>,
    pub(super) told: Told,
    /// Layers that were read where the builder keeps them.
    read: Known,
}

/// What was exported.
enum Taken<'a> {
    /// It is in the store.
    Here(Given),
    /// It is still to be saved out of the engine.
    Kept(Kept<'a>),
}

/// An image that was exported, or that is listed.
struct Done<'a> {
    at: usize,
    taken: Taken<'a>,
    warnings: Vec<Finding>,
}

/// Builds images, tries them out by their charters, and takes their layers into the content store, in
/// the order of the plans. The plans of a platform stand together, and each platform has a builder of its
/// own where there is one. The first that fails cancels the others; so does dropping the future. Caches are
/// aside until somebody has judged the images.
pub async fn build<'a>(
    plans: &'a [Plan],
    charters: &'a [Charter],
    inputs: &'a Inputs,
    builders: &[Builder],
    store: &'a ContentStore,
    hear: Hear<'_>,
) -> Result<(Vec<Built>, Vec<Aside<'a>>), BuildError> {
    inputs.check(plans)?;
    let mut at = 0;
    let sites = plans.chunk_by(|one, next| one.platform == next.platform).map(|plans| {
        let range = at..at + plans.len();
        at = range.end;
        build_at_one(plans, &charters[range.clone()], &inputs.contexts[range], inputs, builders, store, hear)
    });
    let (built, asides): (Vec<_>, Vec<_>) = future::try_join_all(sites).await?.into_iter().unzip();
    Ok((built.into_iter().flatten().collect(), asides.into_iter().flatten().collect()))
}

/// Builds the plans of one platform on one builder.
async fn build_at_one<'a>(
    plans: &'a [Plan],
    charters: &'a [Charter],
    trees: &'a [Tree],
    inputs: &'a Inputs,
    builders: &[Builder],
    store: &'a ContentStore,
    hear: Hear<'_>,
) -> Result<(Vec<Built>, Option<Aside<'a>>), BuildError> {
    let Some(first) = plans.first() else { return Ok((Vec::new(), None)) };
    let needs = if plans.iter().any(Plan::runs) { Needs::Programs } else { Needs::Files };
    let line = transport::choose(builders, &first.platform, needs, hear).await?;
    line.capabilities.check(&line.address)?;
    line.capabilities.check_caches(&line.address, &inputs.cache_from, inputs.cache_to.as_ref())?;
    let mut site = Site::open(line, plans, charters, trees, inputs, store).await?;
    site.unmark(plans)?;
    let done = site.all(plans, hear).await;
    site.give_back();
    let engine = match site.line.capabilities.gives {
        Gives::Blobs => Ok(None),
        Gives::Engine => Engine::connect(&site.line.address).await.map(Some),
    };
    // What went wrong first is told.
    let (done, engine) = match (done, engine) {
        (Ok(done), engine) => (done, engine?),
        (Err(error), engine) => {
            let engine = engine.unwrap_or_default();
            Aside { site, plans, engine }.forget(hear).await;
            return Err(error);
        }
    };
    let kept: Vec<&Kept<'_>> = done.iter().filter_map(|done| done.taken.kept()).collect();
    let saved = match &engine {
        Some(engine) if !kept.is_empty() => import::engine(engine, &kept, store, hear),
        _ => Ok(Vec::new()),
    };
    let built = saved.map(|saved| site.finish(done, saved));
    let aside = Aside { site, plans, engine };
    match built {
        Ok(built) if inputs.cache_to.is_some() => Ok((built, Some(aside))),
        built => {
            aside.forget(hear).await;
            Ok((built?, None))
        }
    }
}

impl<'a> Taken<'a> {
    fn kept(&self) -> Option<&Kept<'a>> {
        if let Self::Kept(kept) = self { Some(kept) } else { None }
    }
}

impl<'a> Site<'a> {
    pub(super) async fn open(
        mut line: Line,
        plans: &'a [Plan],
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
        let stock = Stock::of(store);
        let mut stores = BTreeMap::from([(EXPORT.to_owned(), stock.clone())]);
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
            stores.insert(format!("local:{}", folder.display()), Stock::of(&cache));
        }
        let secrets = inputs.secrets.iter().map(|(id, path)| (id.to_string(), path.clone())).collect();
        let shared = Shared { folders, secrets, blobs: Blobs::of(stores) };
        // BuildKit keeps what it was sent under this key and asks only for what changed since; from one version
        // to the next, that is little.
        let tiers: Vec<&str> = plans.iter().map(|plan| plan.tier.as_str()).collect();
        let key = format!("imgforge/{}/{}/{}", plans[0].tag.project(), tiers.join("+"), plans[0].platform);
        let session = session::open(&mut line.control, Arc::new(shared), &key).await?;
        let contexts = contexts.into_iter().map(context_name).collect();
        Ok(Self {
            line,
            session,
            contexts,
            inputs,
            trees,
            charters,
            stock,
            ahead: Ahead::default(),
            last: Vec::new(),
            same: Mutex::default(),
            told: Told::of(plans),
            read: Known::default(),
        })
    }

    /// Takes marks off, now that something is going to be built.
    fn unmark(&mut self, plans: &'a [Plan]) -> Result<(), BuildError> {
        let builder = format!("{} {}", self.line.address, self.line.capabilities.workers);
        let mark = |((plan, charter), tree): ((&'a Plan, &Charter), &Tree)| {
            let mark = Mark { inputs: super::digest(plan, tree, &builder), charter: charter.digest() };
            (&plan.tag, &plan.platform, mark)
        };
        let marks: Vec<_> = plans.iter().zip(self.charters).zip(self.trees).map(mark).collect();
        self.last = self.stock.store.unmark(&marks).map_err(ImportError::Content)?;
        Ok(())
    }

    async fn all<'b>(&self, plans: &'b [Plan], hear: Hear<'_>) -> Result<Vec<Done<'b>>, BuildError> {
        let builds = stream::iter(plans.iter().enumerate());
        builds.map(|(at, plan)| self.build(plan, at, hear)).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// What was built, in the order of the plans. `saved` are the images that the engine kept, in that of `done`.
    fn finish(&self, done: Vec<Done<'_>>, saved: Vec<Raw>) -> Vec<Built> {
        let mut saved = saved.into_iter();
        let built = done.into_iter().filter_map(|Done { at, taken, warnings }| {
            let image = match taken {
                Taken::Here(given) => given,
                Taken::Kept(_) => Given::New(saved.next()?),
            };
            Some((at, Built { image, mark: self.last[at].0, warnings }))
        });
        let mut built: Vec<(usize, Built)> = built.collect();
        built.sort_by_key(|(at, _)| *at);
        built.into_iter().map(|(_, built)| built).collect()
    }

    async fn build<'b>(&self, plan: &'b Plan, at: usize, hear: Hear<'_>) -> Result<Done<'b>, BuildError> {
        let begun = Work::Build.begin();
        let done = self.judged(plan, at, hear).await?;
        begun.end(&archive::file_name(&plan.tier, &plan.version, &plan.platform), hear);
        Ok(done)
    }

    /// Builds, and tries the image out unless the same inputs gave one before that was good.
    async fn judged<'b>(&self, plan: &'b Plan, at: usize, hear: Hear<'_>) -> Result<Done<'b>, BuildError> {
        let done = |(taken, warnings)| Done { at, taken, warnings };
        let known = self.last[at].1.as_ref().filter(|_| self.inputs.steps == Steps::Cached);
        if let Some(known) = known
            && self.inputs.cache_to.is_none()
            && self.is_idle(plan, at, hear).await?
        {
            return Ok(done((self.same(at, known.clone()), Vec::new())));
        }
        if self.reads(plan) {
            self.ahead.begin(plan, &self.trees[at], &self.stock);
            if let Some(taken) = self.read(plan, at, known, hear).await? {
                return Ok(done(taken));
            }
        }
        self.exported(plan, at, &self.charters[at], hear).await.map(done)
    }

    fn same<'b>(&self, at: usize, image: Image) -> Taken<'b> {
        self.same.lock().unwrap_or_else(PoisonError::into_inner).push(at);
        Taken::Here(Given::Known(image))
    }

    /// Gives images that are as they were their marks again, whatever comes of the others. A mark that is lost
    /// costs time, and no more.
    fn give_back(&self) {
        let same = self.same.lock().unwrap_or_else(PoisonError::into_inner);
        let known = same.iter().filter_map(|at| Some((self.last[*at].1.as_ref()?, Some(self.last[*at].0))));
        let _ = self.stock.store.list(&known.collect::<Vec<_>>());
    }

    /// Runs what has to run; whether that was nothing, because BuildKit has the results of all steps. Then the
    /// image is the one that was made of the same inputs there and looked at: since then, no build of it here
    /// ended otherwise, or its mark would be gone.
    async fn is_idle(&self, plan: &Plan, at: usize, hear: Hear<'_>) -> Result<bool, BuildError> {
        let asked = self.solving(plan, at, None, None, None)?;
        Ok(solve(&self.line, asked, &self.told, hear).await?.idle)
    }

    /// Whether layers of this image may be read where the builder keeps them. Those of an image that it starts
    /// from would not stay byte for byte, and a cache inside an image goes where the image goes. Where steps run
    /// again, they would do so once more if their layers cannot be told apart.
    fn reads(&self, plan: &Plan) -> bool {
        self.line.capabilities.gives == Gives::Engine
            && self.inputs.steps == Steps::Cached
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
        known: Option<&Image>,
        hear: Hear<'_>,
    ) -> Result<Option<(Taken<'b>, Vec<Finding>)>, BuildError> {
        let (session, epoch, read) = (self.session.id.as_str(), plan.epoch, &self.read);
        let reading = Reading { session, epoch, stock: &self.stock, read, known };
        let asked = self.solving(plan, at, None, Some(&self.charters[at]), Some(reading))?;
        let Found { findings, read, .. } = solve(&self.line, asked, &self.told, hear).await?.found;
        match read {
            Some(Ok(image)) if known == Some(&image) => Ok(Some((self.same(at, image), findings))),
            Some(Ok(image)) => Ok(Some((Taken::Here(Given::Read(image)), findings))),
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
        let taken = match self.line.capabilities.gives {
            Gives::Blobs => {
                let manifest = answer.get("containerimage.digest").map(String::as_str).unwrap_or_default();
                Taken::Here(Given::New(import::blobs(manifest, &base, plan, &self.stock.store)?))
            }
            Gives::Engine => {
                let id = answer.get("containerimage.config.digest").or(answer.get("containerimage.digest"));
                Taken::Kept(Kept { name, id: id.cloned(), base, plan })
            }
        };
        Ok((taken, findings))
    }
}
