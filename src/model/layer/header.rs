//! How items stand in a tar.

use std::collections::BTreeMap;

use super::{Item, Kind, LayerPath};
use crate::model::blocks::{BLOCK, END, padding};

/// What a layer's tar is put together of.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// These bytes.
    Bytes(Vec<u8>),
    /// The content of a file, which is where its [`Kind::File`] says.
    Content {
        /// Offset of the first byte.
        at: u64,
        /// Number of bytes.
        size: u64,
    },
}

/// The tar of a layer, piece by piece.
pub fn pieces(items: &[(LayerPath, Item)]) -> impl Iterator<Item = Piece> {
    let entry = |(path, item): &(LayerPath, Item)| {
        let content = match item.kind {
            Kind::File { at, size: size @ 1.. } => Some((Piece::Content { at, size }, padding(size))),
            _ => None,
        };
        let header = Piece::Bytes(header(path, item));
        let rest = content.map(|(content, padding)| [content, Piece::Bytes(vec![0; padding])]);
        [header].into_iter().chain(rest.into_iter().flatten())
    };
    items.iter().flat_map(entry).chain([Piece::Bytes(vec![0; END])])
}

/// The blocks before an item's content: a `ustar` header, and a PAX header before it where a name is
/// too long or there are extended attributes.
fn header(path: &LayerPath, item: &Item) -> Vec<u8> {
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
    use super::super::path;
    use super::*;

    #[test]
    fn a_header_is_what_a_tar_reader_reads() {
        let long = format!("{}/{}", "d".repeat(90), "f".repeat(90));
        let (kind, attributes) = (Kind::File { at: 0, size: 0 }, BTreeMap::new());
        let mut special = Item { kind, mode: 0o4755, uid: 0, gid: 0, modified: 99, attributes };
        special.attributes.insert("security.capability".to_owned(), b"\x01\0\x02=".to_vec());
        let mut bytes = header(&path(long.as_bytes()).unwrap().unwrap(), &special);
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
}
