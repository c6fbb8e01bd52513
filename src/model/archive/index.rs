//! The index: which members an archive has, and what is in them.
//!
//! | bytes | |
//! |---|---|
//! | 8 | `imgforge` |
//! | 2 | version: 1 |
//! | 2 | 0 |
//! | 4 | length of the contents document |
//! | 4 | number of members |
//! | .. | the contents document, [`Contents`], as compact JSON |
//! | 44 each | members: 4 bytes compressed, 4 content, 4 CRC-32 of the content, 32 SHA-256 of the compressed |
//!
//! Numbers are little-endian. Members follow each other without gaps, in the file and in the tar, so
//! no offset is written down and none can lie or overlap. The SHA-256 of a member also fixes its
//! content; the CRC-32, which is gzip's own, only helps to find equal content elsewhere.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::cut::MOST;
use super::{BLOCK, Entry, Paper};
use crate::model::digest::Digest;
use crate::model::image::{Image, json};

/// What the index begins with.
const MAGIC: &[u8; 8] = b"imgforge";

/// The only version that there is.
const VERSION: u16 = 1;

const FRONT: usize = 20;
const RECORD: usize = 44;

/// Largest index that is read: that of an archive of some hundred gigabytes.
pub const MAX_INDEX: usize = 64 << 20;

/// Largest contents document: 127 layers take a hundredth of it.
const MAX_CONTENTS: usize = 1 << 20;

/// A gzip member with one empty block.
const SMALLEST_MEMBER: usize = 20;

/// No compressor in use makes a member so much larger than its content.
const LARGEST_MEMBER: usize = MOST + (MOST >> 8);

/// Layers and documents are smaller; sums of them stay far from the end of 64 bits.
pub const MAX_BLOB: u64 = 1 << 42;

/// What compressed the members: a client with the same can make members from content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compressor {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its level.
    pub level: u8,
    /// Its level for members that are text.
    pub text_level: u8,
}

/// What an archive holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contents {
    /// The image.
    pub image: Image,
    /// Documents about it, such as an SBOM.
    pub papers: Vec<Paper>,
    /// What compressed it.
    pub compressor: Compressor,
}

/// One member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Bytes in the file.
    pub packed: u32,
    /// Bytes in the tar.
    pub plain: u32,
    /// CRC-32 of the content.
    pub checksum: u32,
    /// SHA-256 of the bytes in the file.
    pub digest: Digest,
}

/// The index of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    contents: Contents,
    members: Vec<Member>,
    /// Where each member begins in the file and in the tar, and where the last ends.
    starts: Vec<(u64, u64)>,
}

/// Why bytes are no index.
#[derive(Debug, thiserror::Error)]
pub enum BadIndex {
    /// Something else, or cut short.
    #[error("these bytes are no index")]
    Form,
    /// A version that came after this imgforge.
    #[error("the index has version {0}, and this imgforge reads version {VERSION}: use a newer imgforge")]
    Version(u16),
    /// A contents document of another shape.
    #[error("the contents of the index cannot be read")]
    Contents(#[source] serde_json::Error),
    /// The same in other words: there must be one way to write it.
    #[error("the contents of the index are not in the one form that imgforge writes")]
    NotCanonical,
    /// Something that cannot be in an archive.
    #[error("the index names {0}")]
    Impossible(String),
    /// The members are not the tar.
    #[error("the members hold {found} bytes, and the tar has {expected}")]
    Length {
        /// Bytes of the tar.
        expected: u64,
        /// Bytes of all members.
        found: u64,
    },
}

impl Index {
    /// The index of these members, in order.
    pub fn new(contents: Contents, members: Vec<Member>) -> Result<Self, BadIndex> {
        let impossible = |what: String| Err(BadIndex::Impossible(what));
        contents.image.bounded(MAX_BLOB).map_err(BadIndex::Impossible)?;
        super::check_papers(&contents.papers, MAX_BLOB).map_err(BadIndex::Impossible)?;
        let mut starts = vec![(0, 0)];
        let (mut packed, mut plain) = (0u64, 0u64);
        for (number, member) in members.iter().enumerate() {
            if !(SMALLEST_MEMBER..=LARGEST_MEMBER).contains(&(member.packed as usize)) {
                return impossible(format!("member {number} of {} bytes", member.packed));
            }
            if member.plain == 0 || member.plain as usize > MOST {
                return impossible(format!("member {number} with {} bytes of content", member.plain));
            }
            packed += u64::from(member.packed);
            plain += u64::from(member.plain);
            starts.push((packed, plain));
        }
        let index = Self { contents, members, starts };
        let expected = super::length(&index.entries());
        if plain == expected { Ok(index) } else { Err(BadIndex::Length { expected, found: plain }) }
    }

