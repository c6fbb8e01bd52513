//! The gzip frames of an archive's members, and stored members, which need no compressor.
//!
//! The tail of an archive is written in *stored* members. So it is a pure function of the documents
//! in it, and is read by taking frames off: no decompressor sees it before a signature is checked.

/// How every member of an archive begins: deflate, no name, no time, operating system unknown.
pub const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// CRC-32 and length of the content, after the compressed bytes.
pub const TRAILER: usize = 8;

/// How every gzip member begins. A member of an archive that holds these bytes anywhere else is
/// looked at twice: a second member could hide there.
pub const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];

/// Bytes that one stored block holds at most.
const STORED: usize = 0xffff;

/// Length of a stored block's own header.
const STORED_HEADER: usize = 5;

/// A member that holds bytes as they are.
#[must_use]
pub fn store(content: &[u8]) -> Vec<u8> {
    let mut member = Vec::with_capacity(stored_size(content.len()));
    member.extend(HEADER);
    let last = content.len().div_ceil(STORED).max(1) - 1;
    for at in 0..=last {
        let block = &content[at * STORED..content.len().min((at + 1) * STORED)];
        let length = u16::try_from(block.len()).unwrap_or_default();
        member.push(u8::from(at == last));
        member.extend(length.to_le_bytes());
        member.extend((!length).to_le_bytes());
        member.extend(block);
    }
    member.extend(trailer(content));
    member
}

/// Bytes of the member that [`store`] makes.
#[must_use]
pub fn stored_size(content: usize) -> usize {
    let blocks = content.div_ceil(STORED).max(1);
    HEADER.len() + blocks * STORED_HEADER + content + TRAILER
}

/// The content of a member that [`store`] made; `None` for any other bytes.
#[must_use]
pub fn stored(member: &[u8]) -> Option<Vec<u8>> {
    let frames = member.len().checked_sub(HEADER.len() + TRAILER)?;
    let blocks = frames.div_ceil(STORED + STORED_HEADER).max(1);
    let size = frames.checked_sub(blocks * STORED_HEADER)?;
    let mut content = Vec::with_capacity(size);
    for block in member[HEADER.len()..HEADER.len() + frames].chunks(STORED + STORED_HEADER) {
        content.extend(block.get(STORED_HEADER..)?);
    }
    (store(&content) == member).then_some(content)
}

/// The last bytes of a gzip member.
fn trailer(content: &[u8]) -> [u8; TRAILER] {
    let mut trailer = [0; TRAILER];
    trailer[..4].copy_from_slice(&crc32(content).to_le_bytes());
    // Gzip counts modulo 2^32; nothing that is stored comes near.
    let size = u32::try_from(content.len()).unwrap_or_default();
    trailer[4..].copy_from_slice(&size.to_le_bytes());
    trailer
}

const POLYNOMIAL: u32 = 0xedb8_8320;

const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0u32;
    while byte < 256 {
        let mut crc = byte;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        table[byte as usize] = crc;
        byte += 1;
    }
    table
}

/// Gzip's checksum of a few bytes; members are checked by the compressor's own, faster one.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| {
        let [low, ..] = crc.to_le_bytes();
        TABLE[usize::from(low ^ byte)] ^ (crc >> 8)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn the_checksum_is_gzips() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn what_is_stored_is_read_by_any_gzip_and_by_us() {
        for size in [0, 1, STORED - 1, STORED, STORED + 1, 3 * STORED + 7] {
            let content = vec![7; size];
            let member = store(&content);
            assert_eq!(member.len(), stored_size(size));
            let mut read = Vec::new();
            flate2::read::GzDecoder::new(member.as_slice()).read_to_end(&mut read).unwrap();
            assert_eq!(read, content);
            assert_eq!(stored(&member), Some(content));
        }
    }

    #[test]
    fn only_our_own_form_is_read() {
        let member = store(b"hello");
        for at in 0..member.len() {
            let mut changed = member.clone();
            changed[at] ^= 1;
            assert_eq!(stored(&changed), None, "byte {at}");
            assert_eq!(stored(&member[..at]), None);
        }
        assert_eq!(stored(&[member.as_slice(), b"x"].concat()), None);
    }
}
