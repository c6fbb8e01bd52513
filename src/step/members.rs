//! Reads members of an archive on all cores: hashed before they are unpacked, handed on in order.
//!
//! | threat | defence |
//! |---|---|
//! | changed bytes | SHA-256 of the compressed bytes, before the decompressor sees them |
//! | a bomb | a member unpacks into as many bytes as the index says, 1 MiB at most, or not at all |
//! | a second gzip member hidden in one, which others would unpack and we would not | a member that holds the three bytes with which gzip begins is unpacked by a decoder that tells where it stopped |
//! | a huge index | memory holds [`AHEAD`] members for each thread, and no thread more than there are members |

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use flate2::{Decompress, FlushDecompress, Status};
use libdeflater::{CompressionLvl, Compressor as Libdeflate, Decompressor, crc32};
use memchr::memmem;

use crate::model::archive::gzip::{HEADER, MAGIC, TRAILER};
use crate::model::archive::index::{Compressor, Index, Member};
use crate::model::archive::tail::{BadTail, FIRST_LOOK, Footer, Tail};
use crate::model::digest::Digest;

/// libdeflate's level: measured on a Node.js image, 6 is as small as `gzip -6` at six times its
/// speed; 9 gains one percent and takes three times as long.
const LEVEL: i32 = 6;

/// Members that wait for whoever reads, for each thread.
const AHEAD: usize = 8;

/// Most threads that are of use: members come faster than anything takes them.
const MOST_THREADS: usize = 16;

/// Why a member cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    /// The disk.
    #[error("member {0} cannot be read")]
    Io(usize, #[source] io::Error),
    /// Other bytes than the index says.
    #[error("member {number} has other bytes: expected {expected}, read {found}")]
    Digest {
        /// Which.
        number: usize,
        /// Digest in the index.
        expected: Digest,
        /// Digest of what is there.
        found: Digest,
    },
    /// The bytes of the index, which are not what the index says they are.
    #[error("member {0} does not unpack to what the index says")]
    Content(usize),
    /// A thread ended without a word.
    #[error("a thread that reads members stopped")]
    Stopped,
}

/// Why the end of a file is not that of an archive.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// The disk.
    #[error("the file cannot be read")]
    Io(#[source] io::Error),
    /// Its form.
    #[error(transparent)]
    Form(#[from] BadTail),
}

/// Threads that read: one for each core. What is read does not depend on their number.
#[must_use]
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get)
}

/// The compressor of this imgforge.
#[must_use]
pub fn compressor() -> Compressor {
    let level = u8::try_from(LEVEL).unwrap_or_default();
    Compressor { name: "libdeflate".to_owned(), version: "1.26".to_owned(), level }
}

/// Reads the end of an archive: usually with one look.
pub fn tail(file: &File) -> Result<Tail, TailError> {
    let size = file.metadata().map_err(TailError::Io)?.len();
    let read = |length: u64| {
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        file.read_exact_at(&mut bytes, size - length).map_err(TailError::Io)?;
        Ok::<_, TailError>(bytes)
    };
    let mut bytes = read(FIRST_LOOK.min(size))?;
    let needed = Footer::parse(&bytes, size)?.tail_size(size);
    if needed > bytes.len() as u64 {
        bytes = read(needed)?;
    }
    Ok(Tail::parse(&bytes, size)?)
}

/// Makes members.
pub struct Packer(Libdeflate);

impl Packer {
    /// Ready to compress.
    #[must_use]
    pub fn new() -> Self {
        Self(Libdeflate::new(CompressionLvl::new(LEVEL).unwrap_or_default()))
    }

    /// The member that holds this content.
    pub fn pack(&mut self, content: &[u8]) -> io::Result<(Vec<u8>, Member)> {
        let mut packed = vec![0; self.0.gzip_compress_bound(content.len())];
        let size = self.0.gzip_compress(content, &mut packed).map_err(io::Error::other)?;
        packed.truncate(size);
        let count = |size: usize| u32::try_from(size).map_err(io::Error::other);
        let member = Member {
            packed: count(size)?,
            plain: count(content.len())?,
            checksum: crc32(content),
            digest: Digest::of(&packed),
        };
        Ok((packed, member))
    }
}

impl Default for Packer {
    fn default() -> Self {
        Self::new()
    }
}

/// Verifies and unpacks members.
pub struct Unpacker(Decompressor);

impl Unpacker {
    /// Ready to unpack.
    #[must_use]
    pub fn new() -> Self {
        Self(Decompressor::new())
    }

    /// The content of a member, or why these bytes are not that member.
    pub fn unpack(&mut self, number: usize, packed: &[u8], member: &Member) -> Result<Vec<u8>, MemberError> {
        let found = Digest::of(packed);
        if found != member.digest || packed.len() != member.packed as usize {
            return Err(MemberError::Digest { number, expected: member.digest, found });
        }
        self.inflate(packed, member).ok_or(MemberError::Content(number))
    }

