//! What a machine has seen of a project: the memory that makes a replay visible.
//!
//! Whatever a channel's key said is remembered together with that key, and is forgotten when the key
//! loses its role: so a thief who signs sequence 18446744073709551615, or a floor above every version,
//! locks nobody out for longer than until the rotation.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::channel::{Channel, ChannelError, Yank};
use super::digest::Digest;
use super::name::{ChannelName, Version};
use super::seal::Verified;
use super::time::{self, CLOCK_TOLERANCE, Timestamp};
use super::trust::Trusted;

/// All that a machine has seen of a project, below one pinned key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// The latest time at which a channel was issued that was followed. What this machine's own clock said
    /// is not remembered: a clock that was ahead once must not stop everything when it is right again.
    pub time: Timestamp,
    /// The newest pointer of each channel.
    pub channels: BTreeMap<ChannelName, Pointer>,
}

/// The newest pointer of a channel that was followed to a loaded image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pointer {
    /// Its sequence.
    pub sequence: u64,
    /// Digest of its signed payload.
    pub document: Digest,
    /// Fingerprint of the key that sealed it.
    pub signer: Digest,
    /// When it was signed.
    #[serde(default)]
    pub issued: Timestamp,
    /// After this moment it says nothing about what is current.
    pub expires: Timestamp,
    /// The oldest version that may be loaded; it only rises.
    pub floor: Option<Version>,
    /// Versions that may not be loaded.
    pub yanked: Vec<Yank>,
}

impl Pointer {
    /// What a channel says.
    #[must_use]
    pub fn of(channel: &Verified<Channel>) -> Self {
        Self {
            sequence: channel.sequence,
            document: channel.payload_digest(),
            signer: channel.signer(),
            issued: channel.issued,
            expires: channel.expires,
            floor: channel.floor.clone(),
            yanked: channel.yanked.clone(),
        }
    }

    /// A sequence only rises, and stands for one document.
    pub fn may_follow(&self, before: &Self, channel: &ChannelName) -> Result<(), ChannelError> {
        let (channel, sequence) = (channel.clone(), self.sequence);
        if sequence < before.sequence {
            return Err(ChannelError::Older { channel, found: sequence, seen: before.sequence });
        }
        if sequence == before.sequence && self.document != before.document {
            return Err(ChannelError::Equivocation { channel, sequence });
        }
        Ok(())
    }
}

impl Seen {
    /// Nothing yet.
    #[must_use]
    pub fn nothing() -> Self {
        Self { time: Timestamp::UNIX_EPOCH, channels: BTreeMap::new() }
    }

    /// What was seen of a channel, if the key that sealed it still may.
    #[must_use]
    pub fn pointer(&self, channel: &ChannelName, trusted: &Trusted) -> Option<&Pointer> {
        self.channels.get(channel).filter(|pointer| trusted.channel_keys().holds(pointer.signer))
    }

    /// A clock that runs back makes what has expired look fresh.
    pub fn check_clock(&self, now: Timestamp) -> Result<(), ChannelError> {
        if time::after(now, CLOCK_TOLERANCE) < self.time {
            return Err(ChannelError::ClockBack { now, seen: self.time });
        }
        Ok(())
    }

    /// Whether a version may be loaded by who follows this channel: not below the floor of the channel,
    /// and not withdrawn in any.
    pub fn permits(
        &self,
        channel: &ChannelName,
        version: &Version,
        trusted: &Trusted,
    ) -> Result<(), ChannelError> {
        let floor = self.pointer(channel, trusted).and_then(|pointer| pointer.floor.as_ref());
        if let Some(floor) = floor.filter(|floor| version < *floor) {
            let (channel, version, floor) = (channel.clone(), version.clone(), floor.clone());
            return Err(ChannelError::BelowFloor { channel, version, floor });
        }
        let counting = self.channels.keys().filter_map(|channel| self.pointer(channel, trusted));
        match counting.flat_map(|pointer| &pointer.yanked).find(|yank| yank.version == *version) {
            Some(yank) => Err(ChannelError::Yanked(yank.clone())),
            None => Ok(()),
        }
    }

    /// Remembers a pointer. Another process may have remembered a newer one meanwhile, which stays.
    pub fn note(
        &mut self,
        channel: &ChannelName,
        mut pointer: Pointer,
        trusted: &Trusted,
    ) -> Result<(), ChannelError> {
        self.time = self.time.max(pointer.issued);
        if let Some(before) = self.pointer(channel, trusted) {
            match pointer.may_follow(before, channel) {
                Ok(()) => pointer.floor = pointer.floor.max(before.floor.clone()),
                Err(ChannelError::Older { .. }) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.channels.insert(channel.clone(), pointer);
        Ok(())
    }
}
