//! The end of an archive: index, sealed release, footer. One range request brings all of it.
//!
//! ```text
//! 0            index_at         body                                size - 46    size
//! | members ..  | index, stored  | sealed release, end of tar, stored | footer      |
//! |<--------- reproducible -------->|<- written when it is signed ---------------------->|
//! ```
//!
//! The release names the reproducible part, so signing changes nothing that was signed. What comes
//! after it follows from the sealed release alone, byte for byte; a reader computes it and compares.

use super::gzip::{self, HEADER};
use super::index::{BadIndex, Index, MAX_INDEX};
use super::{BLOCK, Content, END, Entry, FOLDER, padding};
use crate::model::image::Blob;
use crate::model::seal::MAX_BYTES;

/// Name of the index below [`FOLDER`].
pub const INDEX: &str = "index";

/// Name of the sealed release below [`FOLDER`].
pub const RELEASE: &str = "release.sigstore.json";

/// Bytes of the footer.
pub const FOOTER: usize = 46;

/// The last bytes of an archive that a reader asks for at once: index and seals of 500 MB.
pub const FIRST_LOOK: u64 = 512 << 10;

/// More bytes than this never follow the reproducible part.
pub const LARGEST_AFTER: u64 = 2 << 20;

const VERSION: u16 = 1;

/// Why the end of a file is not that of an archive.
#[derive(Debug, thiserror::Error)]
pub enum BadTail {
    /// Any other file.
    #[error("it does not end like an archive of imgforge")]
    Footer,
    /// A version that came after this imgforge.
    #[error(
        "it has version {0} of the format, and this imgforge reads version {VERSION}: use a newer imgforge"
    )]
    Version(u16),
    /// The footer points to something else.
    #[error("its {0} is not where its footer says")]
    Place(&'static str),
    /// The index.
    #[error(transparent)]
    Index(#[from] BadIndex),
}

/// Where the tail begins. It is written by whoever wrote the file, and believed only as far as what
/// lies there turns out to be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footer {
    /// Where the index begins.
    pub index_at: u64,
    /// Where the reproducible part ends, and the sealed release begins.
    pub body: u64,
}

impl Footer {
    /// An empty gzip member, whose extra field `IF` holds the two numbers.
    #[must_use]
    pub fn to_bytes(self) -> [u8; FOOTER] {
        let mut bytes = [0; FOOTER];
        bytes[..10].copy_from_slice(&HEADER);
        bytes[3] = 4; // FLG: there is an extra field
        bytes[10..16].copy_from_slice(&[24, 0, b'I', b'F', 20, 0]);
        bytes[16..18].copy_from_slice(&VERSION.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.index_at.to_le_bytes());
        bytes[28..36].copy_from_slice(&self.body.to_le_bytes());
        bytes[36] = 3; // one empty block; checksum and length of nothing are 0
        bytes
    }

    /// Reads the last bytes of a file of `size` bytes.
    pub fn parse(bytes: &[u8], size: u64) -> Result<Self, BadTail> {
        let bytes: &[u8; FOOTER] =
            bytes.last_chunk().filter(|_| bytes.len() as u64 <= size).ok_or(BadTail::Footer)?;
        let number = |at: usize| bytes[at..at + 8].try_into().map_or(0, u64::from_le_bytes);
        let footer = Self { index_at: number(20), body: number(28) };
        let version = u16::from_le_bytes([bytes[16], bytes[17]]);
        let mut expected = footer.to_bytes();
        expected[16..18].copy_from_slice(&bytes[16..18]);
        if expected != *bytes {
            return Err(BadTail::Footer);
        }
        if version != VERSION {
            return Err(BadTail::Version(version));
        }
        let end = size - FOOTER as u64;
        let index = footer.body.checked_sub(footer.index_at).ok_or(BadTail::Place(INDEX))?;
        let seals = end.checked_sub(footer.body).ok_or(BadTail::Place(RELEASE))?;
        if index > largest(MAX_INDEX) {
            return Err(BadTail::Place(INDEX));
        }
        if seals > largest(MAX_BYTES) {
            return Err(BadTail::Place(RELEASE));
        }
        Ok(footer)
    }

