//! Makes patches, and makes members with them.
//!
//! | threat | defence |
//! |---|---|
//! | a frame that nobody signed | its SHA-256 is in the table that the release signs, and comes before the decompressor |
//! | a bomb | a frame unpacks into as many bytes as its members have, 8 MiB at most, or not at all |
//! | an older archive that is damaged | members of it are hashed before they are used; what was made of them is hashed before it is written |

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::ScopedJoinHandle;

use zstd::zstd_safe::{CCtx, CParameter, DCtx, compress_bound, get_error_name};

use super::atomic::Draft;
use super::members::{self, Packer, Part};
use super::progress::{Event, Hear};
use super::stream;
use crate::model::archive::index::Index;
use crate::model::archive::patch::{BadPatch, Run, Table, runs};
use crate::model::image::Blob;

/// zstandard's level: measured on an upgrade of Debian's packages, it leaves 13 MB of an archive of 249 MB, where
/// the members that differ have 38 MB, in seven seconds on two cores.
const LEVEL: i32 = 9;

/// Reaches over a base and a run.
const WINDOW_LOG: u32 = 26;

/// An archive whose members can be read.
#[derive(Debug, Clone)]
pub struct Side {
    /// The open file.
    pub file: Arc<File>,
    /// Its index.
    pub index: Arc<Index>,
}

/// Why there is no patch, or no members made with it.
#[derive(Debug, thiserror::Error)]
pub enum PatchError {
    /// The disk.
    #[error("cannot write `{}`", .0.display())]
    Io(PathBuf, #[source] io::Error),
    /// One of the two archives.
    #[error("an archive cannot be read")]
    Archive(#[source] io::Error),
    /// zstandard, which says why.
    #[error("zstandard cannot compress: {0}")]
    Compress(&'static str),
    /// Other bytes than the table names.
    #[error("frame {0} has other bytes than were signed")]
    Frame(usize),
    /// A frame, or a compressor, that is not what the publisher had.
    #[error("run {0} does not make the members that it should")]
    Members(usize),
    /// The table.
    #[error(transparent)]
    Table(#[from] BadPatch),
}

/// A patch that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made {
    /// All of it.
    pub whole: Blob,
    /// The table at its beginning.
    pub table: Blob,
}

/// The index of an archive.
pub fn index(file: &File) -> Result<Index, PatchError> {
    Ok(members::tail(file).map_err(|error| PatchError::Archive(io::Error::other(error)))?.index)
}

impl Side {
    /// A part of its tar, each member of it verified.
    fn content(&self, part: &Range<u64>) -> io::Result<Vec<u8>> {
        let mut content = Vec::with_capacity(usize::try_from(part.end - part.start).unwrap_or_default());
        Part::read(&self.file, &self.index, part, members::threads()).read_to_end(&mut content)?;
        Ok(content)
    }
}

/// Writes the patch from an older archive to a newer one, if it has less than so many bytes. Equal archives
/// give equal patches.
pub fn make(
    old: &Side,
    new: &Side,
    target: &Path,
    less_than: u64,
    hear: Hear<'_>,
) -> Result<Option<Made>, PatchError> {
    let io = |error| PatchError::Io(target.to_owned(), error);
    let runs = runs(&new.index, &old.index);
    let size = |run: &Run| {
        let Range { start, end } = new.index.contents(&run.members);
        end - start
    };
    let (mut done, total) = (0, runs.iter().map(size).sum());
    let mut draft = Draft::beside(target).map_err(io)?;
    // The table comes first, and says what the frames are.
    draft.file().seek(SeekFrom::Start(Table::size_of(runs.len()))).map_err(io)?;
    let mut frames = Vec::new();
    for several in runs.chunks(members::threads()) {
        for frame in on_threads(several.iter().collect(), |run| frame(old, new, run)) {
            let frame = frame?;
            draft.file().write_all(&frame).map_err(io)?;
            frames.push(Blob::of(&frame));
        }
        done += several.iter().map(size).sum::<u64>();
        hear(Event::Bytes { done, total });
    }
    let table = Table::new(runs.into_iter().zip(frames).collect(), &new.index, &old.index)?.to_bytes();
    draft.file().write_all_at(&table, 0).map_err(io)?;
    draft.file().rewind().map_err(io)?;
    let whole = stream::measure(draft.file()).map_err(io)?;
    if whole.size >= less_than {
        return Ok(None);
    }
    draft.keep(target, 0o644).map_err(io)?;
    Ok(Some(Made { whole, table: Blob::of(&table) }))
}

/// The frame from which, with its base, the content of a run comes.
fn frame(old: &Side, new: &Side, run: &Run) -> Result<Vec<u8>, PatchError> {
    let base = old.content(&run.base).map_err(PatchError::Archive)?;
    let content = new.content(&new.index.contents(&run.members)).map_err(PatchError::Archive)?;
    let failed = |code| PatchError::Compress(get_error_name(code));
    let mut compressor = CCtx::create();
    for parameter in [
        CParameter::CompressionLevel(LEVEL),
        CParameter::WindowLog(WINDOW_LOG),
        CParameter::EnableLongDistanceMatching(true),
    ] {
        compressor.set_parameter(parameter).map_err(failed)?;
    }
    compressor.ref_prefix(&base).map_err(failed)?;
    let mut frame = Vec::with_capacity(compress_bound(content.len()));
    compressor.compress2(&mut frame, &content).map_err(failed)?;
    Ok(frame)
}

/// The members that a frame makes, as they are in the newer archive, each with its number.
pub fn apply(
    table: &Table,
    run: usize,
    frame: &[u8],
    old: &Side,
    new: &Index,
) -> Result<Vec<(usize, Vec<u8>)>, PatchError> {
    let (Run { members, base }, signed) = &table.runs()[run];
    if Blob::of(frame) != *signed {
        return Err(PatchError::Frame(run));
    }
    let base = old.content(base).map_err(PatchError::Archive)?;
    let Range { start, end } = new.contents(members);
    let size = usize::try_from(end - start).unwrap_or_default();
    let mut content = Vec::with_capacity(size);
    let mut decompressor = DCtx::create();
    let unpacked = decompressor.ref_prefix(&base).and_then(|_| decompressor.decompress(&mut content, frame));
    if unpacked != Ok(size) {
        return Err(PatchError::Members(run));
    }
    let pieces = members.clone().map(|member| {
        let Range { start: from, end } = new.content(member);
        let at = |at: u64| usize::try_from(at - start).unwrap_or_default();
        (member, &content[at(from)..at(end)])
    });
    let share = members.len().div_ceil(members::threads());
    let pieces: Vec<_> = pieces.collect();
    let made = on_threads(pieces.chunks(share).collect(), |pieces| {
        let mut packer = Packer::new();
        let pack = |(member, content): &(usize, &[u8])| {
            let (bytes, made) = packer.pack(content).ok()?;
            (made == new.members()[*member]).then_some((*member, bytes))
        };
        pieces.iter().map(pack).collect::<Option<Vec<_>>>()
    });
    let made: Option<Vec<_>> = made.into_iter().collect();
    Ok(made.ok_or(PatchError::Members(run))?.concat())
}

/// One thread for each, and what came of them in the same order.
fn on_threads<T: Send, R: Send>(inputs: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = inputs.into_iter().map(|input| scope.spawn(move || work(input))).collect();
        let join = |thread: ScopedJoinHandle<'_, R>| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        threads.into_iter().map(join).collect()
    })
}
