//! What changed from one tree to the next.
//!
//! In overlays whose layers are on one file system, the number of an inode and the time of its last change
//! are those of the file or directory that is seen. A directory in which something changed, however deep, is in
//! the upper layer too, as a directory of its own. So what is the same inode in both trees is the same file,
//! and what is the same directory holds the same below it: only what changed is read.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use crate::model::layer::{Item, Kind, LayerPath, WHITEOUT};
use crate::{Failure, at};

/// The only extended attribute that engines keep in layers.
const CAPABILITY: &str = "security.capability";

/// Bytes of a file capability, of which there are 24 at most.
const MOST: usize = 64;

/// What a tree has that the one below has not, or has otherwise; and what is gone.
#[derive(Default)]
pub(crate) struct Changes {
    pub(crate) items: BTreeMap<LayerPath, Item>,
    /// Paths in the tree, to which [`Kind::File`] refers by number.
    pub(crate) files: Vec<PathBuf>,
    /// First names of files that may have more.
    names: BTreeMap<u64, LayerPath>,
}

/// Compares a tree with the one below it, if there is one.
pub(crate) fn compare(below: Option<&Path>, tree: &Path) -> Result<Changes, Failure> {
    let mut changes = Changes::default();
    let mut folders = vec![(PathBuf::new(), LayerPath::new(), below.is_some())];
    while let Some((folder, path, was)) = folders.pop() {
        let under = below.filter(|_| was).map(|below| below.join(&folder));
        let mut gone = under.as_deref().map(names).transpose()?.unwrap_or_default();
        for name in names(&tree.join(&folder))? {
            if name.as_bytes().starts_with(WHITEOUT) {
                let path = folder.join(&name).display().to_string();
                return Err(Failure::Unable(format!("{path}: no layer can hold such a name")));
            }
            let here = folder.join(&name);
            let metadata = stat(&tree.join(&here))?;
            let before = match &under {
                Some(under) if gone.remove(&name) => Some(stat(&under.join(&name))?),
                _ => None,
            };
            if before.as_ref().is_some_and(|before| is_same(before, &metadata)) {
                continue;
            }
            let path: LayerPath = path.iter().cloned().chain([name.as_bytes().to_vec()]).collect();
            if metadata.is_dir() {
                folders.push((here.clone(), path.clone(), before.is_some_and(|before| before.is_dir())));
            }
            changes.add(tree, here, path, &metadata)?;
        }
        for name in gone {
            let whiteout = path.iter().cloned().chain([[WHITEOUT, name.as_bytes()].concat()]);
            changes.items.insert(whiteout.collect(), whited_out());
        }
    }
    Ok(changes)
}

/// Names in a directory.
fn names(folder: &Path) -> Result<BTreeSet<OsString>, Failure> {
    let read = || fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>();
    read().map_err(at(folder))
}

fn stat(path: &Path) -> Result<Metadata, Failure> {
    fs::symlink_metadata(path).map_err(at(path))
}

/// Whether both trees show one and the same inode.
fn is_same(before: &Metadata, now: &Metadata) -> bool {
    let inode = |of: &Metadata| (of.ino(), of.ctime(), of.ctime_nsec(), of.file_type());
    inode(before) == inode(now)
}

impl Changes {
    fn add(
        &mut self,
        tree: &Path,
        here: PathBuf,
        path: LayerPath,
        metadata: &Metadata,
    ) -> Result<(), Failure> {
        let full = tree.join(&here);
        let (size, device) = (metadata.size(), metadata.rdev());
        let device = (rustix::fs::major(device), rustix::fs::minor(device));
        let kind = match metadata.file_type() {
            kind if kind.is_file() => match self.names.get(&metadata.ino()) {
                Some(first) if metadata.nlink() > 1 => Kind::HardLink(first.clone()),
                _ => {
                    self.files.push(here);
                    self.names.insert(metadata.ino(), path.clone());
                    Kind::File { at: self.files.len() as u64 - 1, size }
                }
            },
            kind if kind.is_dir() => Kind::Directory,
            kind if kind.is_symlink() => {
                Kind::Link(fs::read_link(&full).map_err(at(&full))?.as_os_str().as_bytes().to_vec())
            }
            kind if kind.is_char_device() => Kind::Character(device.0, device.1),
            kind if kind.is_block_device() => Kind::Block(device.0, device.1),
            kind if kind.is_fifo() => Kind::Pipe,
            // Sockets: no engine keeps them.
            _ => return Ok(()),
        };
        let attributes = if metadata.is_file() { attributes(&full)? } else { BTreeMap::new() };
        let (mode, modified) = (metadata.mode() & 0o7777, u64::try_from(metadata.mtime()).unwrap_or(0));
        let (uid, gid) = (metadata.uid().into(), metadata.gid().into());
        self.items.insert(path, Item { kind, mode, uid, gid, modified, attributes });
        Ok(())
    }
}

fn attributes(path: &Path) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    let mut value = [0; MOST];
    match rustix::fs::lgetxattr(path, CAPABILITY, &mut value[..]) {
        Ok(length) => Ok(BTreeMap::from([(CAPABILITY.to_owned(), value[..length].to_vec())])),
        Err(rustix::io::Errno::NODATA | rustix::io::Errno::NOTSUP) => Ok(BTreeMap::new()),
        Err(error) => Err(Failure::Io(path.to_owned(), error.into())),
    }
}

/// Only its name counts.
fn whited_out() -> Item {
    let kind = Kind::File { at: 0, size: 0 };
    Item { kind, mode: 0, uid: 0, gid: 0, modified: 0, attributes: BTreeMap::new() }
}
