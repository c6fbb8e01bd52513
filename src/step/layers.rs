//! Reads the tars that layers are. A noun: several steps look into layers.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::content::ContentStore;
use super::stream::PIECE;
use crate::model::entries::{self, Unread};
use crate::model::image::Blob;
use crate::model::layer::{self, BadItem, Below, Item, LayerPath, Piece};

/// Everything in an uncompressed layer; contents stay where they are (`Kind::File`).
pub fn items(layer: &File) -> io::Result<Result<BTreeMap<LayerPath, Item>, BadItem>> {
    match entries::items(layer.metadata()?.len(), |at, buffer| layer.read_exact_at(buffer, at)) {
        Ok(items) => Ok(Ok(items)),
        Err(Unread::Bad(bad)) => Ok(Err(bad)),
        Err(Unread::Bytes(error)) => Err(error),
    }
}

/// Writes a layer of which the contents are in a tar.
pub fn write(mut tar: &File, items: &[(LayerPath, Item)], out: &mut dyn Write) -> io::Result<()> {
    for piece in layer::pieces(items) {
        match piece {
            Piece::Bytes(bytes) => out.write_all(&bytes)?,
            Piece::Content { at, size } => {
                tar.seek(SeekFrom::Start(at))?;
                if io::copy(&mut tar.take(size), out)? != size {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
    }
    Ok(())
}

/// Makes the layer that a root filesystem comes to; nothing where it is none.
#[must_use]
pub fn of_root(root: &Path, epoch: u64, store: &ContentStore) -> Option<Blob> {
    let file = File::open(root).ok()?;
    let items = items(&file).ok()?.ok()?;
    let items = Below::default().normalise(items, epoch, |_, _| Err(())).ok()?;
    store.create(&mut |out| write(&file, &items, out)).ok()
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
        if read == 0 && wanted > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
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

/// Where two contents begin to differ.
pub fn difference(one: &mut impl Read, other: &mut impl Read) -> io::Result<Option<u64>> {
    let mut at = 0;
    loop {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        one.take(PIECE as u64).read_to_end(&mut a)?;
        other.take(PIECE as u64).read_to_end(&mut b)?;
        if a != b {
            let same = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
            return Ok(Some(at + same as u64));
        }
        if a.is_empty() {
            return Ok(None);
        }
        at += a.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_filesystem_comes_to_one_layer_however_it_was_packed() {
        let home = tempfile::tempdir().unwrap();
        let store = ContentStore::open(&home.path().join("store")).unwrap();
        let packed = |names: [&str; 3], modified: u64| {
            let root = home.path().join("root.tar");
            let mut tar = tar::Builder::new(File::create(&root).unwrap());
            for name in names {
                let mut header = tar::Header::new_gnu();
                let kind = if name == "d" { tar::EntryType::Directory } else { tar::EntryType::Regular };
                let text = if name == "d" { "" } else { name };
                header.set_entry_type(kind);
                header.set_mode(0o755);
                header.set_uid(0);
                header.set_gid(0);
                header.set_mtime(modified);
                header.set_size(text.len() as u64);
                tar.append_data(&mut header, name, text.as_bytes()).unwrap();
            }
            tar.into_inner().unwrap();
            of_root(&root, 1000, &store).unwrap()
        };
        let layer = packed(["d", "d/a", "b"], 2000);
        assert_eq!(layer, packed(["b", "d", "d/a"], 3000));
        assert_ne!(layer, packed(["b", "d", "d/a"], 10));
        let inside = items(&store.open_blob(&layer.digest).unwrap()).unwrap().unwrap();
        let inside: Vec<_> = inside.iter().map(|(path, item)| (layer::show(path), item.modified)).collect();
        let expected = [("b", 1000), ("d", 1000), ("d/a", 1000)];
        assert_eq!(inside, expected.map(|(path, modified)| (path.to_owned(), modified)));
    }
}
