//! From a pinned key to a loaded image: channel, release, archive, engine; each checked before the
//! next is looked at.

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::Error;
use super::choose::{self, Choice};
use super::obtain::{self, Obtained, Origin, Supply};
use super::verify::{self, Currency, Log, Question, Trust};
use crate::model::channel::{Channel, Freshness, Patience};
use crate::model::key::PublicKey;
use crate::model::name::{ChannelName, Platform, ProjectName, TierName, Version};
use crate::model::release::{Archive, Patch, Release};
use crate::model::report::Tally;
use crate::model::seal::Verified;
use crate::model::time::Timestamp;
use crate::step::check::Checked;
use crate::step::disk::{self, Need, Purpose};
use crate::step::engine::Engine;
use crate::step::load::{Goal, Loaded, Loading, Room};
use crate::step::progress::Hear;
use crate::step::receive::Line;
use crate::step::store::{Key, Store};
use crate::step::{audit, deliver, load, partial};

/// What an operator wants, and whom they trust.
pub struct Order {
    /// Which image, and where it is.
    pub want: Want,
    /// How long a channel is believed.
    pub patience: Patience,
    /// Where archives are kept.
    pub cache: PathBuf,
    /// Other archives, and folders of them, that may have parts of it.
    pub seeds: Vec<PathBuf>,
    /// How much of the line may be used.
    pub line: Line,
    /// Where this machine remembers what it has seen.
    pub state: PathBuf,
    /// What becomes of the archive when every byte of it was verified.
    pub fate: Fate,
    /// This machine's time.
    pub now: Timestamp,
}

/// Which image, and where it is.
pub enum Want {
    /// A tier, from the stores of its project.
    Tier(Tier),
    /// The archive behind a link that somebody sent.
    Link {
        /// The link.
        store: Store,
        /// Whose signature counts.
        trust: Trust,
    },
    /// An archive on this disk.
    File {
        /// Where.
        path: PathBuf,
        /// Whose signature counts.
        trust: Trust,
    },
}

impl fmt::Display for Want {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tier(Tier { project, tier, which: Which::Channel(channel), .. }) => {
                write!(f, "{project}/{tier} of channel {channel}")
            }
            Self::Tier(Tier { project, tier, which: Which::Pinned(version, _), .. }) => {
                write!(f, "{project}/{tier}@{version}")
            }
            Self::Link { store, .. } => store.address().fmt(f),
            Self::File { path, .. } => path.display().fmt(f),
        }
    }
}

/// A tier of a project.
pub struct Tier {
    /// Whose image.
    pub project: ProjectName,
    /// Which image.
    pub tier: TierName,
    /// For which platform.
    pub platform: Platform,
    /// The current release of a channel, or one version.
    pub which: Which,
    /// Where releases live, and mirrors of it.
    pub stores: Vec<Store>,
    /// A link to the very archive, which is tried before them.
    pub link: Option<Store>,
    /// The key that was pinned.
    pub pinned: PublicKey,
    /// Whether it was pinned for good, so that something should be remembered.
    pub bond: Bond,
}

/// What becomes of a verified archive.
pub enum Fate {
    /// An engine loads it.
    Load(Goal),
    /// It stays a file: in the cache, or as this one.
    Keep(Option<PathBuf>),
    /// Its tar goes to whoever reads.
    Pipe(Box<dyn Write + Send>),
}

/// Which release.
pub enum Which {
    /// The one that a channel points to.
    Channel(ChannelName),
    /// One version. It needs no channel; one that is there may say that the version is withdrawn.
    Pinned(Version, ChannelName),
}

/// For how long a project is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bond {
    /// Since `imgforge trust add`: what was seen is remembered, and missed when it is lost.
    Pinned,
    /// For this one command.
    Once,
}

/// What was fetched.
pub struct Fetched {
    /// The channel that was followed, and whether it says what is current.
    pub channel: Option<(Verified<Channel>, Freshness)>,
    /// Whether it is current, as far as can be told where no channel was asked.
    pub currency: Option<Currency>,
    /// Version of the trust document that counted.
    pub trust: u64,
    /// The release.
    pub release: Verified<Release>,
    /// The archive.
    pub archive: Verified<Archive>,
    /// How much of it was looked at.
    pub tally: Tally,
    /// Where it is kept.
    pub path: PathBuf,
    /// Where its bytes came from.
    pub origin: Origin,
    /// Whether an engine has it.
    pub is_loaded: bool,
    /// What the engine has; absent when it was not asked.
    pub loaded: Option<Loaded>,
}

/// Fetches, verifies, loads; with [`load::Proof::Proven`] also proves. Nothing is started. What came of it is
/// written down, whatever it was.
pub async fn fetch(order: Order, hear: Hear<'_>) -> Result<Fetched, Error> {
    let (state, time, asked) = (order.state.clone(), order.now, order.want.to_string());
    let outcome = bring(order, hear).await;
    written_down(&state, time, &asked, outcome, |fetched| audit::Result::Done {
        project: &fetched.release.project,
        tier: &fetched.archive.tier,
        version: &fetched.release.version,
        key: fetched.release.signer(),
        release: fetched.release.sealed_digest(),
        loaded: fetched.is_loaded,
        proven: fetched.loaded.is_some(),
    })
}

