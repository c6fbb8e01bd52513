//! Brings the layers of a built image into normal form, so that every engine gives the same image.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};
use std::os::unix::fs::FileExt as _;

use serde_json::{Map, Value};

use super::content::{ContentError, ContentStore};
use super::layers;
use super::stream::PIECE;
use crate::model::archive::{END, padding};
use crate::model::digest::Digest;
use crate::model::image::{Blob, Image, ImageError, Raw};
use crate::model::layer::{self, BadItem, Below, Bytes, Item, Kind, LayerPath};
use crate::model::time::Timestamp;

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
    let seconds = u64::try_from(epoch.as_second()).unwrap_or(0);
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
                let normal = store.create(&mut |out| write(&files[number], &items, out))?;
                known.0.insert(key, normal);
                layers.push(normal);
            }
        }
        layers.extend(form);
    }
    let config = store.document(&built.config.digest)?;
    let config = normal_config(&config, &layers, epoch).map_err(NormaliseError::Config)?;
    store.take(&mut config.as_slice())?;
    Ok(Image::new(built.tag.clone(), built.platform.clone(), &config, layers)?)
}

fn open(blob: &Blob, store: &ContentStore) -> Result<(File, BTreeMap<LayerPath, Item>), NormaliseError> {
    let file = store.open_blob(&blob.digest)?;
    let items = layers::items(&file).map_err(|error| NormaliseError::Read(blob.digest, error))??;
    Ok((file, items))
}

/// Whether two files, each in a layer, have the same content.
fn is_same(layers: &[File], one: Bytes, other: Bytes) -> io::Result<bool> {
    let mut buffers = [vec![0; PIECE], vec![0; PIECE]];
    let mut done = 0;
    while done < one.size {
        let length = usize::try_from(one.size - done).unwrap_or(PIECE).min(PIECE);
        for (buffer, bytes) in buffers.iter_mut().zip([one, other]) {
            layers[bytes.layer].read_exact_at(&mut buffer[..length], bytes.at + done)?;
        }
        if buffers[0][..length] != buffers[1][..length] {
            return Ok(false);
        }
        done += length as u64;
    }
    Ok(true)
}

fn write(from: &File, items: &[(LayerPath, Item)], out: &mut dyn Write) -> io::Result<()> {
    let mut from = from;
    for (path, item) in items {
        out.write_all(&layer::header(path, item))?;
        if let Kind::File { at, size } = item.kind {
            from.seek(SeekFrom::Start(at))?;
            if io::copy(&mut from.take(size), out)? != size {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            out.write_all(&vec![0; padding(size)])?;
        }
    }
    out.write_all(&[0; END])
}

/// Engines agree on a configuration but for its dates, and for keys that are there but `null`.
fn normal_config(config: &[u8], layers: &[Blob], epoch: Timestamp) -> Result<Vec<u8>, serde_json::Error> {
    let mut config: Map<String, Value> = serde_json::from_slice(config)?;
    // What a builder writes for itself: an inline cache, and what it was asked for.
    config.retain(|key, _| !key.starts_with("moby.buildkit."));
    let date = Value::from(epoch.to_string());
    config.insert("created".to_owned(), date.clone());
    if let Some(Value::Array(history)) = config.get_mut("history") {
        for step in history.iter_mut().filter_map(Value::as_object_mut) {
            step.insert("created".to_owned(), date.clone());
            if let Some(Value::String(by)) = step.get_mut("created_by") {
                *by = without_flags(by);
            }
        }
    }
    if let Some(Value::Object(settings)) = config.get_mut("config") {
        settings.retain(|_, value| !value.is_null());
    }
    let digests: Vec<String> = layers.iter().map(|layer| layer.digest.to_string()).collect();
    config.insert("rootfs".to_owned(), serde_json::json!({"diff_ids": digests, "type": "layers"}));
    serde_json::to_vec(&sorted(Value::Object(config)))
}

/// `COPY --chown=1:1 a b` as `COPY a b`: older engines leave the flags out.
fn without_flags(instruction: &str) -> String {
    let mut words = instruction.split(' ');
    let first = words.next().unwrap_or_default();
    if !["ADD", "COPY", "RUN"].contains(&first) {
        return instruction.to_owned();
    }
    let rest = words.skip_while(|word| word.starts_with("--"));
    [first].into_iter().chain(rest).collect::<Vec<_>>().join(" ")
}

/// Keys in order at every level, whether or not some crate turned on `serde_json/preserve_order`.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let ordered: BTreeMap<String, Value> = map.into_iter().collect();
            Value::Object(ordered.into_iter().map(|(key, value)| (key, sorted(value))).collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(sorted).collect()),
        other => other,
    }
}
