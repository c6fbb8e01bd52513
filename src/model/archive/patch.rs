//! Patches: what makes members of a new archive of content that an older one has.
//!
//! | bytes | |
//! |---|---|
//! | 8 | `imgpatch` |
//! | 2 | version: 1 |
//! | 2 | 0 |
//! | 4 | number of runs |
//! | 56 each | runs: 4 first member, 4 number of members, 8 where the base begins in the older tar, 4 its length, 4 length of the frame, 32 SHA-256 of the frame |
//! | .. | the frames, one for each run, in order |
//!
//! Numbers are little-endian. A frame is zstandard: with the base as its prefix, it unpacks to the content
//! of the run's members. All before the frames is the patch's table, whose digest the release signs; so
//! each frame is known before it is unpacked, and can be fetched alone.

use std::collections::HashMap;
use std::ops::Range;

use super::cut::MOST;
use super::index::{Index, number};
use crate::model::digest::Digest;
use crate::model::image::Blob;

const MAGIC: &[u8; 8] = b"imgpatch";

/// The only version that there is.
const VERSION: u16 = 1;

const FRONT: usize = 16;
const RECORD: usize = 56;

/// Largest table that is read: more runs than an archive of a hundred gigabytes has.
pub const MAX_TABLE: usize = 4 << 20;

/// Most content of a run: what is unpacked at once.
pub const MOST_RUN: u64 = 8 << 20;

/// Most of the older tar that a run is made of.
pub const MOST_BASE: u64 = 32 << 20;

/// What lies around the place where content is expected: it may have moved.
const AROUND: u64 = 1 << 20;

/// No compressor in use makes a frame so much larger than its content.
const LARGEST_FRAME: u64 = MOST_RUN + (MOST_RUN >> 7);

/// Members that are made together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Which.
    pub members: Range<usize>,
    /// The part of the older tar that they are made of.
    pub base: Range<u64>,
}

/// The table of a patch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    runs: Vec<(Run, Blob)>,
    /// Where each frame begins in the patch, and where the last ends.
    starts: Vec<u64>,
}

/// Why bytes are no patch.
#[derive(Debug, thiserror::Error)]
pub enum BadPatch {
    /// Something else, or cut short.
    #[error("these bytes are no patch")]
    Form,
    /// A version that came after this imgforge.
    #[error("the patch has version {0}, and this imgforge reads version {VERSION}")]
    Version(u16),
    /// Something that cannot be between these archives.
    #[error("run {0} of the patch is not of these archives")]
    Impossible(usize),
}

impl Table {
    /// The table of these runs with the frames that were made for them.
    pub fn new(runs: Vec<(Run, Blob)>, new: &Index, old: &Index) -> Result<Self, BadPatch> {
        let mut starts = vec![Self::size_of(runs.len())];
        let mut next = 0;
        for (number, (run, frame)) in runs.iter().enumerate() {
            let Range { start, end } = run.members;
            let is_possible = next <= start
                && start < end
                && end <= new.members().len()
                && content(new, &run.members) <= MOST_RUN
                && run.base.start <= run.base.end
                && run.base.end <= old.plain_size()
                && run.base.end - run.base.start <= MOST_BASE
                && (1..=LARGEST_FRAME).contains(&frame.size);
            if !is_possible {
                return Err(BadPatch::Impossible(number));
            }
            next = end;
            starts.push(starts[number] + frame.size);
        }
        Ok(Self { runs, starts })
    }

    /// Bytes of the table of a patch with so many runs.
    #[must_use]
    pub fn size_of(runs: usize) -> u64 {
        (FRONT + runs * RECORD) as u64
    }

    /// Reads a table. Every field is checked against the two archives that it is for.
    pub fn parse(bytes: &[u8], new: &Index, old: &Index) -> Result<Self, BadPatch> {
        let (front, rest) = bytes.split_first_chunk::<FRONT>().ok_or(BadPatch::Form)?;
        let (records, odd) = rest.as_chunks::<RECORD>();
        let version = u16::from_le_bytes([front[8], front[9]]);
        if !front.starts_with(MAGIC) || bytes.len() > MAX_TABLE {
            return Err(BadPatch::Form);
        }
        if version != VERSION || front[10..12] != [0, 0] {
            return Err(BadPatch::Version(version));
        }
        if !odd.is_empty() || number(front, 12) as usize != records.len() {
            return Err(BadPatch::Form);
        }
        Self::new(records.iter().map(run).collect(), new, old)
    }

    /// The bytes that [`Table::parse`] reads.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes();
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend([0, 0]);
        bytes.extend(count(self.runs.len()));
        for (run, frame) in &self.runs {
            bytes.extend(count(run.members.start));
            bytes.extend(count(run.members.len()));
            bytes.extend(run.base.start.to_le_bytes());
            for length in [run.base.end - run.base.start, frame.size] {
                bytes.extend(u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
            }
            bytes.extend(frame.digest.bytes());
        }
        bytes
    }

    /// The runs, in order, with what their frames are.
    #[must_use]
    pub fn runs(&self) -> &[(Run, Blob)] {
        &self.runs
    }

