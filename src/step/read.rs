//! Reads the recipes of a project from their folder.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::atomic::read_bounded;
use crate::model::name::TierName;
use crate::model::plan::{Ask, Plan};
use crate::model::recipe::family::Family;
use crate::model::recipe::parse::{Finding, parse};
use crate::model::recipe::{Project, Recipe};

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
    Recipe(#[from] Finding),
}

const PROJECT_FILE: &str = "project.toml";

/// Larger than any recipe; the parser has its own, smaller limit with a better message.
const MAX_FILE: usize = 4 << 20;

/// A project and all its recipes, by tier.
pub struct Recipes {
    folder: String,
    project: Project,
    tiers: BTreeMap<TierName, Recipe>,
}

impl Recipes {
    /// The tiers, by name.
    pub fn tiers(&self) -> impl Iterator<Item = (&TierName, &Recipe)> {
        self.tiers.iter()
    }

    /// The project.
    #[must_use]
    pub fn project(&self) -> &Project {
        &self.project
    }

    /// A tier and what it extends.
    pub fn family(&self, tier: &TierName) -> Result<Family, Finding> {
        Family::of(tier, self.project.clone(), &self.tiers).map_err(|finding| finding.below(&self.folder))
    }

    /// A tier with nothing left to decide.
    pub fn plan(&self, tier: &TierName, ask: &Ask) -> Result<Plan, Finding> {
        Plan::resolve(&self.family(tier)?, ask).map_err(|finding| finding.below(&self.folder))
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
            tiers.insert(tier, parse(&shown, &text(&path)?)?);
        }
    }
    let path = folder.join(PROJECT_FILE);
    let project = parse(&path.display().to_string(), &text(&path)?)?;
    Ok(Recipes { folder: folder.display().to_string(), project, tiers })
}

fn text(path: &Path) -> Result<String, ReadError> {
    let bytes = read_bounded(path, MAX_FILE).map_err(|error| ReadError::Io(path.to_owned(), error))?;
    String::from_utf8(bytes)
        .map_err(|_| Finding::file(&path.display().to_string(), "is not UTF-8 text").into())
}
