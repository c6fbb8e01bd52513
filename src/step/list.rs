//! Lists the files of an image in an archive, and reads one of them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::sync::Arc;

use super::members::{self, MemberError, Part};
use super::progress::{Event, Hear};
use crate::model::archive::index::Index;
use crate::model::archive::tree::{Kind, Node, Tree};
use crate::model::archive::{BLOCK, Content};
use crate::model::digest::{Digest, Hasher};
use crate::model::layer::{self, BadItem, LayerPath};

/// Why files cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// A member that is not the one of the index.
    #[error("the archive is damaged")]
    Member(#[source] MemberError),
    /// A layer that is no tar, or a disk that cannot be read.
    #[error("layer {0} cannot be read")]
    Layer(Digest, #[source] io::Error),
    /// A name that no image can hold.
    #[error(transparent)]
    Item(#[from] BadItem),
    /// Nothing to print.
    #[error("the image has no file `{0}`")]
    Missing(String),
    /// Where it goes to.
    #[error("cannot write")]
    Write(#[source] io::Error),
}

/// Where each layer of the image lies in the tar, the lowest first. A repeated layer lies there once.
#[must_use]
pub fn layers(index: &Index) -> Vec<(Digest, Range<u64>)> {
    let mut at = 0;
    let mut places = BTreeMap::new();
    for entry in index.entries() {
        if let Content::Blob(blob) = entry.content {
            let start = at + BLOCK as u64;
            places.entry(blob.digest).or_insert(start..start + blob.size);
        }
        at += entry.span();
    }
    let layers = index.image().layers.iter();
    layers.filter_map(|layer| Some((layer.digest, places.get(&layer.digest)?.clone()))).collect()
}

/// A small document of the archive, whole.
pub fn document(file: &Arc<File>, index: &Arc<Index>, digest: &Digest) -> Result<Vec<u8>, ListError> {
    let mut at = 0;
    for entry in index.entries() {
        match entry.content {
            Content::Blob(blob) if blob.digest == *digest => {
                let start = at + BLOCK as u64;
                let mut bytes = Vec::new();
                Part::read(file, index, &(start..start + blob.size), members::threads())
                    .read_to_end(&mut bytes)
                    .map_err(|error| broken(*digest, error))?;
                return Ok(bytes);
            }
            _ => at += entry.span(),
        }
    }
    Err(ListError::Missing(digest.to_string()))
}

/// Every file of the image. Each member is verified against the index on the way.
pub fn tree(file: &Arc<File>, index: &Arc<Index>, hear: Hear<'_>) -> Result<Tree, ListError> {
    let layers = layers(index);
    let total = layers.iter().map(|(_, place)| place.end - place.start).sum();
    let mut done = 0;
    let mut tree = Tree::default();
    for (number, (digest, place)) in layers.into_iter().enumerate() {
        hear(Event::Bytes { done, total });
        tree.lay(one_layer(file, index, number, digest, &place)?);
        done += place.end - place.start;
    }
    hear(Event::Bytes { done: total, total });
    Ok(tree)
}

fn one_layer(
    file: &Arc<File>,
    index: &Arc<Index>,
    number: usize,
    digest: Digest,
    place: &Range<u64>,
) -> Result<BTreeMap<LayerPath, Node>, ListError> {
    let unreadable = |error| broken(digest, error);
    let mut nodes = BTreeMap::new();
    let mut tar = tar::Archive::new(Part::read(file, index, place, members::threads()));
    for entry in tar.entries().map_err(unreadable)? {
        let mut entry = entry.map_err(unreadable)?;
        let Some(path) = layer::path(&entry.path_bytes())? else { continue };
        let at = place.start + entry.raw_file_position();
        let kind = kind(&mut entry).map_err(unreadable)?;
        let kind = match kind {
            Kind::HardLink(target) => Kind::HardLink(layer::path(&target.concat())?.unwrap_or_default()),
            kind => kind,
        };
        let header = entry.header();
        let owner = (header.uid().map_err(unreadable)?, header.gid().map_err(unreadable)?);
        let mode = header.mode().map_err(unreadable)? & 0o7777;
        nodes.insert(path, Node { kind, mode, owner, layer: number, at });
    }
    Ok(nodes)
}

fn kind(entry: &mut tar::Entry<'_, Part>) -> io::Result<Kind> {
    let link = entry.link_name_bytes().unwrap_or_default().into_owned();
    Ok(match entry.header().entry_type() {
        tar::EntryType::Regular | tar::EntryType::Continuous => {
            let mut hasher = Hasher::default();
            let mut buffer = [0; 1 << 14];
            loop {
                match entry.read(&mut buffer)? {
                    0 => break,
                    read => hasher.update(&buffer[..read]),
                }
            }
            Kind::File { size: hasher.size(), digest: hasher.finish() }
        }
        tar::EntryType::Link => Kind::HardLink(vec![link]),
        tar::EntryType::Symlink => Kind::Link(link),
        tar::EntryType::Directory => Kind::Directory,
        _ => Kind::Special,
    })
}

/// Writes one file of the image.
pub fn file(
    from: &Arc<File>,
    index: &Arc<Index>,
    tree: &Tree,
    path: &str,
    to: &mut dyn Write,
) -> Result<(), ListError> {
    let found = layer::path(path.as_bytes())?.and_then(|path| tree.find(&path));
    let Some((node, size)) = found else { return Err(ListError::Missing(path.to_owned())) };
    let mut part = Part::read(from, index, &(node.at..node.at + size), members::threads());
    let mut buffer = vec![0; 1 << 16];
    loop {
        match part.read(&mut buffer).map_err(|error| broken(index.image().config.digest, error))? {
            0 => return Ok(()),
            read => to.write_all(&buffer[..read]).map_err(ListError::Write)?,
        }
    }
}

fn broken(layer: Digest, error: io::Error) -> ListError {
    match error.downcast::<MemberError>() {
        Ok(error) => ListError::Member(error),
        Err(error) => ListError::Layer(layer, error),
    }
}
