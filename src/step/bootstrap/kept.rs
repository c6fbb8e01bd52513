//! Root filesystems that were made before. Their files are named by digest, so that a build need not read one to know
//! what is in it; a link to such a file has the name of what was asked for.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

use crate::model::context::{File, Source};
use crate::model::digest::Digest;
use crate::model::image::Blob;
use crate::step::stream;

const SUFFIX: &str = ".tar";

/// What a link leads to. Whether the bytes are those of the name shows when they are sent.
pub(super) fn find(link: &Path) -> Option<File> {
    let name = fs::read_link(link).ok()?;
    let digest = Digest::from_hex(name.to_str()?.strip_suffix(SUFFIX)?).ok()?;
    let path = link.with_file_name(name);
    let about = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
    Some(file(path, Blob { digest, size: about.len() }))
}

fn file(path: PathBuf, Blob { digest, size }: Blob) -> File {
    File { source: Source::Disk(path), size, digest, executable: false }
}

/// Keeps a root filesystem, and lets the link lead there. What it led to before goes.
pub(super) fn keep(draft: NamedTempFile, link: &Path) -> io::Result<File> {
    let blob = stream::measure(&mut draft.reopen()?)?;
    draft.as_file().sync_all()?;
    let name = format!("{}{SUFFIX}", blob.digest.hex());
    let path = link.with_file_name(&name);
    draft.persist(&path)?;
    let before = find(link);
    let folder = link.parent().unwrap_or(Path::new("."));
    Builder::new().suffix(".part").make_in(folder, |new| symlink(&name, new))?.persist(link)?;
    if let Some(File { source: Source::Disk(old), .. }) = before.filter(|before| before.digest != blob.digest)
    {
        fs::remove_file(old)?;
    }
    Ok(file(path, blob))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn the_last_one_is_found_by_what_was_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("asked");
        assert!(find(&link).is_none());
        for bytes in [&b"one"[..], b"two", b"two"] {
            let mut draft = NamedTempFile::new_in(folder.path()).unwrap();
            draft.write_all(bytes).unwrap();
            let kept = keep(draft, &link).unwrap();
            let found = find(&link).unwrap();
            assert_eq!((found.digest, found.size), (Digest::of(bytes), 3));
            assert_eq!(kept.digest, found.digest);
        }
        let left = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 2, "the link and the file");
        fs::remove_file(folder.path().join(format!("{}.tar", Digest::of(b"two").hex()))).unwrap();
        assert!(find(&link).is_none(), "a link to nothing");
    }
}
