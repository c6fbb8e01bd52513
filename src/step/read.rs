//! Reads the recipes of a project from their folder.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::atomic::read_bounded;
use crate::model::lock::pins::Material;
use crate::model::lock::want::{self, Inputs, Want};
use crate::model::lock::{LOCK_FILE, Lock};
use crate::model::name::{Platform, TierName};
use crate::model::plan::{Ask, Plan};
use crate::model::recipe::family::{Family, Files};
use crate::model::recipe::parse::{Finding, Findings, tree, typed};
use crate::model::recipe::{Base, Project, check};

/// Why recipes cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No such folder.
    #[error("there are no recipes in `{}`", .0.display())]
    NoFolder(PathBuf),
    /// The disk.
    #[error("cannot read `{}`", .0.display())]
    Io(PathBuf, #[source] io::Error),
    /// Something wrong in a file.
    #[error(transparent)]
    Recipe(#[from] Findings),
}

impl From<Finding> for ReadError {
    fn from(finding: Finding) -> Self {
        Self::Recipe(finding.into())
    }
}

const PROJECT_FILE: &str = "project.toml";

/// Larger than any recipe; the parser has its own, smaller limit with a better message.
const MAX_FILE: usize = 4 << 20;

/// Lock files of other tools grow with a project, and so does ours.
const MAX_INPUT: usize = 64 << 20;

/// A project and all its recipes.
pub struct Recipes {
    folder: PathBuf,
    files: Files,
    lock: Option<Lock>,
}

impl Recipes {
    /// The tiers, by name.
    pub fn tiers(&self) -> impl Iterator<Item = &TierName> {
        self.files.tiers.keys()
    }

    /// The files as they are written.
    #[must_use]
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// The project.
    pub fn project(&self) -> Result<Project, Finding> {
        typed(&self.files.project)
    }

    /// A tier and what it is made from.
    pub fn family(&self, tier: &TierName, ask: &Ask) -> Result<Family, Findings> {
        Family::of(tier, &self.files, ask.environment.as_ref())
    }

    /// A tier with nothing left to decide.
    pub fn plan(&self, tier: &TierName, ask: &Ask) -> Result<Plan, ReadError> {
        let family = self.family(tier, ask)?;
        let root = &family.generations()[0].recipe;
        let own = match (&root.base, &root.context) {
            (Some(Base::Dockerfile(own)), Some(context)) => {
                let path = self.folder.join(context).join(&own.path);
                if !path.is_file() {
                    let place = family.generations()[0].tree.place_of(["base", "dockerfile", "path"]);
                    return Err(Finding::at(&place, format!("there is no file `{}`", path.display()))
                        .fix("correct the path, which begins in `context`, or create the file")
                        .into());
                }
                Some(text(&path)?)
            }
            _ => None,
        };
        let inputs = self.inputs(&family)?;
        let material = Material { lock: self.lock.clone(), inputs };
        Ok(Plan::resolve(&family, own.as_deref(), &material, ask)?)
    }

    /// The lock, where there is one.
    #[must_use]
    pub fn lock(&self) -> Option<&Lock> {
        self.lock.as_ref()
    }

    /// Where the lock is, or would be.
    #[must_use]
    pub fn lock_path(&self) -> PathBuf {
        self.folder.join(LOCK_FILE)
    }

    /// What a tier downloads, on one platform.
    pub fn wants(&self, tier: &TierName, platform: &Platform) -> Result<Vec<Want>, ReadError> {
        let family = self.family(tier, &Ask::default())?;
        check::family(&family)?;
        Ok(want::of(&family, platform, &self.inputs(&family)?)?)
    }

    /// The lock files that steps name, as far as they are there; a build looks for all of them.
    fn inputs(&self, family: &Family) -> Result<Inputs, ReadError> {
        let mut inputs = Inputs::new();
        for path in want::inputs(family).into_keys() {
            let file = self.folder.join(&path);
            if file.is_file() {
                let bytes = read_bounded(&file, MAX_INPUT).map_err(|error| ReadError::Io(file, error))?;
                inputs.insert(path, bytes);
            }
        }
        Ok(inputs)
    }
}

/// Reads every recipe of a folder.
pub fn recipes(folder: &Path) -> Result<Recipes, ReadError> {
    if !folder.join(PROJECT_FILE).is_file() {
        return Err(ReadError::NoFolder(folder.to_owned()));
    }
    let mut tiers = BTreeMap::new();
    let io = |path: &Path| {
        let path = path.to_owned();
        move |error| ReadError::Io(path, error)
    };
    for entry in std::fs::read_dir(folder).map_err(io(folder))? {
        let path = entry.map_err(io(folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if let Some(stem) = name.strip_suffix(".toml").filter(|_| name != PROJECT_FILE) {
            let shown = path.display().to_string();
            let tier: TierName = stem
                .parse()
                .map_err(|bad: crate::model::name::BadName| Finding::file(&shown, bad.to_string()))?;
            tiers.insert(tier, tree(&shown, &text(&path)?)?);
        }
    }
    let path = folder.join(PROJECT_FILE);
    let project = tree(&path.display().to_string(), &text(&path)?)?;
    let lock = lock(&folder.join(LOCK_FILE))?;
    Ok(Recipes { folder: folder.to_owned(), files: Files { project, tiers }, lock })
}

fn lock(path: &Path) -> Result<Option<Lock>, ReadError> {
    let shown = path.display().to_string();
    let bytes = match read_bounded(path, MAX_INPUT) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        bytes => bytes.map_err(|error| ReadError::Io(path.to_owned(), error))?,
    };
    let text = String::from_utf8(bytes).map_err(|_| Finding::file(&shown, "is not UTF-8 text"))?;
    Ok(Some(Lock::parse(&shown, &text)?))
}

fn text(path: &Path) -> Result<String, ReadError> {
    let bytes = read_bounded(path, MAX_FILE).map_err(|error| ReadError::Io(path.to_owned(), error))?;
    String::from_utf8(bytes)
        .map_err(|_| Finding::file(&path.display().to_string(), "is not UTF-8 text").into())
}
