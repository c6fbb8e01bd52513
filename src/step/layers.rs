//! Reads the tars that layers are. A noun: several steps look into layers.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt as _;

use crate::model::layer::{self, BadItem, Item, Kind, LayerPath};

/// Everything in an uncompressed layer; contents stay where they are ([`Kind::File`]).
pub fn items(layer: &File) -> io::Result<Result<BTreeMap<LayerPath, Item>, BadItem>> {
    let mut items = BTreeMap::new();
    let mut tar = tar::Archive::new(layer.try_clone()?);
    for entry in tar.entries_with_seek()? {
        let mut entry = entry?;
        // A comment on the whole tar, such as a commit: in layers of others only.
        if entry.header().entry_type().is_pax_global_extensions() {
            continue;
        }
        let path = match layer::path(&entry.path_bytes()) {
            Ok(Some(path)) => path,
            Ok(None) => continue,
            Err(bad) => return Ok(Err(bad)),
        };
        match item(&mut entry, &path)? {
            Ok(item) => items.insert(path, item),
            Err(bad) => return Ok(Err(bad)),
        };
    }
    Ok(Ok(items))
}

/// Reads one entry's header; its content stays where it is.
fn item(entry: &mut tar::Entry<'_, File>, path: &LayerPath) -> io::Result<Result<Item, BadItem>> {
    let bad = |reason| Ok(Err(BadItem { path: layer::show(path), reason }));
    let at = entry.raw_file_position();
    let size = entry.size();
    let link = entry.link_name_bytes().unwrap_or_default().into_owned();
    let header = entry.header();
    let device = || -> io::Result<(u32, u32)> {
        Ok((header.device_major()?.unwrap_or_default(), header.device_minor()?.unwrap_or_default()))
    };
    let kind = match header.entry_type() {
        tar::EntryType::Regular | tar::EntryType::Continuous => Kind::File { at, size },
        tar::EntryType::Link => match layer::path(&link) {
            Ok(Some(target)) => Kind::HardLink(target),
            _ => return bad("is a hard link to nothing"),
        },
        tar::EntryType::Symlink => Kind::Link(link),
        tar::EntryType::Directory => Kind::Directory,
        tar::EntryType::Char => device().map(|(major, minor)| Kind::Character(major, minor))?,
        tar::EntryType::Block => device().map(|(major, minor)| Kind::Block(major, minor))?,
        tar::EntryType::Fifo => Kind::Pipe,
        _ => return bad("is of a kind that images cannot hold"),
    };
    // Older engines also write the bits of the file's type.
    let mode = header.mode()? & 0o7777;
    let (uid, gid, modified) = (header.uid()?, header.gid()?, header.mtime()?);
    let mut attributes = BTreeMap::new();
    if let Some(records) = entry.pax_extensions()? {
        for record in records {
            let record = record?;
            let key = record.key().map_err(io::Error::other)?;
            if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
                attributes.insert(name.to_owned(), record.value_bytes().to_vec());
            }
        }
    }
    Ok(Ok(Item { kind, mode, uid, gid, modified, attributes }))
}

/// One file inside a layer. It has a handle of its own: windows of one layer are read side by side.
pub struct Window {
    file: File,
    at: u64,
    size: u64,
    position: u64,
}

impl Window {
    /// The file that begins `at` a byte of a layer.
    pub fn new(layer: &File, at: u64, size: u64) -> io::Result<Self> {
        Ok(Self { file: layer.try_clone()?, at, size, position: 0 })
    }

    /// Its bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl Read for Window {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.size.saturating_sub(self.position)).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let read = self.file.read_at(&mut buffer[..wanted], self.at + self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl Seek for Window {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.size.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
