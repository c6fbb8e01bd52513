//! How well a machine is: what was found, and what to type about it. Only judgements; who looks is
//! `step::examine`.

use semver::Version;
use serde::Serialize;

use super::time::{self, CLOCK_TOLERANCE, SignedDuration, Timestamp};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// As it should be.
    Ok,
    /// Commands work, and something may surprise.
    Warning,
    /// Some command will fail.
    Fault,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, in one word.
    pub about: &'static str,
    /// How bad it is.
    pub grade: Grade,
    /// What was found.
    pub text: String,
    /// What to type. A line that begins with `#` is for reading.
    pub fix: Option<String>,
}

impl Finding {
    /// Nothing to do.
    pub fn ok(about: &'static str, text: impl Into<String>) -> Self {
        Self { about, grade: Grade::Ok, text: text.into(), fix: None }
    }

    /// Worth knowing.
    pub fn warning(about: &'static str, text: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { about, grade: Grade::Warning, text: text.into(), fix: Some(fix.into()) }
    }

    /// To be repaired.
    pub fn fault(about: &'static str, text: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { about, grade: Grade::Fault, text: text.into(), fix: Some(fix.into()) }
    }
}

/// The first cosign that refuses a bundle with the forger's own key in it (GHSA-fx35-mq7g-6g98).
const COSIGN_FLOOR: Version = Version::new(3, 1, 3);

/// What `cosign version` says; `None` when there is no cosign.
#[must_use]
pub fn cosign(said: Option<&str>) -> Finding {
    let install = format!(
        "# https://github.com/sigstore/cosign/releases: {COSIGN_FLOOR} or newer; imgforge itself needs none"
    );
    let Some(said) = said else {
        return Finding::warning("cosign", "not installed, so nothing here checks imgforge's work", install);
    };
    let number = said.lines().find_map(|line| line.trim().strip_prefix("GitVersion:"));
    match number.and_then(|number| Version::parse(number.trim().trim_start_matches('v')).ok()) {
        Some(version) if version >= COSIGN_FLOOR => Finding::ok("cosign", version.to_string()),
        Some(version) => Finding::warning(
            "cosign",
            format!(
                "{version} accepts forged files for `--bundle`; {COSIGN_FLOOR} is the first that does not"
            ),
            install,
        ),
        None => Finding::warning(
            "cosign",
            format!(
                "does not tell its version; before {COSIGN_FLOOR} it accepts forged files for `--bundle`"
            ),
            install,
        ),
    }
}

/// Clocks that are so far apart are worth a word; signed requests fail from 15 minutes on.
const NOTABLE: SignedDuration = SignedDuration::from_mins(5);
const SIGNED_REQUESTS: SignedDuration = SignedDuration::from_mins(15);

/// What a clock is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// The `Date` of a store that is read.
    Reading(Timestamp),
    /// The `Date` of a store that takes signed requests, which carry a time.
    Signing(Timestamp),
    /// The latest time at which a channel was issued that was followed here: it can only be later now.
    Remembered(Timestamp),
}

/// This machine's clock against what else tells the time.
#[must_use]
pub fn clock(now: Timestamp, others: &[Clock]) -> Finding {
    const FIX: &str = "sudo timedatectl set-ntp true";
    let mut worst: Option<(Grade, String)> = None;
    for other in others {
        let (their, limit, who) = match *other {
            Clock::Reading(their) => (their, CLOCK_TOLERANCE, "the store"),
            Clock::Signing(their) => (their, SIGNED_REQUESTS, "the store"),
            Clock::Remembered(their) if now >= their => continue,
            Clock::Remembered(their) => (their, CLOCK_TOLERANCE, "a channel that was followed"),
        };
        let behind = their.duration_since(now);
        let apart = behind.abs();
        let grade = if apart > limit {
            Grade::Fault
        } else if apart > NOTABLE {
            Grade::Warning
        } else {
            continue;
        };
        let side = if behind.is_positive() { "behind" } else { "ahead of" };
        if worst.as_ref().is_none_or(|(before, _)| *before != Grade::Fault) {
            worst = Some((grade, format!("{now} is {} {side} {who}", time::words(apart))));
        }
    }
    match worst {
        Some((Grade::Fault, text)) => Finding::fault("clock", text, FIX),
        Some((_, text)) => Finding::warning("clock", text, FIX),
        None if others.iter().all(|other| matches!(other, Clock::Remembered(_))) => {
            Finding::ok("clock", format!("{now}; no store with a clock to compare it with"))
        }
        None => Finding::ok("clock", format!("{now}, as others have it")),
    }
}

