//! One member: made of its content, and taken apart again.

use std::io;

use flate2::{Decompress, FlushDecompress, Status};
use libdeflater::{CompressionLvl, Compressor as Libdeflate, Decompressor, crc32};
use memchr::memmem;

use super::MemberError;
use crate::model::archive::gzip::{HEADER, MAGIC, TRAILER};
use crate::model::archive::index::{Compressor, Member};
use crate::model::digest::Digest;

/// libdeflate's level: measured on a Node.js image, 6 is as small as `gzip -6` at six times its
/// speed; 9 gains one percent and takes three times as long.
const LEVEL: u8 = 6;

/// The level for text. There the next level gains most for its time: with it, members that each begin with an
/// empty window are together no larger than what `gzip -6` makes of the whole.
const TEXT_LEVEL: u8 = 7;

/// The compressor of this imgforge.
#[must_use]
pub fn compressor() -> Compressor {
    Compressor {
        name: "libdeflate".to_owned(),
        version: "1.26".to_owned(),
        level: LEVEL,
        text_level: TEXT_LEVEL,
    }
}

/// Whether four fifths of the bytes are printable, or end lines, or indent them.
fn is_text(content: &[u8]) -> bool {
    let is_plain = |byte: &&u8| matches!(byte, b'\t' | b'\n' | b' '..=b'~');
    content.iter().filter(is_plain).count() * 5 >= content.len() * 4
}

/// Makes members.
pub struct Packer {
    plain: Libdeflate,
    text: Libdeflate,
    /// Where members are made, before it is known how long they are.
    room: Vec<u8>,
}

impl Packer {
    /// Ready to compress.
    #[must_use]
    pub fn new() -> Self {
        let at = |level: u8| Libdeflate::new(CompressionLvl::new(level.into()).unwrap_or_default());
        Self { plain: at(LEVEL), text: at(TEXT_LEVEL), room: Vec::new() }
    }

    /// The member that holds this content.
    pub fn pack(&mut self, content: &[u8]) -> io::Result<(Vec<u8>, Member)> {
        let compressor = if is_text(content) { &mut self.text } else { &mut self.plain };
        let bound = compressor.gzip_compress_bound(content.len());
        self.room.resize(self.room.len().max(bound), 0);
        let size = compressor.gzip_compress(content, &mut self.room).map_err(io::Error::other)?;
        let packed = self.room[..size].to_vec();
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

    /// Makes `content` that of a member, or says why these bytes are not that member.
    pub fn unpack(
        &mut self,
        number: usize,
        packed: &[u8],
        member: &Member,
        content: &mut Vec<u8>,
    ) -> Result<(), MemberError> {
        let found = Digest::of(packed);
        if found != member.digest || packed.len() != member.packed as usize {
            return Err(MemberError::Digest { number, expected: member.digest, found });
        }
        self.inflate(packed, member, content).ok_or(MemberError::Content(number))
    }

    fn inflate(&mut self, packed: &[u8], member: &Member, content: &mut Vec<u8>) -> Option<()> {
        let rest = packed.strip_prefix(&HEADER)?;
        let (deflated, trailer) = rest.split_last_chunk::<TRAILER>()?;
        let mut expected = [0; TRAILER];
        expected[..4].copy_from_slice(&member.checksum.to_le_bytes());
        expected[4..].copy_from_slice(&member.plain.to_le_bytes());
        if *trailer != expected {
            return None;
        }
        content.resize(member.plain as usize, 0);
        let complete = if memmem::find(rest, &MAGIC).is_some() {
            let mut decoder = Decompress::new(false);
            let status = decoder.decompress(deflated, content, FlushDecompress::Finish).ok()?;
            status == Status::StreamEnd
                && decoder.total_in() == deflated.len() as u64
                && decoder.total_out() == content.len() as u64
        } else {
            self.0.deflate_decompress(deflated, content).ok()? == content.len()
        };
        (complete && crc32(content) == member.checksum).then_some(())
    }
}

impl Default for Unpacker {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_what_people_write() {
        for text in [&b"int main(void) {\n\treturn 0;\n}\n"[..], include_bytes!("codec.rs")] {
            assert!(is_text(text));
        }
        for other in [&b"\x7fELF\x02\x01\x01\x00 some"[..], &[0; 512], &[0xc3; 512]] {
            assert!(!is_text(other));
        }
    }
}
