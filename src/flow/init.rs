//! A new project, in a folder that may hold other things already.

use std::path::Path;

use super::Error;
use crate::model::name::{Platform, ProjectName};
use crate::model::scaffold::{self, File};
use crate::step::scaffold::{Fate, scaffold as write};

/// A file, and what became of it.
pub type Entry = (File, Fate);

/// Writes a project that builds at once.
pub fn init(folder: &Path, project: &ProjectName, platform: &Platform) -> Result<Vec<Entry>, Error> {
    let files = scaffold::files(project, platform);
    let fates = write(folder, &files).map_err(|(path, error)| Error::Write(path, error))?;
    Ok(files.into_iter().zip(fates).collect())
}
