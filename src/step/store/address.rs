//! How people write where releases live.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a store is. Parsed once; [`super::Store::open`] makes a store of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A folder: needs no account, and is how a USB stick works.
    Directory(PathBuf),
}

/// A text that names no store.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a store: use a folder, or `file:///folder`")]
pub struct BadAddress(String);

impl FromStr for Address {
    type Err = BadAddress;
    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let path = text.strip_prefix("file://").unwrap_or(text);
        if path.is_empty() || path.contains("://") {
            return Err(BadAddress(text.to_owned()));
        }
        Ok(Self::Directory(path.into()))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(folder) => write!(f, "{}", folder.display()),
        }
    }
}