    /// Where a run's frame lies in the patch.
    #[must_use]
    pub fn place(&self, run: usize) -> Range<u64> {
        self.starts[run]..self.starts[run + 1]
    }

    /// Bytes of the whole patch.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.starts[self.runs.len()]
    }

    /// The runs that make any of these members, which are in order.
    #[must_use]
    pub fn making(&self, missing: &[usize]) -> Vec<usize> {
        let makes = |members: &Range<usize>| {
            let first = missing.partition_point(|member| *member < members.start);
            missing.get(first).is_some_and(|member| *member < members.end)
        };
        (0..self.runs.len()).filter(|run| makes(&self.runs[*run].0.members)).collect()
    }
}

fn run(record: &[u8; RECORD]) -> (Run, Blob) {
    let (first, count) = (number(record, 0) as usize, number(record, 4) as usize);
    let start = u64::from(number(record, 8)) | u64::from(number(record, 12)) << 32;
    // What overflows is no place in any archive, and refused as such.
    let base = start..start.saturating_add(number(record, 16).into());
    let digest = Digest::from_bytes(record[24..].try_into().unwrap_or_default());
    let run = Run { members: first..first.saturating_add(count), base };
    (run, Blob { digest, size: number(record, 20).into() })
}

/// Bytes of content of some members.
fn content(index: &Index, members: &Range<usize>) -> u64 {
    let Range { start, end } = index.contents(members);
    end - start
}

/// What of `new` is not in `old`, in runs, each with the part of the older tar that is most like it: what
/// lies there between the neighbours of the run.
#[must_use]
pub fn runs(new: &Index, old: &Index) -> Vec<Run> {
    let mut places: HashMap<Digest, usize> = HashMap::new();
    for (number, member) in old.members().iter().enumerate() {
        places.entry(member.digest).or_insert(number);
    }
    let there: Vec<Option<usize>> =
        new.members().iter().map(|member| places.get(&member.digest).copied()).collect();
    let mut runs = Vec::new();
    let mut at: usize = 0;
    while let Some(first) = (at..there.len()).find(|member| there[*member].is_none()) {
        let end = (first..there.len()).find(|member| there[*member].is_some()).unwrap_or(there.len());
        let before = first.checked_sub(1).and_then(|left| there[left]);
        let from = before.map_or(0, |left| old.content(left).end);
        let after = there.get(end).copied().flatten();
        // What follows may have come from elsewhere: then only what comes before says where this was.
        let to = after.map_or(old.plain_size(), |right| old.content(right).start).max(from);
        let all = content(new, &(first..end));
        for members in pieces(new, first..end) {
            let offset = content(new, &(first..members.start));
            let size = content(new, &members);
            let base = window(&(from..to), old.plain_size(), (offset, size, all));
            runs.push(Run { members, base });
        }
        at = end;
    }
    runs
}

/// Members in pieces that are small enough for a run.
fn pieces(index: &Index, members: Range<usize>) -> Vec<Range<usize>> {
    let mut pieces: Vec<Range<usize>> = Vec::new();
    for member in members {
        match pieces.last_mut().filter(|piece| content(index, &(piece.start..member + 1)) <= MOST_RUN) {
            Some(piece) => piece.end = member + 1,
            None => pieces.push(member..member + 1),
        }
    }
    pieces
}

/// The part of the older tar for `size` bytes at `at` of a run of `all`, which lay somewhere in `gap`.
fn window(gap: &Range<u64>, end: u64, (at, size, all): (u64, u64, u64)) -> Range<u64> {
    let length = gap.end - gap.start;
    if length + 2 * AROUND <= MOST_BASE {
        return gap.start.saturating_sub(AROUND)..(gap.end + AROUND).min(end);
    }
    // Too much to look at: where it would be if all had grown alike.
    let share = |at: u64| u64::try_from(u128::from(length) * u128::from(at) / u128::from(all)).unwrap_or(0);
    let middle = gap.start + u64::midpoint(share(at), share(at + size));
    let start = middle.saturating_sub(MOST_BASE / 2).min(end.saturating_sub(MOST_BASE));
    start..(start + MOST_BASE).min(end)
}

