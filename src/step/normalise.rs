//! Brings the layers of a built image into normal form, so that every engine gives the same image.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;

use super::content::{ContentError, ContentStore};
use super::layers::{self, Window};
use crate::model::configuration;
use crate::model::digest::Digest;
use crate::model::image::{Blob, Image, ImageError, Raw};
use crate::model::layer::{BadItem, Below, Bytes, Item, LayerPath};
use crate::model::time::{self, Timestamp};

/// Why an image has no normal form.
#[derive(Debug, thiserror::Error)]
pub enum NormaliseError {
    /// A layer that cannot be read.
    #[error("layer {0} of the built image cannot be read")]
    Read(Digest, #[source] io::Error),
    /// Files of two layers that cannot be compared.
    #[error("the layers of the built image cannot be compared")]
    Compare(#[from] io::Error),
    /// Something that cannot stand in a layer.
    #[error(transparent)]
    Item(#[from] BadItem),
    /// The content store.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// A configuration that cannot be read.
    #[error("the configuration of the built image cannot be read")]
    Config(#[source] serde_json::Error),
    /// What came out does not belong together.
    #[error(transparent)]
    Image(#[from] ImageError),
}

/// Layers whose normal form is known, by themselves and those below them: tiers share their base.
#[derive(Default)]
pub struct Known(BTreeMap<(Vec<Digest>, u64), Blob>);

/// The same image in normal form, in the store and not yet listed. `epoch` is the latest time in what
/// was built. Layers of an image that it starts from stay byte for byte: whoever has them already need
/// not fetch them again, and can compare them with those of their publisher.
pub fn image(
    Raw { image: built, base }: &Raw,
    store: &ContentStore,
    epoch: Timestamp,
    known: &mut Known,
) -> Result<Image, NormaliseError> {
    let seconds = time::seconds(epoch);
    let mut below = Below::default();
    let mut layers = Vec::new();
    let mut chain = Vec::new();
    let mut files = Vec::new();
    for (number, layer) in built.layers.iter().enumerate() {
        chain.push(layer.digest);
        let (of_base, key) = (number < *base, (chain.clone(), seconds));
        let form = if of_base { Some(*layer) } else { known.0.get(&key).copied() };
        let (file, items) = open(&form.unwrap_or(*layer), store)?;
        files.push(file);
        match form {
            Some(_) if of_base => below.stand_on(items, seconds),
            Some(_) => below.climb(&items),
            None => {
                let items = below.normalise(items, seconds, |one, other| is_same(&files, one, other))?;
                let normal = store.create(&mut |out| layers::write(&files[number], &items, out))?;
                known.0.insert(key, normal);
                layers.push(normal);
            }
        }
        layers.extend(form);
    }
    let config = store.document(&built.config.digest)?;
    let config = configuration::normal(&config, &layers, epoch).map_err(NormaliseError::Config)?;
    store.take(&mut config.as_slice())?;
    Ok(Image::new(built.tag.clone(), built.platform.clone(), &config, layers)?)
}

fn open(blob: &Blob, store: &ContentStore) -> Result<(File, BTreeMap<LayerPath, Item>), NormaliseError> {
    let file = store.open_blob(&blob.digest)?;
    let items = layers::items(&file).map_err(|error| NormaliseError::Read(blob.digest, error))??;
    Ok((file, items))
}

/// Whether two files, each in a layer, have the same content.
fn is_same(files: &[File], one: Bytes, other: Bytes) -> io::Result<bool> {
    let open = |bytes: Bytes| Window::new(&files[bytes.layer], bytes.at, bytes.size);
    Ok(layers::difference(&mut open(one)?, &mut open(other)?)?.is_none())
}
