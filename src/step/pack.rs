//! Packs an image into an archive: a tar inside a gzip of many members, and the index of them.
//!
//! One thread reads blobs and decides where members end, the others compress, the first writes in
//! order: equal content gives equal bytes whatever the number of threads. Memory is bounded by
//! 64 members, twice: 128 MiB, whatever the size of the image.

mod known;
mod writing;

use std::io;
use std::path::{Path, PathBuf};

use super::atomic::Draft;
use super::content::{ContentError, ContentStore};
use super::members::compressor;
use super::progress::{Event, Hear};
use crate::model::archive::cut::LEAST;
use crate::model::archive::index::{BadIndex, Contents};
use crate::model::archive::{self, Content, Paper, padding};
use crate::model::digest::Digest;
use crate::model::image::{Blob, Image};
use writing::{Members, compressing};

pub use known::Known;

/// Why there is no archive.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The disk.
    #[error("cannot write `{}`", .0.display())]
    Io(PathBuf, #[source] io::Error),
    /// The content store.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// A blob changed on disk.
    #[error("blob {expected} in the content store is damaged: its bytes have digest {found}")]
    Damaged {
        /// Its name.
        expected: Digest,
        /// Its digest.
        found: Digest,
    },
    /// An image that no archive can hold.
    #[error("the image cannot be packed")]
    Index(#[from] BadIndex),
}

/// The reproducible part of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packed {
    /// All of it.
    pub body: Blob,
    /// The index at its end.
    pub index: Blob,
}

/// Writes the archive of an image, not signed yet; the file has its name only when it is whole. The bytes
/// do not depend on what is known.
pub fn pack(
    image: &Image,
    papers: &[Paper],
    store: &ContentStore,
    target: &Path,
    threads: usize,
    known: &mut Known,
    hear: Hear<'_>,
) -> Result<Packed, PackError> {
    let io = |error| PackError::Io(target.to_owned(), error);
    let mut draft = Draft::beside(target).map_err(io)?;
    let contents = Contents { image: image.clone(), papers: papers.to_vec(), compressor: compressor() };
    let written = compressing(threads, draft.file(), |mut members| {
        write_tar(image, papers, store, &mut members, known, hear, &io)?;
        members.finish(contents, &io)
    })?;
    let file = draft.file().try_clone().map_err(io)?;
    draft.keep(target, 0o644).map_err(io)?;
    known.remember(file, &written.index, written.layers);
    Ok(written.packed)
}

/// Bytes that the members of an image's archive will have, without writing them: the index and the
/// seals come on top. What a layer comes to is remembered, since most layers stay as they are.
pub fn size(image: &Image, store: &ContentStore, threads: usize) -> Result<u64, PackError> {
    let io = |error| PackError::Io(PathBuf::from("."), error);
    let mut known = 0;
    let written = compressing(threads, &mut io::sink(), |mut members| {
        for entry in archive::entries(image) {
            members.frame(&entry.header()).map_err(io)?;
            match &entry.content {
                Content::Blob(blob) if blob.size >= LEAST as u64 => {
                    let before = members.settle().map_err(io)?;
                    if let Some(size) = store.archived_size(&blob.digest) {
                        known += size;
                    } else {
                        members.content(&entry.content, store, (0, blob.size, &|_| {}), &io)?;
                        store.remember_archived_size(&blob.digest, members.settle().map_err(io)? - before)?;
                    }
                }
                content => members.content(content, store, (0, entry.size(), &|_| {}), &io)?,
            }
            members.frame(&vec![0; padding(entry.size())]).map_err(io)?;
        }
        members.settle().map_err(io)
    })?;
    Ok(known + written)
}

