//! What `imgforge verify --json` prints. Scripts rely on it, so it has a type and a published schema.

use std::fmt;
use std::ops::Add;

use schemars::JsonSchema;
use serde::Serialize;

use super::digest::Digest;
use super::name::{ProjectName, Version};
use super::release::Archive;
use super::size::Size;

/// Everything holds.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Verification {
    /// Whose release.
    pub project: ProjectName,
    /// Which.
    pub version: Version,
    /// Fingerprint of the key that sealed the release.
    pub signer: Digest,
    /// Digest of the sealed release.
    pub release: Digest,
    /// Version of the trust document that counted; 0 is the pinned key.
    pub trust: u64,
    /// Sequence of the channel that says whether the release is current.
    pub sequence: Option<u64>,
    /// Whether the bytes are those that were signed.
    pub integrity: Integrity,
    /// Whether the release is the current one; nothing about its bytes.
    pub freshness: Freshness,
    /// The archives that were checked, as the release describes them.
    pub archives: Vec<Archive>,
    /// How much of them was looked at, all together.
    pub verified: Tally,
    /// Everything that was checked, in order.
    pub checks: Vec<Check>,
}

/// How much was looked at, all of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tally {
    /// Pieces of archives, each of which was hashed.
    pub members: usize,
    /// Layers of images, each of which was hashed once more.
    pub layers: usize,
    /// Bytes of the tars that engines load.
    pub bytes: u64,
}

impl Add for Tally {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            members: self.members + other.members,
            layers: self.layers + other.layers,
            bytes: self.bytes + other.bytes,
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        let Self { members, layers, bytes } = *self;
        let (more, other) = (plural(members), plural(layers));
        write!(f, "{members} member{more}, {layers} layer{other}, {} unpacked", Size(bytes))
    }
}

/// Whether the bytes are those that were signed. If they are not, there is a [`Refusal`].
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Integrity {
    /// They are.
    Ok,
}

/// Whether a release is the current one.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Freshness {
    /// A channel that has not expired says so.
    Fresh,
    /// A channel that expired said so.
    Stale,
    /// A channel points to another release.
    Superseded,
    /// There is no channel, or none that says anything.
    Unknown,
}

/// One thing that was checked.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// What.
    pub check: &'static str,
    /// Of what.
    pub of: String,
    /// How it ended.
    pub result: Outcome,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It holds.
    Ok,
    /// It does not.
    Failed,
    /// It cannot be told here.
    Unknown,
}

/// Something does not hold, or could not be looked at.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Refusal {
    /// Why, in the form that every command has for what went wrong.
    pub error: Reason,
    /// Everything that was checked until then, in order.
    pub checks: Vec<Check>,
}

/// What went wrong.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Reason {
    /// The exit code, as `docs/exit-codes.md` lists them.
    pub code: u8,
    /// What and where.
    pub message: String,
    /// Why, from the outermost cause to the innermost.
    pub causes: Vec<String>,
    /// What to do.
    pub hint: Option<String>,
}

/// What is printed: one or the other.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Report {
    /// Exit code 0.
    Holds(Box<Verification>),
    /// Any other.
    Refused(Refusal),
}
