//! The tree of files that a build may read, as BuildKit will see it.
//!
//! Everything that could differ between two checkouts of the same sources is left out: owners,
//! group write bits, times. BuildKit decides by size and time whether it already has a file, so a
//! constant time would hide a change of equal size: [`File::modified_nanos`] therefore hides a
//! fingerprint of the content in the nanoseconds, which no layer keeps.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::digest::{Digest, Hasher};

/// Where the bytes of a file are.
#[derive(Debug, Clone)]
pub enum Source {
    /// Written by imgforge for this build.
    Generated(Vec<u8>),
    /// On this machine's disk.
    Disk(PathBuf),
}

/// A regular file.
#[derive(Debug, Clone, Serialize)]
pub struct File {
    /// Where the bytes are.
    #[serde(skip)]
    pub source: Source,
    /// Length in bytes.
    pub size: u64,
    /// Digest of the bytes.
    pub digest: Digest,
    /// Becomes mode 0755 instead of 0644.
    pub executable: bool,
}

impl File {
    /// A file that imgforge writes for this build.
    #[must_use]
    pub fn generated(bytes: Vec<u8>, executable: bool) -> Self {
        let (size, digest) = (bytes.len() as u64, Digest::of(&bytes));
        Self { source: Source::Generated(bytes), size, digest, executable }
    }

    /// Modification time that BuildKit is told, in nanoseconds since 1970: second 0, and 29 bits
    /// of the content's digest as nanoseconds (`2^29 < 10^9`).
    #[must_use]
    pub fn modified_nanos(&self) -> i64 {
        let [a, b, c, d, ..] = self.digest.bytes();
        i64::from(u32::from_be_bytes([a, b, c, d]) >> 3)
    }
}

/// What stands at a path.
#[derive(Debug, Clone)]
pub enum Entry {
    /// A directory.
    Directory,
    /// A regular file.
    File(File),
    /// A symbolic link and its target.
    Link(String),
}

impl Entry {
    /// Whether BuildKit would see the same.
    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Directory, Self::Directory) => true,
            (Self::File(one), Self::File(two)) => {
                one.digest == two.digest && one.executable == two.executable
            }
            (Self::Link(one), Self::Link(two)) => one == two,
            _ => false,
        }
    }
}

/// Paths and what stands there. Ordered by path components, which is the depth-first order that
/// BuildKit's file transfer demands (`a/b` before `a.txt`, unlike plain string order).
#[derive(Debug, Clone, Default)]
pub struct Tree(BTreeMap<Vec<String>, Entry>);

impl Tree {
    /// Puts an entry at a `/`-separated path and creates the directories above it.
    pub fn insert(&mut self, path: &str, entry: Entry) {
        let components: Vec<String> =
            path.split('/').filter(|part| !part.is_empty() && *part != ".").map(str::to_owned).collect();
        for end in 1..components.len() {
            self.0.entry(components[..end].to_vec()).or_insert(Entry::Directory);
        }
        self.0.insert(components, entry);
    }

    /// Takes another tree in, if both have the same wherever both have something; else nothing.
    pub fn absorb(&mut self, other: &Self) -> bool {
        let agrees =
            |(path, entry): (&Vec<String>, &Entry)| self.0.get(path).is_none_or(|found| found.same(entry));
        let all = other.0.iter().all(agrees);
        if all {
            self.0.extend(other.0.iter().map(|(path, entry)| (path.clone(), entry.clone())));
        }
        all
    }

    /// A digest of all that BuildKit is told of the tree.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut hasher = Hasher::default();
        for (path, entry) in self.iter() {
            let (kind, text) = match entry {
                Entry::Directory => ("directory", String::new()),
                Entry::Link(target) => ("link", target.clone()),
                Entry::File(file) => {
                    (if file.executable { "program" } else { "file" }, file.digest.to_string())
                }
            };
            for part in [path.as_str(), kind, &text] {
                hasher.update(part.as_bytes());
                // No path and no link has a zero byte.
                hasher.update(&[0]);
            }
        }
        hasher.finish()
    }

    /// All entries in transfer order.
    pub fn iter(&self) -> impl Iterator<Item = (String, &Entry)> {
        self.0.iter().map(|(components, entry)| (components.join("/"), entry))
    }

    /// What stands at a path.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.0.get(&path.split('/').map(str::to_owned).collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_depth_first_with_their_directories() {
        let mut tree = Tree::default();
        for path in ["a.txt", "a/z", "a/b/c", "b"] {
            tree.insert(path, Entry::File(File::generated(Vec::new(), false)));
        }
        let paths: Vec<String> = tree.iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["a", "a/b", "a/b/c", "a/z", "a.txt", "b"]);
    }

    #[test]
    fn trees_that_disagree_stay_apart() {
        let file = |text: &str| Entry::File(File::generated(text.as_bytes().to_vec(), false));
        let tree = |entries: &[(&str, Entry)]| {
            let mut tree = Tree::default();
            for (path, entry) in entries {
                tree.insert(path, entry.clone());
            }
            tree
        };
        let mut whole = tree(&[("a/x", file("1"))]);
        assert!(whole.absorb(&tree(&[("a/x", file("1")), ("b", file("2"))])));
        assert!(!whole.absorb(&tree(&[("c", file("3")), ("b", file("other"))])));
        assert!(!whole.absorb(&tree(&[("a", Entry::Link("b".to_owned()))])));
        let paths: Vec<String> = whole.iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["a", "a/x", "b"]);
    }

    #[test]
    fn the_time_changes_with_the_content_and_never_reaches_a_second() {
        let [one, two] = [b"1", b"2"].map(|bytes| File::generated(bytes.to_vec(), false).modified_nanos());
        assert_ne!(one, two);
        assert!(one < 1_000_000_000 && two < 1_000_000_000);
    }
}
