//! A header of a tar, and what stands before it.

use std::collections::BTreeMap;

use tar::EntryType;

use crate::model::layer::{Item, Kind, path};

/// What stands before a header, and counts instead of what is in it.
#[derive(Default)]
pub(super) struct Before {
    pub(super) name: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) records: BTreeMap<String, Vec<u8>>,
}

impl Before {
    pub(super) fn is_nothing(&self) -> bool {
        self.name.is_none() && self.link.is_none() && self.records.is_empty()
    }

    pub(super) fn is_without_name(&self) -> bool {
        self.name.is_none() && !self.records.contains_key("path")
    }

    pub(super) fn is_without_link(&self) -> bool {
        self.link.is_none() && !self.records.contains_key("linkpath")
    }

    /// Bytes that follow the header; links, directories and devices have none, whatever it says.
    pub(super) fn size(&self, header: &tar::Header) -> Option<u64> {
        match header.entry_type() {
            EntryType::Link
            | EntryType::Symlink
            | EntryType::Directory
            | EntryType::Char
            | EntryType::Block
            | EntryType::Fifo => Some(0),
            kind if is_before(kind) => header.entry_size().ok(),
            _ => self.number("size", || header.entry_size().ok()),
        }
    }

    pub(super) fn name(&self, header: &tar::Header) -> Vec<u8> {
        let long = self.records.get("path").or(self.name.as_ref());
        long.cloned().unwrap_or_else(|| header.path_bytes().into_owned())
    }

    fn number(&self, key: &str, short: impl Fn() -> Option<u64>) -> Option<u64> {
        match self.records.get(key) {
            Some(value) => digits(value),
            None => short(),
        }
    }

    pub(super) fn item(
        self,
        header: &tar::Header,
        name: &[u8],
        (at, size): (u64, u64),
    ) -> Result<Item, &'static str> {
        let link = || {
            let long = self.records.get("linkpath").or(self.link.as_ref());
            long.cloned().unwrap_or_else(|| header.link_name_bytes().unwrap_or_default().into_owned())
        };
        let device = || match (header.device_major(), header.device_minor()) {
            (Ok(major), Ok(minor)) => Ok((major.unwrap_or_default(), minor.unwrap_or_default())),
            _ => Err("is a device without a number"),
        };
        let kind = match header.entry_type() {
            // Its bytes would be those of a list of pieces.
            _ if self.records.keys().any(|key| key.starts_with("GNU.sparse.")) => return Err("has holes"),
            // In the oldest tars, that is a directory.
            EntryType::Regular if name.ends_with(b"/") => {
                return Err("is a file with the name of a directory");
            }
            EntryType::Regular | EntryType::Continuous => Kind::File { at, size },
            EntryType::Link => match path(&link()) {
                Ok(Some(target)) => Kind::HardLink(target),
                _ => return Err("is a hard link to nothing"),
            },
            EntryType::Symlink => Kind::Link(link()),
            EntryType::Directory => Kind::Directory,
            EntryType::Char => device().map(|(major, minor)| Kind::Character(major, minor))?,
            EntryType::Block => device().map(|(major, minor)| Kind::Block(major, minor))?,
            EntryType::Fifo => Kind::Pipe,
            _ => return Err("is of a kind that images cannot hold"),
        };
        // Older engines also write the bits of the file's type.
        let mode = header.mode().map_err(|_| "has a mode that is no number")? & 0o7777;
        let owner = "has an owner that is no number";
        let uid = self.number("uid", || header.uid().ok()).ok_or(owner)?;
        let gid = self.number("gid", || header.gid().ok()).ok_or(owner)?;
        let modified = header.mtime().map_err(|_| "has a time that is no number")?;
        let attribute = |(key, value): (String, Vec<u8>)| {
            key.strip_prefix("SCHILY.xattr.").map(|name| (name.to_owned(), value))
        };
        let attributes = self.records.into_iter().filter_map(attribute).collect();
        Ok(Item { kind, mode, uid, gid, modified, attributes })
    }
}

pub(super) fn is_before(kind: EntryType) -> bool {
    matches!(
        kind,
        EntryType::XGlobalHeader | EntryType::XHeader | EntryType::GNULongName | EntryType::GNULongLink
    )
}

/// A header, if its checksum is right.
pub(super) fn header(block: &[u8]) -> Option<tar::Header> {
    let mut header = tar::Header::new_old();
    header.as_mut_bytes().copy_from_slice(block);
    let said = header.cksum().ok()?;
    let mut summed = header.clone();
    summed.set_cksum();
    (summed.cksum().ok()? == said && is_of_one_kind(&header)).then_some(header)
}

/// Whether all readers find the same name in a header: its magic says where that goes on.
fn is_of_one_kind(header: &tar::Header) -> bool {
    let bytes = header.as_bytes();
    let is_empty = |field: &[u8]| field.iter().all(|byte| *byte == 0);
    if header.as_ustar().is_some() {
        // The trailer of star's own format, in which names are shorter.
        return bytes[508..] != *b"tar\0";
    }
    match header.as_gnu() {
        // Go once wrote the rest of the name there.
        Some(gnu) => {
            (is_empty(&gnu.atime) || gnu.atime().is_ok()) && (is_empty(&gnu.ctime) || gnu.ctime().is_ok())
        }
        None => is_empty(&bytes[257..265]),
    }
}

/// PAX records: each begins with its own length.
pub(super) fn records(mut text: &[u8]) -> Option<BTreeMap<String, Vec<u8>>> {
    let mut records = BTreeMap::new();
    while !text.is_empty() {
        let space = text.iter().position(|byte| *byte == b' ')?;
        let length = usize::try_from(digits(&text[..space])?).ok()?;
        let (record, rest) = text.split_at_checked(length)?;
        let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|byte| *byte == b'=')?;
        let (key, value) = (std::str::from_utf8(&record[..equals]).ok()?, &record[equals + 1..]);
        if ["path", "linkpath"].contains(&key) && (value.is_empty() || value.contains(&0)) {
            return None;
        }
        records.insert(key.to_owned(), value.to_vec());
        text = rest;
    }
    Some(records)
}

fn digits(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// A text up to the zero byte that ends it.
pub(super) fn ended(mut text: Vec<u8>) -> Vec<u8> {
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    text.truncate(end);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_end_where_they_say() {
        let one = |text: &[u8]| records(text).map(|found| found.into_iter().collect::<Vec<_>>());
        assert_eq!(one(b"8 a=b\nc\n"), Some(vec![("a".to_owned(), b"b\nc".to_vec())]));
        for bad in [
            "8 a=b\n",
            "0 a=b\n",
            "2 a=b\n",
            "+6 a=b\n",
            "6 a=bc",
            "6 abc\n",
            "99999999999999999999 a=b\n",
            "11 path=a\0\n",
        ] {
            assert_eq!(one(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(one(b""), Some(Vec::new()));
    }
}
