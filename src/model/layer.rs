//! A layer in normal form: the same content gives the same bytes, whatever engine wrote it.
//!
//! Engines agree on what a layer changes and differ in how they write it: times, names of owners,
//! type bits in modes, the order of hard links, and directories that only appear because a mount
//! once stood there. In normal form a layer holds what it changes and the directories above that,
//! sorted, dated no later than the plan's epoch, each header written in one way.
//!
//! Directories above a change stay, although the layer below has them: an engine that unpacks a
//! layer by itself would otherwise make them up, with its own idea of owner and mode.

use std::collections::{BTreeMap, BTreeSet};

/// A path by its components; their order is depth first, parents before children.
pub type LayerPath = Vec<Vec<u8>>;

/// What stands at a path of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What it is.
    pub kind: Kind,
    /// Permission bits, with set-user-ID, set-group-ID and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Seconds since 1970.
    pub modified: u64,
    /// Extended attributes, such as file capabilities.
    pub attributes: BTreeMap<String, Vec<u8>>,
}

/// Kinds that a layer may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file: where its bytes begin in the layer that was read, and how many there are.
    File {
        /// Offset of the first byte.
        at: u64,
        /// Number of bytes.
        size: u64,
    },
    /// Another name of a file in the same layer.
    HardLink(LayerPath),
    /// A symbolic link.
    Link(Vec<u8>),
    /// A directory.
    Directory,
    /// A character device.
    Character(u32, u32),
    /// A block device.
    Block(u32, u32),
    /// A named pipe.
    Pipe,
}

/// Why something cannot stand in a layer.
#[derive(Debug, thiserror::Error)]
#[error("`{path}` in a layer {reason}")]
pub struct BadItem {
    /// Where.
    pub path: String,
    /// What is wrong.
    pub reason: &'static str,
}

/// Parses a path of a tar entry; `None` is the root itself.
pub fn path(bytes: &[u8]) -> Result<Option<LayerPath>, BadItem> {
    let real = |part: &&[u8]| !part.is_empty() && *part != b".";
    let parts: LayerPath = bytes.split(|byte| *byte == b'/').filter(real).map(<[u8]>::to_vec).collect();
    if parts.iter().any(|part| part == b"..") {
        return Err(BadItem { path: show(&parts), reason: "leaves it with `..`" });
    }
    Ok((!parts.is_empty()).then_some(parts))
}

/// A path for messages.
#[must_use]
pub fn show(path: &[Vec<u8>]) -> String {
    String::from_utf8_lossy(&path.join(&b'/')).into_owned()
}

/// What the layers so far make, so that the next layer knows what it repeats and what it removes.
#[derive(Debug, Clone, Default)]
pub struct Below(BTreeMap<LayerPath, Item>);

/// How an entry's name begins that only says that something of a lower layer is gone.
pub const WHITEOUT: &[u8] = b".wh.";

/// The whiteout of everything that lower layers have in its directory.
pub const OPAQUE: &[u8] = b".wh..wh..opq";

impl Below {
    /// Brings a layer into normal form, and goes up to the view of the next one.
    pub fn normalise(&mut self, items: BTreeMap<LayerPath, Item>, epoch: u64) -> Vec<(LayerPath, Item)> {
        let items = &mut self.tidy(items, epoch);
        let changes = |path: &&LayerPath| {
            items[*path].kind != Kind::Directory || self.0.get(*path) != Some(&items[*path])
        };
        let mut kept: BTreeSet<LayerPath> = items.keys().filter(changes).cloned().collect();
        let above: Vec<LayerPath> =
            kept.iter().flat_map(|path| (1..path.len()).map(|end| path[..end].to_vec())).collect();
        for parent in above {
            if let Some(known) = self.0.get(&parent).filter(|known| known.kind == Kind::Directory) {
                items.entry(parent.clone()).or_insert_with(|| known.clone());
            }
            if items.contains_key(&parent) {
                kept.insert(parent);
            }
        }
        let mut normal: Vec<(LayerPath, Item)> =
            kept.into_iter().filter_map(|path| items.remove_entry(&path)).collect();
        self.add(normal.iter().map(|(path, item)| (path, item)));
        order_links(&mut normal);
        normal
    }