/// Hands on what came of a fetch, after it was noted in the log.
pub(super) fn written_down<T>(
    state: &Path,
    time: Timestamp,
    asked: &str,
    outcome: Result<T, Error>,
    done: impl Fn(&T) -> audit::Result<'_>,
) -> Result<T, Error> {
    let reason;
    let result = match &outcome {
        Ok(fetched) => done(fetched),
        Err(error) => {
            reason = error.to_string();
            audit::Result::Refused { reason: &reason }
        }
    };
    let noted = audit::note(state, &audit::Entry { time, user: audit::user(), asked, result });
    match (outcome, noted) {
        (Ok(_), Err(error)) => Err(error.into()),
        (outcome, _) => outcome,
    }
}

async fn bring(order: Order, hear: Hear<'_>) -> Result<Fetched, Error> {
    let choice = match &order.want {
        Want::Tier(tier) => choose::tier(&order, tier, hear).await?,
        Want::Link { store, trust } => choose::link(&order, store, trust).await?,
        Want::File { path, trust } => {
            let ready = filed(&order, path, trust, hear)?;
            look_ahead(&order, ready.checked.archive(), Vec::new()).await?;
            return deliver(ready, order.fate, hear).await;
        }
    };
    let folder = order.cache.join(choice.release.project.as_str());
    let download = Need {
        purpose: Purpose::Archive,
        bytes: partial::rest(&folder.join(&choice.archive.file), choice.archive.size),
        folder: folder.clone(),
    };
    look_ahead(&order, &choice.archive, vec![download]).await?;
    let release = &choice.release;
    let named = |patch: Verified<Patch>| {
        let key = Key::file(&release.project, &release.version, &patch.file);
        (patch, key)
    };
    let patches: Vec<_> = release.patches_to(&choice.archive).into_iter().map(named).collect();
    let supply = Supply {
        places: &choice.places,
        seeds: &order.seeds,
        folder: &folder,
        patches: &patches,
        line: order.line,
    };
    let goal = match &order.fate {
        Fate::Load(goal) => Some(goal),
        Fate::Keep(_) | Fate::Pipe(_) => None,
    };
    let Obtained { checked, path, origin, loading } =
        obtain::archive(&supply, &choice.archive, goal, hear).await?;
    let Choice { release, channel, trusted, memory, note, .. } = choice;
    let trust = trusted.version();
    let currency = match &order.want {
        Want::Link { .. } => {
            Some(Currency::Unknown("a link cannot tell, and a newer release may exist".to_owned()))
        }
        _ => None,
    };
    let ready = Ready { release, channel, currency, trust, checked, path, origin, loading };
    let fetched = deliver(ready, order.fate, hear).await?;

    // Only now: a pointer whose image never arrived must not block the one before it.
    if let (Some(memory), Some((name, pointer))) = (memory, note) {
        memory.note(&name, pointer, &trusted)?;
    }
    Ok(fetched)
}

/// Asks whoever will load the image, and the disks, before hours of downloading end in a refusal.
async fn look_ahead(order: &Order, archive: &Archive, mut needs: Vec<Need>) -> Result<(), Error> {
    if let Fate::Load(goal) = &order.fate {
        let engine = Engine::connect(&goal.engine).await?;
        if let Some(Room { folder, bytes }) = load::foresee(&engine, &archive.image, goal.retag).await? {
            needs.push(Need { folder, purpose: Purpose::Engine, bytes });
        }
    }
    Ok(disk::together(needs)?)
}

/// An archive of which every byte was verified, and all that is known of it.
struct Ready {
    release: Verified<Release>,
    channel: Option<(Verified<Channel>, Freshness)>,
    currency: Option<Currency>,
    trust: u64,
    checked: Checked,
    path: PathBuf,
    origin: Origin,
    /// An engine that got it while it was verified.
    loading: Option<Loading>,
}

/// Hands a verified archive on.
async fn deliver(ready: Ready, fate: Fate, hear: Hear<'_>) -> Result<Fetched, Error> {
    let Ready { release, channel, currency, trust, checked, mut path, origin, loading } = ready;
    let is_loaded = matches!(fate, Fate::Load(_));
    let mut loaded = None;
    match fate {
        Fate::Load(goal) => {
            loaded = match loading {
                Some(loading) => loading.end(&checked, hear).await?,
                None => load::load(&goal, &checked, hear).await?,
            };
        }
        Fate::Keep(None) => {}
        Fate::Keep(Some(target)) => {
            deliver::copy(&mut checked.open_file(), &target)?;
            path = target;
        }
        Fate::Pipe(mut out) => deliver::pipe(&mut checked.open_tar(&[]), &mut out)?,
    }
    Ok(Fetched {
        channel,
        currency,
        trust,
        release,
        tally: checked.tally(),
        archive: checked.into_archive(),
        path,
        origin,
        is_loaded,
        loaded,
    })
}

/// An archive on this disk, verified as `imgforge verify` does.
fn filed(order: &Order, path: &Path, trust: &Trust, hear: Hear<'_>) -> Result<Ready, Error> {
    let question = Question {
        path: path.to_owned(),
        trust: trust.clone(),
        channel: ChannelName::stable(),
        patience: order.patience,
        state: order.state.clone(),
        now: order.now,
    };
    let sound = verify::verify(&question, &mut Log::default(), hear)?;
    let [checked] = <[Checked; 1]>::try_from(sound.archives)
        .map_err(|_| Error::NotAnArchive(path.display().to_string()))?;
    let size = checked.archive().size;
    let origin = Origin { size, kept: size, ..Origin::default() };
    Ok(Ready {
        release: sound.release,
        channel: None,
        currency: Some(sound.currency),
        trust: sound.trust,
        checked,
        path: path.to_owned(),
        origin,
        loading: None,
    })
}