fn write_tar(
    image: &Image,
    papers: &[Paper],
    store: &ContentStore,
    members: &mut Members<'_>,
    known: &Known,
    hear: Hear<'_>,
    io: &dyn Fn(io::Error) -> PackError,
) -> Result<(), PackError> {
    let entries = archive::body_entries(image, papers);
    let total = archive::length(&entries);
    let mut done = 0;
    for entry in &entries {
        hear(Event::Bytes { done, total });
        members.frame(&entry.header()).map_err(io)?;
        match &entry.content {
            Content::Blob(blob) if let Some(place) = known.find(&blob.digest) => {
                members.copy(blob.digest, place).map_err(io)?;
            }
            content => members.content(content, store, (done, total, hear), io)?,
        }
        members.frame(&vec![0; padding(entry.size())]).map_err(io)?;
        done += entry.span();
    }
    hear(Event::Bytes { done: total, total });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::archive::tail;
    use crate::model::image;

    fn packed(threads: usize) -> (tempfile::TempDir, Packed, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let store = ContentStore::open(folder.path()).unwrap();
        let (image, config) = image::tests::sample();
        for bytes in [&config[..], b"one", b"two"] {
            store.take(&mut &bytes[..]).unwrap();
        }
        let target = folder.path().join("out.tar.gz");
        let blob = pack(&image, &[], &store, &target, threads, &mut Known::default(), &|_| {}).unwrap();
        let bytes = std::fs::read(target).unwrap();
        (folder, blob, bytes)
    }

    #[test]
    fn the_same_bytes_whatever_the_number_of_threads() {
        let (_one, one, bytes) = packed(1);
        let (_four, four, others) = packed(4);
        assert_eq!((one, &bytes), (four, &others));
        let body = usize::try_from(one.body.size).unwrap();
        assert_eq!(one.body, Blob::of(&bytes[..body]));
    }

    /// An image with these layers, its blobs in the store.
    fn image_of(store: &ContentStore, layers: &[&[u8]]) -> Image {
        let layers = layers.iter().map(|layer| store.take(&mut &layer[..]).unwrap());
        let (image, config) = image::tests::of_layers(layers.collect());
        store.take(&mut config.as_slice()).unwrap();
        image
    }

    #[test]
    fn the_same_bytes_whether_a_layer_was_packed_before_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let store = ContentStore::open(folder.path()).unwrap();
        let text = |seed: u64, lines: u64| -> Vec<u8> {
            (0..lines).flat_map(|line| format!("{}\n", seed * line * line).into_bytes()).collect()
        };
        let (base, small, own) = (text(1, 300_000), text(2, 100), text(3, 50_000));
        let (first, second) = (image_of(&store, &[&base, &small]), image_of(&store, &[&small, &base, &own]));
        let mut known = Known::default();
        let pack = |image: &Image, name: &str, known: &mut Known| {
            let target = folder.path().join(name);
            let packed = pack(image, &[], &store, &target, 2, known, &|_| {}).unwrap();
            (packed, std::fs::read(target).unwrap())
        };
        pack(&first, "first", &mut known);
        assert!(
            known.find(&first.layers[0].digest).is_some() && known.find(&first.layers[1].digest).is_none()
        );
        let alone = pack(&second, "alone", &mut Known::default());
        // Proof that it is copied: what is not there cannot be compressed.
        store.discard(&second.layers[1].digest).unwrap();
        assert_eq!(pack(&second, "second", &mut known), alone);
    }

    #[test]
    fn a_tar_reader_sees_what_the_model_says() {
        let (_folder, _, bytes) = packed(2);
        let mut tar = tar::Archive::new(flate2::read::MultiGzDecoder::new(bytes.as_slice()));
        let (image, _) = image::tests::sample();
        let expected = archive::entries(&image);
        let found: Vec<(String, u64)> = tar
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                (entry.path().unwrap().display().to_string(), entry.size())
            })
            .collect();
        let mut expected: Vec<(String, u64)> = expected.iter().map(|e| (e.path.clone(), e.size())).collect();
        let index = tail::Tail::parse(&bytes, bytes.len() as u64).unwrap().index_blob;
        expected.push(("imgforge/index".to_owned(), index.size));
        assert_eq!(found, expected);
    }

    #[test]
    fn a_damaged_blob_gives_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let store = ContentStore::open(folder.path()).unwrap();
        let (image, config) = image::tests::sample();
        for bytes in [&config[..], b"one", b"two"] {
            store.take(&mut &bytes[..]).unwrap();
        }
        let layer = folder.path().join("blobs/sha256").join(image.layers[0].digest.hex());
        std::fs::write(layer, b"0ne").unwrap();
        let target = folder.path().join("out.tar.gz");
        assert!(matches!(
            pack(&image, &[], &store, &target, 2, &mut Known::default(), &|_| {}),
            Err(PackError::Damaged { .. })
        ));
        let left: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(
            !left
                .iter()
                .any(|name| name.to_string_lossy().contains(".tar")
                    || name.to_string_lossy().contains(".part")),
            "{left:?}"
        );
    }
}
