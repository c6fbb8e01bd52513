//! Receives members of an archive over several connections. Each is hashed when it arrives, written to its
//! place, and from then on never asked for again.

mod line;
mod patch;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Seek as _};
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::BytesMut;
use futures_util::future::try_join_all;
use tokio::sync::Semaphore;

pub use line::Line;
use line::{Brake, FIRST, MOST, widen};
pub use patch::{Taker, Wanted, patch};

use super::progress::{Event, Hear};
use super::store::{Key, Reader, Store, StoreError};
use super::stream;
use crate::model::archive::delta::{self, Fetch};
use crate::model::archive::index::Index;
use crate::model::archive::tail::Tail;
use crate::model::digest::Digest;
use crate::model::image::Blob;
use crate::model::release::Archive;

/// Where an archive is published.
#[derive(Debug, Clone)]
pub struct Location {
    /// The store.
    pub store: Store,
    /// Its name there.
    pub key: Key,
}

/// Why not everything arrived. What did is on the disk.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something else than was signed.
    #[error("store `{}` sent other bytes than were signed, as {what} of `{}`", .place.store.address(), .place.key)]
    Wrong {
        /// Where.
        place: Location,
        /// Which part.
        what: String,
    },
    /// Another size than was signed.
    #[error("store `{}` has `{}` with {found} bytes, and {expected} were signed", .place.store.address(), .place.key)]
    Size {
        /// Where.
        place: Location,
        /// Bytes signed.
        expected: u64,
        /// Bytes there.
        found: u64,
    },
    /// This machine's disk.
    #[error("cannot write the archive")]
    Write(#[source] io::Error),
}

impl ReceiveError {
    /// Whether another store may have what this one has not.
    #[must_use]
    pub fn is_of_this_store(&self) -> bool {
        !matches!(self, Self::Write(_))
    }

    /// Whether another way to the same bytes may do better than to ask again.
    #[must_use]
    pub fn is_of_this_way(&self) -> bool {
        match self {
            Self::Wrong { .. } | Self::Size { .. } => true,
            Self::Store(error) => matches!(error, StoreError::Refused { .. } | StoreError::Changed { .. }),
            Self::Write(_) => false,
        }
    }
}

/// Bytes that one request asks for at most: enough that requests cost nothing, few enough that no
/// connection is left with a long rest at the end. When there is little, all connections still have some.
const REQUEST: u64 = 4 << 20;
const SMALL_REQUEST: u64 = 256 << 10;

/// Failures in a row, without a member in between, after which a store counts as gone.
const TRIES: u32 = 5;

/// The index of an archive. `index_at` and `after` are what [`Archive`]'s end is known to be.
pub async fn index(
    place: &Location,
    archive: &Archive,
    index_at: u64,
    after: &[u8],
) -> Result<Index, ReceiveError> {
    let size = archive.size - index_at;
    let most = usize::try_from(size).unwrap_or(usize::MAX);
    let mut reader = place.store.part(&place.key, index_at..archive.size).await?;
    let mut end = reader.to_end(most).await.map_err(|fault| place.store.error(&place.key, fault))?;
    end.extend(after);
    match Tail::parse(&end, archive.size + after.len() as u64) {
        Ok(tail) if tail.index_blob == archive.index => Ok(tail.index),
        _ => Err(ReceiveError::Wrong { place: place.clone(), what: "the index".to_owned() }),
    }
}

/// Receives these members, which are in order, into their places in a file.
pub async fn members(
    place: &Location,
    index: &Index,
    missing: &[usize],
    to: &File,
    line: Line,
    hear: Hear<'_>,
) -> Result<u64, ReceiveError> {
    let fetches = delta::fetches(index, missing);
    let request = (delta::size(&fetches) / (2 * FIRST as u64)).clamp(SMALL_REQUEST, REQUEST);
    let jobs: VecDeque<Fetch> = fetches.into_iter().flat_map(|fetch| split(index, fetch, request)).collect();
    let reception = Reception::new(place, Way::Parts, index, jobs, to, line, hear);
    let open = line.connections.unwrap_or(FIRST).clamp(1, MOST);
    let permits = Semaphore::new(open);
    let workers = try_join_all((0..MOST).map(|_| reception.work(&permits)));
    if line.connections.is_some() {
        workers.await?;
    } else {
        tokio::select! {
            done = workers => { done?; }
            never = widen(&permits, open, &reception.received) => match never {},
        }
    }
    Ok(reception.received.into_inner())
}

/// Receives all members by one request, for servers that give no parts.
pub async fn stream(
    place: &Location,
    index: &Index,
    to: &File,
    line: Line,
    hear: Hear<'_>,
) -> Result<(), ReceiveError> {
    let mut all = Fetch { members: 0..index.members().len(), bytes: 0..index.packed_size() };
    let reception = Reception::new(place, Way::Whole, index, [all.clone()].into(), to, line, hear);
    reception.receive(&mut all).await
}

