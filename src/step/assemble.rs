//! Rebuilds an archive from what is here and the ranges that are not, byte for byte.
//!
//! Whatever comes from a source or from a store is hashed before it is written. A source that turns
//! out to hold something else costs a request and nothing more.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::mpsc;
use std::thread;

use super::members::{self, MemberError, Packer, Unpacker};
use super::progress::{Event, Hear};
use crate::model::archive::delta::{self, Fetch, Found, Plan, Way};
use crate::model::archive::index::Index;
use crate::model::digest::Digest;

/// Why an archive cannot be rebuilt.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// The file that is written.
    #[error("cannot write the archive")]
    Write(#[source] io::Error),
    /// Where the rest comes from.
    #[error("cannot fetch bytes {} to {} of the archive", .0.start, .0.end)]
    Fetch(Range<u64>, #[source] io::Error),
    /// What came from there.
    #[error("the store sent other bytes")]
    Member(#[source] MemberError),
}

/// Reads a range of the new archive from wherever it is published. It may give fewer bytes only by
/// an error, and the caller asks for no more than the range.
pub type Ranges<'a> = &'a dyn Fn(Range<u64>) -> io::Result<Box<dyn Read + 'a>>;

/// How many bytes came from where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Assembled {
    /// From sources on this machine.
    pub copied: u64,
    /// By ranges.
    pub fetched: u64,
}

/// Writes all members of an archive to their places. The tail is not written here: it is known
/// before the plan is made, and its seal is verified before any of this begins.
pub fn members(
    new: &Index,
    plan: &Plan,
    sources: &[&File],
    ranges: Ranges<'_>,
    to: &File,
    hear: Hear<'_>,
) -> Result<Assembled, AssembleError> {
    let total = new.packed_size();
    let (copied, lost) = copies(new, &plan.found, sources, to, hear)?;
    let mut done = Assembled { copied, fetched: 0 };
    for range in plan.fetches.iter().chain(&delta::fetches(new, &lost)) {
        fetch(new, range, ranges, to, &mut |more| {
            done.fetched += more;
            hear(Event::Bytes { done: total.min(done.copied + done.fetched), total });
        })?;
    }
    hear(Event::Bytes { done: total, total });
    Ok(done)
}

/// Copies members from sources to their places, on all cores. Tells how many bytes, and which members turned out not to
/// be where they were looked for.
pub fn copies(
    new: &Index,
    found: &[Found],
    sources: &[&File],
    to: &File,
    hear: Hear<'_>,
) -> Result<(u64, Vec<usize>), AssembleError> {
    let total = new.packed_size();
    let mut copied = 0;
    let mut lost = Vec::new();
    let share = found.len().div_ceil(members::threads()).max(1);
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        for part in found.chunks(share) {
            let tell = tell.clone();
            scope.spawn(move || {
                let mut tools = (Packer::new(), Unpacker::new());
                let place = |found: &Found| match copy(new, found, sources, &mut tools) {
                    Some(bytes) => to
                        .write_all_at(&bytes, new.place(found.member).start)
                        .map(|()| Ok(bytes.len() as u64)),
                    None => Ok(Err(found.member)),
                };
                // Nobody listens after an error.
                let _ = part.iter().map(place).try_for_each(|outcome| tell.send(outcome));
            });
        }
        drop(tell);
        for outcome in told {
            match outcome.map_err(AssembleError::Write)? {
                Ok(bytes) => copied += bytes,
                Err(member) => lost.push(member),
            }
            hear(Event::Bytes { done: copied, total });
        }
        Ok(())
    })?;
    lost.sort_unstable();
    Ok((copied, lost))
}

/// The bytes of a member from a source; `None` when they are not what the plan hoped for.
fn copy(
    new: &Index,
    found: &Found,
    sources: &[&File],
    (packer, unpacker): &mut (Packer, Unpacker),
) -> Option<Vec<u8>> {
    let wanted = &new.members()[found.member];
    let mut bytes = vec![0; found.there.packed as usize];
    sources.get(found.source)?.read_exact_at(&mut bytes, found.at).ok()?;
    if found.way == Way::Repack {
        let mut content = Vec::new();
        unpacker.unpack(found.member, &bytes, &found.there, &mut content).ok()?;
        bytes = packer.pack(&content).ok()?.0;
    }
    (Digest::of(&bytes) == wanted.digest).then_some(bytes)
}

/// Writes what follows the members.
pub fn end(new: &Index, end: &[u8], to: &File) -> Result<(), AssembleError> {
    to.write_all_at(end, new.packed_size()).map_err(AssembleError::Write)
}

/// [`Ranges`] of a file on this machine.
pub fn part(file: &File, range: Range<u64>) -> io::Result<Box<dyn Read>> {
    let mut file = file.try_clone()?;
    file.seek(SeekFrom::Start(range.start))?;
    Ok(Box::new(file.take(range.end - range.start)))
}

fn fetch(
    new: &Index,
    range: &Fetch,
    ranges: Ranges<'_>,
    to: &File,
    tell: &mut dyn FnMut(u64),
) -> Result<(), AssembleError> {
    let failed = |error| AssembleError::Fetch(range.bytes.clone(), error);
    let mut stream = ranges(range.bytes.clone()).map_err(failed)?;
    for number in range.members.clone() {
        let member = &new.members()[number];
        let mut bytes = vec![0; member.packed as usize];
        stream.read_exact(&mut bytes).map_err(failed)?;
        let found = Digest::of(&bytes);
        if found != member.digest {
            let expected = member.digest;
            return Err(AssembleError::Member(MemberError::Digest { number, expected, found }));
        }
        to.write_all_at(&bytes, new.place(number).start).map_err(AssembleError::Write)?;
        tell(u64::from(member.packed));
    }
    Ok(())
}