    /// Reads an index. Every field is checked, and memory stays a small multiple of `bytes`.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadIndex> {
        let (front, rest) = bytes.split_first_chunk::<FRONT>().ok_or(BadIndex::Form)?;
        if !front.starts_with(MAGIC) || bytes.len() > MAX_INDEX {
            return Err(BadIndex::Form);
        }
        let half = |at: usize| u16::from_le_bytes([front[at], front[at + 1]]);
        if half(8) != VERSION || half(10) != 0 {
            return Err(BadIndex::Version(half(8)));
        }
        let (contents, members) = (number(front, 12) as usize, number(front, 16) as usize);
        let length = members.checked_mul(RECORD).and_then(|size| size.checked_add(contents));
        if contents > MAX_CONTENTS || length != Some(rest.len()) {
            return Err(BadIndex::Form);
        }
        let (document, records) = rest.split_at(contents);
        let contents: Contents = serde_json::from_slice(document).map_err(BadIndex::Contents)?;
        if json(&contents) != document {
            return Err(BadIndex::NotCanonical);
        }
        let members = records.chunks_exact(RECORD).map(|record| Member {
            packed: number(record, 0),
            plain: number(record, 4),
            checksum: number(record, 8),
            digest: Digest::from_bytes(record[12..].try_into().unwrap_or_default()),
        });
        Self::new(contents, members.collect())
    }

    /// The bytes that [`Index::parse`] reads.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let contents = json(&self.contents);
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
        let mut bytes = Vec::with_capacity(FRONT + contents.len() + self.members.len() * RECORD);
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend([0, 0]);
        bytes.extend(count(contents.len()));
        bytes.extend(count(self.members.len()));
        bytes.extend(contents);
        for member in &self.members {
            for number in [member.packed, member.plain, member.checksum] {
                bytes.extend(number.to_le_bytes());
            }
            bytes.extend(member.digest.bytes());
        }
        bytes
    }

    /// The image in the archive.
    #[must_use]
    pub fn image(&self) -> &Image {
        &self.contents.image
    }

    /// Documents about the image.
    #[must_use]
    pub fn papers(&self) -> &[Paper] {
        &self.contents.papers
    }

    /// What compressed the members.
    #[must_use]
    pub fn compressor(&self) -> &Compressor {
        &self.contents.compressor
    }

    /// The members, in order.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The entries of the tar that the members hold, in order.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        super::body_entries(&self.contents.image, &self.contents.papers)
    }

    /// Where a member lies in the file.
    #[must_use]
    pub fn place(&self, member: usize) -> Range<u64> {
        self.starts[member].0..self.starts[member + 1].0
    }

    /// Where a member's content lies in the tar.
    #[must_use]
    pub fn content(&self, member: usize) -> Range<u64> {
        self.starts[member].1..self.starts[member + 1].1
    }

    /// Where the content of members that follow each other lies in the tar.
    #[must_use]
    pub fn contents(&self, members: &Range<usize>) -> Range<u64> {
        self.starts[members.start].1..self.starts[members.end].1
    }

    /// Bytes of all members in the file: where the index begins.
    #[must_use]
    pub fn packed_size(&self) -> u64 {
        self.starts[self.members.len()].0
    }

    /// Bytes of all members in the tar.
    #[must_use]
    pub fn plain_size(&self) -> u64 {
        self.starts[self.members.len()].1
    }

    /// The members that hold a part of the tar.
    #[must_use]
    pub fn covering(&self, part: &Range<u64>) -> Range<usize> {
        let first = self.starts[1..].partition_point(|(_, end)| *end <= part.start);
        let last = self.starts[..self.members.len()].partition_point(|(_, start)| *start < part.end);
        first..last.max(first)
    }
}

/// A little-endian number of a record.
pub(super) fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|part| part.try_into().ok()).map_or(0, u32::from_le_bytes)
}

const _: () = assert!(MOST.is_multiple_of(BLOCK));
