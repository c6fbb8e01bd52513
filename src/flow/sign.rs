//! From archives on disk to a sealed release beside them, and signed statements about each.

use std::path::{Path, PathBuf};

use super::build::Workshop;
use super::{Error, statements};
use crate::model::archive;
use crate::model::name::{ImageTag, Version};
use crate::model::release::Release;
use crate::model::seal::{Sealed, Verified};
use crate::model::sums;
use crate::model::time::Timestamp;
use crate::model::trust::Step;
use crate::step::content::ContentStore;
use crate::step::keyring::SigningKey;
use crate::step::progress::Hear;
use crate::step::upload::Papers;
use crate::step::{append, check, read, sign, upload};

/// Signs archives that were exported here: all of one version, all in one folder.
pub fn sign(
    workshop: &Workshop,
    files: &[PathBuf],
    key: &SigningKey,
    now: Timestamp,
    hear: Hear<'_>,
) -> Result<Verified<Release>, Error> {
    let project = read::recipes(&workshop.recipes)?.project()?.name;
    let store = ContentStore::open(&workshop.content)?;
    let mut archives = Vec::new();
    let mut together: Option<(&Path, PathBuf, Version)> = None;
    for path in files {
        let (tier, version, platform) =
            archive::parse_file_name(path).ok_or_else(|| Error::FileName(path.display().to_string()))?;
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        match &together {
            Some((first, place, same)) if (place, same) != (&folder, &version) => {
                return Err(Error::Mixed(first.display().to_string(), path.display().to_string()));
            }
            Some(_) => {}
            None => together = Some((path, folder, version.clone())),
        }
        let (image, _) = store.image(&ImageTag::new(&project, &tier, &version), &platform)?;
        archives.push(check::describe(path, &tier, image, hear)?);
    }
    let Some((_, folder, version)) = together else {
        return Err(Error::FileName(String::new()));
    };
    let (sealed, release) =
        sign::seal(&Release { project, version, created: now, archives, patches: Vec::new() }, key)?;
    upload::beside(&folder, &papers(&release, sealed, &[], key, &folder, hear)?)?;
    Ok(release)
}

/// Signs files as they are, each by itself.
pub fn detached(files: &[PathBuf], key: &SigningKey) -> Result<Vec<PathBuf>, Error> {
    files.iter().map(|file| Ok(sign::file(file, key)?)).collect()
}

/// Appends the sealed release to its archives, and makes the small files that go with them.
pub(super) fn papers(
    release: &Verified<Release>,
    sealed: Sealed<Release>,
    chain: &[Step],
    key: &SigningKey,
    folder: &Path,
    hear: Hear<'_>,
) -> Result<Papers, Error> {
    let (mut archives, mut stated) = (Vec::new(), Vec::new());
    for archive in &release.archives {
        let whole = append::seal(folder, archive, &sealed, hear)?;
        stated.extend(statements::sign(folder, &archive.image, &whole, key)?);
        archives.push(whole);
    }
    let sums = sums::render(&archives);
    let signature = sign::detached(sums.as_bytes(), key)?;
    let trust = chain.iter().flat_map(Step::bytes).collect();
    Ok(Papers { release: sealed, archives, statements: stated, sums, signature, trust })
}
