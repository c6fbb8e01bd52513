//! What Debian package files say about themselves.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Why a package file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DebError {
    /// Not installed.
    #[error("`dpkg-deb` is not installed, and it reads Debian packages")]
    NoTool(#[source] std::io::Error),
    /// Not a package.
    #[error("`{}` is not a Debian package: {message}", .file.display())]
    NotOne {
        /// The file.
        file: PathBuf,
        /// What `dpkg-deb` says.
        message: String,
    },
}

/// The control file of a package.
pub fn control(file: &Path) -> Result<String, DebError> {
    let output = Command::new("dpkg-deb").arg("--field").arg(file).output().map_err(DebError::NoTool)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(DebError::NotOne { file: file.to_owned(), message })
}
