//! Reads members of an archive on all cores: hashed before they are unpacked, handed on in order.
//!
//! | threat | defence |
//! |---|---|
//! | changed bytes | SHA-256 of the compressed bytes, before the decompressor sees them |
//! | a bomb | a member unpacks into as many bytes as the index says, 1 MiB at most, or not at all |
//! | a second gzip member hidden in one, which others would unpack and we would not | a member that holds the three bytes with which gzip begins is unpacked by a decoder that tells where it stopped |
//! | a huge index | memory holds eight members for each thread, and no thread more than there are members |

mod ahead;
mod codec;

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use crate::model::archive::gzip::MAGIC;
use crate::model::archive::index::Index;
use crate::model::archive::tail::{BadTail, FIRST_LOOK, Footer, Tail};
use crate::model::digest::Digest;
use ahead::Ahead;

pub use codec::{Packer, Unpacker, compressor};

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

/// Which members a file does not hold in their places, by their bytes, in order.
#[must_use]
pub fn missing(file: &File, index: &Index, threads: usize) -> Vec<usize> {
    let mut missing = vec![true; index.members().len()];
    let share = missing.len().div_ceil(threads.max(1)).max(1);
    std::thread::scope(|scope| {
        for (part, missing) in missing.chunks_mut(share).enumerate() {
            scope.spawn(move || {
                let mut bytes = Vec::new();
                for (at, missing) in missing.iter_mut().enumerate() {
                    let number = part * share + at;
                    let member = &index.members()[number];
                    bytes.resize(member.packed as usize, 0);
                    let read = file.read_exact_at(&mut bytes, index.place(number).start);
                    // A hole needs no hash.
                    let has =
                        read.is_ok() && bytes.starts_with(&MAGIC) && Digest::of(&bytes) == member.digest;
                    *missing = !has;
                }
            });
        }
    });
    (0..missing.len()).filter(|member| missing[*member]).collect()
}

/// A part of an archive's tar, as a stream.
pub struct Part {
    members: Ahead,
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
            members: Ahead::read(file, index, numbers, threads),
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
            self.piece = match self.members.next(std::mem::take(&mut self.piece)) {
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
