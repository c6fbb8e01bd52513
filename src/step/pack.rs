//! Packs an image into an archive: a tar inside a gzip of many members, and the index of them.
//!
//! One thread reads blobs and decides where members end, the others compress, the first writes in
//! order: equal content gives equal bytes whatever the number of threads. Memory is bounded by
//! [`MOST_WAITING`] members, twice: 128 MiB, whatever the size of the image.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use super::atomic::Draft;
use super::content::{ContentError, ContentStore};
use super::members::{Packer, compressor};
use super::progress::{Counted, Event, Hear};
use crate::model::archive::cut::{Cutter, LEAST, MOST, WINDOW};
use crate::model::archive::index::{BadIndex, Contents, Index, Member};
use crate::model::archive::tail::{self, Footer};
use crate::model::archive::{self, Content, Paper, padding};
use crate::model::digest::{Digest, Hasher};
use crate::model::image::{Blob, Image};

/// Members that may wait for each thread.
const IN_FLIGHT: usize = 4;

/// Members that may wait for all threads together, each with at most 1 MiB of content.
const MOST_WAITING: usize = 64;

/// Bytes of a blob that are held while its members are cut.
const BUFFER: usize = 4 * WINDOW;

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

/// Writes the archive of an image, not signed yet; the file has its name only when it is whole.
pub fn pack(
    image: &Image,
    papers: &[Paper],
    store: &ContentStore,
    target: &Path,
    threads: usize,
    hear: Hear<'_>,
) -> Result<Packed, PackError> {
    let io = |error| PackError::Io(target.to_owned(), error);
    let mut draft = Draft::beside(target).map_err(io)?;
    let contents = Contents { image: image.clone(), papers: papers.to_vec(), compressor: compressor() };
    let packed = compressing(threads, draft.file(), |mut members| {
        write_tar(image, papers, store, &mut members, hear, &io)?;
        members.finish(contents, &io)
    })?;
    draft.keep(target, 0o644).map_err(io)?;
    Ok(packed)
}

/// Compresses what is written, on so many threads.
fn compressing<T>(
    threads: usize,
    out: &mut dyn Write,
    write: impl FnOnce(Members<'_>) -> Result<T, PackError>,
) -> Result<T, PackError> {
    std::thread::scope(|scope| {
        let limit = (threads * IN_FLIGHT).clamp(1, MOST_WAITING);
        let (work, queue) = sync_channel(limit);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..threads.clamp(1, MOST_WAITING) {
            let queue = Arc::clone(&queue);
            scope.spawn(move || compress(&queue));
        }
        write(Members {
            frame: Vec::new(),
            work,
            waiting: VecDeque::new(),
            limit,
            out,
            hasher: Hasher::default(),
            written: Vec::new(),
        })
    })
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
    hear: Hear<'_>,
    io: &dyn Fn(io::Error) -> PackError,
) -> Result<(), PackError> {
    let entries = archive::body_entries(image, papers);
    let total = archive::length(&entries);
    let mut done = 0;
    for entry in &entries {
        members.frame(&entry.header()).map_err(io)?;
        members.content(&entry.content, store, (done, total, hear), io)?;
        members.frame(&vec![0; padding(entry.size())]).map_err(io)?;
        done += entry.span();
    }
    hear(Event::Bytes { done: total, total });
    Ok(())
}

/// A member and what the index says of it.
type Made = io::Result<(Vec<u8>, Member)>;

/// A piece to compress, and where the member goes.
type Work = (Vec<u8>, SyncSender<Made>);

/// Cuts the tar into pieces and writes their members in order.
struct Members<'a> {
    /// What lies between large blobs: headers, padding, small documents.
    frame: Vec<u8>,
    work: SyncSender<Work>,
    waiting: VecDeque<Receiver<Made>>,
    limit: usize,
    out: &'a mut dyn Write,
    hasher: Hasher,
    written: Vec<Member>,
}

