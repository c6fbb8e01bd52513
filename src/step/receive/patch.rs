//! Receives frames of a patch: those alone that are wanted, each hashed before it is handed on.

use std::ops::Range;

use bytes::BytesMut;

use super::line::{Brake, Line};
use super::{Location, REQUEST, ReceiveError, next};
use crate::model::archive::index::Index;
use crate::model::archive::patch::Table;
use crate::model::image::Blob;
use crate::model::release::Patch;
use crate::step::progress::{Event, Hear};

/// What a patch is wanted for.
pub struct Wanted<'a> {
    /// The newer archive.
    pub new: &'a Index,
    /// The older one.
    pub old: &'a Index,
    /// The members that are missing, in order.
    pub missing: &'a [usize],
}

/// Who gets the frames: the table, the number of the run, and its frame.
pub type Taker<'a, E> = &'a mut dyn FnMut(&Table, usize, &[u8]) -> Result<(), E>;

/// Hands on each frame that makes a missing member, in order. When the taker fails, its reason ends this.
pub async fn patch<E: From<ReceiveError>>(
    place: &Location,
    patch: &Patch,
    wanted: Wanted<'_>,
    line: Line,
    take: Taker<'_, E>,
    hear: Hear<'_>,
) -> Result<(), E> {
    let wrong = |what: String| ReceiveError::Wrong { place: place.clone(), what };
    let brake = line.rate.map(Brake::new);
    let mut stream = Stream::open(place, 0..patch.table.size).await?;
    let front = stream.take(patch.table.size, brake.as_ref()).await?;
    if Blob::of(&front) != patch.table {
        return Err(wrong("the table".to_owned()).into());
    }
    let table = Table::parse(&front, wanted.new, wanted.old)
        .map_err(|error| wrong(format!("the table ({error})")))?;
    if table.size() != patch.size {
        return Err(wrong("the frames".to_owned()).into());
    }
    let runs = table.making(wanted.missing);
    let total = runs.iter().map(|run| table.runs()[*run].1.size).sum();
    let mut done = 0;
    hear(Event::Bytes { done, total });
    for several in together(&table, &runs) {
        let bytes = table.place(several.start).start..table.place(several.end - 1).end;
        let mut stream = Stream::open(place, bytes).await?;
        for run in several {
            let signed = table.runs()[run].1;
            let frame = stream.take(signed.size, brake.as_ref()).await?;
            if Blob::of(&frame) != signed {
                return Err(wrong(format!("frame {run}")).into());
            }
            take(&table, run, &frame)?;
            done += signed.size;
            hear(Event::Bytes { done, total });
        }
    }
    Ok(())
}

/// Runs whose frames follow each other, as one request brings them.
fn together(table: &Table, runs: &[usize]) -> Vec<Range<usize>> {
    let mut several: Vec<Range<usize>> = Vec::new();
    for run in runs {
        let joins = |last: &&mut Range<usize>| {
            last.end == *run && table.place(*run).end - table.place(last.start).start <= REQUEST
        };
        match several.last_mut().filter(joins) {
            Some(last) => last.end = run + 1,
            None => several.push(*run..run + 1),
        }
    }
    several
}

/// A part of an object, on its way here.
struct Stream<'a> {
    place: &'a Location,
    reader: super::Reader,
    bytes: BytesMut,
}

impl<'a> Stream<'a> {
    async fn open(place: &'a Location, part: Range<u64>) -> Result<Self, ReceiveError> {
        let reader = place.store.part(&place.key, part).await?;
        Ok(Self { place, reader, bytes: BytesMut::new() })
    }

    /// The next bytes; fewer only where the object ends.
    async fn take(&mut self, size: u64, brake: Option<&Brake>) -> Result<BytesMut, ReceiveError> {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        while self.bytes.len() < size {
            let Some(piece) = next(self.place, &mut self.reader).await? else { break };
            if let Some(brake) = brake {
                brake.pass(piece.len() as u64).await;
            }
            self.bytes.extend_from_slice(&piece);
        }
        Ok(self.bytes.split_to(size.min(self.bytes.len())))
    }
}
