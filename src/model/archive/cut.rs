//! Where members end: content-defined cuts, moved to where files begin.
//!
//! Within a layer the rule looks only at the bytes, so a file that is inserted changes the members
//! around it and no other: `FastCDC` with normalised chunking (Xia et al., 2016) proposes a cut, and
//! the cut then moves to the next beginning of a tar entry. So small files travel in groups of
//! [`USUAL`] bytes, and a file that is larger is cut for itself: the same file in
//! another layer, version or tier gives the same members.
//!
//! Readers do not rely on any of this. It is fixed all the same: two machines that cut differently
//! would make different archives of one image.

use super::BLOCK;

/// No member ends before it has so many bytes, unless its layer ends.
pub const LEAST: usize = 96 << 10;

/// What cuts aim at.
pub const USUAL: usize = 128 << 10;

/// No member has more bytes.
pub const MOST: usize = 1 << 20;

/// An entry from this size on is cut for itself.
const LARGE: usize = LEAST;

/// What [`Cutter::next`] has to see: the longest member, and the header of the entry after it.
pub const WINDOW: usize = MOST + BLOCK;

/// Bytes that the rolling hash remembers: each shifts its predecessors out by one bit.
const REACH: usize = 64;

/// A cut is proposed where so many leading bits of the hash are zero: rarely before [`USUAL`] bytes,
/// often after it. One bit more or less would be plain `FastCDC`; two is its "normalisation level 2".
const BITS_BEFORE: u32 = USUAL.ilog2() + 2;
const BITS_AFTER: u32 = USUAL.ilog2() - 2;

/// 256 random numbers, one for each byte: the outputs of `SplitMix64` from seed 0.
const GEAR: [u64; 256] = gear();

const fn gear() -> [u64; 256] {
    let mut table = [0; 256];
    let mut state: u64 = 0;
    let mut at = 0;
    while at < table.len() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        table[at] = mixed ^ (mixed >> 31);
        at += 1;
    }
    table
}

/// Cuts one layer, from its first byte to its last.
#[derive(Debug, Clone)]
pub struct Cutter {
    /// How far the next header is; `None` after something that is no tar header.
    header: Option<u64>,
}

impl Default for Cutter {
    fn default() -> Self {
        Self { header: Some(0) }
    }
}

/// The beginning of an entry.
#[derive(Debug, Clone, Copy)]
struct Start {
    at: usize,
    /// Bytes to the beginning of the next one.
    length: u64,
}

impl Cutter {
    /// Bytes of the next member. `data` begins where the last one ended, and holds [`WINDOW`] bytes
    /// or all that is left; it must not be empty.
    pub fn next(&mut self, data: &[u8]) -> usize {
        let (starts, beyond) = self.starts(data);
        let most = data.len().min(MOST);
        let length = if most <= LEAST { most } else { choose(&data[..most], &starts) };
        let end = length as u64;
        let known = starts.iter().map(|start| start.at as u64).chain(beyond).find(|at| *at >= end);
        self.header = known.map(|at| at - end);
        length
    }

    /// The entries that begin in these bytes, and where the one after them does.
    fn starts(&self, data: &[u8]) -> (Vec<Start>, Option<u64>) {
        let mut starts = Vec::new();
        let mut next = self.header;
        while let Some(header) = next {
            let Ok(at) = usize::try_from(header) else { break };
            let Some(block) = data.get(at..).and_then(|rest| rest.first_chunk()) else { break };
            let length = span(block).unwrap_or(0);
            starts.push(Start { at, length });
            next = header.checked_add(length).filter(|_| length > 0);
        }
        (starts, next)
    }
}

/// Header, content and padding of an entry; `None` if this is no header, as at the end of a tar.
fn span(header: &[u8; BLOCK]) -> Option<u64> {
    let header = tar::Header::from_byte_slice(header);
    let bytes = header.as_bytes();
    let sum: u32 = bytes[..148].iter().chain(&bytes[156..]).map(|byte| u32::from(*byte)).sum();
    if header.cksum().ok()? != sum + 8 * u32::from(b' ') {
        return None;
    }
    let size = match header.entry_type() {
        // A link may repeat the size of its target, and has no content.
        tar::EntryType::Link | tar::EntryType::Symlink | tar::EntryType::Directory => 0,
        _ => header.entry_size().ok()?,
    };
    size.checked_next_multiple_of(BLOCK as u64)?.checked_add(BLOCK as u64)
}

fn choose(data: &[u8], starts: &[Start]) -> usize {
    let proposed = propose(data);
    let large = |length: u64| length >= LARGE as u64;
    // A cut inside an entry means that the entry is large.
    let mut inside = starts.first().is_none_or(|first| first.at > 0);
    let mut last = None;
    for start in starts {
        if inside && start.at > proposed {
            return proposed;
        }
        if (LEAST..data.len()).contains(&start.at) && start.length > 0 {
            if start.at >= proposed || inside || large(start.length) {
                return start.at;
            }
            last = Some(start.at);
        }
        if start.length == 0 {
            // No entries from here on, only content: mostly the zeroes that end a tar.
            let ends = start.at >= LEAST && data.len() - start.at >= LEAST;
            return if start.at < proposed {
                proposed
            } else if ends {
                start.at
            } else {
                data.len()
            };
        }
        inside = large(start.length);
    }
    match last {
        _ if inside => proposed,
        Some(last) if data.len() == MOST => last,
        _ => data.len(),
    }
}

