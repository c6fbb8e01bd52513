//! Asks an engine what it has now: an image that is the signed one, and that runs.

use std::time::Duration;

use bollard::errors::Error as ApiError;
use bollard::models::{ContainerCreateBody, HostConfig, ImageInspect};
use bollard::query_parameters::{RemoveContainerOptions, StartContainerOptions, WaitContainerOptions};
use futures_util::StreamExt as _;

use super::{LoadError, Loaded, Own, Proof};
use crate::model::image::Image;
use crate::model::runtime::HELPER_PATH;
use crate::step::engine::{Engine, EngineError};

impl Proof {
    /// What the engine has of an image that was loaded, if that is to be proven; `known` where loading it has shown that.
    pub async fn of(
        self,
        engine: &Engine,
        image: &Image,
        known: Option<Loaded>,
    ) -> Result<Option<Loaded>, LoadError> {
        match (self, known) {
            (Self::Loaded, _) => Ok(None),
            (Self::Proven, Some(loaded)) => Ok(Some(loaded)),
            (Self::Proven, None) => prove(engine, image).await.map(Some),
        }
    }
}

/// Reads back what the engine has under the tag, compares it with what was signed, makes a container,
/// lets it run the image's own check, and removes it.
pub(super) async fn prove(engine: &Engine, image: &Image) -> Result<Loaded, LoadError> {
    let tag = image.tag.to_string();
    let found = inspect(engine, &tag).await?.unwrap_or_default();
    compare(image, &found)?;
    let id = found.id.unwrap_or_default();
    let entrypoint = found.config.and_then(|config| config.entrypoint).unwrap_or_default();
    let own = if entrypoint.iter().any(|word| word == HELPER_PATH) { Own::Check } else { Own::Nothing };
    let body = ContainerCreateBody {
        // By identifier: the tag could move between the comparison and this line.
        image: Some(id.clone()),
        entrypoint: (own == Own::Check).then(|| vec![HELPER_PATH.to_owned()]),
        // An image without services has no command of its own.
        cmd: Some(vec![if own == Own::Check { "check" } else { "true" }.to_owned()]),
        // Both say that there is no network. With the first, Docker need not set up an empty one, which takes 20.10 as long as
        // all of the rest; the second is what others than Docker understand.
        network_disabled: Some(true),
        host_config: Some(HostConfig { network_mode: Some("none".to_owned()), ..HostConfig::default() }),
        ..ContainerCreateBody::default()
    };
    let created = engine.docker.create_container(None, body).await;
    let container = created.map_err(Engine::refused(format!("create a container from `{tag}`")))?.id;
    let checked = if own == Own::Check { run_check(engine, &tag, &container).await } else { Ok(()) };
    let options = RemoveContainerOptions { force: true, v: true, ..RemoveContainerOptions::default() };
    let removed = engine.docker.remove_container(&container, Some(options)).await;
    checked?;
    removed.map_err(Engine::refused(format!("remove container `{container}`")))?;
    Ok(Loaded { id, container, own })
}

/// How long an image may take for its own check, which starts no service.
pub(super) const CHECK_LIMIT: Duration = Duration::from_mins(1);

/// `imgforge-init` ran, and misses settings that only whoever starts the node can give.
const MISSES_SETTINGS: i64 = 64;

/// Starts the image's own check, which reads its configuration and starts no service, and waits for it.
async fn run_check(engine: &Engine, tag: &str, container: &str) -> Result<(), LoadError> {
    let refused = |what: &str| Engine::refused(format!("{what} a container from `{tag}`"));
    let started = engine.docker.start_container(container, None::<StartContainerOptions>).await;
    started.map_err(refused("start"))?;
    let mut ends = engine.docker.wait_container(container, None::<WaitContainerOptions>);
    let code = match tokio::time::timeout(CHECK_LIMIT, ends.next()).await {
        Ok(Some(Ok(end))) => end.status_code,
        Ok(Some(Err(ApiError::DockerContainerWaitError { code, .. }))) => code,
        Ok(Some(Err(error))) => return Err(refused("wait for")(error).into()),
        Ok(None) | Err(_) => return Err(LoadError::Unsound { tag: tag.to_owned(), code: None }),
    };
    match code {
        0 | MISSES_SETTINGS => Ok(()),
        code => Err(LoadError::Unsound { tag: tag.to_owned(), code: Some(code) }),
    }
}

pub(super) async fn inspect(engine: &Engine, tag: &str) -> Result<Option<ImageInspect>, EngineError> {
    match engine.docker.inspect_image(tag).await {
        Ok(found) => Ok(Some(found)),
        Err(ApiError::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
        Err(source) => Err(Engine::refused(format!("describe `{tag}`"))(source)),
    }
}

/// The classic store names an image by its configuration, the containerd store by its manifest.
pub(super) fn compare(image: &Image, found: &ImageInspect) -> Result<(), LoadError> {
    let differs = |what, expected: String, found: String| LoadError::Differs {
        tag: image.tag.to_string(),
        what,
        expected,
        found,
    };
    let id = found.id.clone().unwrap_or_default();
    if id != image.config.digest.to_string() && id != image.manifest.digest.to_string() {
        return Err(differs("image ID", image.config.digest.to_string(), id));
    }
    let layers: Vec<String> = image.layers.iter().map(|layer| layer.digest.to_string()).collect();
    let theirs = found.root_fs.as_ref().and_then(|fs| fs.layers.clone()).unwrap_or_default();
    if layers != theirs {
        return Err(differs("list of layers", layers.join(" "), theirs.join(" ")));
    }
    let platform = format!(
        "{}/{}",
        found.os.as_deref().unwrap_or_default(),
        found.architecture.as_deref().unwrap_or_default()
    );
    if platform != image.platform.to_string() {
        return Err(differs("platform", image.platform.to_string(), platform));
    }
    Ok(())
}
