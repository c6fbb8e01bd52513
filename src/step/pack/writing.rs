//! Cuts a tar into pieces, has threads compress them, and writes their members in order.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex};

use super::known::Place;
use super::{PackError, Packed};
use crate::model::archive::Content;
use crate::model::archive::cut::{Cutter, LEAST, MOST, WINDOW};
use crate::model::archive::index::{Contents, Index, Member};
use crate::model::archive::tail::{self, Footer};
use crate::model::digest::{Digest, Hasher};
use crate::model::image::Blob;
use crate::step::content::ContentStore;
use crate::step::members::Packer;
use crate::step::progress::{Counted, Hear};

/// Members that may wait for each thread.
const IN_FLIGHT: usize = 8;

/// Members that may wait for all threads together, each with at most 1 MiB of content.
const MOST_WAITING: usize = 64;

/// Bytes of a blob that are held while its members are cut.
const BUFFER: usize = 4 * WINDOW;

/// Compresses what is written, on so many threads; the one that writes is one of them.
pub(super) fn compressing<T>(
    threads: usize,
    out: &mut dyn Write,
    write: impl FnOnce(Members<'_>) -> Result<T, PackError>,
) -> Result<T, PackError> {
    std::thread::scope(|scope| {
        let limit = (threads * IN_FLIGHT).clamp(1, MOST_WAITING);
        let (work, queue) = sync_channel(limit);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 1..threads.clamp(1, MOST_WAITING) {
            let queue = Arc::clone(&queue);
            scope.spawn(move || compress(&queue));
        }
        write(Members {
            frame: Vec::new(),
            work,
            queue,
            packer: Packer::new(),
            waiting: VecDeque::new(),
            limit,
            out,
            hasher: Hasher::default(),
            written: Vec::new(),
            layers: Vec::new(),
        })
    })
}

/// A member and what the index says of it.
type Made = io::Result<(Vec<u8>, Member)>;

/// A piece to compress, and where the member goes.
type Work = (Vec<u8>, SyncSender<Made>);

/// Cuts the tar into pieces and writes their members in order.
pub(super) struct Members<'a> {
    /// What lies between large blobs: headers, padding, small documents.
    frame: Vec<u8>,
    work: SyncSender<Work>,
    queue: Arc<Mutex<Receiver<Work>>>,
    packer: Packer,
    waiting: VecDeque<Receiver<Made>>,
    limit: usize,
    out: &'a mut dyn Write,
    hasher: Hasher,
    written: Vec<Member>,
    /// Which members are which layer's.
    layers: Vec<(Digest, Range<usize>)>,
}

/// What was written.
pub(super) struct Written {
    pub(super) packed: Packed,
    pub(super) index: Index,
    pub(super) layers: Vec<(Digest, Range<usize>)>,
}

impl Members<'_> {
    /// Bytes that share a member with their neighbours.
    pub(super) fn frame(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.frame.extend_from_slice(bytes);
        while self.frame.len() > MOST {
            let rest = self.frame.split_off(MOST);
            let piece = std::mem::replace(&mut self.frame, rest);
            self.piece(piece)?;
        }
        Ok(())
    }

    /// The content of an entry; so much was done before it, of so much.
    pub(super) fn content(
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
        let (found, members) = self.blob(&mut file, blob.size).map_err(io)?;
        if found != *blob {
            store.discard(&blob.digest)?;
            return Err(PackError::Damaged { expected: blob.digest, found: found.digest });
        }
        self.layers.extend(members.map(|members| (blob.digest, members)));
        Ok(())
    }

    /// Copies the members of a layer.
    pub(super) fn copy(&mut self, layer: Digest, place: &Place) -> io::Result<()> {
        self.settle()?;
        let first = self.written.len();
        for member in place.members() {
            let (packed, member) = member?;
            self.written.push(member);
            self.write(&packed)?;
        }
        self.layers.push((layer, first..self.written.len()));
        Ok(())
    }

    /// A blob. One that is not small has members of its own, wherever it stands; tells which.
    fn blob(&mut self, file: &mut impl Read, size: u64) -> io::Result<(Blob, Option<Range<usize>>)> {
        let mut hasher = Hasher::default();
        let mut file = file.take(size.saturating_add(1));
        let mut buffer = Vec::with_capacity(BUFFER);
        if size < LEAST as u64 {
            file.read_to_end(&mut buffer)?;
            hasher.update(&buffer);
            self.frame(&buffer)?;
            return Ok((Blob { size: hasher.size(), digest: hasher.finish() }, None));
        }
        let frame = std::mem::take(&mut self.frame);
        self.piece(frame)?;
        let begun = |members: &Self| members.written.len() + members.waiting.len();
        let first = begun(self);
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
                let blob = Blob { size: hasher.size(), digest: hasher.finish() };
                return Ok((blob, Some(first..begun(self))));
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
        let Some(oldest) = self.waiting.pop_front() else {
            return Ok(());
        };
        let (packed, member) = loop {
            match oldest.try_recv() {
                Err(TryRecvError::Empty) if self.help() => {}
                Err(TryRecvError::Empty) => break oldest.recv().map_err(|_| stopped())??,
                made => break made.map_err(|_| stopped())??,
            }
        };
        self.written.push(member);
        self.write(&packed)
    }

    /// Compresses a piece, if one waits for a thread.
    fn help(&mut self) -> bool {
        // Somebody who has the lock for longer waits for a piece.
        let Ok(queue) = self.queue.try_lock() else { return false };
        let Ok((piece, done)) = queue.try_recv() else { return false };
        drop(queue);
        // Its receiver is one of ours.
        let _ = done.send(self.packer.pack(&piece));
        true
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.out.write_all(bytes)
    }

    /// Writes what waits, and tells how many bytes were written so far.
    pub(super) fn settle(&mut self) -> io::Result<u64> {
        let frame = std::mem::take(&mut self.frame);
        self.piece(frame)?;
        while !self.waiting.is_empty() {
            self.write_oldest()?;
        }
        Ok(self.hasher.size())
    }

    /// Writes what waits, the index, and the end of a file that nobody has signed.
    pub(super) fn finish(
        mut self,
        contents: Contents,
        io: &dyn Fn(io::Error) -> PackError,
    ) -> Result<Written, PackError> {
        let index_at = self.settle().map_err(io)?;
        let index = Index::new(contents, std::mem::take(&mut self.written))?;
        let bytes = index.to_bytes();
        self.write(&tail::index_member(&bytes)).map_err(io)?;
        let body = self.hasher.size();
        self.out.write_all(&tail::after(Footer { index_at, body }, None)).map_err(io)?;
        let body = Blob { size: body, digest: self.hasher.finish() };
        Ok(Written { packed: Packed { body, index: Blob::of(&bytes) }, index, layers: self.layers })
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
