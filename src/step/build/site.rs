//! Where images are built: one connection and one session, for all tiers that were asked for.
//!
//! Tiers share their context as one input, the same for all of them, so BuildKit asks for its files
//! once; steps that they share, such as a common base, run once.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bollard_buildkit_proto::moby::buildkit::v1::{CacheOptions, CacheOptionsEntry, Exporter, SolveRequest};
use futures_util::{StreamExt as _, TryStreamExt as _, future, stream};

use super::blobs::{Blobs, EXPORT};
use super::cache::{self, CacheFrom, CacheTo};
use super::capabilities::Gives;
use super::folders::{context_name, dockerfile_name, dockerfiles, input, share};
use super::import::{self, ImportError, Kept};
use super::session::{self, Session, Shared};
use super::solve::{Solve, Solved, solve};
use super::status::Told;
use super::transport::{self, Builder, Line, Needs};
use super::{BuildError, Built, Inputs, Steps};
use crate::model::archive;
use crate::model::context::Tree;
use crate::model::digest::Digest;
use crate::model::image::{Blob, Image, Mark, Raw};
use crate::model::lock::pins::Locking;
use crate::model::plan::Plan;
use crate::model::policy::{Charter, Finding};
use crate::step::content::ContentStore;
use crate::step::engine::Engine;
use crate::step::progress::{Hear, Work};

/// Solves at a time. BuildKit runs the steps of one side by side too, so more only compete.
const AT_ONCE: usize = 4;

/// One connection, one session.
struct Site<'a> {
    line: Line,
    session: Session,
    /// Which of the session's contexts a plan reads.
    contexts: Vec<String>,
    inputs: &'a Inputs,
    trees: &'a [Tree],
    charters: &'a [Charter],
    imports: Vec<CacheFrom>,
    store: &'a ContentStore,
    /// What of it was hashed already.
    blobs: Blobs,
    told: Told,
}