impl Members<'_> {
    /// Bytes that share a member with their neighbours.
    fn frame(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.frame.extend_from_slice(bytes);
        while self.frame.len() > MOST {
            let rest = self.frame.split_off(MOST);
            let piece = std::mem::replace(&mut self.frame, rest);
            self.piece(piece)?;
        }
        Ok(())
    }

    /// The content of an entry; so much was done before it, of so much.
    fn content(
        &mut self,
        content: &Content,
        store: &ContentStore,
        (done, total, hear): (u64, u64, Hear<'_>),
        io: &dyn Fn(io::Error) -> PackError,
    ) -> Result<(), PackError> {
        let blob = match content {
            Content::Bytes(bytes) => return self.frame(bytes).map_err(io),
            Content::Blob(blob) => blob,
        };
        let mut file = Counted::resumed(store.open_blob(&blob.digest)?, done, total, hear);
        let found = self.blob(&mut file, blob.size).map_err(io)?;
        if found != *blob {
            store.discard(&blob.digest)?;
            return Err(PackError::Damaged { expected: blob.digest, found: found.digest });
        }
        Ok(())
    }

    /// A blob. One that is not small has members of its own, wherever it stands.
    fn blob(&mut self, file: &mut impl Read, size: u64) -> io::Result<Blob> {
        let mut hasher = Hasher::default();
        let mut file = file.take(size.saturating_add(1));
        let mut buffer = Vec::with_capacity(BUFFER);
        if size < LEAST as u64 {
            file.read_to_end(&mut buffer)?;
            hasher.update(&buffer);
            self.frame(&buffer)?;
            return Ok(Blob { size: hasher.size(), digest: hasher.finish() });
        }
        let frame = std::mem::take(&mut self.frame);
        self.piece(frame)?;
        let mut cutter = Cutter::default();
        loop {
            let before = buffer.len();
            file.by_ref().take((BUFFER - before) as u64).read_to_end(&mut buffer)?;
            hasher.update(&buffer[before..]);
            let ended = buffer.len() < BUFFER;
            let mut at = 0;
            while buffer.len() - at >= WINDOW || (ended && at < buffer.len()) {
                let length = cutter.next(&buffer[at..]);
                self.piece(buffer[at..at + length].to_vec())?;
                at += length;
            }
            if ended {
                return Ok(Blob { size: hasher.size(), digest: hasher.finish() });
            }
            buffer.drain(..at);
        }
    }

    /// One member.
    fn piece(&mut self, piece: Vec<u8>) -> io::Result<()> {
        if piece.is_empty() {
            return Ok(());
        }
        if self.waiting.len() == self.limit {
            self.write_oldest()?;
        }
        let (done, member) = sync_channel(1);
        self.work.send((piece, done)).map_err(|_| stopped())?;
        self.waiting.push_back(member);
        Ok(())
    }

    fn write_oldest(&mut self) -> io::Result<()> {
        let Some(member) = self.waiting.pop_front() else {
            return Ok(());
        };
        let (packed, member) = member.recv().map_err(|_| stopped())??;
        self.written.push(member);
        self.write(&packed)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.out.write_all(bytes)
    }

    /// Writes what waits, and tells how many bytes were written so far.
    fn settle(&mut self) -> io::Result<u64> {
        let frame = std::mem::take(&mut self.frame);
        self.piece(frame)?;
        while !self.waiting.is_empty() {
            self.write_oldest()?;
        }
        Ok(self.hasher.size())
    }

    /// Writes what waits, the index, and the end of a file that nobody has signed.
    fn finish(
        mut self,
        contents: Contents,
        io: &dyn Fn(io::Error) -> PackError,
    ) -> Result<Packed, PackError> {
        let index_at = self.settle().map_err(io)?;
        let index = Index::new(contents, std::mem::take(&mut self.written))?.to_bytes();
        self.write(&tail::index_member(&index)).map_err(io)?;
        let body = self.hasher.size();
        self.out.write_all(&tail::after(Footer { index_at, body }, None)).map_err(io)?;
        Ok(Packed { body: Blob { size: body, digest: self.hasher.finish() }, index: Blob::of(&index) })
    }
}

fn stopped() -> io::Error {
    io::Error::other("a compressing thread stopped")
}

fn compress(queue: &Mutex<Receiver<Work>>) {
    let mut packer = Packer::new();
    loop {
        // The lock is held while waiting: the next piece wakes one thread, which lets the next wait.
        let next = match queue.lock() {
            Ok(queue) => queue.recv(),
            Err(_) => return,
        };
        let Ok((piece, done)) = next else { return };
        // Nobody listens only when writing failed, which is reported there.
        let _ = done.send(packer.pack(&piece));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::image;

    fn packed(threads: usize) -> (tempfile::TempDir, Packed, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let store = ContentStore::open(folder.path()).unwrap();
        let (image, config) = image::tests::sample();
        for bytes in [&config[..], b"one", b"two"] {
            store.take(&mut &bytes[..]).unwrap();
        }
        let target = folder.path().join("out.tar.gz");
        let blob = pack(&image, &[], &store, &target, threads, &|_| {}).unwrap();
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
        assert!(matches!(pack(&image, &[], &store, &target, 2, &|_| {}), Err(PackError::Damaged { .. })));
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