/// Receives a file without looking into it, for servers that do not even give its index. It is checked
/// when it is here.
pub async fn blindly(
    place: &Location,
    size: u64,
    to: &File,
    line: Line,
    hear: Hear<'_>,
) -> Result<(), ReceiveError> {
    let mut reader = place.store.read(&place.key).await?;
    let brake = line.rate.map(Brake::new);
    let wrong = |found| ReceiveError::Size { place: place.clone(), expected: size, found };
    let mut at = 0;
    while let Some(piece) = next(place, &mut reader).await? {
        if at + piece.len() as u64 > size {
            return Err(wrong(reader.total()));
        }
        to.write_all_at(&piece, at).map_err(ReceiveError::Write)?;
        at += piece.len() as u64;
        hear(Event::Bytes { done: at, total: size });
        if let Some(brake) = &brake {
            brake.pass(piece.len() as u64).await;
        }
    }
    if at == size { Ok(()) } else { Err(wrong(at)) }
}

/// Receives a file whose digest is known.
pub async fn blob(place: &Location, expected: &Blob, to: &File, hear: Hear<'_>) -> Result<(), ReceiveError> {
    blindly(place, expected.size, to, Line::default(), hear).await?;
    let mut to = to.try_clone().map_err(ReceiveError::Write)?;
    let found = to.rewind().and_then(|()| stream::measure(&mut to)).map_err(ReceiveError::Write)?;
    if found == *expected {
        return Ok(());
    }
    Err(ReceiveError::Wrong { place: place.clone(), what: "all".to_owned() })
}

/// A range in requests of whole members, each of so many bytes at most if it has more than one.
fn split(index: &Index, fetch: Fetch, request: u64) -> Vec<Fetch> {
    let mut jobs: Vec<Fetch> = Vec::new();
    for member in fetch.members {
        let place = index.place(member);
        match jobs.last_mut().filter(|job| place.end - job.bytes.start <= request) {
            Some(job) => {
                job.members.end = member + 1;
                job.bytes.end = place.end;
            }
            None => jobs.push(Fetch { members: member..member + 1, bytes: place }),
        }
    }
    jobs
}

/// How a store is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// For ranges.
    Parts,
    /// For the object, from its beginning.
    Whole,
}

struct Reception<'a> {
    place: &'a Location,
    way: Way,
    index: &'a Index,
    to: &'a File,
    jobs: Mutex<VecDeque<Fetch>>,
    /// Requests in a row that failed.
    failures: AtomicU32,
    received: AtomicU64,
    total: u64,
    brake: Option<Brake>,
    hear: Hear<'a>,
}

impl<'a> Reception<'a> {
    fn new(
        place: &'a Location,
        way: Way,
        index: &'a Index,
        jobs: VecDeque<Fetch>,
        to: &'a File,
        line: Line,
        hear: Hear<'a>,
    ) -> Self {
        let total = jobs.iter().map(Fetch::size).sum();
        hear(Event::Bytes { done: 0, total });
        let (jobs, failures, received) = (Mutex::new(jobs), AtomicU32::new(0), AtomicU64::new(0));
        let brake = line.rate.map(Brake::new);
        Self { place, way, index, to, jobs, failures, received, total, brake, hear }
    }

    /// One connection: requests, one after the other, until none is left.
    async fn work(&self, permits: &Semaphore) -> Result<(), ReceiveError> {
        loop {
            let Ok(_permit) = permits.acquire().await else { return Ok(()) };
            let Some(mut job) = lock(&self.jobs).pop_front() else { return Ok(()) };
            let Err(error) = self.receive(&mut job).await else { continue };
            lock(&self.jobs).push_front(job);
            let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
            if !matches!(error, ReceiveError::Store(StoreError::Unreachable { .. })) || failures >= TRIES {
                return Err(error);
            }
            super::store::pause(failures).await;
        }
    }

    /// What is left of a job when this fails is still in it.
    async fn receive(&self, job: &mut Fetch) -> Result<(), ReceiveError> {
        let Location { store, key } = self.place;
        let mut reader = match self.way {
            Way::Parts => store.part(key, job.bytes.clone()).await?,
            Way::Whole => store.read(key).await?,
        };
        let mut bytes = BytesMut::new();
        while let Some(number) = job.members.clone().next() {
            let member = &self.index.members()[number];
            while bytes.len() < member.packed as usize {
                match next(self.place, &mut reader).await? {
                    Some(piece) => bytes.extend_from_slice(&piece),
                    None => return Err(self.wrong(number)),
                }
            }
            let packed = bytes.split_to(member.packed as usize);
            if Digest::of(&packed) != member.digest {
                return Err(self.wrong(number));
            }
            let place = self.index.place(number);
            self.to.write_all_at(&packed, place.start).map_err(ReceiveError::Write)?;
            (job.members.start, job.bytes.start) = (number + 1, place.end);
            self.failures.store(0, Ordering::Relaxed);
            let done = self.received.fetch_add(u64::from(member.packed), Ordering::Relaxed);
            (self.hear)(Event::Bytes { done: done + u64::from(member.packed), total: self.total });
            if let Some(brake) = &self.brake {
                brake.pass(member.packed.into()).await;
            }
        }
        Ok(())
    }

    fn wrong(&self, number: usize) -> ReceiveError {
        ReceiveError::Wrong { place: self.place.clone(), what: format!("member {number}") }
    }
}

/// The next bytes.
async fn next(place: &Location, reader: &mut Reader) -> Result<Option<bytes::Bytes>, StoreError> {
    reader.next().await.map_err(|fault| place.store.error(&place.key, fault))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
