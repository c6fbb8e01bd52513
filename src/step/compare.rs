//! Compares two images of the same tier and names the first thing that differs.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};

use oci_spec::image::ImageConfiguration;

use super::content::{ContentError, ContentStore};
use crate::model::image::{Blob, Image};

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

/// Entries of a layer in normal form are sorted, so the two are read side by side.
fn layers(one: &Blob, other: &Blob, store: &ContentStore) -> Result<Option<(String, String)>, CompareError> {
    let open = |blob: &Blob| -> Result<tar::Archive<File>, CompareError> {
        Ok(tar::Archive::new(store.open_blob(&blob.digest)?))
    };
    let (mut one, mut other) = (open(one)?, open(other)?);
    let mut lefts = one.entries().map_err(CompareError::Io)?;
    let mut rights = other.entries().map_err(CompareError::Io)?;
    loop {
        let left = lefts.next().transpose().map_err(CompareError::Io)?;
        let right = rights.next().transpose().map_err(CompareError::Io)?;
        let (mut left, mut right) = match (left, right) {
            (None, None) => return Ok(None),
            (Some(entry), None) => return Ok(Some((path(&entry), "only the first build has it".to_owned()))),
            (None, Some(entry)) => {
                return Ok(Some((path(&entry), "only the second build has it".to_owned())));
            }
            (Some(left), Some(right)) => (left, right),
        };
        let (here, there) = (path(&left), path(&right));
        if here != there {
            // Of two sorted lists, the smaller path is the one that the other lacks.
            let (place, which) =
                if parts(&here) < parts(&there) { (here, "first") } else { (there, "second") };
            return Ok(Some((place, format!("only the {which} build has it"))));
        }
        if let Some(what) = entries(&mut left, &mut right).map_err(CompareError::Io)? {
            return Ok(Some((here, what)));
        }
    }
}

fn path(entry: &tar::Entry<'_, File>) -> String {
    format!("/{}", String::from_utf8_lossy(&entry.path_bytes()).trim_end_matches('/'))
}

fn parts(path: &str) -> Vec<&str> {
    path.split('/').collect()
}

fn entries(left: &mut tar::Entry<'_, File>, right: &mut tar::Entry<'_, File>) -> io::Result<Option<String>> {
    let (a, b) = (left.header().clone(), right.header().clone());
    if a.entry_type() != b.entry_type() {
        return Ok(Some(format!("its kind, {:?} and {:?}", a.entry_type(), b.entry_type())));
    }
    if a.mode()? != b.mode()? {
        return Ok(Some(format!("its mode, {:04o} and {:04o}", a.mode()?, b.mode()?)));
    }
    let owner =
        |header: &tar::Header| -> io::Result<String> { Ok(format!("{}:{}", header.uid()?, header.gid()?)) };
    let (mine, yours) = (owner(&a)?, owner(&b)?);
    if mine != yours {
        return Ok(Some(format!("its owner, {mine} and {yours}")));
    }
    if left.link_name_bytes() != right.link_name_bytes() {
        return Ok(Some("where it links to".to_owned()));
    }
    if let Some(at) = content(left, right)? {
        let sizes = [left.size(), right.size()];
        let sizes = if sizes[0] == sizes[1] {
            format!("{} bytes both times", sizes[0])
        } else {
            format!("{} and {} bytes", sizes[0], sizes[1])
        };
        return Ok(Some(format!("its content from byte {at} on, {sizes}")));
    }
    if a.mtime()? != b.mtime()? {
        return Ok(Some("when it was changed".to_owned()));
    }
    let attributes = |entry: &mut tar::Entry<'_, File>| -> io::Result<Vec<Vec<u8>>> {
        let Some(records) = entry.pax_extensions()? else { return Ok(Vec::new()) };
        records.map(|record| record.map(|record| record.value_bytes().to_vec())).collect()
    };
    if attributes(left)? != attributes(right)? {
        return Ok(Some("its extended attributes".to_owned()));
    }
    Ok(None)
}

/// The offset of the first byte that differs.
fn content(left: &mut impl Read, right: &mut impl Read) -> io::Result<Option<u64>> {
    let mut at = 0;
    loop {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        left.take(PIECE).read_to_end(&mut a)?;
        right.take(PIECE).read_to_end(&mut b)?;
        if a != b {
            let same = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
            return Ok(Some(at + same as u64));
        }
        if a.is_empty() {
            return Ok(None);
        }
        at += a.len() as u64;
    }
}

const PIECE: u64 = 1 << 18;

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
