//! Loads a checked archive into a Docker Engine, and asks the engine what it has now.
//!
//! `docker load` ending well proves nothing: an engine skips layers that it believes to have, and
//! re-tags names. So the image is read back, and a container is made from it and removed.

mod blobs;
mod loading;
mod prove;
mod send;

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use bollard::query_parameters::{ListContainersOptions, ListImagesOptions};

pub use blobs::{from_store, in_full, in_part};
pub use loading::{Goal, Loading, begin, load};

use super::content::ContentError;
use super::engine::{Address, Engine, EngineError};
use crate::model::digest::Digest;
use crate::model::image::{Blob, Image};
use prove::{CHECK_LIMIT, compare, inspect, prove};

/// Whether another image may lose its tag to the one that is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retag {
    /// No: the load is refused.
    Refuse,
    /// Yes.
    Allow,
}

/// How far a load goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// The image is loaded.
    Loaded,
    /// The engine is asked what it has, and a container is made.
    Proven,
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
    let mut images = engine.docker.list_images(None::<ListImagesOptions>).await.map_err(refused)?;
    // Those of the same project first: an engine may have hundreds of others.
    let ours = format!("{}/", image.tag.project());
    images.sort_by_key(|other| !other.repo_tags.iter().any(|tag| tag.starts_with(&ours)));
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