/// What a disk has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that this user may still write.
    pub bytes: u64,
    /// Whether there can be more files.
    pub files: bool,
}

/// Less than the smallest image that people ship.
const TOO_LITTLE: u64 = 256 << 20;
/// An image of 700 MB: once as layers, once as an archive, and the next version beside it.
const LITTLE: u64 = 4 << 30;

/// What is left where images go. `fix` makes room.
#[must_use]
pub fn room(what: &str, space: Space, fix: &str) -> Finding {
    let left = format!("{what}: {:.1} GB left", decimal_gigabytes(space.bytes));
    match space {
        Space { files: false, .. } => Finding::fault("disk", format!("{what}: no more files fit"), fix),
        Space { bytes, .. } if bytes < TOO_LITTLE => Finding::fault("disk", left, fix),
        Space { bytes, .. } if bytes < LITTLE => Finding::warning("disk", left, fix),
        Space { .. } => Finding::ok("disk", left),
    }
}

#[expect(clippy::cast_precision_loss, reason = "one digit after the point is shown")]
fn decimal_gigabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosign_has_a_floor() {
        let grade = |said| cosign(said).grade;
        assert_eq!(grade(None), Grade::Warning);
        assert_eq!(grade(Some("GitVersion:    v3.1.2\n")), Grade::Warning);
        assert_eq!(grade(Some("GitVersion:    v3.1.3-rc.1\n")), Grade::Warning);
        assert_eq!(grade(Some("GitVersion:    devel\n")), Grade::Warning);
        assert_eq!(grade(Some("cosign\nGitVersion:    v3.1.3\nGitCommit: x\n")), Grade::Ok);
        assert_eq!(grade(Some("GitVersion: 4.0.0")), Grade::Ok);
    }

    #[test]
    fn clocks_are_compared_by_what_they_are_for() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let at = |minutes: i64| now.saturating_add(SignedDuration::from_mins(minutes)).unwrap();
        let grade = |others: &[Clock]| clock(now, others).grade;
        assert_eq!(grade(&[]), Grade::Ok);
        assert_eq!(grade(&[Clock::Reading(at(4)), Clock::Signing(at(-4))]), Grade::Ok);
        assert_eq!(grade(&[Clock::Reading(at(20))]), Grade::Warning);
        assert_eq!(grade(&[Clock::Reading(at(20)), Clock::Signing(at(20))]), Grade::Fault);
        assert_eq!(grade(&[Clock::Signing(at(-20)), Clock::Reading(at(-20))]), Grade::Fault);
        assert_eq!(grade(&[Clock::Remembered(at(-60 * 24 * 30))]), Grade::Ok);
        assert_eq!(grade(&[Clock::Remembered(at(60 * 25))]), Grade::Fault);
        insta::assert_snapshot!(clock(now, &[Clock::Reading(at(60 * 48))]).text, @"2026-11-21T12:00:00Z is 2 days behind the store");
    }

    #[test]
    fn disks_are_full_in_two_ways() {
        let grade = |bytes, files| room("the cache", Space { bytes, files }, "").grade;
        assert_eq!(grade(u64::MAX, true), Grade::Ok);
        assert_eq!(grade(u64::MAX, false), Grade::Fault);
        assert_eq!(grade(1 << 30, true), Grade::Warning);
        assert_eq!(grade(1 << 20, true), Grade::Fault);
    }
}
