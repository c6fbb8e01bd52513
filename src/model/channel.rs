//! The channel: a small signed pointer to the current release. The only document that expires.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::document::{Document, Subject};
use super::name::{ChannelName, ProjectName, Version};
use super::release;
use super::seal::Verified;
use super::seen::{Pointer, Seen};
use super::time::{self, CLOCK_TOLERANCE, SignedDuration, Timestamp};
use super::trust::Trusted;

/// Which release is current.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// The oldest version that anybody may still load.
    pub floor: Option<Version>,
    /// Versions that nobody may load, of the whole project; sorted.
    pub yanked: Vec<Yank>,
}

/// A version that its project withdrew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Yank {
    /// Which.
    pub version: Version,
    /// What to run instead.
    pub instead: Option<Version>,
    /// Why, in the words of the project.
    pub reason: String,
}

/// Most versions that a channel can call withdrawn, and the longest reason.
const MAX_YANKED: usize = 500;
const MAX_REASON: usize = 400;

/// How long a channel is believed, unless it is renewed: a month, as TUF's guidance has it for
/// metadata that people, not machines, sign.
pub const LIFETIME: SignedDuration = SignedDuration::from_hours(30 * 24);

/// How long an operator believes a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// As long as the project says.
    UntilItExpires,
    /// So long after it was signed, whatever the project says.
    MaxAge(SignedDuration),
}

/// Whether a channel says what is current.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// It does.
    Fresh,
    /// It did until then, and the operator chose to believe it longer.
    Stale(Timestamp),
}

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
        if let Some(floor) = self.floor.as_ref().filter(|floor| **floor > self.version) {
            return Err(format!("its version {} is below its own floor {floor}", self.version));
        }
        if self.yanked.len() > MAX_YANKED {
            return Err(format!("it names more than {MAX_YANKED} withdrawn versions"));
        }
        let withdrawn: BTreeSet<&Version> = self.yanked.iter().map(|yank| &yank.version).collect();
        if !self.yanked.is_sorted_by(|one, two| one.version < two.version) {
            return Err("its withdrawn versions are not sorted".to_owned());
        }
        for Yank { version, instead, reason } in &self.yanked {
            if reason.is_empty() || reason.len() > MAX_REASON || reason.chars().any(char::is_control) {
                return Err(format!(
                    "why it withdrew {version} is not one line of at most {MAX_REASON} bytes"
                ));
            }
            if instead.as_ref().is_some_and(|instead| withdrawn.contains(instead)) {
                return Err(format!("what it names instead of {version} is withdrawn too"));
            }
        }
        if withdrawn.contains(&self.version) {
            return Err(format!("it points to version {}, which it withdrew", self.version));
        }
        Ok(())
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
    #[error("channel `{channel}` expired on {expires}, {} ago", time::words(*.late))]
    Expired {
        /// Which channel.
        channel: ChannelName,
        /// When it expired.
        expires: Timestamp,
        /// How long ago that is.
        late: SignedDuration,
        /// How long ago it was signed.
        age: SignedDuration,
    },
    /// Older than this operator accepts.
    #[error("channel `{channel}` was signed {} ago, and no more than {} is accepted", time::words(*.age), time::words(*.accepted))]
    TooOld {
        /// Which channel.
        channel: ChannelName,
        /// How long ago it was signed.
        age: SignedDuration,
        /// What is accepted.
        accepted: SignedDuration,
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
    /// The clock ran back.
    #[error("this machine's clock says {now}, and it was {seen} here already")]
    ClockBack {
        /// This machine's time.
        now: Timestamp,
        /// The latest time that this machine has known.
        seen: Timestamp,
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
    /// A version that nobody may go back to.
    #[error("version {version} is older than {floor}, the oldest that channel `{channel}` allows")]
    BelowFloor {
        /// The channel that says so.
        channel: ChannelName,
        /// The version wanted.
        version: Version,
        /// The oldest one allowed.
        floor: Version,
    },
    /// A version that its project withdrew.
    #[error("version {} was withdrawn by its project: {}", .0.version, .0.reason)]
    Yanked(Yank),
}

/// A pointer that may be followed.
#[derive(Debug, Clone)]
pub struct Followed {
    /// What to remember of it once its image is loaded.
    pub pointer: Pointer,
    /// Whether it says what is current.
    pub freshness: Freshness,
}

impl Verified<Channel> {
    /// Decides whether this pointer may be followed now, by a machine that has seen `seen`.
    pub fn follow(
        &self,
        project: &ProjectName,
        channel: &ChannelName,
        seen: &Seen,
        trusted: &Trusted,
        patience: Patience,
        now: Timestamp,
    ) -> Result<Followed, ChannelError> {
        let pointer = self.stands(project, channel, seen, trusted)?;
        seen.permits(channel, &self.version, trusted)?;
        seen.check_clock(now)?;
        self.is_dated(now)?;
        let channel = channel.clone();
        let age = now.duration_since(self.issued);
        match patience {
            Patience::MaxAge(accepted) if age > accepted => {
                return Err(ChannelError::TooOld { channel, age, accepted });
            }
            Patience::UntilItExpires if now >= self.expires => {
                let late = now.duration_since(self.expires);
                return Err(ChannelError::Expired { channel, expires: self.expires, late, age });
            }
            _ => {}
        }
        let freshness = if now < self.expires { Freshness::Fresh } else { Freshness::Stale(self.expires) };
        Ok(Followed { pointer, freshness })
    }

    /// Everything but its age and its version: whether this is the pointer that was asked for, and none that was
    /// replaced or contradicted before. What it says of floors and withdrawn versions stays true when
    /// it has expired.
    pub fn stands(
        &self,
        project: &ProjectName,
        channel: &ChannelName,
        seen: &Seen,
        trusted: &Trusted,
    ) -> Result<Pointer, ChannelError> {
        if self.project != *project || self.channel != *channel {
            let [expected, found] =
                [(project, channel), (&self.project, &self.channel)].map(|(p, c)| format!("{p}/{c}"));
            return Err(ChannelError::Other { expected, found });
        }
        let pointer = Pointer::of(self);
        if let Some(before) = seen.pointer(channel, trusted) {
            pointer.may_follow(before, channel)?;
        }
        Ok(pointer)
    }

    /// Refuses a pointer from the future: somebody's clock is wrong, and so is its expiry.
    pub fn is_dated(&self, now: Timestamp) -> Result<(), ChannelError> {
        if self.issued > time::after(now, CLOCK_TOLERANCE) {
            let channel = self.channel.clone();
            return Err(ChannelError::Future { channel, issued: self.issued, now });
        }
        Ok(())
    }
}
