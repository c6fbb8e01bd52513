//! Files that appear whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use tempfile::NamedTempFile;

/// A file that stays without a name a reader would look for until [`Draft::keep`].
pub struct Draft(NamedTempFile);

impl Draft {
    /// Begins a file beside its target, so that the last step is a rename and not a copy.
    pub fn beside(target: &Path) -> io::Result<Self> {
        let folder =
            target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        tempfile::Builder::new().prefix(".imgforge-").suffix(".part").tempfile_in(folder).map(Self)
    }

    /// The open file.
    pub fn file(&mut self) -> &mut File {
        self.0.as_file_mut()
    }

    /// Syncs the bytes, sets the mode, gives the name, syncs the folder.
    pub fn keep(self, target: &Path, mode: u32) -> io::Result<File> {
        use std::os::unix::fs::PermissionsExt as _;
        self.0.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
        self.0.as_file().sync_all()?;
        let file = self.0.persist(target).map_err(|error| error.error)?;
        sync_folder(target)?;
        Ok(file)
    }

    /// Like [`Draft::keep`], but never replaces: an existing target is `AlreadyExists`.
    pub fn keep_new(self, target: &Path, mode: u32) -> io::Result<File> {
        use std::os::unix::fs::PermissionsExt as _;
        self.0.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
        self.0.as_file().sync_all()?;
        let file = self.0.persist_noclobber(target).map_err(|error| error.error)?;
        sync_folder(target)?;
        Ok(file)
    }
}

/// Replaces a small file.
pub fn write(target: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut draft = Draft::beside(target)?;
    draft.file().write_all(bytes)?;
    draft.keep(target, mode).map(drop)
}

/// Writes a small file that must not be there yet.
pub fn write_new(target: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut draft = Draft::beside(target)?;
    draft.file().write_all(bytes)?;
    draft.keep_new(target, mode).map(drop)
}

/// Reads a file that should be small; a larger one is an error, not an allocation.
pub fn read_bounded(path: &Path, max: usize) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    File::open(path)?.take(max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {max} bytes")));
    }
    Ok(bytes)
}

fn sync_folder(target: &Path) -> io::Result<()> {
    match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}
