//! Pinned projects: whose key counts for a project, and where its releases live.
//!
//! `<config>/trust/<project>.toml`, written once by `imgforge trust add`, never by a fetch.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::atomic;
use super::store::{Address, BadAddress};
use crate::model::key::{KeyError, PublicKey};
use crate::model::name::ProjectName;
use crate::model::recipe::parse::{Finding, parse};
use crate::model::words::quoted;

/// A project that an operator trusts.
#[derive(Debug, Clone)]
pub struct Pin {
    /// Which project.
    pub project: ProjectName,
    /// Its key.
    pub key: PublicKey,
    /// Where its releases live.
    pub store: Address,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    store: String,
    key: String,
}

/// Why a pin cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// The disk.
    #[error("cannot access `{}`", .0.display())]
    Io(PathBuf, #[source] io::Error),
    /// A damaged file.
    #[error(transparent)]
    File(#[from] Finding),
    /// A key that cannot be used.
    #[error("the key in `{}` cannot be used", .0.display())]
    Key(PathBuf, #[source] KeyError),
    /// A store that cannot be used.
    #[error("the store in `{}` cannot be used", .0.display())]
    Store(PathBuf, #[source] BadAddress),
    /// Another key is pinned already.
    #[error("project `{0}` is already trusted with another key, {1}")]
    Other(ProjectName, String),
    /// No such pin.
    #[error("project `{0}` is not trusted yet")]
    Unknown(ProjectName),
    /// No pin at all.
    #[error("no project is trusted yet")]
    Nobody,
    /// Several, and no way to know which is meant.
    #[error("several projects are trusted: {0}")]
    Several(String),
}

const MAX_BYTES: usize = 64 << 10;

/// Pins a project. A second pin with the same key may change the store, never the key.
pub fn add(config: &Path, pin: &Pin) -> Result<PathBuf, PinError> {
    match get(config, &pin.project) {
        Ok(before) if before.key.fingerprint() != pin.key.fingerprint() => {
            return Err(PinError::Other(pin.project.clone(), before.key.fingerprint().to_string()));
        }
        Ok(_) | Err(PinError::Unknown(_)) => {}
        Err(error) => return Err(error),
    }
    let path = path(config, &pin.project);
    let written = Written { store: pin.store.to_string(), key: pin.key.to_pem() };
    let text = toml::to_string(&written).unwrap_or_default();
    atomic::write(&path, text.as_bytes(), 0o644).map_err(|error| PinError::Io(path.clone(), error))?;
    Ok(path)
}

/// The pin of a project.
pub fn get(config: &Path, project: &ProjectName) -> Result<Pin, PinError> {
    let path = path(config, project);
    let bytes = match atomic::read_bounded(&path, MAX_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(PinError::Unknown(project.clone()));
        }
        Err(error) => return Err(PinError::Io(path, error)),
    };
    let written: Written = parse(&path.display().to_string(), &String::from_utf8_lossy(&bytes))?;
    let key =
        PublicKey::from_pem(written.key.as_bytes()).map_err(|error| PinError::Key(path.clone(), error))?;
    let store = written.store.parse().map_err(|error| PinError::Store(path, error))?;
    Ok(Pin { project: project.clone(), key, store })
}

/// All pins, by project.
pub fn all(config: &Path) -> Result<Vec<Pin>, PinError> {
    names(config)?.iter().map(|name| get(config, name)).collect()
}

/// The projects that have a pin, whether it can be read or not.
pub fn names(config: &Path) -> Result<Vec<ProjectName>, PinError> {
    let folder = config.join("trust");
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(PinError::Io(folder, error)),
    };
    let mut names: Vec<ProjectName> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_suffix(".toml")?.parse().ok())
        .collect();
    names.sort();
    Ok(names)
}

/// The only pin, for commands that name no project.
pub fn only(config: &Path) -> Result<Pin, PinError> {
    let mut pins = all(config)?;
    match pins.len() {
        1 => Ok(pins.remove(0)),
        0 => Err(PinError::Nobody),
        _ => Err(PinError::Several(quoted(pins.iter().map(|pin| &pin.project)))),
    }
}

/// Where a pin is written.
#[must_use]
pub fn path(config: &Path, project: &ProjectName) -> PathBuf {
    config.join("trust").join(format!("{project}.toml"))
}