    /// Goes up over a layer that stays as it is, whatever its form.
    pub fn stand_on(&mut self, items: BTreeMap<LayerPath, Item>, epoch: u64) {
        let items = self.tidy(items, epoch);
        self.add(&items);
    }

    /// Times and whiteouts as they are in normal form; what the whiteouts name is gone from here on.
    fn tidy(&mut self, mut items: BTreeMap<LayerPath, Item>, epoch: u64) -> BTreeMap<LayerPath, Item> {
        self.spell_out(&mut items);
        for (path, item) in &mut items {
            item.modified = item.modified.min(epoch);
            if gone(path).is_some() {
                *item = whiteout();
            }
        }
        self.remove_whiteouts(items.keys());
        items
    }

    /// Goes up over a layer that is in normal form already.
    pub fn climb(&mut self, layer: &BTreeMap<LayerPath, Item>) {
        self.remove_whiteouts(layer.keys());
        self.add(layer);
    }

    fn add<'a>(&mut self, layer: impl IntoIterator<Item = (&'a LayerPath, &'a Item)>) {
        for (path, item) in layer {
            if item.kind != Kind::Directory {
                self.remove(path);
            }
            if gone(path).is_none() {
                self.0.insert(path.clone(), item.clone());
            }
        }
    }

    /// Some engines say of a directory that was made again that nothing below it shows through, others
    /// name what is gone. Names say the same to every reader, so a layer in normal form has names.
    fn spell_out(&self, items: &mut BTreeMap<LayerPath, Item>) {
        let opaque: Vec<LayerPath> =
            items.keys().filter(|path| path.last().is_some_and(|name| name == OPAQUE)).cloned().collect();
        for mark in opaque {
            items.remove(&mark);
            let mut folders = vec![mark[..mark.len() - 1].to_vec()];
            while let Some(folder) = folders.pop() {
                let children =
                    self.0.range(folder.clone()..).take_while(|(path, _)| path.starts_with(&folder));
                for (path, below) in children.filter(|(path, _)| path.len() == folder.len() + 1) {
                    match items.get(path) {
                        Some(item) if item.kind == Kind::Directory && below.kind == Kind::Directory => {
                            folders.push(path.clone());
                        }
                        Some(_) => {}
                        None => {
                            let name = [WHITEOUT, &path[folder.len()]].concat();
                            items.insert(folder.iter().cloned().chain([name]).collect(), whiteout());
                        }
                    }
                }
            }
        }
    }

    /// `.wh.name` removes `name` of the layers below.
    fn remove_whiteouts<'a>(&mut self, paths: impl IntoIterator<Item = &'a LayerPath>) {
        for path in paths {
            if let Some(gone) = gone(path) {
                self.remove(&gone);
            }
        }
    }

    fn remove(&mut self, path: &LayerPath) {
        let below: Vec<LayerPath> = self
            .0
            .range(path.clone()..)
            .take_while(|(other, _)| other.starts_with(path))
            .map(|(other, _)| other.clone())
            .collect();
        for path in below {
            self.0.remove(&path);
        }
    }
}

/// What a whiteout removes; `None` for everything that is none.
fn gone(path: &LayerPath) -> Option<LayerPath> {
    let (name, folder) = path.split_last()?;
    let name = name.strip_prefix(WHITEOUT)?.to_vec();
    Some(folder.iter().cloned().chain([name]).collect())
}

/// Only its name counts; engines fill in modes and dates of their own.
fn whiteout() -> Item {
    let kind = Kind::File { at: 0, size: 0 };
    Item { kind, mode: 0, uid: 0, gid: 0, modified: 0, attributes: BTreeMap::new() }
}

/// Of all names of a file, the first in order holds the bytes, and the others link to it.
fn order_links(items: &mut [(LayerPath, Item)]) {
    let mut names: BTreeMap<LayerPath, Vec<usize>> = BTreeMap::new();
    for (index, (_, item)) in items.iter().enumerate() {
        if let Kind::HardLink(target) = &item.kind {
            names.entry(target.clone()).or_default().push(index);
        }
    }
    for (target, links) in names {
        let Ok(holder) = items.binary_search_by(|(path, _)| path.cmp(&target)) else { continue };
        let first = links.iter().copied().chain([holder]).min().unwrap_or(holder);
        let bytes = items[holder].1.clone();
        let first_path = items[first].0.clone();
        for index in links.into_iter().chain([holder]) {
            items[index].1 = bytes.clone();
            if index != first {
                items[index].1.kind = Kind::HardLink(first_path.clone());
            }
        }
    }
}

