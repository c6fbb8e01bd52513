//! A layer in normal form: the same content gives the same bytes, whatever engine wrote it.
//!
//! Engines agree on the files that a step leaves behind, and differ in what they write about them: one
//! lists all that a step touched, as `chown -R` does, another what it changed; times, names of owners, type
//! bits in modes and the order of hard links are their own, and so are directories that only appear because
//! a mount once stood there. In normal form a layer holds what differs from the layers below it
//! ([`Below`]) and the directories above that, sorted, dated no later than the plan's epoch, each header
//! written in one way ([`pieces`]).
//!
//! Directories above a change stay, although the layer below has them: an engine that unpacks a
//! layer by itself would otherwise make them up, with its own idea of owner and mode.

mod below;
mod header;

use std::collections::BTreeMap;

pub use below::{Below, Bytes};
pub use header::{Piece, pieces};

/// Raised whenever the same content would come to other bytes, so that older layers are not taken for new ones.
pub const FORM: u32 = 2;

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

/// How an entry's name begins that only says that something of a lower layer is gone.
pub const WHITEOUT: &[u8] = b".wh.";

/// The whiteout of everything that lower layers have in its directory.
pub const OPAQUE: &[u8] = b".wh..wh..opq";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_cannot_leave() {
        assert!(path(b"a/../../b").is_err());
        assert_eq!(path(b"./").unwrap(), None);
        assert_eq!(path(b"/a//./b/").unwrap(), Some(vec![b"a".to_vec(), b"b".to_vec()]));
    }
}
