//! What a builder can do, as it says itself. An old BuildKit ignores what it does not know,
//! without a word, so nothing is asked of a builder that it has not shown to have.

use bollard_buildkit_proto::moby::buildkit::v1::{InfoRequest, ListWorkersResponse};
use bollard_buildkit_proto::pb::Platform as Listed;

use super::BuildError;
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
        let lacks = |what: &str, remedy: &'static str| {
            let (builder, what) = (address.to_string(), what.to_owned());
            Err(BuildError::Lacks { builder, version: self.shown(), what, remedy })
        };
        let beside = matches!(address, Address::Program(program) if program.leads_to == LeadsTo::BuildKit);
        match self.gives {
            Gives::Engine if beside => lacks(
                "hands images only to the Docker Engine around it, which has the classic image store",
                "name that engine itself: leave `--builder` out and set `DOCKER_HOST`",
            ),
            // The call that tells the version came with the exporter, in 0.11. The version itself is
            // no help: Debian's engines say `v0.0.0+unknown`.
            Gives::Blobs if self.version.is_none() => {
                lacks("cannot export blobs over the session", "use BuildKit 0.11 or newer there")
            }
            _ => Ok(()),
        }
    }

    fn shown(&self) -> String {
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
        Self { version, gives: if blobs { Gives::Blobs } else { Gives::Engine }, platforms }
    }
}

/// `None` for what no recipe can name: variants such as `amd64/v3`, systems such as `windows`.
fn platform(listed: &Listed) -> Option<Platform> {
    let usual = listed.variant.is_empty() || (listed.architecture == "arm64" && listed.variant == "v8");
    if usual { format!("{}/{}", listed.os, listed.architecture).parse().ok() } else { None }
}
