//! A log of what was fetched: one line of JSON each, never rewritten.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::model::digest::Digest;
use crate::model::name::{ProjectName, TierName, Version};
use crate::model::time::Timestamp;

/// Name of the log in the state folder.
pub const FILE_NAME: &str = "audit.jsonl";

/// What is written down of one fetch.
#[derive(Debug, Serialize)]
pub struct Entry<'a> {
    /// When.
    pub time: Timestamp,
    /// Who: the number of the user.
    pub user: u32,
    /// What was asked for. A link without what lets people in.
    pub asked: &'a str,
    /// What came of it.
    #[serde(flatten)]
    pub result: Result<'a>,
}

/// What came of a fetch.
#[derive(Debug, Serialize)]
#[serde(tag = "result", rename_all = "lowercase")]
pub enum Result<'a> {
    /// Every byte was verified.
    Done {
        /// Whose image.
        project: &'a ProjectName,
        /// Which image.
        tier: &'a TierName,
        /// Which version.
        version: &'a Version,
        /// The key that sealed the release.
        key: Digest,
        /// What was sealed.
        release: Digest,
        /// Whether an engine loaded it, and whether that was proven.
        loaded: bool,
        /// Whether the engine was asked what it has.
        proven: bool,
    },
    /// Nothing was handed on.
    Refused {
        /// Why.
        reason: &'a str,
    },
}

/// The log cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write `{}`", .0.display())]
pub struct AuditError(PathBuf, #[source] io::Error);

/// Who runs this.
#[must_use]
pub fn user() -> u32 {
    rustix::process::getuid().as_raw()
}

/// Adds a line, by one write, so that two processes do not mix theirs.
pub fn note(state: &Path, entry: &Entry<'_>) -> std::result::Result<(), AuditError> {
    let path = state.join(FILE_NAME);
    let write = || {
        std::fs::create_dir_all(state)?;
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
        file.write_all(&line)?;
        file.sync_data()
    };
    write().map_err(|error| AuditError(path.clone(), error))
}