/// What was exported.
enum Taken<'a> {
    /// An image that is listed, and was judged by the same charter.
    Known(Image),
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
        let blobs = Blobs::of(&stores);
        let shared = Shared { folders, secrets, blobs: blobs.clone() };
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
            imports: inputs.cache_from.clone(),
            store,
            blobs,
            told: Told::of(plans),
        })
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
        // The same inputs made a good image before: most likely they will again, and then its name says so.
        if self.inputs.steps == Steps::Cached && self.store.is_marked(&plan.tag, &mark) {
            if let Gives::Blobs = self.line.capabilities.gives {
                self.blobs.expect(EXPORT, self.store.origin_layers(&plan.tag));
            }
            if let (taken @ Taken::Known(_), warnings) = self.once(plan, at, None, &mark, hear).await? {
                return Ok(Done { at, taken, inputs, warnings });
            }
        }
        let (taken, warnings) = self.once(plan, at, Some(charter), &mark, hear).await?;
        Ok(Done { at, taken, inputs, warnings })
    }

    /// Builds, tries the image out where there is a charter, and takes it over.
    async fn once<'b>(
        &self,
        plan: &'b Plan,
        at: usize,
        charter: Option<&Charter>,
        mark: &Mark,
        hear: Hear<'_>,
    ) -> Result<(Taken<'b>, Vec<Finding>), BuildError> {
        let name = self.name(at);
        let imports = self.imports(plan)?;
        let solving = Solve {
            request: self.request(plan, &name),
            options: self.options(plan, &imports),
            inputs: HashMap::from([("context".to_owned(), input(&self.contexts[at], &self.session.id))]),
            imports,
            tier: &plan.tier,
            tag: &plan.tag,
            platform: &plan.platform,
            base: plan.image.as_deref(),
            charter,
        };
        let Solved { answer, findings, base } = solve(&self.line, solving, &self.told, hear).await?;
        self.keep_cache(plan, &answer)?;
        let id = answer.get("containerimage.config.digest").or(answer.get("containerimage.digest"));
        let known = id.and_then(|id| self.store.made_from(id, &plan.tag, &plan.platform, mark));
        let taken = match (known, self.line.capabilities.gives) {
            (Some(known), _) => Taken::Known(known),
            (None, Gives::Blobs) => {
                let manifest = answer.get("containerimage.digest").map(String::as_str).unwrap_or_default();
                Taken::New(import::blobs(manifest, &base, plan, self.store)?)
            }
            (None, Gives::Engine) => Taken::Kept(Kept { name, id: id.cloned(), base, plan }),
        };
        Ok((taken, findings))
    }

    /// The name under which an engine keeps an image of this session.
    fn name(&self, at: usize) -> String {
        import::build_name(&format!("{}-{at}", self.session.id))
    }

    /// The solve that exports what the gateway gives it.
    fn request(&self, plan: &Plan, name: &str) -> SolveRequest {
        let kept = self.inputs.cache_to.as_ref().and_then(|to| to.kept_as(&plan.tier));
        let exporter = match self.line.capabilities.gives {
            Gives::Engine => {
                let names = [Some(name.to_owned()), kept].into_iter().flatten().collect::<Vec<_>>().join(",");
                exporter("moby", [("name", &names)])
            }
            // Plain layers: imgforge compresses for the archive itself, in parallel.
            Gives::Blobs => exporter(
                "oci",
                [("tar", "false"), ("compression", "uncompressed"), ("force-compression", "true")],
            ),
        };
        let exports = self.inputs.cache_to.iter().map(|to| to.entry(&plan.tier)).collect();
        SolveRequest {
            r#ref: session::identifier(),
            session: self.session.id.clone(),
            // BuildKit before 0.13 knows only the older fields and ignores the newer one.
            exporter_deprecated: exporter.r#type.clone(),
            exporter_attrs_deprecated: exporter.attrs.clone(),
            exporters: vec![exporter],
            cache: Some(CacheOptions { exports, ..CacheOptions::default() }),
            ..SolveRequest::default()
        }
    }

    /// What the Dockerfile frontend is asked for.
    fn options(&self, plan: &Plan, imports: &[CacheOptionsEntry]) -> HashMap<String, String> {
        let mut options = HashMap::from([
            ("filename".to_owned(), dockerfile_name(plan)),
            ("target".to_owned(), plan.tier.to_string()),
            ("platform".to_owned(), plan.platform.to_string()),
        ]);
        options.extend(plan.args.iter().map(|(name, value)| (format!("build-arg:{name}"), value.clone())));
        if let Locking::Pinned(_) = plan.lock {
            // All that steps install is in the context. What reaches for the network all the same fails.
            options.insert("force-network-mode".to_owned(), "none".to_owned());
        }
        if self.inputs.steps == Steps::Again {
            options.insert("no-cache".to_owned(), String::new());
        }
        if !imports.is_empty() {
            options.insert("cache-imports".to_owned(), cache::attribute(imports));
        }
        options
    }

    fn imports(&self, plan: &Plan) -> Result<Vec<CacheOptionsEntry>, BuildError> {
        let mut entries = Vec::new();
        for from in &self.imports {
            match from {
                CacheFrom::Registry(name) => entries.push(cache::registry(name, &plan.tier)),
                CacheFrom::Local(folder) => {
                    let store = ContentStore::open(folder).map_err(ImportError::Content)?;
                    let manifests = store.manifests().map_err(ImportError::Content)?;
                    let folder = folder.display().to_string();
                    entries.extend(manifests.iter().map(|manifest| cache::local(&folder, manifest)));
                }
            }
        }
        Ok(entries)
    }

    /// The blobs of a local cache are in its folder by now; its index is ours to write.
    fn keep_cache(&self, plan: &Plan, answer: &HashMap<String, String>) -> Result<(), BuildError> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Manifest {
            media_type: String,
            digest: Digest,
            size: u64,
        }
        let (Some(CacheTo::Local(folder, _)), Some(text)) =
            (&self.inputs.cache_to, answer.get("cache.manifest"))
        else {
            return Ok(());
        };
        let found: Manifest = serde_json::from_str(text).map_err(ImportError::Manifest)?;
        let blob = Blob { digest: found.digest, size: found.size };
        let list = || ContentStore::open(folder)?.list_manifest(&found.media_type, blob, plan.tier.as_str());
        Ok(list().map_err(ImportError::Content)?)
    }
}

fn exporter<const N: usize>(kind: &str, attributes: [(&str, &str); N]) -> Exporter {
    let attrs = attributes.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    Exporter { r#type: kind.to_owned(), attrs }
}
