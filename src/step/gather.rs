//! Collects the files that a plan reads into the tree that BuildKit will see.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::content::ContentStore;
use super::stream;
use crate::model::context::{Entry, File, Source, Tree};
use crate::model::hygiene::{self, Wanted};
use crate::model::ignore::{BadRule, Ignore};
use crate::model::image::Blob;
use crate::model::lock::pins::Locking;
use crate::model::plan::{OWN_FOLDER, Plan, Read};
use crate::model::policy::secrets::{self, OVERLAP, Secret};
use crate::model::policy::{self, Charter, Rule};
use crate::model::recipe::parse::{Finding, Findings, nearest};
use crate::model::recipe::tree::Place;

/// Why the context cannot be collected.
#[derive(Debug, thiserror::Error)]
pub enum GatherError {
    /// The disk.
    #[error("cannot read `{}` for the build", .0.display())]
    Io(PathBuf, #[source] io::Error),
    /// A broken `.dockerignore`.
    #[error("`{}`", .0.display())]
    Ignore(PathBuf, #[source] BadRule),
    /// Steps that name what is not there.
    #[error(transparent)]
    Absent(#[from] Findings),
    /// A pattern that is none.
    #[error("a path in the recipe is no pattern")]
    Pattern(#[source] BadRule),
    /// A name that is no text.
    #[error("the name of `{}` is not UTF-8", .0.display())]
    Name(PathBuf),
    /// A socket, a device, a pipe.
    #[error("`{}` is neither a file, a folder nor a link", .0.display())]
    Kind(PathBuf),
}

/// Files that were read already: tiers share folders and root filesystems.
#[derive(Default)]
pub struct Files {
    entries: BTreeMap<PathBuf, Entry>,
    secrets: BTreeMap<PathBuf, Option<Secret>>,
}

/// Collects contexts below `recipes`, generated files and, from the content store, pinned ones, whose bytes
/// were checked when they were obtained.
pub fn context(
    plan: &Plan,
    recipes: &Path,
    files: &mut Files,
    store: &ContentStore,
) -> Result<Tree, GatherError> {
    let mut tree = sent(plan, recipes, files)?;
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
    Ok(tree)
}

/// Collects what steps read from the project's own folders; each of their paths has to name something.
pub fn sent(plan: &Plan, recipes: &Path, files: &mut Files) -> Result<Tree, GatherError> {
    let mut tree = Tree::default();
    let mut absent = Vec::new();
    for (folder, at) in &plan.contexts {
        let root = recipes.join(folder);
        let reads = plan.reads.get(folder).map_or(&[][..], Vec::as_slice);
        if !root.is_dir() {
            // That of a tier below is named where its steps read from it.
            let own = plan.settings.context.as_ref() == Some(folder);
            let place = reads.first().filter(|_| !own).map(|read| read.place.clone());
            absent.push(no_folder(&root, &place.unwrap_or_else(|| plan.tree.place_of(["context"]))));
            continue;
        }
        let wanted = Wanted::new(reads).map_err(GatherError::Pattern)?;
        let whole = at.is_empty();
        let ignore = ignore(&root)?;
        let named = walk(&mut tree, at, &root, &ignore, (!whole).then_some(&wanted), files)?;
        let missing = reads.iter().filter(|read| {
            let path = read.plain();
            !named.contains(&path) && !plan.locks.contains_key(&plan.in_context(folder, &path))
        });
        absent.extend(missing.map(|read| nothing(&root, read)));
    }
    for (path, place) in &plan.locks {
        if !matches!(tree.get(path), Some(Entry::File(_))) {
            absent.push(no_lock(path, place));
        }
    }
    Findings::none(absent)?;
    Ok(tree)
}

/// Collects a folder; what was named and found.
fn walk(
    tree: &mut Tree,
    at: &str,
    root: &Path,
    ignore: &Ignore,
    wanted: Option<&Wanted<'_>>,
    files: &mut Files,
) -> Result<BTreeSet<String>, GatherError> {
    let mut folders = vec![PathBuf::new()];
    let mut found = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        let here = root.join(&folder);
        let io = |error| GatherError::Io(here.clone(), error);
        for entry in fs::read_dir(&here).map_err(io)? {
            let entry = entry.map_err(io)?;
            let relative = folder.join(entry.file_name());
            let Some(name) = relative.to_str() else {
                return Err(GatherError::Name(entry.path()));
            };
            let named = wanted.map(|wanted| wanted.names(name));
            let excluded = ignore.excludes(name);
            let unnamed = named.as_ref().is_some_and(Vec::is_empty);
            let kind = entry.file_type().map_err(io)?;
            let leads_on = !unnamed || wanted.is_some_and(|wanted| wanted.leads_on(name));
            if kind.is_dir() && leads_on && !(excluded && ignore.prunes()) {
                folders.push(relative.clone());
            }
            if excluded || unnamed {
                continue;
            }
            found.extend(named.unwrap_or_default().into_iter().map(Read::plain));
            let entry = if kind.is_dir() {
                Entry::Directory
            } else if kind.is_symlink() {
                let target = fs::read_link(entry.path()).map_err(io)?;
                Entry::Link(target.to_str().ok_or_else(|| GatherError::Name(entry.path()))?.to_owned())
            } else if kind.is_file() {
                file(&entry.path(), files)?
            } else {
                return Err(GatherError::Kind(entry.path()));
            };
            tree.insert(&format!("{at}/{name}"), entry);
        }
    }
    Ok(found)
}

fn no_folder(root: &Path, place: &Place) -> Finding {
    let finding = Finding::at(place, format!("there is no folder `{}`", root.display()));
    let beside = root.parent().map(fs::read_dir).into_iter().flatten().flatten().flatten();
    let folders = beside.filter(|entry| entry.path().is_dir());
    let names: Vec<String> = folders.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    match nearest(&root.file_name().unwrap_or_default().to_string_lossy(), &known) {
        Some(near) => finding.fix(format!("there is `{near}`: correct `context`")),
        None => finding.fix("create it, or correct `context`"),
    }
}

fn no_lock(path: &str, place: &Place) -> Finding {
    Finding::at(place, format!("the lock file `{path}` is not there"))
        .fix("make it where its package manager runs, and commit it")
}

/// Explains why a step's path names nothing.
fn nothing(root: &Path, read: &Read) -> Finding {
    let plain = read.plain();
    let (folder, name) = plain.rsplit_once('/').unwrap_or(("", &plain));
    if plain.is_empty() || root.join(&plain).symlink_metadata().is_ok() {
        return Finding::at(&read.place, format!("`{}` is left out by `.dockerignore`, or empty", read.path))
            .fix("take it back there with a line that begins with `!`, or do not copy it");
    }
    let names = fs::read_dir(root.join(folder)).into_iter().flatten().flatten();
    let names: Vec<String> = names.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    let finding = Finding::at(&read.place, format!("`{}` names nothing in `{}`", read.path, root.display()));
    match nearest(name, &known) {
        Some(near) if folder.is_empty() => finding.fix(format!("there is `{near}`")),
        Some(near) => finding.fix(format!("there is `{folder}/{near}`")),
        None => finding.fix("correct the path, or create the file"),
    }
}

/// Secrets among the files that would be sent, less what the recipe allows.
pub fn leaks(
    charter: &Charter,
    plan: &Plan,
    tree: &Tree,
    files: &mut Files,
) -> Result<Vec<policy::Finding>, GatherError> {
    let mut findings = Vec::new();
    for (path, entry) in tree.iter().filter(|(path, _)| !path.starts_with(OWN_FOLDER)) {
        let Entry::File(File { source: Source::Disk(disk), .. }) = entry else { continue };
        if !files.secrets.contains_key(disk) {
            let secret = match hygiene::suspicious(&path) {
                Some(secret) => Some(secret),
                None => scan(&path, disk).map_err(|error| GatherError::Io(disk.clone(), error))?,
            };
            files.secrets.insert(disk.clone(), secret);
        }
        if let Some(Some(secret)) = files.secrets.get(disk) {
            findings.push(charter.leak(plan, &path, secret));
        }
    }
    Ok(charter.allow(findings, &[Rule::Context]))
}

/// Searches a file piece by piece; pieces overlap, so that nothing hides between two.
fn scan(path: &str, disk: &Path) -> io::Result<Option<Secret>> {
    const PIECE: usize = 1 << 20;
    let mut input = fs::File::open(disk)?;
    let mut piece = Vec::with_capacity(PIECE);
    let mut lines = 0;
    loop {
        let first = piece.is_empty();
        let wanted = u64::try_from(PIECE - piece.len()).unwrap_or(0);
        if io::Read::read_to_end(&mut io::Read::take(&mut input, wanted), &mut piece)? == 0 {
            return Ok(None);
        }
        let by_name = if first { secrets::by_name(path, &piece) } else { None };
        if let Some(secret) = by_name.or_else(|| secrets::scan(&piece).into_iter().next()) {
            return Ok(Some(Secret { line: secret.line.map(|line| line + lines), ..secret }));
        }
        let gone = piece.len().saturating_sub(OVERLAP);
        lines += piece[..gone].split(|byte| *byte == b'\n').count() - 1;
        piece.drain(..gone);
    }
}

fn ignore(root: &Path) -> Result<Ignore, GatherError> {
    let path = root.join(".dockerignore");
    match fs::read_to_string(&path) {
        Ok(text) => Ignore::parse(&text).map_err(|rule| GatherError::Ignore(path, rule)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Ignore::default()),
        Err(error) => Err(GatherError::Io(path, error)),
    }
}

/// A file; what is known of it is not read again.
fn file(path: &Path, files: &mut Files) -> Result<Entry, GatherError> {
    if let Some(known) = files.entries.get(path) {
        return Ok(known.clone());
    }
    let found = measured(path)?;
    files.entries.insert(path.to_owned(), found.clone());
    Ok(found)
}

/// Hashes a file: its digest is what tells BuildKit that it changed.
fn measured(path: &Path) -> Result<Entry, GatherError> {
    let read = || {
        let mut input = fs::File::open(path)?;
        let Blob { digest, size } = stream::measure(&mut input)?;
        let executable = input.metadata()?.permissions().mode() & 0o100 != 0;
        let source = Source::Disk(path.to_owned());
        Ok(Entry::File(File { source, size, digest, executable }))
    };
    read().map_err(|error| GatherError::Io(path.to_owned(), error))
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
        walk(&mut tree, "t", root.path(), &ignore(root.path()).unwrap(), None, &mut Files::default())
            .unwrap();
        let paths: Vec<String> = tree.iter().map(|(path, _)| path).collect();
        let expected =
            ["t", "t/.dockerignore", "t/drop", "t/drop/keep", "t/drop/keep/c", "t/keep", "t/keep/a"];
        assert_eq!(paths, expected);
    }
}
