//! What a machine has seen of a channel: the memory that makes a replay visible.

use serde::{Deserialize, Serialize};

use super::digest::Digest;

/// The newest pointer that was followed to a loaded image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// Its sequence.
    pub sequence: u64,
    /// Digest of its signed payload.
    pub document: Digest,
}
