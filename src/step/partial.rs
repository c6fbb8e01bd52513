//! An archive on its way here: a file of its full size beside its final name, which a killed run leaves
//! for the next one.
//!
//! There is no record of what has arrived, so none can be wrong: a part is there when its bytes have the
//! digest that the signed index names. The end of the archive is written first, which makes the file
//! an archive with holes: whoever looks for members finds those that it has.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use super::atomic;
use super::progress::{Event, Hear};

/// A file without its final name. Only one process at a time has it.
pub struct Partial {
    file: File,
    path: PathBuf,
    target: PathBuf,
    /// The disk takes its time, and the check does not wait for it.
    syncing: Option<JoinHandle<io::Result<()>>>,
}

/// How often a process that waits for another one looks again.
const LOOK: Duration = Duration::from_millis(200);

/// The name of an unfinished archive.
#[must_use]
pub fn name(target: &Path) -> PathBuf {
    let file = target.file_name().unwrap_or_default().to_string_lossy();
    target.with_file_name(format!(".{file}.part"))
}

/// Bytes of an archive that the disk has yet to find room for.
#[must_use]
pub fn rest(target: &Path, size: u64) -> u64 {
    let there = [target.to_owned(), name(target)]
        .iter()
        .map(fs::metadata)
        .fold(0, |most, data| most.max(data.map_or(0, |data| data.blocks() * 512)));
    size.saturating_sub(there)
}

/// Takes its name from an archive that turned out to be damaged: most of it may still be right.
pub fn demote(target: &Path) -> io::Result<()> {
    fs::rename(target, name(target))
}

impl Partial {
    /// Opens what an earlier run left, or begins. `None` when another process finished it meanwhile.
    pub async fn open(target: &Path, hear: Hear<'_>) -> io::Result<Option<Self>> {
        let path = name(target);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut told = false;
        loop {
            let mut options = OpenOptions::new();
            let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
            match file.try_lock() {
                Ok(()) if is_at(&file, &path) => {
                    let (path, target) = (path, target.to_owned());
                    return Ok(Some(Self { file, path, target, syncing: None }));
                }
                // It got its name, or was removed, between opening and locking.
                Ok(()) if target.exists() => return Ok(None),
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    if !told {
                        hear(Event::Doing("another imgforge is fetching this archive: waiting for it"));
                        told = true;
                    }
                    tokio::time::sleep(LOOK).await;
                }
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }

    /// Makes it as long as the archive will be.
    pub fn size(&self, size: u64) -> io::Result<()> {
        if self.file.metadata()?.len() == size { Ok(()) } else { self.file.set_len(size) }
    }

    /// Whether no run before this one has given it its length. Some file systems count blocks only later.
    pub fn is_new(&self) -> io::Result<bool> {
        Ok(self.file.metadata()?.len() == 0)
    }

    /// Bytes that it has on the disk; holes count for nothing.
    pub fn allocated(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.blocks() * 512)
    }

    /// Writes what is known before anything arrives.
    pub fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, at)
    }

    /// The open file.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Another handle to the same file.
    pub fn reader(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Begins to bring all of it to the disk. Call it after the last byte was written.
    pub fn sync(&mut self) -> io::Result<()> {
        let file = self.reader()?;
        self.syncing = Some(std::thread::spawn(move || file.sync_all()));
        Ok(())
    }

    /// Gives the file its name. Call it after the check.
    pub fn keep(self) -> io::Result<PathBuf> {
        if let Some(syncing) = self.syncing {
            syncing.join().map_err(|_| io::Error::other("the thread that syncs stopped"))??;
        }
        self.file.set_permissions(fs::Permissions::from_mode(0o644))?;
        self.file.sync_all()?;
        fs::rename(&self.path, &self.target)?;
        atomic::sync_folder(&self.target)?;
        Ok(self.target)
    }

    /// Removes what cannot become the archive.
    pub fn discard(self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_process_at_a_time_and_the_next_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a/archive");
        let first = Partial::open(&target, &|_| {}).await.unwrap().unwrap();
        assert!(first.is_new().unwrap());
        first.size(10).unwrap();
        first.write(b"end", 7).unwrap();
        let waiting = tokio::time::timeout(LOOK * 2, Partial::open(&target, &|_| {})).await;
        assert!(waiting.is_err(), "two have it");
        drop(first);
        let second = Partial::open(&target, &|_| {}).await.unwrap().unwrap();
        assert!(!second.is_new().unwrap());
        assert_eq!(second.file().metadata().unwrap().len(), 10);
        assert_eq!(second.keep().unwrap(), target);
        assert_eq!(fs::read(&target).unwrap(), b"\0\0\0\0\0\0\0end");
        assert!(!name(&target).exists());
    }
}
