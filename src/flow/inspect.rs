//! Looks into archives without loading them: what is inside, what differs, what a fetch would cost.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use super::Error;
use crate::model::archive::delta::{Plan, Source};
use crate::model::archive::index::Index;
use crate::model::archive::tail::{self, Footer, Tail};
use crate::model::archive::tree::{Change, Tree};
use crate::model::digest::Digest;
use crate::model::layer::LayerPath;
use crate::step::assemble::Assembled;
use crate::step::atomic::Draft;
use crate::step::progress::{Event, Hear};
use crate::step::{assemble, download, list, members};

/// An archive whose end was read. Members are verified against its own index when they are read;
/// whose index that is, only `verify` says.
pub struct Opened {
    file: Arc<File>,
    /// Bytes of the file.
    pub size: u64,
    /// Where its parts are.
    pub footer: Footer,
    /// What it holds.
    pub index: Arc<Index>,
    /// The sealed release at its end, not verified.
    pub sealed: Option<Vec<u8>>,
}

/// A layer as it lies in an archive.
pub struct Layer {
    /// Its digest, which is its diffID.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// Its bytes in the file.
    pub packed: u64,
}

/// Opens an archive.
pub fn open(path: &Path) -> Result<Opened, Error> {
    let file = download::local(path)?;
    let size = file.metadata().map_err(|error| download::DownloadError::Io(path.to_owned(), error))?.len();
    let Tail { footer, index, sealed, .. } = members::tail(&file)?;
    Ok(Opened { file: Arc::new(file), size, footer, index: Arc::new(index), sealed })
}

impl Opened {
    /// The layers, the lowest first.
    #[must_use]
    pub fn layers(&self) -> Vec<Layer> {
        let packed = |place: &std::ops::Range<u64>| {
            let numbers = self.index.covering(place);
            numbers.map(|number| u64::from(self.index.members()[number].packed)).sum()
        };
        let layers = list::layers(&self.index).into_iter();
        layers
            .map(|(digest, place)| Layer { digest, size: place.end - place.start, packed: packed(&place) })
            .collect()
    }

    /// All files of the image.
    pub fn tree(&self, hear: Hear<'_>) -> Result<Tree, Error> {
        hear(Event::Doing("reading the layers"));
        Ok(list::tree(&self.file, &self.index, hear)?)
    }

    /// One document about the image.
    pub fn paper(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        Ok(list::document(&self.file, &self.index, digest)?)
    }

    /// Writes one file of the image.
    pub fn cat(&self, path: &str, to: &mut dyn Write, hear: Hear<'_>) -> Result<(), Error> {
        let tree = list::tree(&self.file, &self.index, hear)?;
        Ok(list::file(&self.file, &self.index, &tree, path, to)?)
    }

    /// Bytes of the end, which is fetched before anything else.
    #[must_use]
    pub fn tail_size(&self) -> u64 {
        self.footer.tail_size(self.size)
    }
}

/// What a machine that holds the `old` archives would fetch of `new`.
#[must_use]
pub fn delta(old: &[Opened], new: &Opened) -> Plan {
    let sources: Vec<Source> = old.iter().map(|old| Source::archive(&old.index)).collect();
    Plan::new(&new.index, &sources, &members::compressor())
}

/// The files that differ.
pub fn changes(old: &Opened, new: &Opened, hear: Hear<'_>) -> Result<Vec<(LayerPath, Change)>, Error> {
    Ok(old.tree(hear)?.changes(&new.tree(hear)?))
}

/// Rebuilds `new` in another file as a machine with the `old` archives would: copies what is there,
/// and reads the ranges of the plan from the file of `new`.
pub fn rebuild(
    old: &[Opened],
    new: &Opened,
    plan: &Plan,
    target: &Path,
    hear: Hear<'_>,
) -> Result<Assembled, Error> {
    let io = |error| download::DownloadError::Io(target.to_owned(), error);
    hear(Event::Doing(&format!("rebuilding `{}`", target.display())));
    let sources: Vec<&File> = old.iter().map(|old| &*old.file).collect();
    let mut draft = Draft::beside(target).map_err(io)?;
    let ranges = |range| assemble::part(&new.file, range);
    let assembled = assemble::members(&new.index, plan, &sources, &ranges, draft.file(), hear)?;
    let mut end = tail::index_member(&new.index.to_bytes());
    end.extend(tail::after(new.footer, new.sealed.as_deref()));
    assemble::end(&new.index, &end, draft.file())?;
    draft.keep(target, 0o644).map_err(io)?;
    Ok(assembled)
}
