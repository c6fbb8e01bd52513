//! From a pinned key and a reference to a loaded image: whose signature stands beside it, what it is, then its
//! layers, each checked before the next is asked for.
//!
//! A registry is believed nothing. The tag is read once; what it points to must be signed, and everything
//! below that has a digest. What the image is called comes from its own configuration, never from the tag,
//! so an older image under a newer tag is seen. There is no channel, so nothing says what is current.

use std::path::{Path, PathBuf};

use super::Error;
use super::fetch::written_down;
use super::verify::Trust;
use crate::model::archive::index::MAX_BLOB;
use crate::model::digest::Digest;
use crate::model::image::{Blob, Image};
use crate::model::key::TrustedKeys;
use crate::model::name::{ChannelName, ImageTag, Platform, ProjectName, Version};
use crate::model::registry::{self, Found, Standing, Unfit};
use crate::model::seal::SealError;
use crate::model::seen::Seen;
use crate::model::time::Timestamp;
use crate::model::trust::Trusted;
use crate::step::content::ContentStore;
use crate::step::disk::{self, Need, Purpose};
use crate::step::engine::{Address, Engine};
use crate::step::load::{Loaded, Proof, Retag, Room};
use crate::step::progress::{Event, Hear};
use crate::step::registry::{Access, Reader, RegistryError, Target};
use crate::step::{audit, load, remember};

/// Which image of which registry, and who is trusted for it.
pub struct Order {
    /// Where.
    pub target: Target,
    /// Who we are there.
    pub access: Access,
    /// Which image of an index.
    pub platform: Platform,
    /// Whose signature counts.
    pub trust: Trust,
    /// Where layers are on their way.
    pub cache: PathBuf,
    /// Where images are that were built on this machine, and may have layers of it.
    pub built: PathBuf,
    /// Where this machine remembers what it has seen.
    pub state: PathBuf,
    /// Who loads it.
    pub engine: Address,
    /// Whether another image may lose its tag.
    pub retag: Retag,
    /// How far to go.
    pub proof: Proof,
    /// This machine's time.
    pub now: Timestamp,
}

/// An image that came from a registry.
pub struct Pulled {
    /// The image.
    pub image: Image,
    /// What was signed: the image, or the index that names it.
    pub signed: Digest,
    /// The key that signed it.
    pub signer: Digest,
    /// Layers that were hashed here, and their bytes.
    pub hashed: (usize, u64),
    /// Bytes that came over the line.
    pub fetched: u64,
    /// What the engine has; absent when it was not asked.
    pub loaded: Option<Loaded>,
}

/// Fetches, verifies, loads; with [`Proof::Proven`] also proves. What came of it is written down.
pub async fn pull(order: &Order, hear: Hear<'_>) -> Result<Pulled, Error> {
    let asked = format!("oci://{}", order.target.text());
    let outcome = bring(order, hear).await;
    written_down(&order.state, order.now, &asked, outcome, |pulled| audit::Result::Done {
        project: pulled.image.tag.project(),
        tier: pulled.image.tag.tier(),
        version: pulled.image.tag.version(),
        key: pulled.signer,
        release: pulled.signed,
        loaded: true,
        proven: pulled.loaded.is_some(),
    })
}

async fn bring(order: &Order, hear: Hear<'_>) -> Result<Pulled, Error> {
    let reader = Reader::open(order.target.clone(), &order.access).await?;
    hear(Event::Doing(&format!("asking `{}`", order.target.text())));
    let Vouched { manifest, bytes, signed, signers } = vouched(order, &reader).await?;
    let (image, config, signer) = described(order, &reader, &bytes, &manifest, &signers).await?;
    let engine = Engine::connect(&order.engine).await?;
    let mut pulled = Pulled { image, signed, signer, hashed: (0, 0), fetched: 0, loaded: None };
    let mut known = None;
    if let Some(missing) = load::missing(&engine, &pulled.image, order.retag).await? {
        let store = ContentStore::open(&order.cache)?;
        let _held = store.hold()?;
        enough(&engine, &store, &missing).await?;
        store.take(&mut config.as_slice())?;
        known = loaded(order, &reader, &engine, &store, &mut pulled, &missing, hear).await?;
        // The engine has them now, and the next version's fetch asks the engine.
        let here = [pulled.image.unique_layers(), vec![pulled.image.config]].concat();
        for blob in here.iter().filter(|blob| store.has(blob)) {
            store.discard(&blob.digest)?;
        }
    }
    pulled.loaded = order.proof.of(&engine, &pulled.image, known).await?;
    Ok(pulled)
}

/// A manifest for which a trusted key vouches.
struct Vouched {
    manifest: Digest,
    bytes: Vec<u8>,
    /// What was signed: the manifest, or the index that names it.
    signed: Digest,
    signers: Vec<Signer>,
}

/// Whoever is trusted and signed it.
struct Signer {
    key: Digest,
    /// The project that the key is trusted for; none for a key that was named.
    project: Option<ProjectName>,
    trusted: Trusted,
    seen: Seen,
}

/// What stands under the reference, if a trusted key vouches for it.
async fn vouched(order: &Order, reader: &Reader) -> Result<Vouched, Error> {
    let (found, bytes) = reader.standing().await?;
    let keys = believed(&order.trust, &order.state)?;
    let unfit = |error| RegistryError::Unfit(order.target.text(), error);
    let Standing::Index(images) = registry::standing(&bytes).map_err(unfit)? else {
        let signers = signers(&reader.signatures(&found).await?, &found, keys)?;
        return Ok(Vouched { manifest: found, bytes, signed: found, signers });
    };
    let manifest = registry::only(&images, &order.platform).map_err(unfit)?;
    let bytes = reader.named(&manifest).await?;
    match signers(&reader.signatures(&manifest).await?, &manifest, keys.clone()) {
        Ok(signers) => Ok(Vouched { manifest, bytes, signed: manifest, signers }),
        // Who signs an index signs what it names.
        Err(error) => match signers(&reader.signatures(&found).await?, &found, keys) {
            Ok(signers) => Ok(Vouched { manifest, bytes, signed: found, signers }),
            Err(_) => Err(error.into()),
        },
    }
}

