//! Collects the files that a plan reads into the tree that BuildKit will see.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::content::ContentStore;
use super::stream;
use crate::model::context::{Entry, File, Source, Tree};
use crate::model::ignore::{BadRule, Ignore};
use crate::model::image::Blob;
use crate::model::lock::pins::Locking;
use crate::model::plan::Plan;

/// Why the context cannot be collected.
#[derive(Debug, thiserror::Error)]
pub enum GatherError {
    /// The disk.
    #[error("cannot read `{}` for the build", .0.display())]
    Io(PathBuf, #[source] io::Error),
    /// A broken `.dockerignore`.
    #[error("`{}`", .0.display())]
    Ignore(PathBuf, #[source] BadRule),
    /// A package step without its lock.
    #[error("the lock file `{lock}`, which tier `{tier}` needs, is not in its context")]
    NoLock {
        /// Which tier.
        tier: String,
        /// Path in the build's context.
        lock: String,
    },
    /// A name that is no text.
    #[error("the name of `{}` is not UTF-8", .0.display())]
    Name(PathBuf),
    /// A socket, a device, a pipe.
    #[error("`{}` is neither a file, a folder nor a link", .0.display())]
    Kind(PathBuf),
}

/// Files that were hashed already: tiers share folders and root filesystems.
#[derive(Default)]
pub struct Hashed(BTreeMap<PathBuf, Entry>);

/// Collects contexts below `recipes`, root filesystems, generated files and, from the content store,
/// pinned ones, whose bytes were checked when they were obtained.
pub fn context(
    plan: &Plan,
    recipes: &Path,
    rootfs: &BTreeMap<String, PathBuf>,
    files: &mut Hashed,
    store: &ContentStore,
) -> Result<Tree, GatherError> {
    let mut tree = Tree::default();
    for (folder, at) in &plan.contexts {
        walk(&mut tree, at, &recipes.join(folder), files)?;
    }
    if let Some(path) = plan.locks.iter().find(|path| !matches!(tree.get(path), Some(Entry::File(_)))) {
        return Err(GatherError::NoLock { tier: plan.tier.to_string(), lock: path.clone() });
    }
    for path in &plan.directories {
        tree.insert(path, Entry::Directory);
    }
    for (path, file) in &plan.generated {
        tree.insert(path, Entry::File(file.clone()));
    }
    if let Locking::Pinned(pins) = &plan.lock {
        for (path, item) in pins.files() {
            let source = Source::Disk(store.path(&item.digest));
            let (size, digest) = (item.size, item.digest);
            tree.insert(&path, Entry::File(File { source, size, digest, executable: false }));
        }
    }
    for path in plan.rootfs.keys() {
        if let Some(tar) = rootfs.get(path) {
            tree.insert(path, file(tar, files)?);
        }
    }
    Ok(tree)
}

fn walk(tree: &mut Tree, at: &str, root: &Path, files: &mut Hashed) -> Result<(), GatherError> {
    let ignore = ignore(root)?;
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let here = root.join(&folder);
        let io = |error| GatherError::Io(here.clone(), error);
        for entry in fs::read_dir(&here).map_err(io)? {
            let entry = entry.map_err(io)?;
            let relative = folder.join(entry.file_name());
            let Some(name) = relative.to_str() else {
                return Err(GatherError::Name(entry.path()));
            };
            let excluded = ignore.excludes(name);
            let kind = entry.file_type().map_err(io)?;
            if kind.is_dir() && !(excluded && ignore.prunes()) {
                folders.push(relative.clone());
            }
            if excluded {
                continue;
            }
            let found = if kind.is_dir() {
                Entry::Directory
            } else if kind.is_symlink() {
                let target = fs::read_link(entry.path()).map_err(io)?;
                Entry::Link(target.to_str().ok_or_else(|| GatherError::Name(entry.path()))?.to_owned())
            } else if kind.is_file() {
                file(&entry.path(), files)?
            } else {
                return Err(GatherError::Kind(entry.path()));
            };
            tree.insert(&format!("{at}/{name}"), found);
        }
    }
    Ok(())
}

fn ignore(root: &Path) -> Result<Ignore, GatherError> {
    let path = root.join(".dockerignore");
    match fs::read_to_string(&path) {
        Ok(text) => Ignore::parse(&text).map_err(|rule| GatherError::Ignore(path, rule)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Ignore::default()),
        Err(error) => Err(GatherError::Io(path, error)),
    }
}

/// Hashes a file: its digest is what tells BuildKit that it changed.
fn file(path: &Path, files: &mut Hashed) -> Result<Entry, GatherError> {
    if let Some(known) = files.0.get(path) {
        return Ok(known.clone());
    }
    let read = || {
        let mut input = fs::File::open(path)?;
        let Blob { digest, size } = stream::measure(&mut input)?;
        let executable = input.metadata()?.permissions().mode() & 0o100 != 0;
        let source = Source::Disk(path.to_owned());
        Ok(Entry::File(File { source, size, digest, executable }))
    };
    let found = read().map_err(|error| GatherError::Io(path.to_owned(), error))?;
    files.0.insert(path.to_owned(), found.clone());
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockerignore_rules_apply_and_exceptions_come_back() {
        let root = tempfile::tempdir().unwrap();
        for path in ["keep/a", "drop/b", "drop/keep/c", ".dockerignore"] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "drop\n!drop/keep\n").unwrap();
        }
        let mut tree = Tree::default();
        walk(&mut tree, "t", root.path(), &mut Hashed::default()).unwrap();
        let paths: Vec<String> = tree.iter().map(|(path, _)| path).collect();
        let expected =
            ["t", "t/.dockerignore", "t/drop", "t/drop/keep", "t/drop/keep/c", "t/keep", "t/keep/a"];
        assert_eq!(paths, expected);
    }
}
