//! The files of an image as a container sees them: layers laid over each other.

use std::collections::BTreeMap;

use super::layer::{self, Item, Kind, LayerPath, OPAQUE, WHITEOUT};

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub what: What,
    /// Permission bits, with set-user-ID, set-group-ID and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Bytes of `security.capability`, where the file has capabilities.
    pub capability: Option<Vec<u8>>,
    /// The layer that it comes from, the lowest is 0.
    pub layer: usize,
}

/// Kinds, as far as a container cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A regular file and its size, which is 0 for a second name of the same file.
    File(u64),
    /// A symbolic link.
    Link(String),
    /// A directory.
    Directory,
    /// A device or a pipe.
    Other,
}

/// Paths, without a leading `/`, and what stands there.
#[derive(Debug, Clone, Default)]
pub struct Listing(BTreeMap<String, Node>);

/// Linux gives up after so many symbolic links (`MAXSYMLINKS`).
const MAX_LINKS: usize = 40;

impl Listing {
    /// Lays a layer over those so far.
    pub fn lay(&mut self, layer: usize, items: &BTreeMap<LayerPath, Item>) {
        for path in items.keys() {
            let Some((name, folder)) = path.split_last() else { continue };
            let folder = layer::show(folder);
            if name == OPAQUE {
                self.remove_below(&folder);
            } else if let Some(gone) = name.strip_prefix(WHITEOUT) {
                self.remove(&join(&folder, &String::from_utf8_lossy(gone)));
            }
        }
        for (path, item) in items {
            if path.last().is_some_and(|name| name.starts_with(WHITEOUT)) {
                continue;
            }
            let mut item = item;
            let mut again = false;
            if let Kind::HardLink(target) = &item.kind {
                item = items.get(target).unwrap_or(item);
                again = true;
            }
            let what = match &item.kind {
                Kind::File { .. } if again => What::File(0),
                Kind::File { size, .. } => What::File(*size),
                Kind::Link(target) => What::Link(String::from_utf8_lossy(target).into_owned()),
                Kind::Directory => What::Directory,
                Kind::HardLink(_) | Kind::Character(..) | Kind::Block(..) | Kind::Pipe => What::Other,
            };
            let path = layer::show(path);
            if what != What::Directory {
                self.remove(&path);
            }
            let capability = item.attributes.get("security.capability").cloned();
            let node = Node { what, mode: item.mode, uid: item.uid, gid: item.gid, capability, layer };
            self.0.insert(path, node);
        }
    }

    fn remove(&mut self, path: &str) {
        self.0.remove(path);
        self.remove_below(path);
    }

    fn remove_below(&mut self, folder: &str) {
        let below = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let gone: Vec<String> = self
            .0
            .range(below.clone()..)
            .take_while(|(path, _)| path.starts_with(&below))
            .map(|(path, _)| path.clone())
            .collect();
        for path in gone {
            self.0.remove(&path);
        }
    }

    /// All paths.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.0.iter().map(|(path, node)| (path.as_str(), node))
    }

    /// What stands at this very path, which is not followed.
    #[must_use]
    pub fn at(&self, path: &str) -> Option<&Node> {
        self.0.get(path.trim_start_matches('/'))
    }

    /// Follows symbolic links as a container would, in which nothing leads out of the root. The path
    /// that it ends at has no links in it.
    #[must_use]
    pub fn follow(&self, path: &str) -> Option<(String, &Node)> {
        let mut todo: Vec<String> = parts(path);
        let mut here: Vec<String> = Vec::new();
        let mut links = 0;
        while let Some(part) = todo.pop() {
            if part == ".." {
                here.pop();
                continue;
            }
            here.push(part);
            match self.0.get(&here.join("/")) {
                Some(Node { what: What::Link(target), .. }) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return None;
                    }
                    here.pop();
                    if target.starts_with('/') {
                        here.clear();
                    }
                    todo.extend(parts(target));
                }
                Some(Node { what: What::Directory, .. }) => {}
                Some(_) if !todo.is_empty() => return None,
                // A layer may hold a file without the directories above it.
                Some(_) | None => {}
            }
        }
        let path = here.join("/");
        self.0.get(&path).map(|node| (path.clone(), node))
    }

    /// Whether a user may execute what a path leads to: a regular file, with the bit that counts for
    /// this user, in directories that this user may pass.
    #[must_use]
    pub fn executable(&self, path: &str, uid: u64, gid: u64) -> bool {
        let Some((path, node)) = self.follow(path) else { return false };
        let bit = |node: &Node| match () {
            () if uid == 0 => node.mode & 0o111 != 0,
            () if uid == node.uid => node.mode & 0o100 != 0,
            () if gid == node.gid => node.mode & 0o010 != 0,
            () => node.mode & 0o001 != 0,
        };
        let above = path.match_indices('/').filter_map(|(at, _)| self.0.get(&path[..at]));
        let passable = uid == 0 || above.into_iter().all(bit);
        matches!(node.what, What::File(_)) && bit(node) && passable
    }
}