type Believed = Vec<(Option<ProjectName>, Trusted, Seen)>;

/// Everybody whose signature could count, and what was seen of their projects.
fn believed(trust: &Trust, state: &Path) -> Result<Believed, Error> {
    let pins = match trust {
        Trust::Key(key) => return Ok(vec![(None, Trusted::any_project(key.clone()), Seen::nothing())]),
        Trust::Pins(pins) => pins,
    };
    let mut believed = Vec::new();
    for pin in pins {
        let trusted = Trusted::pin(pin.project.clone(), pin.key.clone());
        let memory = remember::of(state, &pin.project, &trusted);
        let seen = memory.seen()?.unwrap_or_else(Seen::nothing);
        believed.push((Some(pin.project.clone()), trusted.follow(&memory.chain()?)?, seen));
    }
    Ok(believed)
}

/// Those of them who signed it; at least one.
fn signers(found: &[Found], manifest: &Digest, believed: Believed) -> Result<Vec<Signer>, SealError> {
    let mut signers = Vec::new();
    let mut refusal = None;
    for (project, trusted, seen) in believed {
        let keys: &TrustedKeys = trusted.release_keys();
        match registry::first(found, manifest, keys) {
            Ok(key) => signers.push(Signer { key, project, trusted, seen }),
            Err(error) => {
                refusal.get_or_insert(error);
            }
        }
    }
    match refusal {
        Some(error) if signers.is_empty() => Err(error),
        _ => Ok(signers),
    }
}

/// The image that the manifest describes, its configuration, and the key that may sign for its project.
async fn described(
    order: &Order,
    reader: &Reader,
    bytes: &[u8],
    manifest: &Digest,
    signers: &[Signer],
) -> Result<(Image, Vec<u8>, Digest), Error> {
    let reference = || order.target.text();
    let unfit = |error| Error::Registry(RegistryError::Unfit(reference(), error));
    let Standing::Image(parts) = registry::standing(bytes).map_err(unfit)? else {
        return Err(unfit(Unfit::Form));
    };
    let config = reader.blob(&parts.config).await?;
    let tag: ImageTag = registry::own_name(&config).map_err(unfit)?;
    let image = Image::new(tag.clone(), order.platform.clone(), &config, parts.layers)?;
    if image.manifest.digest != *manifest {
        return Err(unfit(Unfit::Other));
    }
    image.bounded(MAX_BLOB).map_err(Unfit::Impossible).map_err(unfit)?;
    let signer = signers.iter().find(|signer| signer.project.as_ref().is_none_or(|of| of == tag.project()));
    let Some(signer) = signer else {
        return Err(Error::Stranger { project: tag.project().clone() });
    };
    signer.seen.permits(&ChannelName::stable(), tag.version(), &signer.trusted)?;
    // Whoever may write to a registry may put an older image under a newer tag.
    let claimed = order.target.named_tag().and_then(|tag| tag.parse::<Version>().ok());
    if claimed.is_some_and(|claimed| claimed != *tag.version()) {
        return Err(RegistryError::OtherVersion { reference: reference(), found: tag }.into());
    }
    Ok((image, config, signer.key))
}

/// Looks for room before anything is downloaded.
async fn enough(engine: &Engine, store: &ContentStore, missing: &[Blob]) -> Result<(), Error> {
    let bytes = missing.iter().filter(|layer| !store.has(layer)).map(|layer| layer.size).sum();
    let mut needs = vec![Need { folder: store.folder().to_owned(), purpose: Purpose::Layers, bytes }];
    if let Some(Room { folder, bytes }) = load::room(engine, missing).await? {
        needs.push(Need { folder, purpose: Purpose::Engine, bytes });
    }
    Ok(disk::together(needs)?)
}

/// Brings what the engine lacks, and loads it; everything, if it lacks more than it seemed to.
async fn loaded(
    order: &Order,
    reader: &Reader,
    engine: &Engine,
    store: &ContentStore,
    pulled: &mut Pulled,
    missing: &[Blob],
    hear: Hear<'_>,
) -> Result<Option<Loaded>, Error> {
    let all = pulled.image.unique_layers();
    let built = if order.built.is_dir() { Some(ContentStore::open(&order.built)?) } else { None };
    let bring = async |layer: &Blob| -> Result<u64, Error> {
        if let Some(built) = built.as_ref().filter(|built| built.has(layer) && !store.has(layer)) {
            store.take(&mut built.open_blob(&layer.digest)?)?;
        }
        Ok(reader.layer(layer, store, hear).await?)
    };
    for layer in missing {
        pulled.fetched += bring(layer).await?;
    }
    pulled.hashed = (missing.len(), missing.iter().map(|layer| layer.size).sum());
    if missing.len() < all.len() {
        let loaded = load::in_part(engine, &pulled.image, missing, store, hear).await?;
        if loaded.is_some() {
            return Ok(loaded);
        }
        for layer in all.iter().filter(|layer| !missing.contains(layer)) {
            pulled.fetched += bring(layer).await?;
        }
        pulled.hashed = (all.len(), all.iter().map(|layer| layer.size).sum());
    }
    load::in_full(engine, &pulled.image, store, hear).await?;
    Ok(None)
}
