//! Loads images that are here as blobs: what was built on this machine, and what came from a registry.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Cursor, Read};

use super::send::{whole, without};
use super::{LoadError, Loaded, compare, inspect};
use crate::model::archive::{self, Content};
use crate::model::digest::{Digest, Hasher};
use crate::model::image::{Blob, Image};
use crate::step::content::ContentStore;
use crate::step::engine::Engine;
use crate::step::progress::Hear;

/// Loads an image from the content store under its tag, whoever had that before: this is how the
/// people who build images try them out.
pub async fn from_store(
    engine: &Engine,
    image: &Image,
    store: &ContentStore,
    hear: Hear<'_>,
) -> Result<(), LoadError> {
    let tag = image.tag.to_string();
    if inspect(engine, &tag).await?.is_some_and(|found| compare(image, &found).is_ok()) {
        return Ok(());
    }
    in_full(engine, image, store, hear).await?;
    compare(image, &inspect(engine, &tag).await?.unwrap_or_default())
}

/// Loads an image that is here as blobs, with these of its layers; `None` when the engine lacks the others
/// after all.
pub async fn in_part(
    engine: &Engine,
    image: &Image,
    layers: &[Blob],
    store: &ContentStore,
    hear: Hear<'_>,
) -> Result<Option<Loaded>, LoadError> {
    let held: Vec<Digest> = image
        .unique_layers()
        .iter()
        .filter(|layer| !layers.contains(layer))
        .map(|layer| layer.digest)
        .collect();
    let tar = tar(image, store, &held)?;
    Ok(without(engine, image, held.len(), tar, hear).await)
}

/// Loads an image that is here as blobs, all of them.
pub async fn in_full(
    engine: &Engine,
    image: &Image,
    store: &ContentStore,
    hear: Hear<'_>,
) -> Result<(), LoadError> {
    whole(engine, image, tar(image, store, &[])?, hear).await
}

/// What engines read of an image that is in a content store, but for some layers. Each blob is hashed on its
/// way, and the tar breaks off before its end when one is not what its name says.
pub(super) fn tar(image: &Image, store: &ContentStore, without: &[Digest]) -> Result<Parts, LoadError> {
    let mut parts: VecDeque<Box<dyn Read + Send>> = VecDeque::new();
    for entry in archive::entries(image) {
        if matches!(&entry.content, Content::Blob(blob) if without.contains(&blob.digest)) {
            continue;
        }
        parts.push_back(Box::new(Cursor::new(entry.header())));
        let end = io::repeat(0).take(archive::padding(entry.size()) as u64);
        match entry.content {
            Content::Bytes(bytes) => parts.push_back(Box::new(Cursor::new(bytes))),
            Content::Blob(blob) => {
                let file = store.open_blob(&blob.digest)?;
                parts.push_back(Box::new(Hashed { file, expected: blob, hasher: Hasher::default() }));
            }
        }
        parts.push_back(Box::new(end));
    }
    parts.push_back(Box::new(io::repeat(0).take(archive::END as u64)));
    Ok(Parts(parts))
}

/// A blob that must be what it is called.
struct Hashed {
    file: File,
    expected: Blob,
    hasher: Hasher,
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        let is_long = self.hasher.size() > self.expected.size;
        if is_long
            || (read == 0 && !buffer.is_empty() && self.hasher.clone().finish() != self.expected.digest)
        {
            return Err(io::Error::other(format!(
                "blob {} changed after it was checked",
                self.expected.digest
            )));
        }
        Ok(read)
    }
}

/// One stream after the other.
pub(super) struct Parts(VecDeque<Box<dyn Read + Send>>);

impl Read for Parts {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(part) = self.0.front_mut() {
            match part.read(buffer)? {
                0 => drop(self.0.pop_front()),
                read => return Ok(read),
            }
        }
        Ok(0)
    }
}
