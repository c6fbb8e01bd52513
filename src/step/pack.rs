//! Packs an image into an archive: a tar inside a gzip of many members.
//!
//! Each piece of the tar is compressed alone with fixed parameters, so equal pieces give equal
//! bytes in every archive, and the pieces can be made on all cores. Members are cut at every entry,
//! so at layers, and every [`PIECE`] bytes within one. Memory is bounded by
//! [`IN_FLIGHT`] pieces per thread, whatever the size of the image.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use libdeflater::{CompressionLvl, Compressor};

use super::atomic::Draft;
use super::content::{ContentError, ContentStore};
use super::progress::{Counted, Event, Hear};
use crate::model::archive::{self, Content, END, padding};
use crate::model::digest::{Digest, Hasher};
use crate::model::image::{Blob, Image};

/// Uncompressed bytes of a member.
const PIECE: usize = 1 << 20;

/// libdeflate's level: measured on a Node.js image, 6 is as small as `gzip -6` at six times its
/// speed; 9 gains one percent and takes three times as long.
const LEVEL: i32 = 6;

/// Pieces that may wait for each thread.
const IN_FLIGHT: usize = 4;

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
}

/// Writes the archive of an image; the file has its name only when it is whole.
pub fn pack(
    image: &Image,
    store: &ContentStore,
    target: &Path,
    threads: usize,
    hear: Hear<'_>,
) -> Result<Blob, PackError> {
    let io = |error| PackError::Io(target.to_owned(), error);
    let mut draft = Draft::beside(target).map_err(io)?;
    let packed =
        compressing(threads, draft.file(), |members| write_tar(image, store, members, hear, &io), io)?;
    draft.keep(target, 0o644).map_err(io)?;
    Ok(packed)
}

/// Compresses what is written, on so many threads.
fn compressing(
    threads: usize,
    out: &mut dyn Write,
    write: impl FnOnce(&mut Members<'_>) -> Result<(), PackError>,
    io: impl Fn(io::Error) -> PackError,
) -> Result<Blob, PackError> {
    std::thread::scope(|scope| {
        let (work, queue) = sync_channel(threads * IN_FLIGHT);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..threads {
            let queue = Arc::clone(&queue);
            scope.spawn(move || compress(&queue));
        }
        let mut members = Members {
            piece: Vec::with_capacity(PIECE),
            work,
            waiting: VecDeque::new(),
            limit: threads * IN_FLIGHT,
            out,
            hasher: Hasher::default(),
        };
        write(&mut members)?;
        members.finish().map_err(io)
    })
}

/// Bytes that the archive of an image will have, without writing it: the tail that release documents
/// make of it comes on top. What a layer comes to is remembered, since most layers stay as they are.
pub fn size(image: &Image, store: &ContentStore, threads: usize) -> Result<u64, PackError> {
    let mut total = 0;
    for entry in archive::entries(image) {
        let known = match &entry.content {
            Content::Blob(blob) => store.archived_size(&blob.digest),
            Content::Bytes(_) => None,
        };
        let size = match known {
            Some(size) => size,
            None => entry_size(&entry, store, threads)?,
        };
        if let (None, Content::Blob(blob)) = (known, &entry.content) {
            store.remember_archived_size(&blob.digest, size)?;
        }
        total += size;
    }
    Ok(total)
}

/// Bytes of the members of one entry.
fn entry_size(entry: &archive::Entry, store: &ContentStore, threads: usize) -> Result<u64, PackError> {
    let io = |error| PackError::Io(PathBuf::from(&entry.path), error);
    let mut nowhere = io::sink();
    let write = |members: &mut Members<'_>| {
        members.write(&entry.header()).map_err(io)?;
        match &entry.content {
            Content::Bytes(bytes) => members.write(bytes).map_err(io)?,
            Content::Blob(blob) => {
                let found = copy(&mut store.open_blob(&blob.digest)?, members).map_err(io)?;
                if found != *blob {
                    store.discard(&blob.digest)?;
                    return Err(PackError::Damaged { expected: blob.digest, found: found.digest });
                }
            }
        }
        members.write(&vec![0; padding(entry.size())]).map_err(io)
    };
    Ok(compressing(threads, &mut nowhere, write, io)?.size)
}

