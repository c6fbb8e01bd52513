//! Files that appear whole or not at all.
//!
//! A draft has no name: where the file system can (`O_TMPFILE`), the kernel removes it when the
//! process ends, even by `kill -9`. Elsewhere (a USB stick, NFS) it has a hidden name until then.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, OFlags, linkat};
use tempfile::NamedTempFile;

/// A file that has not been given its name.
pub struct Draft {
    folder: PathBuf,
    kind: Kind,
}

enum Kind {
    Nameless(File),
    Hidden(NamedTempFile),
}

impl Draft {
    /// Begins a file on the file system of its target, so that the last step is no copy.
    pub fn beside(target: &Path) -> io::Result<Self> {
        let folder = folder(target).to_owned();
        fs::create_dir_all(&folder)?;
        let flags = i32::try_from(OFlags::TMPFILE.bits()).unwrap_or_default();
        let nameless =
            OpenOptions::new().read(true).write(true).mode(0o600).custom_flags(flags).open(&folder);
        let kind = match nameless {
            Ok(file) => Kind::Nameless(file),
            Err(_) => Kind::Hidden(hidden().tempfile_in(&folder)?),
        };
        Ok(Self { folder, kind })
    }

    /// The open file.
    pub fn file(&mut self) -> &mut File {
        match &mut self.kind {
            Kind::Nameless(file) => file,
            Kind::Hidden(file) => file.as_file_mut(),
        }
    }

    /// Syncs the bytes, sets the mode, gives the name, syncs the folder.
    pub fn keep(self, target: &Path, mode: u32) -> io::Result<()> {
        match self.finished(mode)? {
            Self { kind: Kind::Hidden(file), .. } => drop(file.persist(target).map_err(|error| error.error)?),
            Self { kind: Kind::Nameless(file), folder } => {
                // A link never replaces: the name goes through a hidden one, which a rename moves.
                let named = hidden().make_in(folder, |path| link(&file, path))?;
                named.into_temp_path().persist(target).map_err(|error| error.error)?;
            }
        }
        sync_folder(target)
    }

    /// Like [`Draft::keep`], but never replaces: an existing target is `AlreadyExists`.
    pub fn keep_new(self, target: &Path, mode: u32) -> io::Result<()> {
        match self.finished(mode)?.kind {
            Kind::Hidden(file) => drop(file.persist_noclobber(target).map_err(|error| error.error)?),
            Kind::Nameless(file) => link(&file, target)?,
        }
        sync_folder(target)
    }

    fn finished(mut self, mode: u32) -> io::Result<Self> {
        let file = self.file();
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        Ok(self)
    }
}

fn hidden() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".imgforge-").suffix(".part");
    builder
}

fn link(file: &File, path: &Path) -> io::Result<()> {
    let open = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(linkat(CWD, open, CWD, path, AtFlags::SYMLINK_FOLLOW)?)
}

/// Replaces a small file.
pub fn write(target: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut draft = Draft::beside(target)?;
    draft.file().write_all(bytes)?;
    draft.keep(target, mode)
}

/// Writes a small file that must not be there yet.
pub fn write_new(target: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut draft = Draft::beside(target)?;
    draft.file().write_all(bytes)?;
    draft.keep_new(target, mode)
}

/// Reads a file that should be small; a larger one is an error, not an allocation.
pub fn read_bounded(path: &Path, max: usize) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    open_file(path)?.take(max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {max} bytes")));
    }
    Ok(bytes)
}

/// Opens a regular file. A pipe in its place would be waited for, for ever.
pub fn open_file(path: &Path) -> io::Result<File> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("this is not a regular file")) }
}

/// A folder for a while, which disappears with what it holds.
pub fn scratch(folder: &Path) -> io::Result<tempfile::TempDir> {
    fs::create_dir_all(folder)?;
    hidden().tempdir_in(folder)
}

fn folder(target: &Path) -> &Path {
    target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes sure that a name that was just given is still there after the power fails.
pub fn sync_folder(target: &Path) -> io::Result<()> {
    File::open(folder(target))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_draft_is_replaced_whole_or_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("file");
        let mut draft = Draft::beside(&target).unwrap();
        draft.file().write_all(b"half").unwrap();
        drop(draft);
        assert!(names(folder.path()).is_empty());
        write(&target, b"one", 0o600).unwrap();
        write(&target, b"two", 0o644).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"two");
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(names(folder.path()), ["file"]);
    }

    #[test]
    fn what_must_be_new_never_replaces() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("file");
        write_new(&target, b"one", 0o600).unwrap();
        let error = write_new(&target, b"two", 0o600).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&target).unwrap(), b"one");
        assert_eq!(names(folder.path()), ["file"]);
    }

    #[test]
    fn a_large_file_is_an_error_and_no_allocation() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("file");
        write(&target, b"12345", 0o600).unwrap();
        assert_eq!(read_bounded(&target, 5).unwrap(), b"12345");
        assert_eq!(read_bounded(&target, 4).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
