//! The files of an image: what its layers make when they are laid over each other.

use std::collections::BTreeMap;

use crate::model::digest::Digest;
use crate::model::layer::{LayerPath, show};

/// Something in the file system of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u64, u64),
    /// Which layer it is from, the lowest is 0.
    pub layer: usize,
    /// Where its content begins in the archive's tar.
    pub at: u64,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File {
        /// Number of bytes.
        size: u64,
        /// Digest of the bytes.
        digest: Digest,
    },
    /// Another name of a file in the same layer.
    HardLink(LayerPath),
    /// A symbolic link, as written.
    Link(Vec<u8>),
    /// A directory.
    Directory,
    /// A device or a pipe.
    Special,
}

/// How a path differs between two images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It is there with other content, mode or owner.
    Changed,
}

/// All files of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree(BTreeMap<LayerPath, Node>);

/// Links that are followed before it counts as going in circles, as in Linux.
const MOST_LINKS: usize = 40;

impl Tree {
    /// Lays the next layer over those before. Whiteouts remove what is below, whatever their place.
    pub fn lay(&mut self, layer: BTreeMap<LayerPath, Node>) {
        for path in layer.keys() {
            let Some((name, folder)) = path.split_last() else { continue };
            if name == b".wh..wh..opq" {
                self.0.retain(|other, _| other.len() <= folder.len() || !other.starts_with(folder));
            } else if let Some(gone) = name.strip_prefix(b".wh.") {
                self.remove(&[folder, &[gone.to_vec()]].concat());
            }
        }
        for (path, node) in layer {
            if path.last().is_some_and(|name| name.starts_with(b".wh.")) {
                continue;
            }
            let replaces = !matches!(node.kind, Kind::Directory)
                && self.0.get(&path).is_some_and(|below| below.kind == Kind::Directory);
            if replaces {
                self.remove(&path);
            }
            self.0.insert(path, node);
        }
    }

    fn remove(&mut self, path: &LayerPath) {
        // What lies below a path comes right after it.
        let below = self.0.range(path.clone()..).take_while(|(other, _)| other.starts_with(path));
        let gone: Vec<LayerPath> = below.map(|(other, _)| other.clone()).collect();
        for path in gone {
            self.0.remove(&path);
        }
    }

    /// Every path, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&LayerPath, &Node)> {
        self.0.iter()
    }

    /// The regular file at a path, as a process in the image would find it: links are followed.
    #[must_use]
    pub fn file(&self, path: &LayerPath) -> Option<(&Node, u64)> {
        let mut path = path.clone();
        for _ in 0..MOST_LINKS {
            match &self.0.get(&path)?.kind {
                Kind::File { size, .. } => return Some((self.0.get(&path)?, *size)),
                Kind::HardLink(target) => path.clone_from(target),
                Kind::Link(target) => path = join(&path, target),
                Kind::Directory | Kind::Special => return None,
            }
            path = self.resolved(&path);
        }
        None
    }

    /// The path with links in its directories followed, once each.
    fn resolved(&self, path: &LayerPath) -> LayerPath {
        let mut real: LayerPath = Vec::new();
        for (at, part) in path.iter().enumerate() {
            real.push(part.clone());
            if at + 1 < path.len()
                && let Some(Node { kind: Kind::Link(target), .. }) = self.0.get(&real)
            {
                real = join(&real, target);
            }
        }
        real
    }

    /// The path of a file that [`Tree::file`] would find through linked directories.
    #[must_use]
    pub fn find(&self, path: &LayerPath) -> Option<(&Node, u64)> {
        self.file(&self.resolved(path))
    }

    /// What differs in `newer`, by path.
    #[must_use]
    pub fn changes(&self, newer: &Self) -> Vec<(LayerPath, Change)> {
        let same = |one: &Node, other: &Node| {
            (&one.kind, one.mode, one.owner) == (&other.kind, other.mode, other.owner)
        };
        let gone = self.0.keys().filter(|path| !newer.0.contains_key(*path));
        let mut changes: Vec<_> = gone.map(|path| (path.clone(), Change::Removed)).collect();
        for (path, node) in &newer.0 {
            match self.0.get(path) {
                None => changes.push((path.clone(), Change::Added)),
                Some(before) if !same(before, node) => changes.push((path.clone(), Change::Changed)),
                Some(_) => {}
            }
        }
        changes.sort();
        changes
    }

    /// Bytes of regular files below each directory of the first `depth` levels, the largest first.
    #[must_use]
    pub fn directories(&self, depth: usize) -> Vec<(String, u64)> {
        let mut sizes: BTreeMap<&[Vec<u8>], u64> = BTreeMap::new();
        for (path, node) in &self.0 {
            if let Kind::File { size, .. } = node.kind {
                let level = depth.min(path.len().saturating_sub(1));
                *sizes.entry(&path[..level]).or_default() += size;
            }
        }
        let mut sizes: Vec<_> =
            sizes.into_iter().map(|(path, size)| (format!("/{}", show(path)), size)).collect();
        sizes.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
        sizes
    }
}

