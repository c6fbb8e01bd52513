//! Loads a checked archive into a Docker Engine, and asks the engine what it has now.
//!
//! `docker load` ending well proves nothing: an engine skips layers that it believes to have, and
//! re-tags names. So the image is read back, and a container is made from it and removed.

mod blobs;

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;

use bollard::body_try_stream;
use bollard::errors::Error as ApiError;
use bollard::models::{ContainerCreateBody, HostConfig, ImageInspect};
use bollard::query_parameters::{
    ImportImageOptions, ListContainersOptions, ListImagesOptions, RemoveContainerOptions,
    StartContainerOptions, WaitContainerOptions,
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

pub use blobs::{from_store, in_full, in_part};

use super::check::Checked;
use super::content::ContentError;
use super::engine::{Address, Engine, EngineError};
use super::progress::{Event, Hear};
use crate::model::digest::Digest;
use crate::model::image::{Blob, Image};
use crate::model::runtime::HELPER_PATH;

/// Whether another image may lose its tag to the one that is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retag {
    /// No: the load is refused.
    Refuse,
    /// Yes.
    Allow,
}

/// Why an image is not loaded, or not the one that was signed.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The tag belongs to another image.
    #[error("the engine already has another image named `{tag}`")]
    Taken {
        /// The tag.
        tag: String,
        /// The image that has it.
        id: String,
    },
    /// The content store.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The archive on disk.
    #[error("the archive cannot be read again")]
    Io(#[source] io::Error),
    /// It is the image that was signed, and does not run here.
    #[error("`{tag}` is the signed image, but its own check {}", ended(*.code))]
    Unsound {
        /// The tag.
        tag: String,
        /// How the check ended, if it did.
        code: Option<i64>,
    },
    /// What the engine has is not what was signed.
    #[error("the engine's `{tag}` is not the signed image: {what} is `{found}`, not `{expected}`")]
    Differs {
        /// The tag.
        tag: String,
        /// What differs.
        what: &'static str,
        /// What was signed.
        expected: String,
        /// What the engine says.
        found: String,
    },
}

fn ended(code: Option<i64>) -> String {
    match code {
        Some(code) => format!("ended with code {code}"),
        None => format!("did not end within {} seconds", CHECK_LIMIT.as_secs()),
    }
}

/// What the engine has, as it says itself.
#[derive(Debug)]
pub struct Loaded {
    /// The engine's identifier of the image.
    pub id: String,
    /// A container was made from it and removed.
    pub container: String,
    /// What the image itself could say.
    pub own: Own,
}

/// Whether an image can say anything of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Own {
    /// It has a check of its own, which ran, without a network.
    Check,
    /// It has none.
    Nothing,
}

/// Pieces that wait between unpacking and the engine.
const QUEUE: usize = 8;
const PIECE: usize = 1 << 18;

/// Where an engine on this machine keeps images, and how many bytes it will need there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// The engine's folder.
    pub folder: PathBuf,
    /// Bytes at the peak.
    pub bytes: u64,
}

/// An engine first writes down what it is sent, and then unpacks it beside that.
const COPIES: u64 = 2;

/// Looks ahead, before anything is downloaded: refuses what [`load`] would refuse, and tells what it will
/// need; `None` for an engine whose disk is not ours to look at.
pub async fn foresee(engine: &Engine, image: &Image, retag: Retag) -> Result<Option<Room>, LoadError> {
    match missing(engine, image, retag).await? {
        Some(layers) => room(engine, &layers).await,
        None => Ok(None),
    }
}

/// The layers of an image that an engine has not shown to have, or `None` when it has the image; refuses
/// what [`load`] would refuse.
pub async fn missing(engine: &Engine, image: &Image, retag: Retag) -> Result<Option<Vec<Blob>>, LoadError> {
    let Wanted::Missing = wanted(engine, image, retag).await? else { return Ok(None) };
    let held = held(engine, image).await?;
    Ok(Some(image.unique_layers().into_iter().filter(|layer| !held.contains(&layer.digest)).collect()))
}

/// What an engine will need for layers; `None` where its disk is not ours to look at.
pub async fn room(engine: &Engine, layers: &[Blob]) -> Result<Option<Room>, LoadError> {
    let Address::Unix(_) = engine.address else { return Ok(None) };
    let refused = |source| Engine::refused("tell about itself".to_owned())(source);
    let info = engine.docker.info().await.map_err(refused)?;
    let Some(folder) = info.docker_root_dir.map(PathBuf::from).filter(|root| root.is_dir()) else {
        return Ok(None);
    };
    let bytes = layers.iter().map(|layer| layer.size).sum::<u64>().saturating_mul(COPIES);
    Ok(Some(Room { folder, bytes }))
}

/// Whether an engine has an image already.
enum Wanted {
    Here,
    Missing,
}

async fn wanted(engine: &Engine, image: &Image, retag: Retag) -> Result<Wanted, LoadError> {
    let tag = image.tag.to_string();
    match inspect(engine, &tag).await? {
        Some(found) if compare(image, &found).is_ok() => Ok(Wanted::Here),
        Some(found) if retag == Retag::Refuse => {
            Err(LoadError::Taken { tag, id: found.id.unwrap_or_default() })
        }
        _ => Ok(Wanted::Missing),
    }
}

/// Loads the image, unless the engine has it already. Tells what [`prove`] would, where that had to be
/// found out on the way.
pub async fn load(
    engine: &Engine,
    checked: &Checked,
    retag: Retag,
    hear: Hear<'_>,
) -> Result<Option<Loaded>, LoadError> {
    let image = &checked.archive().image;
    let tag = image.tag.to_string();
    let Wanted::Missing = wanted(engine, image, retag).await? else { return Ok(None) };
    let held = held(engine, image).await?;
    if !held.is_empty()
        && let Some(loaded) = without(engine, image, held.len(), checked.open_tar(&held), hear).await
    {
        return Ok(Some(loaded));
    }
    whole(engine, &tag, checked.open_tar(&[]), hear).await?;
    Ok(None)
}