    fn inflate(&mut self, packed: &[u8], member: &Member) -> Option<Vec<u8>> {
        let rest = packed.strip_prefix(&HEADER)?;
        let (deflated, trailer) = rest.split_last_chunk::<TRAILER>()?;
        let mut expected = [0; TRAILER];
        expected[..4].copy_from_slice(&member.checksum.to_le_bytes());
        expected[4..].copy_from_slice(&member.plain.to_le_bytes());
        if *trailer != expected {
            return None;
        }
        let mut content = vec![0; member.plain as usize];
        let complete = if memmem::find(rest, &MAGIC).is_some() {
            let mut decoder = Decompress::new(false);
            let status = decoder.decompress(deflated, &mut content, FlushDecompress::Finish).ok()?;
            status == Status::StreamEnd
                && decoder.total_in() == deflated.len() as u64
                && decoder.total_out() == content.len() as u64
        } else {
            self.0.deflate_decompress(deflated, &mut content).ok()? == content.len()
        };
        (complete && crc32(&content) == member.checksum).then_some(content)
    }
}

impl Default for Unpacker {
    fn default() -> Self {
        Self::new()
    }
}

/// The contents of consecutive members, in order, verified and unpacked by several threads.
pub struct Members {
    threads: Vec<Receiver<Result<Vec<u8>, MemberError>>>,
    numbers: Range<usize>,
    taken: usize,
}

impl Members {
    /// Begins to read. Threads end when this is dropped.
    #[must_use]
    pub fn read(file: &Arc<File>, index: &Arc<Index>, numbers: Range<usize>, threads: usize) -> Self {
        let threads = threads.clamp(1, MOST_THREADS).min(numbers.len().max(1));
        let begin = |first: usize| {
            let (send, receive) = sync_channel(AHEAD);
            let (file, index, last) = (Arc::clone(file), Arc::clone(index), numbers.end);
            let numbers = (first..last).step_by(threads);
            std::thread::spawn(move || read(&file, &index, numbers, &send));
            receive
        };
        Self {
            threads: (0..threads).map(|thread| begin(numbers.start + thread)).collect(),
            numbers,
            taken: 0,
        }
    }
}

impl Iterator for Members {
    type Item = Result<Vec<u8>, MemberError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.numbers.next()?;
        let content = self.threads[self.taken % self.threads.len()].recv();
        self.taken += 1;
        Some(content.unwrap_or(Err(MemberError::Stopped)))
    }
}

fn read(
    file: &File,
    index: &Index,
    numbers: impl Iterator<Item = usize>,
    send: &SyncSender<Result<Vec<u8>, MemberError>>,
) {
    let mut unpacker = Unpacker::new();
    let mut packed = Vec::new();
    for number in numbers {
        let member = &index.members()[number];
        packed.resize(member.packed as usize, 0);
        let content = match file.read_exact_at(&mut packed, index.place(number).start) {
            Ok(()) => unpacker.unpack(number, &packed, member),
            Err(error) => Err(MemberError::Io(number, error)),
        };
        let failed = content.is_err();
        // Nobody listens when the reader has seen enough.
        if send.send(content).is_err() || failed {
            return;
        }
    }
}

/// Which members a file holds in their places, by their bytes, in order.
#[must_use]
pub fn present(file: &File, index: &Index, threads: usize) -> Vec<bool> {
    let mut found = vec![false; index.members().len()];
    let share = found.len().div_ceil(threads.max(1)).max(1);
    std::thread::scope(|scope| {
        for (part, found) in found.chunks_mut(share).enumerate() {
            scope.spawn(move || {
                let mut bytes = Vec::new();
                for (at, found) in found.iter_mut().enumerate() {
                    let number = part * share + at;
                    let member = &index.members()[number];
                    bytes.resize(member.packed as usize, 0);
                    let read = file.read_exact_at(&mut bytes, index.place(number).start);
                    // A hole needs no hash.
                    *found = read.is_ok() && bytes.starts_with(&MAGIC) && Digest::of(&bytes) == member.digest;
                }
            });
        }
    });
    found
}

/// A part of an archive's tar, as a stream.
pub struct Part {
    members: Members,
    piece: Vec<u8>,
    at: usize,
    left: u64,
}

impl Part {
    /// The bytes `part` of the tar that the members hold.
    #[must_use]
    pub fn read(file: &Arc<File>, index: &Arc<Index>, part: &Range<u64>, threads: usize) -> Self {
        let numbers = index.covering(part);
        let skip = if numbers.is_empty() { 0 } else { part.start - index.content(numbers.start).start };
        Self {
            members: Members::read(file, index, numbers, threads),
            piece: Vec::new(),
            at: usize::try_from(skip).unwrap_or_default(),
            left: part.end - part.start,
        }
    }
}

impl io::Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let piece = io::BufRead::fill_buf(self)?;
        let read = piece.len().min(buffer.len());
        buffer[..read].copy_from_slice(&piece[..read]);
        io::BufRead::consume(self, read);
        Ok(read)
    }
}

impl io::BufRead for Part {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.left > 0 && self.at >= self.piece.len() {
            self.at -= self.piece.len();
            self.piece = match self.members.next() {
                Some(piece) => piece.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?,
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            };
        }
        let rest = self.piece.get(self.at..).unwrap_or_default();
        Ok(&rest[..rest.len().min(usize::try_from(self.left).unwrap_or(usize::MAX))])
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount;
        self.left -= amount as u64;
    }
}
