//! Reads the recipes of a project from their folder.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::atomic::read_bounded;
use crate::model::name::TierName;
use crate::model::plan::{Ask, Plan};
use crate::model::recipe::family::{Family, Files};
use crate::model::recipe::parse::{Finding, Findings, tree, typed};
use crate::model::recipe::{Base, Project};

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

/// A project and all its recipes.
pub struct Recipes {
    folder: PathBuf,
    files: Files,
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
            (Some(Base::Dockerfile(own)), Some(context)) => Some(self.folder.join(context).join(&own.path)),
            _ => None,
        };
        let own = own.as_deref().map(text).transpose()?;
        Ok(Plan::resolve(&family, own.as_deref(), ask)?)
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
    Ok(Recipes { folder: folder.to_owned(), files: Files { project, tiers } })
}

fn text(path: &Path) -> Result<String, ReadError> {
    let bytes = read_bounded(path, MAX_FILE).map_err(|error| ReadError::Io(path.to_owned(), error))?;
    String::from_utf8(bytes)
        .map_err(|_| Finding::file(&path.display().to_string(), "is not UTF-8 text").into())
}