/// Components, the first one last.
fn parts(path: &str) -> Vec<String> {
    path.split('/').rev().filter(|part| !part.is_empty() && *part != ".").map(str::to_owned).collect()
}

/// A path below a folder.
#[must_use]
pub fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{}/{name}", folder.trim_end_matches('/')) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::model::layer;

    /// A layer of paths: `dir/`, `link -> target`, `file`, each perhaps with a mode before it.
    pub(crate) fn items(lines: &[&str]) -> BTreeMap<LayerPath, Item> {
        lines.iter().map(|line| item(line)).collect()
    }

    fn item(line: &str) -> (LayerPath, Item) {
        let (mode, rest) = match line.split_once(' ') {
            Some((mode, rest)) if mode.bytes().all(|b| b.is_ascii_digit()) => {
                (u32::from_str_radix(mode, 8).unwrap(), rest)
            }
            _ => (0o755, line),
        };
        let (path, kind) = match rest.split_once(" -> ") {
            Some((path, target)) => (path, Kind::Link(target.as_bytes().to_vec())),
            None if rest.ends_with('/') => (rest, Kind::Directory),
            None => (rest, Kind::File { at: 0, size: 1 }),
        };
        let path = layer::path(path.as_bytes()).unwrap().unwrap();
        (path, Item { kind, mode, uid: 0, gid: 0, modified: 0, attributes: BTreeMap::new() })
    }

    pub(crate) fn listing(layers: &[&[&str]]) -> Listing {
        let mut listing = Listing::default();
        for (index, layer) in layers.iter().enumerate() {
            listing.lay(index, &items(layer));
        }
        listing
    }

    #[test]
    fn layers_hide_what_they_replace() {
        let listing = listing(&[
            &["a/", "a/x", "a/y", "b/", "b/x", "a.txt", "c/", "c/d/", "c/d/e"],
            &["a/.wh.x", "b/", "b/.wh..wh..opq", "b/z", "c"],
        ]);
        let paths: Vec<&str> = listing.iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["a", "a.txt", "a/y", "b", "b/z", "c"]);
    }

    #[test]
    fn links_are_followed_within_the_root() {
        let listing = listing(&[&[
            "bin -> usr/bin",
            "usr/bin/sh -> ../../../../usr/bin/dash",
            "usr/bin/dash",
            "loop -> loop",
            "abs -> /usr/bin/sh",
        ]]);
        assert_eq!(listing.follow("/bin/sh").unwrap().0, "usr/bin/dash");
        assert_eq!(listing.follow("/abs").unwrap().0, "usr/bin/dash");
        assert!(listing.follow("/loop").is_none());
        assert!(listing.follow("/usr/bin/dash/x").is_none());
    }

    #[test]
    fn execution_needs_the_bit_that_counts_and_every_folder() {
        let listing = listing(&[&["700 private/", "755 private/x", "755 open/", "744 open/x", "755 open/y"]]);
        assert!(listing.executable("/private/x", 0, 0));
        assert!(!listing.executable("/private/x", 1, 1));
        assert!(!listing.executable("/open/x", 1, 1));
        assert!(listing.executable("/open/y", 1, 1));
        assert!(!listing.executable("/open", 0, 0));
    }
}
