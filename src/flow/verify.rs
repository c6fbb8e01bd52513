//! Checks archives offline against the release that they carry, or the one beside them. No socket is opened.

use std::path::{Path, PathBuf};

use super::{Error, statements};
use crate::model::channel::{ChannelError, Freshness, Patience};
use crate::model::digest::Digest;
use crate::model::key::PublicKey;
use crate::model::name::{ChannelName, Version};
use crate::model::release::{self, Archive, Release};
use crate::model::seal::{SealError, Sealed, Verified};
use crate::model::seen::Seen;
use crate::model::time::Timestamp;
use crate::model::trust::{Step, TrustError, Trusted};
use crate::step::check::Checked;
use crate::step::pin::Pin;
use crate::step::progress::Hear;
use crate::step::{check, download, members, remember};

/// What to verify, and what is known beforehand.
pub struct Question {
    /// An archive, or a folder with a release.
    pub path: PathBuf,
    /// Whose signature counts.
    pub trust: Trust,
    /// The channel that would say whether the release is current.
    pub channel: ChannelName,
    /// How long a channel is believed.
    pub patience: Patience,
    /// Where this machine remembers what it has seen.
    pub state: PathBuf,
    /// This machine's time.
    pub now: Timestamp,
}

/// Whose signature counts.
#[derive(Debug, Clone)]
pub enum Trust {
    /// This key's, whatever project it signs for.
    Key(PublicKey),
    /// For each pinned project, its own key's.
    Pins(Vec<Pin>),
}

/// An archive that matches its release in every byte.
pub struct Sound {
    /// Its release.
    pub release: Verified<Release>,
    /// Version of the trust document that counted; 0 is the pinned key.
    pub trust: u64,
    /// The archives that were checked.
    pub archives: Vec<Checked>,
    /// Whether the release is current.
    pub currency: Currency,
}

/// Whether a release is the current one, as far as can be told offline.
#[derive(Debug)]
pub enum Currency {
    /// A channel that has not expired names it.
    Fresh {
        /// Sequence of the channel.
        sequence: u64,
        /// When it expires.
        expires: Timestamp,
    },
    /// A channel named it until then.
    Stale {
        /// Sequence of the channel.
        sequence: u64,
        /// When it expired.
        since: Timestamp,
    },
    /// A channel names another version.
    Superseded {
        /// Sequence of the channel.
        sequence: u64,
        /// The version that it names.
        by: Version,
    },
    /// There is no channel, or none that says anything.
    Unknown(String),
}

/// One thing that was checked.
#[derive(Debug, Clone)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// Of what.
    pub of: String,
    /// How it ended.
    pub result: Outcome,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It holds.
    Ok,
    /// It does not.
    Failed,
    /// It cannot be told here.
    Unknown,
}

/// Checks so far, in order; the last one may have failed.
#[derive(Debug, Default)]
pub struct Log(pub Vec<Check>);

impl Log {
    fn note<T, E: Into<Error>>(
        &mut self,
        name: &'static str,
        of: &str,
        result: Result<T, E>,
    ) -> Result<T, Error> {
        let outcome = if result.is_ok() { Outcome::Ok } else { Outcome::Failed };
        self.0.push(Check { name, of: of.to_string(), result: outcome });
        result.map_err(Into::into)
    }
}

/// Verifies one archive, or every archive of the release in a folder.
pub fn verify(ask: &Question, log: &mut Log, hear: Hear<'_>) -> Result<Sound, Error> {
    let path = &ask.path;
    if !path.exists() {
        return Err(Error::Absent(path.display().to_string()));
    }
    let (folder, file) = split(path);
    let absent = || Error::NoRelease { file: path.display().to_string(), name: release::FILE_NAME };
    let (carried, index) = if file.is_some() { carried(path)? } else { (None, None) };
    let sealed = match carried {
        Some(sealed) => Ok(sealed),
        None => download::release_beside(&folder)?.ok_or_else(absent),
    };
    let sealed = log.note("release is there", release::FILE_NAME, sealed)?;
    let beside = log.note(
        "trust documents can be read",
        &folder.display().to_string(),
        download::chain_beside(&folder),
    )?;
    let named = ask.trust.verify(&sealed, &beside, &ask.state);
    let (release, trusted, seen) =
        log.note("release is sealed by a trusted key", release::FILE_NAME, named)?;
    let what = format!("{} {}", release.project, release.version);
    log.note("version is not withdrawn", &what, seen.permits(&ask.channel, &release.version, &trusted))?;

    let wanted: Vec<Verified<Archive>> = match &file {
        // The file may have another name than when it was signed; what it holds may not differ.
        Some(file) => match index {
            Some(index) => release.archive_with(&index).into_iter().collect(),
            None => release.archive_named(file).into_iter().collect(),
        },
        None => release.archives.iter().filter_map(|archive| release.archive_named(&archive.file)).collect(),
    };
    let present = || release.file_names();
    let strange = || Error::NotInRelease { file: file.clone().unwrap_or_default(), present: present() };
    let known = if wanted.is_empty() { Err(strange()) } else { Ok(()) };
    log.note("release names the archive", file.as_deref().unwrap_or("all of it"), known)?;
    let place = |name: &str| if file.is_some() { path.clone() } else { folder.join(name) };
    let mut archives = Vec::new();
    for archive in wanted {
        let name = archive.file.clone();
        let file = log.note("archive is there", &name, download::local(&place(&archive.file)))?;
        let checked = log.note(
            "archive is the signed one, byte for byte",
            &name,
            check::archive(file, archive, None, hear),
        )?;
        let signed = (name.as_str(), &checked.archive().image);
        let stated = statements::beside(&place(&name), signed, &trusted.signers())?;
        for (bundle, says) in stated {
            log.note("statement says what stands in the archive", &bundle, says)?;
        }
        archives.push(checked);
    }
    let currency = currency(ask, &folder, &release, &trusted, &seen)?;
    let result = match currency {
        Currency::Fresh { .. } => Outcome::Ok,
        Currency::Stale { .. } | Currency::Superseded { .. } => Outcome::Failed,
        Currency::Unknown(_) => Outcome::Unknown,
    };
    log.0.push(Check { name: "release is the current one", of: ask.channel.to_string(), result });
    Ok(Sound { trust: trusted.version(), release, archives, currency })
}