fn write_tar(
    image: &Image,
    store: &ContentStore,
    members: &mut Members<'_>,
    hear: Hear<'_>,
    io: &dyn Fn(io::Error) -> PackError,
) -> Result<(), PackError> {
    let total = archive::tar_size(image);
    let mut done = 0;
    for entry in archive::entries(image) {
        members.write(&entry.header()).map_err(io)?;
        match &entry.content {
            Content::Bytes(bytes) => members.write(bytes).map_err(io)?,
            Content::Blob(blob) => {
                let mut file = Counted::resumed(store.open_blob(&blob.digest)?, done, total, hear);
                let found = copy(&mut file, members).map_err(io)?;
                if found != *blob {
                    store.discard(&blob.digest)?;
                    return Err(PackError::Damaged { expected: blob.digest, found: found.digest });
                }
            }
        }
        members.write(&vec![0; padding(entry.size())]).map_err(io)?;
        if let Content::Blob(_) = entry.content {
            members.cut().map_err(io)?;
        }
        done += entry.size();
    }
    members.write(&[0; END]).map_err(io)?;
    hear(Event::Bytes { done: total, total });
    Ok(())
}

fn copy(file: &mut impl Read, members: &mut Members<'_>) -> io::Result<Blob> {
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 1 << 18];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            let size = hasher.size();
            return Ok(Blob { digest: hasher.finish(), size });
        }
        hasher.update(&buffer[..read]);
        members.write(&buffer[..read])?;
    }
}

/// A piece to compress, and where the member goes.
type Work = (Vec<u8>, SyncSender<Vec<u8>>);

/// Cuts the tar into pieces and writes their members in order.
struct Members<'a> {
    piece: Vec<u8>,
    work: SyncSender<Work>,
    waiting: VecDeque<Receiver<Vec<u8>>>,
    limit: usize,
    out: &'a mut dyn Write,
    hasher: Hasher,
}

impl Members<'_> {
    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(PIECE - self.piece.len()));
            self.piece.extend_from_slice(now);
            bytes = later;
            if self.piece.len() == PIECE {
                self.cut()?;
            }
        }
        Ok(())
    }

    /// Ends the member here.
    fn cut(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        if self.waiting.len() == self.limit {
            self.write_oldest()?;
        }
        let (done, member) = sync_channel(1);
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        self.work.send((piece, done)).map_err(|_| stopped())?;
        self.waiting.push_back(member);
        Ok(())
    }

    fn write_oldest(&mut self) -> io::Result<()> {
        let Some(member) = self.waiting.pop_front() else {
            return Ok(());
        };
        let member = member.recv().map_err(|_| stopped())?;
        self.hasher.update(&member);
        self.out.write_all(&member)
    }

    fn finish(mut self) -> io::Result<Blob> {
        self.cut()?;
        while !self.waiting.is_empty() {
            self.write_oldest()?;
        }
        let size = self.hasher.size();
        Ok(Blob { digest: self.hasher.finish(), size })
    }
}

fn stopped() -> io::Error {
    io::Error::other("a compressing thread stopped")
}

fn compress(queue: &Mutex<Receiver<Work>>) {
    let Ok(level) = CompressionLvl::new(LEVEL) else {
        return;
    };
    let mut compressor = Compressor::new(level);
    loop {
        // The lock is held while waiting: the next piece wakes one thread, which lets the next wait.
        let next = match queue.lock() {
            Ok(queue) => queue.recv(),
            Err(_) => return,
        };
        let Ok((piece, done)) = next else { return };
        let mut member = vec![0; compressor.gzip_compress_bound(piece.len())];
        let Ok(size) = compressor.gzip_compress(&piece, &mut member) else {
            return;
        };
        member.truncate(size);
        // Nobody listens only when writing failed, which is reported there.
        let _ = done.send(member);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::image;

    fn packed(threads: usize) -> (tempfile::TempDir, Blob, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let store = ContentStore::open(folder.path()).unwrap();
        let (image, config) = image::tests::sample();
        for bytes in [&config[..], b"one", b"two"] {
            store.take(&mut &bytes[..]).unwrap();
        }
        let target = folder.path().join("out.tar.gz");
        let blob = pack(&image, &store, &target, threads, &|_| {}).unwrap();
        let bytes = std::fs::read(target).unwrap();
        (folder, blob, bytes)
    }

    #[test]
    fn the_same_bytes_whatever_the_number_of_threads() {
        let (_one, blob, bytes) = packed(1);
        let (_four, same, others) = packed(4);
        assert_eq!((blob, &bytes), (same, &others));
        assert_eq!(blob, Blob::of(&bytes));
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
        let expected: Vec<(String, u64)> = expected.iter().map(|e| (e.path.clone(), e.size())).collect();
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
        assert!(matches!(pack(&image, &store, &target, 2, &|_| {}), Err(PackError::Damaged { .. })));
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
