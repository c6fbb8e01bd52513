//! The channel: a small signed pointer to the current release. The only document that expires.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::document::{Document, Subject};
use super::name::{ChannelName, ProjectName, Version};
use super::release;
use super::seal::Verified;
use super::seen::Seen;
use super::time::Timestamp;

/// Which release is current.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Channel {
    /// Whose.
    pub project: ProjectName,
    /// Which channel.
    pub channel: ChannelName,
    /// Rises with every change; equal sequence means equal signed payload.
    pub sequence: u64,
    /// When it was signed.
    pub issued: Timestamp,
    /// After this moment it says nothing about what is current.
    pub expires: Timestamp,
    /// The current version.
    pub version: Version,
    /// Digest of the sealed release of that version.
    pub release: Digest,
    /// The oldest version that anybody should still run.
    pub floor: Option<Version>,
}

/// How long a channel is believed, unless it is renewed: a month, as TUF's guidance has it for
/// metadata that people, not machines, sign.
pub const LIFETIME: SignedDuration = SignedDuration::from_hours(30 * 24);

/// How far in the future a signature may be dated: clocks of operators at home run wrong.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_hours(24);

impl Document for Channel {
    const TYPE: &'static str = "https://imgforge.dev/channel/v1";
    const NAME: &'static str = "channel";

    fn subjects(&self) -> Vec<Subject> {
        vec![Subject::new(release::FILE_NAME, self.release)]
    }

    fn consistent(&self) -> Result<(), String> {
        if self.issued >= self.expires {
            return Err("it expired before it was issued".to_owned());
        }
        match &self.floor {
            Some(floor) if *floor > self.version => {
                Err(format!("its version {} is below its own floor {floor}", self.version))
            }
            _ => Ok(()),
        }
    }
}

/// Why a channel with a good seal is not followed.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The pointer of another project or channel, put in this one's place.
    #[error("the channel is `{found}`, not `{expected}`")]
    Other {
        /// What was asked for.
        expected: String,
        /// What was found.
        found: String,
    },
    /// Too old to say what is current.
    #[error("channel `{channel}` expired on {expires}")]
    Expired {
        /// Which channel.
        channel: ChannelName,
        /// When it expired.
        expires: Timestamp,
    },
    /// Signed later than now.
    #[error("channel `{channel}` was issued on {issued}, and this machine's clock says {now}")]
    Future {
        /// Which channel.
        channel: ChannelName,
        /// When it was issued.
        issued: Timestamp,
        /// This machine's time.
        now: Timestamp,
    },
    /// A replay of an older pointer.
    #[error("channel `{channel}` has sequence {found}, and this machine has seen {seen}")]
    Older {
        /// Which channel.
        channel: ChannelName,
        /// Sequence found.
        found: u64,
        /// Sequence seen before.
        seen: u64,
    },
    /// Two pointers with the same sequence.
    #[error("channel `{channel}` shows different documents under the same sequence {sequence}")]
    Equivocation {
        /// Which channel.
        channel: ChannelName,
        /// The sequence.
        sequence: u64,
    },
}

impl Verified<Channel> {
    /// Decides whether this pointer may be followed now, by a machine that has seen `seen`.
    pub fn follow(
        &self,
        project: &ProjectName,
        channel: &ChannelName,
        seen: Option<&Seen>,
        now: Timestamp,
    ) -> Result<Seen, ChannelError> {
        if self.project != *project || self.channel != *channel {
            let [expected, found] =
                [(project, channel), (&self.project, &self.channel)].map(|(p, c)| format!("{p}/{c}"));
            return Err(ChannelError::Other { expected, found });
        }
        let channel = channel.clone();
        let current = Seen { sequence: self.sequence, document: self.payload_digest() };
        if let Some(seen) = seen {
            if self.sequence < seen.sequence {
                return Err(ChannelError::Older { channel, found: self.sequence, seen: seen.sequence });
            }
            if self.sequence == seen.sequence && current != *seen {
                return Err(ChannelError::Equivocation { channel, sequence: self.sequence });
            }
        }
        if self.issued > now.saturating_add(CLOCK_TOLERANCE).unwrap_or(Timestamp::MAX) {
            return Err(ChannelError::Future { channel, issued: self.issued, now });
        }
        if now >= self.expires {
            return Err(ChannelError::Expired { channel, expires: self.expires });
        }
        Ok(current)
    }
}