/// Asks the channel that lies beside the archive. Integrity does not depend on the answer, except that a
/// channel may say that the version is withdrawn.
fn currency(
    ask: &Question,
    folder: &Path,
    release: &Verified<Release>,
    trusted: &Trusted,
    seen: &Seen,
) -> Result<Currency, Error> {
    let name = &ask.channel;
    let Some(sealed) = download::channel_beside(folder, name)? else {
        return Ok(Currency::Unknown("offline, so a newer release may exist".to_owned()));
    };
    let channel = match trusted.channel(&sealed) {
        Ok(channel) => channel,
        Err(error) => return Ok(Currency::Unknown(error.to_string())),
    };
    let sequence = channel.sequence;
    let pointer = match channel.stands(&release.project, name, seen, trusted) {
        Ok(pointer) => pointer,
        Err(error) => return Ok(Currency::Unknown(error.to_string())),
    };
    let mut known = seen.clone();
    known.note(name, pointer, trusted)?;
    known.permits(name, &release.version, trusted)?;
    if channel.release != release.sealed_digest() {
        return Ok(Currency::Superseded { sequence, by: channel.version.clone() });
    }
    match channel.follow(&release.project, name, seen, trusted, ask.patience, ask.now) {
        Ok(followed) => Ok(match followed.freshness {
            Freshness::Fresh => Currency::Fresh { sequence, expires: channel.expires },
            Freshness::Stale(since) => Currency::Stale { sequence, since },
        }),
        Err(ChannelError::Expired { expires, .. }) => Ok(Currency::Stale { sequence, since: expires }),
        Err(error) => Ok(Currency::Unknown(error.to_string())),
    }
}

impl Trust {
    /// The release, who is believed for it, and what was seen of its project.
    pub(super) fn verify(
        &self,
        sealed: &Sealed<Release>,
        beside: &[Step],
        state: &Path,
    ) -> Result<(Verified<Release>, Trusted, Seen), Error> {
        let pins = match self {
            Self::Key(key) => {
                let pin = Trusted::any_project(key.clone());
                // Whoever names a key believes it, whatever documents lie around.
                let trusted = match pin.clone().follow(beside) {
                    Err(TrustError::Unjoined(_)) => pin,
                    other => other?,
                };
                let release = trusted.release(sealed)?;
                return match trusted.project() {
                    Some(project) if *project != release.project => {
                        Err(Error::Stranger { project: release.project.clone() })
                    }
                    _ => Ok((release, trusted, Seen::nothing())),
                };
            }
            Self::Pins(pins) => pins,
        };
        let mut refusal = None;
        for pin in pins {
            let trusted = Trusted::pin(pin.project.clone(), pin.key.clone());
            let memory = remember::of(state, &pin.project, &trusted);
            let trusted = match extend(trusted.follow(&memory.chain()?)?, beside) {
                Ok(trusted) => trusted,
                Err(error) => {
                    refusal.get_or_insert(Error::Trust(error));
                    continue;
                }
            };
            match trusted.release(sealed) {
                Ok(release) if release.project == pin.project => {
                    let seen = memory.seen()?.unwrap_or_else(Seen::nothing);
                    return Ok((release, trusted, seen));
                }
                // A project is believed only its own key's.
                Ok(release) => refusal = Some(Error::Stranger { project: release.project.clone() }),
                Err(SealError::Untrusted { document, claimed }) => {
                    refusal.get_or_insert(Error::Seal(SealError::Untrusted { document, claimed }));
                }
                Err(error) => refusal = Some(Error::Seal(error)),
            }
        }
        Err(refusal.unwrap_or(Error::Key(crate::model::key::KeyError::Empty)))
    }
}

/// Follows the documents beside an archive that are newer than those remembered.
fn extend(trusted: Trusted, beside: &[Step]) -> Result<Trusted, TrustError> {
    let mut newer = beside;
    while let [first, rest @ ..] = newer {
        match trusted.clone().advance(first) {
            Err(TrustError::Version { .. } | TrustError::Threshold { found: 0, .. })
                if trusted.version() > 0 =>
            {
                newer = rest;
            }
            _ => break,
        }
    }
    if newer.is_empty() { Ok(trusted) } else { trusted.follow(newer) }
}

fn split(path: &Path) -> (PathBuf, Option<String>) {
    if path.is_dir() {
        return (path.to_owned(), None);
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    (path.parent().unwrap_or(Path::new("")).to_owned(), name)
}

/// The release at the end of an archive, and the digest of its index; neither where there is none.
fn carried(path: &Path) -> Result<(Option<Sealed<Release>>, Option<Digest>), Error> {
    let file = download::local(path)?;
    Ok(members::tail(&file)
        .map_or((None, None), |tail| (tail.sealed.map(Sealed::from_bytes), Some(tail.index_blob.digest))))
}