/// Loads all of an image.
async fn whole(
    engine: &Engine,
    tag: &str,
    tar: impl Read + Send + 'static,
    hear: Hear<'_>,
) -> Result<(), LoadError> {
    hear(Event::Doing(&format!("loading `{tag}` into Docker {}", engine.version)));
    send(engine, tag, tar).await
}

/// Loads an image without so many of its layers. `None` when the engine lacks them after all: engines take
/// an image without its layers, and some do even then, so only a container shows whether all of it is there.
async fn without(
    engine: &Engine,
    image: &Image,
    held: usize,
    tar: impl Read + Send + 'static,
    hear: Hear<'_>,
) -> Option<Loaded> {
    let (tag, all) = (image.tag.to_string(), image.unique_layers().len());
    hear(Event::Doing(&format!(
        "loading `{tag}` into Docker {}, which has {held} of its {all} layers",
        engine.version
    )));
    send(engine, &tag, tar).await.ok()?;
    prove(engine, image).await.ok()
}

/// The names of the images that containers are made from, whether they run or not.
pub async fn in_use(engine: &Engine) -> Result<BTreeSet<String>, EngineError> {
    let all = ListContainersOptions { all: true, ..ListContainersOptions::default() };
    let refused = |source| Engine::refused("list its containers".to_owned())(source);
    let containers = engine.docker.list_containers(Some(all)).await.map_err(refused)?;
    Ok(containers.into_iter().filter_map(|container| container.image).collect())
}

/// Images that are asked for the layers they have in common with a new one.
const MOST_ASKED: usize = 100;

/// The first layers of an image, as far as another image of the engine begins with the same ones.
async fn held(engine: &Engine, image: &Image) -> Result<Vec<Digest>, EngineError> {
    let refused = |source| Engine::refused("list its images".to_owned())(source);
    let images = engine.docker.list_images(None::<ListImagesOptions>).await.map_err(refused)?;
    let wanted: Vec<Digest> = image.layers.iter().map(|layer| layer.digest).collect();
    let mut most = 0;
    for other in images.iter().take(MOST_ASKED) {
        let Some(found) = inspect(engine, &other.id).await? else { continue };
        let layers = found.root_fs.and_then(|fs| fs.layers).unwrap_or_default();
        let same = wanted.iter().zip(&layers).take_while(|(wanted, found)| wanted.to_string() == **found);
        most = most.max(same.count());
    }
    let (first, rest) = wanted.split_at(most);
    // A layer that comes again further up has to be sent for that.
    let mut held: Vec<Digest> = first.iter().filter(|layer| !rest.contains(layer)).copied().collect();
    held.sort();
    held.dedup();
    Ok(held)
}

async fn send(engine: &Engine, tag: &str, tar: impl Read + Send + 'static) -> Result<(), LoadError> {
    let (send, pieces) = mpsc::channel(QUEUE);
    let sender = tokio::task::spawn_blocking(move || send_tar(tar, &send));
    let body = body_try_stream(ReceiverStream::new(pieces));
    let mut answers = Box::pin(engine.docker.import_image(ImportImageOptions::default(), body, None));
    let mut refused = Ok(());
    while let Some(answer) = answers.next().await {
        if let Err(error) = answer {
            refused = Err(Engine::refused(format!("load `{tag}`"))(error).into());
            break;
        }
    }
    drop(answers);
    // A file that could not be read is why the engine stopped, not the other way round.
    match sender.await {
        Ok(Ok(())) => refused,
        Ok(Err(Stopped::Reading(error))) => Err(LoadError::Io(error)),
        Ok(Err(Stopped::Engine)) => {
            refused.and(Err(LoadError::Io(io::Error::other("the engine stopped reading"))))
        }
        Err(error) => refused.and(Err(LoadError::Io(io::Error::other(error)))),
    }
}

/// Why not all of the tar was sent.
enum Stopped {
    Reading(io::Error),
    Engine,
}

/// Sends the tar. When the file turns out to have changed, the stream breaks off before its end, where
/// engines look for the image, so it never becomes a complete one.
fn send_tar(mut tar: impl Read, to: &mpsc::Sender<io::Result<Bytes>>) -> Result<(), Stopped> {
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        if let Err(error) = tar.by_ref().take(PIECE as u64).read_to_end(&mut piece) {
            let _ = to.blocking_send(Err(io::Error::other("the archive changed after it was checked")));
            return Err(Stopped::Reading(error));
        }
        if piece.is_empty() {
            return Ok(());
        }
        to.blocking_send(Ok(piece.into())).map_err(|_| Stopped::Engine)?;
    }
}

/// Reads back what the engine has under the tag, compares it with what was signed, makes a container,
/// lets it run the image's own check, and removes it.
pub async fn prove(engine: &Engine, image: &Image) -> Result<Loaded, LoadError> {
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
const CHECK_LIMIT: Duration = Duration::from_mins(1);

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

async fn inspect(engine: &Engine, tag: &str) -> Result<Option<ImageInspect>, EngineError> {
    match engine.docker.inspect_image(tag).await {
        Ok(found) => Ok(Some(found)),
        Err(ApiError::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
        Err(source) => Err(Engine::refused(format!("describe `{tag}`"))(source)),
    }
}

/// The classic store names an image by its configuration, the containerd store by its manifest.
fn compare(image: &Image, found: &ImageInspect) -> Result<(), LoadError> {
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