/// `FastCDC`: where the content itself suggests a cut.
fn propose(data: &[u8]) -> usize {
    let mut hash: u64 = 0;
    let step = |hash: u64, byte: u8| (hash << 1).wrapping_add(GEAR[usize::from(byte)]);
    for byte in &data[LEAST - REACH..LEAST] {
        hash = step(hash, *byte);
    }
    let usual = data.len().min(USUAL);
    for (from, to, bits) in [(LEAST, usual, BITS_BEFORE), (usual, data.len(), BITS_AFTER)] {
        for (at, byte) in data[from..to.max(from)].iter().enumerate() {
            hash = step(hash, *byte);
            if hash >> (u64::BITS - bits) == 0 {
                return from + at + 1;
            }
        }
    }
    data.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that do not repeat.
    fn noise(seed: u64, size: usize) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[7]
        };
        (0..size).map(|_| next()).collect()
    }

    fn tar(files: &[(String, Vec<u8>)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, content) in files {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, path, content.as_slice()).unwrap();
        }
        tar.into_inner().unwrap()
    }

    fn members(data: &[u8]) -> Vec<&[u8]> {
        let (mut cutter, mut rest, mut members) = (Cutter::default(), data, Vec::new());
        while !rest.is_empty() {
            let (member, after) = rest.split_at(cutter.next(&rest[..rest.len().min(WINDOW)]));
            members.push(member);
            rest = after;
        }
        members
    }

    fn files(count: u64, size: usize) -> Vec<(String, Vec<u8>)> {
        (0..count).map(|number| (format!("f{number:04}"), noise(number, size))).collect()
    }

    fn is_header(member: &[u8]) -> bool {
        member.first_chunk().is_some_and(|block| span(block).is_some())
    }

    #[test]
    fn the_table_and_the_cuts_never_change() {
        assert_eq!(GEAR[0], 0xe220_a839_7b1d_cdaf);
        let data = noise(1, 3 << 20);
        let lengths: Vec<usize> = members(&data).iter().map(|member| member.len()).collect();
        insta::assert_snapshot!(format!("{lengths:?}"), @"[156266, 143377, 140134, 155874, 177099, 138941, 209087, 141335, 134356, 145345, 134780, 206711, 135074, 134269, 152220, 177346, 140531, 138708, 149503, 135366, 99406]");
    }

    #[test]
    fn every_byte_is_in_a_member_of_a_lawful_size() {
        for data in [noise(2, 5 << 20), vec![0; 5 << 20], tar(&files(900, 5000)), tar(&files(3, 2 << 20))] {
            let members = members(&data);
            assert_eq!(members.concat(), data);
            let (last, others) = members.split_last().unwrap();
            assert!(others.iter().all(|member| (LEAST..=MOST).contains(&member.len())));
            assert!(last.len() <= MOST);
        }
    }

    #[test]
    fn small_files_stay_whole_and_large_ones_begin_members() {
        // One group of small files is too small to be cut, the other is large enough.
        for (before, expected) in [(20, false), (40, true)] {
            let mut mixed = files(200, 3000);
            mixed.insert(before, ("large".to_owned(), noise(77, 900_000)));
            small_files_around(&tar(&mixed), expected);
        }
    }

    fn small_files_around(data: &[u8], expected: bool) {
        let at = data.windows(5).position(|bytes| bytes == b"large").unwrap();
        let mut start = 0;
        let mut begins = false;
        for member in members(data) {
            begins |= start == at;
            let inside = (at..at + 900_000 + 2 * BLOCK).contains(&start);
            assert!(inside || is_header(member), "a small file is cut at {start}");
            start += member.len();
        }
        assert_eq!(begins, expected);
    }

    #[test]
    fn one_changed_or_inserted_file_changes_the_members_around_it() {
        let before = files(900, 5000);
        let mut changed = before.clone();
        changed[450].1[0] ^= 1;
        let mut inserted = before.clone();
        inserted.insert(450, ("f0449a".to_owned(), noise(4711, 5000)));
        let old = tar(&before);
        let old: std::collections::HashSet<&[u8]> = members(&old).into_iter().collect();
        for (files, most) in [(changed, 1), (inserted, 3)] {
            let new = tar(&files);
            let other = members(&new).into_iter().filter(|member| !old.contains(member)).count();
            assert!((1..=most).contains(&other), "{other} members differ");
        }
    }

    #[test]
    fn a_header_that_lies_about_its_size_only_moves_cuts() {
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::MAX);
        header.set_cksum();
        let data = [header.as_bytes().as_slice(), &noise(3, 2 << 20)].concat();
        assert_eq!(members(&data).concat(), data);
    }
}