const _: () = assert!(MOST as u64 <= MOST_RUN);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::archive::index::{Compressor, Contents, Member};
    use crate::model::archive::{entries, length};
    use crate::model::image::tests::of_layers;
    use proptest::prelude::*;

    /// Archives whose members are these letters, each a MiB.
    fn archives(new: &str, old: &str) -> (Index, Index) {
        (archive(new), archive(old))
    }

    fn archive(letters: &str) -> Index {
        let image = |size: u64| {
            let layer = Blob { digest: Digest::of(letters.as_bytes()), size };
            of_layers(vec![layer]).0
        };
        let total = (letters.chars().count() as u64) << 20;
        let around = length(&entries(&image(total))) - total;
        let compressor =
            Compressor { name: "none".to_owned(), version: "1".to_owned(), level: 0, text_level: 0 };
        let contents = Contents { image: image(total - around), papers: Vec::new(), compressor };
        let member = |letter: char| {
            let digest = Digest::of(letter.to_string().as_bytes());
            Member { packed: 1000, plain: 1 << 20, checksum: letter.into(), digest }
        };
        Index::new(contents, letters.chars().map(member).collect()).unwrap()
    }

    fn mebibytes(run: &Run) -> (Range<usize>, Range<u64>) {
        (run.members.clone(), run.base.start >> 20..run.base.end.div_ceil(1 << 20))
    }

    #[test]
    fn what_is_new_is_made_of_what_was_between_its_neighbours() {
        let (new, old) = archives("abXYefgh", "abcdefgh");
        assert_eq!(runs(&new, &old).iter().map(mebibytes).collect::<Vec<_>>(), [(2..4, 1..5)]);
        let (new, old) = archives("abcdefgh", "abcdefgh");
        assert!(runs(&new, &old).is_empty());
        let (new, old) = archives("XYZ", "ab");
        assert_eq!(runs(&new, &old).iter().map(mebibytes).collect::<Vec<_>>(), [(0..3, 0..2)]);
        // What comes after was elsewhere.
        let (new, old) = archives("cXab", "abc");
        assert_eq!(runs(&new, &old).iter().map(mebibytes).collect::<Vec<_>>(), [(1..2, 2..3)]);
    }

    #[test]
    fn long_runs_are_cut_and_look_where_they_would_have_been() {
        let letters = |first: u32| (first..first + 80).filter_map(char::from_u32).collect::<String>();
        let (new, old) = archives(&letters(0x4e00), &letters(0x5e00));
        let runs = runs(&new, &old);
        assert_eq!(runs.len(), 10);
        for run in &runs {
            assert!(content(&new, &run.members) <= MOST_RUN && run.base.end - run.base.start == MOST_BASE);
            let place = new.contents(&run.members);
            assert!(run.base.start <= place.start && place.end <= run.base.end, "{run:?}");
        }
    }

    #[test]
    fn tables_are_read_as_they_were_written_and_no_other_way() {
        let (new, old) = archives("aXcYef", "abcdef");
        let frame = |bytes: &[u8]| Blob::of(bytes);
        let runs: Vec<_> = runs(&new, &old).into_iter().zip([frame(b"one"), frame(b"second")]).collect();
        let table = Table::new(runs, &new, &old).unwrap();
        let bytes = table.to_bytes();
        assert_eq!(Table::parse(&bytes, &new, &old).unwrap(), table);
        assert_eq!(bytes.len() as u64, Table::size_of(2));
        assert_eq!((table.place(0), table.place(1), table.size()), (128..131, 131..137, 137));
        assert_eq!(table.making(&[0, 3, 4]), [1]);
        assert_eq!(table.making(&[1, 2]), [0]);

        for cut in 0..bytes.len() {
            assert!(Table::parse(&bytes[..cut], &new, &old).is_err(), "{cut}");
        }
        let with = |at: usize, byte: u8| {
            let mut bytes = bytes.clone();
            bytes[at] = byte;
            Table::parse(&bytes, &new, &old).unwrap_err().to_string()
        };
        assert_eq!(with(0, b'x'), "these bytes are no patch");
        assert_eq!(with(8, 2), "the patch has version 2, and this imgforge reads version 1");
        assert_eq!(with(12, 3), "these bytes are no patch");
        assert_eq!(with(FRONT + 4, 0), "run 0 of the patch is not of these archives", "no member");
        assert_eq!(with(FRONT + 4, 9), "run 0 of the patch is not of these archives", "too many members");
        assert_eq!(with(FRONT + 15, 255), "run 0 of the patch is not of these archives", "a base out there");
        assert_eq!(with(FRONT + 19, 255), "run 0 of the patch is not of these archives", "a huge base");
        assert_eq!(with(FRONT + 23, 255), "run 0 of the patch is not of these archives", "a huge frame");
        assert_eq!(with(FRONT + RECORD, 1), "run 1 of the patch is not of these archives", "the same member");
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let (new, old) = archives("aXc", "abc");
            let mut front = MAGIC.to_vec();
            front.extend([1, 0, 0, 0]);
            for bytes in [&bytes, &[&front[..], &bytes].concat()] {
                if let Ok(table) = Table::parse(bytes, &new, &old) {
                    prop_assert_eq!(&table.to_bytes(), bytes);
                }
            }
        }

        #[test]
        fn runs_are_exactly_what_is_new(new in "[a-f]{1,30}", old in "[a-f]{1,30}") {
            let (new_index, old_index) = archives(&new, &old);
            let runs = runs(&new_index, &old_index);
            let made: Vec<usize> = runs.iter().flat_map(|run| run.members.clone()).collect();
            let same = |member: &usize| {
                old_index.members().contains(&new_index.members()[*member])
            };
            let missing: Vec<usize> = (0..new_index.members().len()).filter(|member| !same(member)).collect();
            prop_assert_eq!(made, missing);
            let frames = runs.into_iter().map(|run| (run, Blob::of(b"x"))).collect();
            prop_assert!(Table::new(frames, &new_index, &old_index).is_ok());
        }
    }
}
