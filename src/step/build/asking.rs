//! What a [`Site`] asks BuildKit for.

use std::collections::HashMap;

use bollard_buildkit_proto::moby::buildkit::v1::{CacheOptions, CacheOptionsEntry, Exporter, SolveRequest};

use super::cache::{self, CacheFrom, CacheTo};
use super::capabilities::Gives;
use super::folders::{dockerfile_name, input};
use super::import::ImportError;
use super::names;
use super::session;
use super::site::Site;
use super::solve::Solve;
use super::wanted::{Reading, Wanted};
use super::{BuildError, Steps};
use crate::model::digest::Digest;
use crate::model::image::Blob;
use crate::model::lock::pins::Locking;
use crate::model::plan::Plan;
use crate::model::policy::Charter;
use crate::step::content::ContentStore;

/// Has steps run although BuildKit has their results.
const NO_CACHE: &str = "no-cache";

impl Site<'_> {
    /// One solve, which exports where there is a name for what comes of it.
    pub(super) fn solving<'c>(
        &'c self,
        plan: &'c Plan,
        at: usize,
        name: Option<&str>,
        charter: Option<&'c Charter>,
        reading: Option<Reading<'c>>,
    ) -> Result<Solve<'c>, BuildError> {
        let imports = self.imports(plan)?;
        let context = input(&self.contexts[at], &self.session.id, "[internal] load build context");
        let (tag, platform, base) = (&plan.tag, &plan.platform, plan.image.as_deref());
        Ok(Solve {
            request: self.request(plan, name),
            options: self.options(plan, &imports),
            inputs: HashMap::from([("context".to_owned(), context)]),
            imports,
            tier: &plan.tier,
            wanted: Wanted { tag, platform, base, charter, reading },
        })
    }

    /// The solve that writes the cache of an image that was built and judged.
    pub(super) fn caching<'c>(&'c self, plan: &'c Plan, at: usize) -> Result<Solve<'c>, BuildError> {
        let mut solve = self.solving(plan, at, None, None, None)?;
        let exports = self.inputs.cache_to.iter().map(|to| to.entry(&plan.tier)).collect();
        solve.request.cache = Some(CacheOptions { exports, ..CacheOptions::default() });
        // All of them have just run.
        solve.options.remove(NO_CACHE);
        Ok(solve)
    }

    /// The name under which an engine keeps an image of this session.
    pub(super) fn name(&self, at: usize) -> String {
        names::own(&format!("{}-{at}", self.session.id))
    }

    /// The solve that exports what the gateway gives it, where there is a name for that.
    fn request(&self, plan: &Plan, name: Option<&str>) -> SolveRequest {
        let exporter = name.map(|name| match self.line.capabilities.gives {
            Gives::Engine => exporter("moby", [("name", name)]),
            // Plain layers: imgforge compresses for the archive itself, in parallel.
            Gives::Blobs => exporter(
                "oci",
                [("tar", "false"), ("compression", "uncompressed"), ("force-compression", "true")],
            ),
        });
        let older = exporter.clone().unwrap_or_default();
        // A cache inside an image is made with it; any other waits until the image was judged.
        let inline =
            self.inputs.cache_to.iter().filter(|to| name.is_some() && matches!(to, CacheTo::Inline(_)));
        let exports = inline.map(|to| to.entry(&plan.tier)).collect();
        SolveRequest {
            r#ref: session::identifier(),
            session: self.session.id.clone(),
            // BuildKit before 0.13 knows only the older fields and ignores the newer one.
            exporter_deprecated: older.r#type,
            exporter_attrs_deprecated: older.attrs,
            exporters: exporter.into_iter().collect(),
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
            options.insert(NO_CACHE.to_owned(), String::new());
        }
        if !imports.is_empty() {
            options.insert("cache-imports".to_owned(), cache::attribute(imports));
        }
        options
    }

    fn imports(&self, plan: &Plan) -> Result<Vec<CacheOptionsEntry>, BuildError> {
        let mut entries = Vec::new();
        for from in &self.inputs.cache_from {
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
    pub(super) fn keep_cache(&self, plan: &Plan, answer: &HashMap<String, String>) -> Result<(), BuildError> {
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