const BLOCK: usize = 512;

/// The blocks before an item's content: a `ustar` header, and a PAX header before it where a name is
/// too long or there are extended attributes.
#[must_use]
pub fn header(path: &LayerPath, item: &Item) -> Vec<u8> {
    let mut name = path.join(&b'/');
    let (kind, size, link, device) = match &item.kind {
        Kind::File { size, .. } => (tar::EntryType::Regular, *size, Vec::new(), (0, 0)),
        Kind::HardLink(target) => (tar::EntryType::Link, 0, target.join(&b'/'), (0, 0)),
        Kind::Link(target) => (tar::EntryType::Symlink, 0, target.clone(), (0, 0)),
        Kind::Directory => (tar::EntryType::Directory, 0, Vec::new(), (0, 0)),
        Kind::Character(major, minor) => (tar::EntryType::Char, 0, Vec::new(), (*major, *minor)),
        Kind::Block(major, minor) => (tar::EntryType::Block, 0, Vec::new(), (*major, *minor)),
        Kind::Pipe => (tar::EntryType::Fifo, 0, Vec::new(), (0, 0)),
    };
    if item.kind == Kind::Directory {
        name.push(b'/');
    }
    let mut records: BTreeMap<String, Vec<u8>> =
        item.attributes.iter().map(|(key, value)| (format!("SCHILY.xattr.{key}"), value.clone())).collect();
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(item.mode);
    header.set_uid(item.uid);
    header.set_gid(item.gid);
    header.set_mtime(item.modified);
    // Written by older tars as empty, by newer ones as zero: always zero here.
    let _ = header.set_device_major(device.0).and_then(|()| header.set_device_minor(device.1));
    fill(&mut header.as_old_mut().name, &name, "path", &mut records);
    fill(&mut header.as_old_mut().linkname, &link, "linkpath", &mut records);
    header.set_cksum();
    let mut blocks = if records.is_empty() { Vec::new() } else { pax(&records) };
    blocks.extend_from_slice(header.as_bytes());
    blocks
}

fn fill(field: &mut [u8; 100], text: &[u8], key: &str, records: &mut BTreeMap<String, Vec<u8>>) {
    let fits = text.len().min(field.len());
    field[..fits].copy_from_slice(&text[..fits]);
    if fits < text.len() {
        records.insert(key.to_owned(), text.to_vec());
    }
}