/// Where a link leads: from the root, or from its directory; never above the root.
fn join(link: &LayerPath, target: &[u8]) -> LayerPath {
    let mut path = if target.starts_with(b"/") { Vec::new() } else { link.clone() };
    path.pop();
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(path.pop()),
            name => path.push(name.to_vec()),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::layer::path;

    fn at(text: &str) -> LayerPath {
        path(text.as_bytes()).unwrap().unwrap()
    }

    fn node(kind: Kind) -> Node {
        Node { kind, mode: 0o644, owner: (0, 0), layer: 0, at: 0 }
    }

    fn file(text: &str) -> Node {
        node(Kind::File { size: text.len() as u64, digest: Digest::of(text.as_bytes()) })
    }

    fn tree(layers: &[&[(&str, Node)]]) -> Tree {
        let mut tree = Tree::default();
        for layer in layers {
            tree.lay(layer.iter().map(|(path, node)| (at(path), node.clone())).collect());
        }
        tree
    }

    fn paths(tree: &Tree) -> Vec<String> {
        tree.iter().map(|(path, _)| show(path)).collect()
    }

    #[test]
    fn whiteouts_remove_what_is_below_and_nothing_else() {
        let base: &[(&str, Node)] =
            &[("a", node(Kind::Directory)), ("a/b", file("1")), ("a/c", file("2")), ("ab", file("3"))];
        assert_eq!(paths(&tree(&[base, &[("a/.wh.b", file(""))]])), ["a", "a/c", "ab"]);
        assert_eq!(paths(&tree(&[base, &[(".wh.a", file(""))]])), ["ab"]);
        let opaque: &[(&str, Node)] = &[("a/.wh..wh..opq", file("")), ("a/d", file("4"))];
        assert_eq!(paths(&tree(&[base, opaque])), ["a", "a/d", "ab"]);
        assert_eq!(paths(&tree(&[base, &[("a", file("5"))]])), ["a", "ab"]);
    }

    #[test]
    fn links_lead_to_files_and_never_out_or_around() {
        let tree = tree(&[&[
            ("bin", node(Kind::Link(b"usr/bin".to_vec()))),
            ("usr/bin/sh", node(Kind::Link(b"../../../bin/dash".to_vec()))),
            ("usr/bin/dash", file("dash")),
            ("usr/bin/hard", node(Kind::HardLink(at("usr/bin/dash")))),
            ("loop", node(Kind::Link(b"/loop".to_vec()))),
        ]]);
        for path in ["usr/bin/dash", "bin/sh", "usr/bin/hard", "bin/dash"] {
            assert_eq!(tree.find(&at(path)).map(|(_, size)| size), Some(4), "{path}");
        }
        for path in ["loop", "bin", "nothing"] {
            assert!(tree.find(&at(path)).is_none(), "{path}");
        }
    }

    #[test]
    fn changes_are_what_differs() {
        let one = tree(&[&[("a", file("1")), ("b", file("2")), ("c", file("3"))]]);
        let mut other = tree(&[&[("a", file("1")), ("b", file("X")), ("d", file("4"))]]);
        other.lay(BTreeMap::from([(at("a"), Node { layer: 1, at: 9, ..file("1") })]));
        let changes: Vec<_> =
            one.changes(&other).into_iter().map(|(path, change)| (show(&path), change)).collect();
        let expected = [("b", Change::Changed), ("c", Change::Removed), ("d", Change::Added)];
        assert_eq!(changes, expected.map(|(path, change)| (path.to_owned(), change)));
    }
}
