//! In which order: each file tells one story from its first line to its last.
//!
//! **Invariant:** nothing third-party is named here (but the derive for [`Error`]), and nothing is
//! printed: a flow is steps in an order, and the order is what a reader comes for.

pub mod attest;
pub mod build;
pub mod cache;
pub mod channel;
pub mod check;
mod choose;
pub mod doctor;
pub mod export;
pub mod fetch;
pub mod init;
pub mod inspect;
pub mod link;
pub mod lock;
pub mod mirror;
pub mod obtain;
mod patch;
pub mod pointer;
pub mod pull;
pub mod push;
pub mod release;
pub mod releases;
pub mod sbom;
pub mod scan;
pub mod sign;
pub mod statements;
pub mod trust;
pub mod verify;

use crate::model::name::{Platform, TierName, Version};
use crate::model::{image, key, policy, recipe, seal};
use crate::step;

/// Anything that can stop a flow. The command line turns it into words, a hint and an exit code.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant is the error of the step that it names")]
pub enum Error {
    #[error(transparent)]
    Finding(#[from] recipe::parse::Finding),
    #[error(transparent)]
    Recipe(#[from] recipe::parse::Findings),
    #[error(transparent)]
    Read(#[from] step::read::ReadError),
    #[error(transparent)]
    Bootstrap(#[from] step::bootstrap::BootstrapError),
    #[error(transparent)]
    Gather(#[from] step::gather::GatherError),
    #[error(transparent)]
    Build(#[from] step::build::BuildError),
    #[error(transparent)]
    Web(#[from] step::web::WebError),
    #[error(transparent)]
    Obtain(#[from] step::obtain::ObtainError),
    #[error(transparent)]
    Resolve(#[from] step::resolve::ResolveError),
    #[error(transparent)]
    Content(#[from] step::content::ContentError),
    #[error(transparent)]
    Patch(#[from] step::patch::PatchError),
    #[error(transparent)]
    Inspect(#[from] step::inspect::InspectError),
    #[error(transparent)]
    Policy(#[from] policy::Refusal),
    #[error(transparent)]
    Normalise(#[from] step::normalise::NormaliseError),
    #[error(transparent)]
    Inventory(#[from] step::inventory::InventoryError),
    #[error(transparent)]
    Advisories(#[from] step::advisories::AdvisoriesError),
    /// Images that must not leave.
    #[error("known vulnerabilities stop the release; nothing was published")]
    Vulnerable(Box<crate::model::scan::gate::Scan>),
    /// A tier, and nothing that says what it is.
    #[error("there are no recipes, so nothing is known about tier `{0}`")]
    NoRecipes(TierName),
    #[error(transparent)]
    Pack(#[from] step::pack::PackError),
    #[error(transparent)]
    Append(#[from] step::append::AppendError),
    #[error(transparent)]
    Tail(#[from] step::members::TailError),
    #[error(transparent)]
    List(#[from] step::list::ListError),
    #[error(transparent)]
    Assemble(#[from] step::assemble::AssembleError),
    #[error(transparent)]
    Keyring(#[from] step::keyring::KeyringError),
    #[error(transparent)]
    Key(#[from] key::KeyError),
    #[error(transparent)]
    Sign(#[from] step::sign::SignError),
    #[error(transparent)]
    Statement(#[from] crate::model::attestation::StatementError),
    #[error(transparent)]
    Seal(#[from] seal::SealError),
    #[error(transparent)]
    Channel(#[from] crate::model::channel::ChannelError),
    #[error(transparent)]
    Trust(#[from] crate::model::trust::TrustError),
    #[error(transparent)]
    Chain(#[from] step::download::ChainError),
    #[error(transparent)]
    Image(#[from] image::ImageError),
    #[error(transparent)]
    Store(#[from] step::store::StoreError),
    #[error(transparent)]
    Open(#[from] step::store::OpenError),
    #[error(transparent)]
    Upload(#[from] step::upload::UploadError),
    #[error(transparent)]
    Beside(#[from] step::beside::BesideError),
    #[error(transparent)]
    Registry(#[from] step::registry::RegistryError),
    #[error(transparent)]
    Download(#[from] step::download::DownloadError),
    #[error(transparent)]
    Receive(#[from] step::receive::ReceiveError),
    #[error(transparent)]
    Cache(#[from] step::cache::CacheError),
    #[error(transparent)]
    Audit(#[from] step::audit::AuditError),
    #[error(transparent)]
    Deliver(#[from] step::deliver::DeliverError),
    #[error(transparent)]
    Disk(#[from] step::disk::DiskError),
    #[error(transparent)]
    Check(#[from] step::check::CheckError),
    #[error(transparent)]
    Engine(#[from] step::engine::EngineError),
    #[error(transparent)]
    Load(#[from] step::load::LoadError),
    #[error(transparent)]
    Remember(#[from] step::remember::RememberError),
    #[error(transparent)]
    Pin(#[from] step::pin::PinError),
    #[error(transparent)]
    Compare(#[from] step::compare::CompareError),
    /// Two builds of one recipe that gave two images.
    #[error("`{tier}` came out differently the second time")]
    Unreproducible { tier: TierName, difference: step::compare::Difference },
    /// A tier whose downloads are not pinned.
    #[error("tier `{tier}` is not locked: {reason}")]
    Unlocked { tier: TierName, reason: String },
    /// A file that cannot be written.
    #[error("cannot write `{}`", .0.display())]
    Write(std::path::PathBuf, #[source] std::io::Error),
    /// The release has no such archive.
    #[error("release {version} has no archive of tier `{tier}` for {platform}; it has {present}")]
    NoArchive { version: Version, tier: TierName, platform: Platform, present: String },
    /// The release that a channel points to has other bytes than the channel says.
    #[error("the release {0} in the store is not the one that the channel names")]
    NotNamed(Version),
    /// A release that lies where another should be.
    #[error("the store shows release {found} as {expected}")]
    Misplaced { expected: String, found: String },
    /// A channel that points to nothing.
    #[error("channel `{channel}` points to release {version}, which is not in the store")]
    Unreleased { channel: crate::model::name::ChannelName, version: Version, source: step::store::StoreError },
    /// A release that is older than what the channel offers now.
    #[error("channel `{channel}` is at version {current}, and {version} is older")]
    Backwards { channel: crate::model::name::ChannelName, current: Version, version: Version },
    /// What a killed publication left, and this one would not overwrite.
    #[error("a publication of {0} was interrupted, and left files with other content")]
    Leftover(Version, #[source] step::store::StoreError),
    /// A version that was published with other content.
    #[error("version {0} was published before, with other content")]
    Published(Version),
    /// A version whose patches cannot change any more.
    #[error("version {version} was sealed {}", patches_of(.from))]
    OtherPatches { version: Version, from: Vec<String> },
    /// A key that may not do what it is used for.
    #[error("key {key} may not seal {role}: {}", said_by(*.version))]
    NoRole { key: crate::model::digest::Digest, role: pointer::Role, version: u64 },
    /// A floor that would fall.
    #[error("the floor is {current}, and {floor} is lower")]
    LowerFloor { current: Version, floor: Version },
    /// A channel that nobody made.
    #[error("there is no channel `{0}`")]
    NoChannel(crate::model::name::ChannelName),
    /// A channel that a key sealed which does not count any more.
    #[error(
        "channel `{0}` is sealed by a key that does not count any more, so what it says is not carried on"
    )]
    RetiredChannel(crate::model::name::ChannelName),
    /// A version that is not in the store.
    #[error("version {0} is not in the store")]
    NotReleased(Version),
    /// No channel that could say what is withdrawn.
    #[error("there is no channel that could say so")]
    NobodyListens,
    /// A version cannot be withdrawn while a channel leads to it.
    #[error("channel `{channel}` points to version {version}")]
    NoReplacement { channel: crate::model::name::ChannelName, version: Version },
    /// A path that leads nowhere.
    #[error("there is no `{0}`")]
    Absent(String),
    /// A project's release, sealed by the key of another one.
    #[error(
        "the release says that it is of `{project}`, and the key pinned for that project did not seal it"
    )]
    Stranger { project: crate::model::name::ProjectName },
    /// Nothing that can be verified.
    #[error("`{file}` carries no seal, and there is no `{name}` beside it")]
    NoRelease { file: String, name: &'static str },
    /// A folder without a release.
    #[error("there is no `{name}` in `{folder}`")]
    NoReleaseIn { folder: String, name: &'static str },
    /// A file of which the release says nothing.
    #[error("`{file}` is not in its release, which names {present}")]
    NotInRelease { file: String, present: String },
    /// Something else where an archive should be.
    #[error("`{0}` is no archive that carries its release")]
    NotAnArchive(String),
    /// Nowhere to look.
    #[error("no store was named")]
    NoStore,
    /// A file whose name does not say what it is.
    #[error("`{0}` is not named like an archive: `<tier>-<version>-<os>-<arch>.tar.gz`")]
    FileName(String),
    /// An archive that does not say what is in its image.
    #[error("`{file}` holds no `{paper}`")]
    NoPaper { file: String, paper: String },
    /// A paper with other bytes than the archive's index says.
    #[error("`{paper}` in `{archive}` is not the one that the archive's index names")]
    OtherPaper { paper: String, archive: String },
    /// Files that cannot be in one release.
    #[error("`{0}` and `{1}` cannot be in one release: sign one version in one folder at a time")]
    Mixed(String, String),
}

impl Error {
    /// Whether a link does not let anybody in, any more or at all: another one may.
    #[must_use]
    pub fn is_denied_link(&self) -> bool {
        let (Self::Store(error)
        | Self::Receive(step::receive::ReceiveError::Store(error))
        | Self::Download(step::download::DownloadError::Store(error))) = self
        else {
            return false;
        };
        matches!(error, step::store::StoreError::Denied { key, .. } if key.is_link())
    }
}

fn patches_of(from: &[String]) -> String {
    match from {
        [] => "without patches".to_owned(),
        from => format!("with patches from {} alone", from.join(", ")),
    }
}

fn said_by(version: u64) -> String {
    match version {
        0 => "operators pinned another one".to_owned(),
        version => format!("trust document {version} does not name it for that"),
    }
}