    /// Bytes from the beginning of the index to the end of a file of `size` bytes.
    #[must_use]
    pub fn tail_size(&self, size: u64) -> u64 {
        size.saturating_sub(self.index_at)
    }
}

/// What one document takes at most, with all frames.
fn largest(document: usize) -> u64 {
    gzip::stored_size(document + 2 * BLOCK + END) as u64
}

/// The end of an archive, taken apart. Nothing is verified yet.
#[derive(Debug, Clone)]
pub struct Tail {
    /// Where it lies.
    pub footer: Footer,
    /// Which bytes the index has: a release names them.
    pub index_blob: Blob,
    /// The index.
    pub index: Index,
    /// The sealed release, if the archive was signed.
    pub sealed: Option<Vec<u8>>,
}

impl Tail {
    /// Takes the end of a file apart: `bytes` are the last ones of `size`, and reach back to the
    /// beginning of the index at least.
    pub fn parse(bytes: &[u8], size: u64) -> Result<Self, BadTail> {
        let footer = Footer::parse(bytes, size)?;
        let before = (bytes.len() as u64)
            .checked_sub(footer.tail_size(size))
            .and_then(|before| usize::try_from(before).ok())
            .ok_or(BadTail::Place(INDEX))?;
        let tail = &bytes[before..bytes.len() - FOOTER];
        let body = usize::try_from(footer.body - footer.index_at).map_err(|_| BadTail::Place(INDEX))?;
        let (index, seals) = tail.split_at_checked(body).ok_or(BadTail::Place(INDEX))?;

        let document = gzip::stored(index).and_then(|tar| read_entry(&tar)).ok_or(BadTail::Place(INDEX))?;
        if index_member(&document) != index {
            return Err(BadTail::Place(INDEX));
        }
        let parsed = Index::parse(&document)?;
        if parsed.packed_size() != footer.index_at {
            return Err(BadTail::Place(INDEX));
        }
        let tar = gzip::stored(seals).ok_or(BadTail::Place(RELEASE))?;
        let sealed = if tar.len() == END { None } else { read_entry(&tar) };
        if seals_member(sealed.as_deref()) != seals {
            return Err(BadTail::Place(RELEASE));
        }
        Ok(Self { footer, index_blob: Blob::of(&document), index: parsed, sealed })
    }
}

/// The member that holds an index: the last of the reproducible part.
#[must_use]
pub fn index_member(index: &[u8]) -> Vec<u8> {
    gzip::store(&entry(INDEX, index))
}

/// Where the index of an archive begins, whose reproducible part and whose index have these sizes.
#[must_use]
pub fn index_at(body: u64, index: u64) -> Option<u64> {
    let index = usize::try_from(index).ok().filter(|size| *size <= MAX_INDEX)?;
    body.checked_sub(gzip::stored_size(BLOCK + index + padding(index as u64)) as u64)
}

/// All that comes after the reproducible part.
#[must_use]
pub fn after(footer: Footer, sealed: Option<&[u8]>) -> Vec<u8> {
    let mut bytes = seals_member(sealed);
    bytes.extend(footer.to_bytes());
    bytes
}

fn seals_member(sealed: Option<&[u8]>) -> Vec<u8> {
    let mut tar = sealed.map(|sealed| entry(RELEASE, sealed)).unwrap_or_default();
    tar.resize(tar.len() + END, 0);
    gzip::store(&tar)
}

/// A tar entry with its padding.
fn entry(name: &str, bytes: &[u8]) -> Vec<u8> {
    let entry = Entry { path: format!("{FOLDER}/{name}"), content: Content::Bytes(bytes.to_vec()) };
    let mut tar = entry.header().to_vec();
    tar.extend(bytes);
    tar.resize(tar.len() + padding(bytes.len() as u64), 0);
    tar
}

/// The content of the first entry. The caller writes it again and compares, so nothing else of the
/// header has to be looked at.
fn read_entry(tar: &[u8]) -> Option<Vec<u8>> {
    let (header, content) = tar.split_first_chunk::<BLOCK>()?;
    let size = tar::Header::from_byte_slice(header).entry_size().ok()?;
    content.get(..usize::try_from(size).ok()?).map(<[u8]>::to_vec)
}
