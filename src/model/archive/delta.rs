//! Which members of an archive are here already, and which ranges of it have to be fetched.
//!
//! A machine that holds any other archive holds most members of a new one: an older version, another
//! tier of the same project, the beginning of an interrupted download. The plan says where each is.
//! It is a plan and no promise: whoever carries it out hashes every member that it moves.

use std::collections::HashMap;
use std::ops::Range;

use super::index::{Compressor, Index, Member};
use crate::model::digest::Digest;

/// Ranges with at most so many bytes between them are fetched as one: on a line with 50 ms to the
/// store, another request costs more time than these bytes.
pub const GAP: u64 = 64 << 10;

/// Members that lie somewhere on this machine.
#[derive(Debug, Clone)]
pub struct Source {
    members: Vec<(Member, u64)>,
    compressor: Compressor,
}

impl Source {
    /// A whole archive.
    #[must_use]
    pub fn archive(index: &Index) -> Self {
        let all = 0..index.packed_size();
        Self::pieces(index, std::slice::from_ref(&all))
    }

    /// Those members of an archive that lie in some ranges of its file, as after an interrupted
    /// download.
    #[must_use]
    pub fn pieces(index: &Index, ranges: &[Range<u64>]) -> Self {
        let whole = |place: &Range<u64>| {
            ranges.iter().any(|range| range.start <= place.start && place.end <= range.end)
        };
        let members = index.members().iter().enumerate();
        let members = members.map(|(number, member)| (*member, index.place(number)));
        let members = members.filter(|(_, place)| whole(place)).map(|(member, place)| (member, place.start));
        Self { members: members.collect(), compressor: index.compressor().clone() }
    }
}

/// How a member comes from a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The bytes are there.
    Copy,
    /// Its content seems to be there, compressed by another compressor: it is compressed again.
    Repack,
}

/// A member that is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Which member of the new archive.
    pub member: usize,
    /// In which source.
    pub source: usize,
    /// Where in that source's file.
    pub at: u64,
    /// What lies there.
    pub there: Member,
    /// What has to be done with it.
    pub way: Way,
}

/// One range to fetch: whole members, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// Which members.
    pub members: Range<usize>,
    /// Where they are in the new file.
    pub bytes: Range<u64>,
}

impl Fetch {
    /// How many bytes it is.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.bytes.end - self.bytes.start
    }
}

/// Where every member of a new archive comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Members that are here.
    pub found: Vec<Found>,
    /// Ranges that are not.
    pub fetches: Vec<Fetch>,
}

impl Plan {
    /// Finds every member of `new` in the sources, the first one that has it. `ours` is the
    /// compressor of this machine.
    #[must_use]
    pub fn new(new: &Index, sources: &[Source], ours: &Compressor) -> Self {
        Self::of(new, 0..new.members().len(), sources, ours)
    }

    /// The same for some of its members, in order.
    #[must_use]
    pub fn of(
        new: &Index,
        members: impl IntoIterator<Item = usize>,
        sources: &[Source],
        ours: &Compressor,
    ) -> Self {
        let mut same: HashMap<Digest, Found> = HashMap::new();
        let mut alike: HashMap<(u32, u32), Found> = HashMap::new();
        for (source, held) in sources.iter().enumerate() {
            let repack = new.compressor() == ours && held.compressor != *ours;
            for (there, at) in &held.members {
                let found = Found { member: 0, source, at: *at, there: *there, way: Way::Copy };
                same.entry(there.digest).or_insert(found);
                if repack {
                    let found = Found { way: Way::Repack, ..found };
                    alike.entry((there.plain, there.checksum)).or_insert(found);
                }
            }
        }
        let mut found = Vec::new();
        let mut missing = Vec::new();
        for member in members {
            let wanted = &new.members()[member];
            let copy = same.get(&wanted.digest).filter(|found| found.there == *wanted);
            match copy.or_else(|| alike.get(&(wanted.plain, wanted.checksum))) {
                Some(place) => found.push(Found { member, ..*place }),
                None => missing.push(member),
            }
        }
        let fetches = fetches(new, &missing);
        // What lies in a gap comes with the range, so it need not be copied.
        let mut ranges = fetches.iter().peekable();
        found.retain(|found| {
            while ranges.next_if(|fetch| fetch.members.end <= found.member).is_some() {}
            ranges.peek().is_none_or(|fetch| found.member < fetch.members.start)
        });
        Self { found, fetches }
    }

    /// Bytes that have to be fetched.
    #[must_use]
    pub fn fetched(&self) -> u64 {
        size(&self.fetches)
    }

    /// Bytes that are here.
    #[must_use]
    pub fn kept(&self, new: &Index) -> u64 {
        new.packed_size() - self.fetched()
    }
}

/// Bytes of some ranges.
#[must_use]
pub fn size(fetches: &[Fetch]) -> u64 {
    fetches.iter().map(Fetch::size).sum()
}

/// The ranges that bring these members, which are in order.
#[must_use]
pub fn fetches(index: &Index, missing: &[usize]) -> Vec<Fetch> {
    let mut fetches: Vec<Fetch> = Vec::new();
    for member in missing {
        let place = index.place(*member);
        match fetches.last_mut().filter(|last| place.start - last.bytes.end <= GAP) {
            Some(last) => {
                last.members.end = member + 1;
                last.bytes.end = place.end;
            }
            None => fetches.push(Fetch { members: *member..member + 1, bytes: place }),
        }
    }
    fetches
}
