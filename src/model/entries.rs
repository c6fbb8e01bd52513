//! Reads what stands in the tar of a layer.
//!
//! The `tar` crate knows headers. It ends the PAX records before one at the first line feed, though, and the value
//! of an extended attribute may hold one: so they are read here.
//!
//! Layers of a base image stay as they are, so what an engine unpacks of them has to be what is judged. Where
//! readers of tars are known not to agree, the layer is refused.

mod header;

use std::collections::BTreeMap;
use std::mem;

use tar::EntryType;

use self::header::{Before, ended, header, is_before, records};
use super::blocks::BLOCK;
use super::layer::{BadItem, Item, Kind, LayerPath, path, show};

/// Before a header, so much at most: Linux has no longer names, and attributes of 64 KiB.
const MOST_BEFORE: u64 = 1 << 20;

/// Why the items of a layer cannot be told.
#[derive(Debug)]
pub enum Unread<E> {
    /// There is something that cannot stand in one.
    Bad(BadItem),
    /// Its bytes cannot be read.
    Bytes(E),
}

impl<E> From<BadItem> for Unread<E> {
    fn from(bad: BadItem) -> Self {
        Self::Bad(bad)
    }
}

/// Everything in an uncompressed layer of `length` bytes; contents stay where they are ([`Kind::File`]). `read`
/// fills a buffer with what stands at an offset.
pub fn items<E>(
    length: u64,
    mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
) -> Result<BTreeMap<LayerPath, Item>, Unread<E>> {
    let mut read = |at: u64, size: usize| {
        let mut bytes = vec![0; size];
        read(at, &mut bytes).map(|()| bytes).map_err(Unread::Bytes)
    };
    let mut items = BTreeMap::new();
    let mut before = Before::default();
    let mut at = 0;
    while at < length {
        let bad = |reason| BadItem { path: format!("byte {at}"), reason };
        let content = at.saturating_add(BLOCK as u64);
        if content > length {
            return Err(bad("is cut short").into());
        }
        let block = read(at, BLOCK)?;
        if block.iter().all(|byte| *byte == 0) {
            // Two end a tar. What stands after a single one is there for some readers only.
            let last = length - content < BLOCK as u64 || read(content, BLOCK)?.iter().all(|byte| *byte == 0);
            return match last {
                true if before.is_nothing() => Ok(items),
                true => Err(bad("ends what has begun").into()),
                false => Err(bad("is an empty block between others").into()),
            };
        }
        let header = header(&block).ok_or_else(|| bad("is no header of a tar"))?;
        let size = before.size(&header).ok_or_else(|| bad("has a size that is no number"))?;
        let end = content.checked_add(size).filter(|end| *end <= length);
        let end = end.ok_or_else(|| bad("is longer than the layer"))?;
        let mut text = || match usize::try_from(size) {
            Ok(size) if size as u64 <= MOST_BEFORE => read(content, size),
            _ => Err(bad("has too much before its header").into()),
        };
        match header.entry_type() {
            // A comment on the whole tar, such as a commit: in layers of others only.
            EntryType::XGlobalHeader if before.is_nothing() => {}
            EntryType::XHeader if before.is_nothing() => {
                before.records = records(&text()?).ok_or_else(|| bad("has no PAX records"))?;
            }
            EntryType::GNULongName if before.is_without_name() => before.name = Some(ended(text()?)),
            EntryType::GNULongLink if before.is_without_link() => before.link = Some(ended(text()?)),
            kind if is_before(kind) => return Err(bad("says again what was said").into()),
            _ => {
                let before = mem::take(&mut before);
                let name = before.name(&header);
                let item = before.item(&header, &name, (content, size));
                let path = path(&name)?;
                let bad =
                    |reason| BadItem { path: path.as_deref().map_or_else(|| "/".to_owned(), show), reason };
                let item = item.map_err(bad)?;
                let is_directory = item.kind == Kind::Directory;
                match &path {
                    None if is_directory => {}
                    None => return Err(bad("is no directory").into()),
                    // The later one counts for some, and both are refused by others.
                    Some(path)
                        if items
                            .get(path)
                            .is_some_and(|other: &Item| !is_directory || other.kind != Kind::Directory) =>
                    {
                        return Err(bad("is there twice").into());
                    }
                    Some(path) => drop(items.insert(path.clone(), item)),
                }
            }
        }
        at = end.next_multiple_of(BLOCK as u64);
    }
    if before.is_nothing() {
        Ok(items)
    } else {
        Err(BadItem { path: format!("byte {at}"), reason: "ends what has begun" }.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::layer::{Piece, pieces};

    fn read(tar: &[u8]) -> Result<BTreeMap<LayerPath, Item>, String> {
        let fill = |at: u64, buffer: &mut [u8]| {
            let at = usize::try_from(at).unwrap();
            buffer.copy_from_slice(tar.get(at..at + buffer.len()).ok_or("beyond the end")?);
            Ok(())
        };
        items(tar.len() as u64, fill).map_err(|unread: Unread<String>| match unread {
            Unread::Bad(bad) => bad.to_string(),
            Unread::Bytes(error) => error,
        })
    }

    fn written(items: &[(LayerPath, Item)]) -> Vec<u8> {
        let piece = |piece| match piece {
            Piece::Bytes(bytes) => bytes,
            Piece::Content { size, .. } => vec![b'x'; usize::try_from(size).unwrap()],
        };
        pieces(items).flat_map(piece).collect()
    }

    fn file(attributes: BTreeMap<String, Vec<u8>>, size: u64) -> Item {
        Item { kind: Kind::File { at: 0, size }, mode: 0o4755, uid: 1001, gid: 1002, modified: 7, attributes }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            names in prop::collection::btree_set("[^/\0]{1,200}", 1..4),
            value in prop::collection::vec(any::<u8>(), 0..40),
            size in 0_u64..1500,
        ) {
            let attributes = BTreeMap::from([("security.capability".to_owned(), value)]);
            let named = |name: String| (vec![b"d".to_vec(), [b"f", name.as_bytes()].concat()], file(attributes.clone(), size));
            let wanted: Vec<(LayerPath, Item)> = names.into_iter().map(named).collect();
            let tar = written(&wanted);
            let mut found = read(&tar).unwrap();
            for item in found.values_mut() {
                let Kind::File { at, size } = &mut item.kind else { panic!() };
                let content = usize::try_from(*at).unwrap()..usize::try_from(*at + *size).unwrap();
                prop_assert!(tar[content].iter().all(|byte| *byte == b'x'));
                *at = 0;
            }
            prop_assert_eq!(found.into_iter().collect::<Vec<_>>(), wanted);
        }

        #[test]
        fn anything_else_is_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..2048), at in 0_usize..1024) {
            let mut tar = written(&[(vec![b"a".to_vec()], file(BTreeMap::new(), 600))]);
            let end = tar.len().min(at + bytes.len());
            tar[at..end].copy_from_slice(&bytes[..end - at]);
            let _ = read(&tar);
        }
    }

    #[test]
    fn names_of_older_tars_are_read() {
        let mut tar = tar::Builder::new(Vec::new());
        let (name, link) = ("n".repeat(150), "l".repeat(150));
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        tar.append_link(&mut header, &name, &link).unwrap();
        let found = read(&tar.into_inner().unwrap()).unwrap();
        assert_eq!(found[&vec![name.into_bytes()]].kind, Kind::Link(link.into_bytes()));
    }

    #[test]
    fn what_is_no_layer_is_refused_with_the_reason() {
        let attributes = BTreeMap::from([("a".to_owned(), b"b".to_vec())]);
        let tar = written(&[(vec![b"a".to_vec()], file(attributes, 600))]);
        let changed = |change: fn(&mut Vec<u8>)| {
            let mut tar = tar.clone();
            change(&mut tar);
            read(&tar).unwrap_err()
        };
        assert_eq!(changed(|tar| tar.truncate(100)), "`byte 0` in a layer is cut short");
        assert_eq!(changed(|tar| tar.truncate(2000)), "`byte 1024` in a layer is longer than the layer");
        assert_eq!(changed(|tar| tar[0] = b'?'), "`byte 0` in a layer is no header of a tar");
        assert_eq!(changed(|tar| tar[512] = b'9'), "`byte 0` in a layer has no PAX records");
        let alone = |tar: &mut Vec<u8>| {
            tar.splice(0..0, [0; BLOCK]).for_each(drop);
        };
        assert_eq!(changed(alone), "`byte 0` in a layer is an empty block between others");
        let holes = BTreeMap::from([("x".to_owned(), b"\n22 GNU.sparse.major=1\n".to_vec())]);
        assert!(read(&written(&[(vec![b"a".to_vec()], file(holes, 0))])).is_ok(), "it is part of a value");
    }

    /// One block with a right checksum, changed by hand.
    fn block(name: &str, kind: u8, change: impl Fn(&mut [u8])) -> Vec<u8> {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(0);
        header.as_mut_bytes()[156] = kind;
        change(header.as_mut_bytes());
        header.set_cksum();
        header.as_bytes().to_vec()
    }

    /// A header before another one, with its text.
    fn before(kind: u8, text: &[u8]) -> Vec<u8> {
        let size = format!("{:011o}", text.len());
        let mut blocks = block("@", kind, |header| header[124..135].copy_from_slice(size.as_bytes()));
        blocks.extend(text);
        blocks.resize(2 * BLOCK, 0);
        blocks
    }

    #[test]
    fn what_readers_of_tars_take_for_different_things_is_refused() {
        let plain = || block("evil", b'0', |_| ());
        let prefixed = |change: fn(&mut [u8])| {
            block("evil", b'0', move |header| {
                header[345..352].copy_from_slice(b"usr/bin");
                change(header);
            })
        };
        let gnu = |header: &mut [u8]| header[257..265].copy_from_slice(b"ustar  \0");
        for (blocks, reason) in [
            (vec![before(b'x', b"8 path=\n"), plain()], "`byte 0` in a layer has no PAX records"),
            (
                vec![prefixed(|header| header[263..265].copy_from_slice(b"  "))],
                "`byte 0` in a layer is no header of a tar",
            ),
            (
                vec![prefixed(|header| header[508..].copy_from_slice(b"tar\0"))],
                "`byte 0` in a layer is no header of a tar",
            ),
            (vec![prefixed(gnu)], "`byte 0` in a layer is no header of a tar"),
            (
                vec![before(b'x', b"10 path=A\n"), before(b'L', b"B\0"), plain()],
                "`byte 1024` in a layer says again what was said",
            ),
            (
                vec![before(b'x', b"10 path=A\n"), before(b'g', b""), plain()],
                "`byte 1024` in a layer says again what was said",
            ),
            (
                vec![before(b'x', b"10 path=A\n"), before(b'x', b"10 path=B\n"), plain()],
                "`byte 1024` in a layer says again what was said",
            ),
            (vec![before(b'x', b"10 path=A\n")], "`byte 1024` in a layer ends what has begun"),
            (
                vec![before(b'x', b"10 path=A\n"), vec![0; 2 * BLOCK]],
                "`byte 1024` in a layer ends what has begun",
            ),
            (vec![block("e/", 0, |_| ())], "`e` in a layer is a file with the name of a directory"),
            (vec![block("./", b'2', |_| ())], "`/` in a layer is no directory"),
            (vec![plain(), plain()], "`evil` in a layer is there twice"),
            (vec![plain(), block("evil", b'5', |_| ())], "`evil` in a layer is there twice"),
        ] {
            assert_eq!(read(&blocks.concat()).unwrap_err(), reason);
        }
        let found =
            read(&[prefixed(|_| ()), block("d", b'5', |_| ()), block("d/", b'5', |_| ())].concat()).unwrap();
        let names: Vec<String> = found.keys().map(|path| show(path)).collect();
        assert_eq!(names, ["d", "usr/bin/evil"]);
        assert!(read(&block("old", 0, |header| header[257..265].fill(0))).is_ok());
        assert!(read(&block("gnu", b'0', gnu)).is_ok());
    }
}
