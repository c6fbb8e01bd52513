//! What a builder can do, as it says itself. An old BuildKit ignores what it does not know,
//! without a word, so nothing is asked of a builder that it has not shown to have.

use bollard_buildkit_proto::moby::buildkit::v1::{InfoRequest, ListWorkersResponse};
use bollard_buildkit_proto::pb::Platform as Listed;

use super::BuildError;
use super::cache::{CacheFrom, CacheTo};
use super::transport::Control;
use crate::model::name::Platform;
use crate::step::engine::Address;
use crate::step::engine::address::LeadsTo;

/// What a builder can do.
#[derive(Debug, Clone)]
pub(super) struct Capabilities {
    /// BuildKit's version; those before 0.11 do not tell.
    pub(super) version: Option<String>,
    /// What it does with a finished image.
    pub(super) gives: Gives,
    /// What it builds for, its own first.
    pub(super) platforms: Vec<Platform>,
    /// The names that its workers gave themselves. That of Docker 20.10 is no name: all of them say `moby`.
    pub(super) workers: String,
}

/// How an image leaves a builder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gives {
    /// Blob by blob, into a content store that we serve.
    Blobs,
    /// Only into the classic store of the Docker Engine around it, which saves it as a tar.
    Engine,
}

/// Only workers with a snapshotter keep layers as blobs, and so can export them and cache metadata.
/// The worker inside a Docker Engine with the classic store has no such label.
const SNAPSHOTTER: &str = "org.mobyproject.buildkit.worker.snapshotter";

impl Capabilities {
    /// Whether an image can be had from what listens here.
    pub(super) fn check(&self, address: &Address) -> Result<(), BuildError> {
        let beside = matches!(address, Address::Program(program) if program.leads_to == LeadsTo::BuildKit);
        match self.gives {
            Gives::Engine if beside => Err(self.lacks(
                address,
                "hands images only to the Docker Engine around it, which has the classic image store",
                "name that engine itself: leave `--builder` out and set `DOCKER_HOST`",
            )),
            // The call that tells the version came with the exporter, in 0.11. The version itself is
            // no help: Debian's engines say `v0.0.0+unknown`.
            Gives::Blobs if self.version.is_none() => Err(self.lacks(
                address,
                "cannot export blobs over the session",
                "use BuildKit 0.11 or newer there",
            )),
            _ => Ok(()),
        }
    }

    /// Whether caches can be read and written there: a builder that cannot would build without.
    pub(super) fn check_caches(
        &self,
        address: &Address,
        from: &[CacheFrom],
        to: Option<&CacheTo>,
    ) -> Result<(), BuildError> {
        let local = from.iter().any(|from| matches!(from, CacheFrom::Local(_)));
        match (self.gives, to) {
            (Gives::Engine, Some(CacheTo::Local(..) | CacheTo::Registry(..))) => Err(self.lacks(
                address,
                "has the classic image store and exports its cache only inside an image",
                "use `--cache-to type=inline,ref=REF`, or a builder with the containerd image store",
            )),
            (Gives::Engine, _) if local => Err(self.lacks(
                address,
                "has the classic image store and reads caches only from images",
                "use `--cache-from type=registry,ref=REF`, or a builder with the containerd image store",
            )),
            (Gives::Blobs, Some(CacheTo::Inline(_))) => Err(self.lacks(
                address,
                "gives images over the session and keeps none that could carry a cache",
                "use `--cache-to type=local,dest=DIR` or `type=registry,ref=REF`",
            )),
            _ => Ok(()),
        }
    }

    fn lacks(&self, address: &Address, what: &str, remedy: &'static str) -> BuildError {
        let (builder, what) = (address.to_string(), what.to_owned());
        BuildError::Lacks { builder, version: self.shown(), what, remedy }
    }

    pub(super) fn shown(&self) -> String {
        self.version.clone().unwrap_or_else(|| "older than 0.11".to_owned())
    }

    /// Asks, given what workers there are.
    pub(super) async fn ask(control: &mut Control, workers: ListWorkersResponse) -> Self {
        let info = control.info(InfoRequest::default()).await.ok();
        let version = info.and_then(|info| info.into_inner().buildkit_version).map(|found| found.version);
        let blobs = workers.record.iter().any(|worker| worker.labels.contains_key(SNAPSHOTTER));
        let mut platforms = Vec::new();
        for listed in workers.record.iter().flat_map(|worker| &worker.platforms) {
            match platform(listed) {
                Some(platform) if !platforms.contains(&platform) => platforms.push(platform),
                _ => {}
            }
        }
        let workers = workers.record.iter().map(|worker| worker.id.as_str()).collect::<Vec<_>>().join(" ");
        Self { version, gives: if blobs { Gives::Blobs } else { Gives::Engine }, platforms, workers }
    }
}

/// `None` for what no recipe can name: variants such as `amd64/v3`, systems such as `windows`.
fn platform(listed: &Listed) -> Option<Platform> {
    let usual = listed.variant.is_empty() || (listed.architecture == "arm64" && listed.variant == "v8");
    if usual { format!("{}/{}", listed.os, listed.architecture).parse().ok() } else { None }
}
