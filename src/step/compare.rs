//! Compares two images of the same tier and names the first thing that differs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io;
use std::mem;

use oci_spec::image::ImageConfiguration;

use super::content::{ContentError, ContentStore};
use super::layers::{self, Window};
use crate::model::image::{Blob, Image};
use crate::model::layer::{self, BadItem, Item, Kind, LayerPath};

/// The first difference of two images.
#[derive(Debug)]
pub struct Difference {
    /// Where: a path in the image, or a key of its configuration.
    pub place: String,
    /// Which layer, counted from 1, and how many there are; absent where it is the configuration.
    pub layer: Option<(usize, usize)>,
    /// The step that made the layer, as the image's history has it.
    pub step: Option<String>,
    /// What differs.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.layer {
            Some((number, of)) => {
                write!(f, "`{}` in layer {number} of {of}: {}", self.place, self.what)
            }
            None => write!(f, "`{}` in its configuration: {}", self.place, self.what),
        }
    }
}

/// Why images cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// The content store.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// A layer that cannot be read.
    #[error("a layer cannot be read again")]
    Io(#[source] io::Error),
    /// A layer that is none.
    #[error(transparent)]
    Bad(#[from] BadItem),
}

/// The first difference, or none.
pub fn images(one: &Image, other: &Image, store: &ContentStore) -> Result<Option<Difference>, CompareError> {
    let configs = [store.document(&one.config.digest)?, store.document(&other.config.digest)?];
    let of = one.layers.len().max(other.layers.len());
    for at in 0..of {
        let (place, what) = match (one.layers.get(at), other.layers.get(at)) {
            (Some(a), Some(b)) if a == b => continue,
            (Some(a), Some(b)) => {
                layers(a, b, store)?.unwrap_or_else(|| ("/".to_owned(), "its bytes differ".to_owned()))
            }
            _ => ("/".to_owned(), "only one build has this layer".to_owned()),
        };
        return Ok(Some(Difference { place, layer: Some((at + 1, of)), step: step(&configs[0], at), what }));
    }
    let [a, b] = configs.map(|bytes| serde_json::from_slice(&bytes).unwrap_or_default());
    Ok(values(&a, &b, String::new()).map(|(place, what)| Difference { place, layer: None, step: None, what }))
}

/// What the history says of the layer with this number.
fn step(config: &[u8], layer: usize) -> Option<String> {
    let config = ImageConfiguration::from_reader(config).ok()?;
    let history = config.history().as_ref()?;
    let mut filled = history.iter().filter(|step| !step.empty_layer().unwrap_or_default());
    filled.nth(layer)?.created_by().clone()
}

/// A layer that was built, and where what is in it stands.
struct Layer {
    file: File,
    items: BTreeMap<LayerPath, Item>,
}

fn layers(one: &Blob, other: &Blob, store: &ContentStore) -> Result<Option<(String, String)>, CompareError> {
    let open = |blob: &Blob| -> Result<Layer, CompareError> {
        let file = store.open_blob(&blob.digest)?;
        let items = layers::items(&file).map_err(CompareError::Io)??;
        Ok(Layer { file, items })
    };
    let (one, other) = (open(one)?, open(other)?);
    let paths: BTreeSet<&LayerPath> = one.items.keys().chain(other.items.keys()).collect();
    for path in paths {
        let what = match (one.items.get(path), other.items.get(path)) {
            (Some(left), Some(right)) => {
                items((&one.file, left), (&other.file, right)).map_err(CompareError::Io)?
            }
            (Some(_), None) => Some("only the first build has it".to_owned()),
            _ => Some("only the second build has it".to_owned()),
        };
        if let Some(what) = what {
            return Ok(Some((format!("/{}", layer::show(path)), what)));
        }
    }
    Ok(None)
}

fn items((one, left): (&File, &Item), (other, right): (&File, &Item)) -> io::Result<Option<String>> {
    if mem::discriminant(&left.kind) != mem::discriminant(&right.kind) {
        return Ok(Some(format!("{} and {}", kind(&left.kind), kind(&right.kind))));
    }
    if left.mode != right.mode {
        return Ok(Some(format!("its mode, {:04o} and {:04o}", left.mode, right.mode)));
    }
    if (left.uid, left.gid) != (right.uid, right.gid) {
        let [mine, yours] = [left, right].map(|item| format!("{}:{}", item.uid, item.gid));
        return Ok(Some(format!("its owner, {mine} and {yours}")));
    }
    match (&left.kind, &right.kind) {
        (Kind::File { at: a, size }, Kind::File { at: b, size: other_size }) => {
            let (mut a, mut b) = (Window::new(one, *a, *size)?, Window::new(other, *b, *other_size)?);
            if let Some(at) = layers::difference(&mut a, &mut b)? {
                let sizes = if size == other_size {
                    format!("{size} bytes both times")
                } else {
                    format!("{size} and {other_size} bytes")
                };
                return Ok(Some(format!("its content from byte {at} on, {sizes}")));
            }
        }
        (a, b) if a != b => return Ok(Some("what it leads to".to_owned())),
        _ => {}
    }
    if left.modified != right.modified {
        return Ok(Some("when it was changed".to_owned()));
    }
    Ok((left.attributes != right.attributes).then(|| "its extended attributes".to_owned()))
}

fn kind(kind: &Kind) -> &'static str {
    match kind {
        Kind::File { .. } => "a file",
        Kind::HardLink(_) => "another name of a file",
        Kind::Link(_) => "a symbolic link",
        Kind::Directory => "a directory",
        Kind::Character(..) => "a character device",
        Kind::Block(..) => "a block device",
        Kind::Pipe => "a pipe",
    }
}

fn values(a: &serde_json::Value, b: &serde_json::Value, place: String) -> Option<(String, String)> {
    use serde_json::Value::Object;
    match (a, b) {
        _ if a == b => None,
        (Object(left), Object(right)) => {
            let mut keys = left.keys().chain(right.keys());
            let null = serde_json::Value::Null;
            keys.find_map(|key| {
                let below = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
                values(left.get(key).unwrap_or(&null), right.get(key).unwrap_or(&null), below)
            })
        }
        _ => Some((place, format!("{a} and {b}"))),
    }
}