fn pax(records: &BTreeMap<String, Vec<u8>>) -> Vec<u8> {
    let mut body = Vec::new();
    for (key, value) in records {
        // A record begins with its own length, in which the digits of that length count too.
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        body.extend(format!("{length} {key}=").bytes());
        body.extend(value);
        body.push(b'\n');
    }
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::XHeader);
    header.as_old_mut().name[..9].copy_from_slice(b"PaxHeader");
    header.set_size(body.len() as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    let mut blocks = header.as_bytes().to_vec();
    let padded = body.len().next_multiple_of(BLOCK);
    body.resize(padded, 0);
    blocks.extend(body);
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> LayerPath {
        path(text.as_bytes()).unwrap().unwrap()
    }

    fn item(kind: Kind, mode: u32) -> Item {
        Item { kind, mode, uid: 0, gid: 0, modified: 99, attributes: BTreeMap::new() }
    }

    fn layer(items: &[(&str, Item)]) -> BTreeMap<LayerPath, Item> {
        items.iter().map(|(path, item)| (at(path), item.clone())).collect()
    }

    fn names(items: &[(LayerPath, Item)]) -> Vec<String> {
        items.iter().map(|(path, item)| format!("{} {:o}", show(path), item.mode)).collect()
    }

    const DIRECTORY: Kind = Kind::Directory;
    const FILE: Kind = Kind::File { at: 0, size: 0 };

    #[test]
    fn strays_go_and_the_directories_above_a_change_stay() {
        let mut below = Below::default();
        below.normalise(layer(&[("etc", item(DIRECTORY, 0o755)), ("tmp", item(DIRECTORY, 0o1777))]), 0);
        let stray = layer(&[("etc", item(DIRECTORY, 0o755)), ("tmp/x", item(FILE, 0o644))]);
        assert_eq!(names(&below.normalise(stray, 0)), ["tmp 1777", "tmp/x 644"]);
        let changed = layer(&[("etc", item(DIRECTORY, 0o700))]);
        assert_eq!(names(&below.clone().normalise(changed, 0)), ["etc 700"]);
    }

    #[test]
    fn a_directory_that_was_removed_is_no_repetition() {
        let mut below = Below::default();
        below.normalise(layer(&[("a", item(DIRECTORY, 0o755)), ("a/b", item(DIRECTORY, 0o755))]), 0);
        below.normalise(layer(&[("a/.wh.b", item(FILE, 0))]), 0);
        assert_eq!(
            names(&below.normalise(layer(&[("a/b", item(DIRECTORY, 0o755))]), 0)),
            ["a 755", "a/b 755"]
        );
    }

    #[test]
    fn what_an_opaque_directory_hides_is_named() {
        let mut below = Below::default();
        let lower = ["d", "d/x", "d/sub", "d/sub/y", "d/sub/z", "d/file"];
        let kind = |path: &str| if ["d", "d/sub"].contains(&path) { DIRECTORY } else { FILE };
        let lower: Vec<(&str, Item)> = lower.iter().map(|path| (*path, item(kind(path), 0o755))).collect();
        below.normalise(layer(&lower), 0);
        let opaque = layer(&[
            ("d", item(DIRECTORY, 0o755)),
            ("d/.wh..wh..opq", item(FILE, 0o755)),
            ("d/sub", item(DIRECTORY, 0o755)),
            ("d/sub/y", item(FILE, 0o755)),
            ("d/file", item(FILE, 0o755)),
        ]);
        let named = layer(&[
            ("d", item(DIRECTORY, 0o755)),
            ("d/.wh.x", item(FILE, 0o600)),
            ("d/sub", item(DIRECTORY, 0o755)),
            ("d/sub/.wh.z", item(FILE, 0o600)),
            ("d/sub/y", item(FILE, 0o755)),
            ("d/file", item(FILE, 0o755)),
        ]);
        let normal = below.clone().normalise(opaque, 0);
        assert_eq!(normal, below.clone().normalise(named, 0));
        let expected = ["d 755", "d/.wh.x 0", "d/file 755", "d/sub 755", "d/sub/.wh.z 0", "d/sub/y 755"];
        assert_eq!(names(&normal), expected);
    }

    #[test]
    fn the_first_name_of_a_file_holds_its_bytes() {
        let file = Kind::File { at: 7, size: 3 };
        let one = layer(&[("b", item(file.clone(), 0o644)), ("a", item(Kind::HardLink(at("b")), 0o644))]);
        let other = layer(&[("a", item(file.clone(), 0o644)), ("b", item(Kind::HardLink(at("a")), 0o644))]);
        let normal = Below::default().normalise(one, 0);
        assert_eq!(normal, Below::default().normalise(other, 0));
        assert_eq!(normal[0].1.kind, file);
        assert_eq!(normal[1].1.kind, Kind::HardLink(at("a")));
    }

    #[test]
    fn a_header_is_what_a_tar_reader_reads() {
        let long = format!("{}/{}", "d".repeat(90), "f".repeat(90));
        let mut special = item(Kind::File { at: 0, size: 0 }, 0o4755);
        special.attributes.insert("security.capability".to_owned(), b"\x01\0\x02=".to_vec());
        let mut bytes = header(&at(&long), &special);
        bytes.extend([0; 2 * BLOCK]);
        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
        assert_eq!(entry.path_bytes().as_ref(), long.as_bytes());
        assert_eq!(entry.header().mode().unwrap(), 0o4755);
        let found: Vec<(String, Vec<u8>)> = entry
            .pax_extensions()
            .unwrap()
            .unwrap()
            .map(|record| record.map(|r| (r.key().unwrap().to_owned(), r.value_bytes().to_vec())).unwrap())
            .collect();
        assert_eq!(found[0], ("SCHILY.xattr.security.capability".to_owned(), b"\x01\0\x02=".to_vec()));
    }

    #[test]
    fn paths_cannot_leave() {
        assert!(path(b"a/../../b").is_err());
        assert_eq!(path(b"./").unwrap(), None);
        assert_eq!(path(b"/a//./b/").unwrap(), Some(at("a/b")));
    }
}
