//! Trust: which keys may sign what, and how one set of keys hands over to the next.
//!
//! An operator pins one key. Until the project says otherwise that key may do everything; this is
//! version 0, and no document is needed for it. A trust document names other keys, and each version
//! is accepted only if enough root keys of the version before *and* of itself signed it. So whoever
//! holds a key that signs releases or channels cannot change who signs, and an operator who was away
//! for years follows every handover in one go.
//!
//! A bundle holds one signature, because that is all that cosign accepts. A trust document that needs
//! several is therefore several bundles, one a line, over the same bytes.

mod step;

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::channel::Channel;
use super::digest::Digest;
use super::document::{Document, Subject};
use super::key::{PublicKey, TrustedKeys};
use super::name::ProjectName;
use super::release::Release;
use super::seal::{SealError, Sealed, Verified};
use super::time::Timestamp;

pub use step::{Step, chain};

/// File name of a whole chain, all versions in order, beside archives that travel without a store.
pub const FILE_NAME: &str = "trust.jsonl";

/// Most keys of a document, and most signatures over it.
pub const MAX_KEYS: usize = 32;

/// Most bytes of a chain of documents: hundreds of rotations.
pub const MAX_CHAIN: usize = 4 << 20;

/// Which keys may sign what, from some moment on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Trust {
    /// Whose.
    pub project: ProjectName,
    /// 1, and one more with each rotation.
    pub version: u64,
    /// When it was made; information only, a trust document does not expire.
    pub issued: Timestamp,
    /// Every key that has a role.
    pub keys: Vec<PublicKey>,
    /// Who may write the next trust document.
    pub root: Root,
    /// Fingerprints of the keys of which each may seal releases.
    pub release: Vec<Digest>,
    /// Fingerprints of the keys of which each may seal channels.
    pub channel: Vec<Digest>,
    /// Digests of sealed releases by earlier keys that still count.
    pub kept: Vec<Digest>,
}

/// The keys that may change the keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Root {
    /// Their fingerprints.
    pub keys: Vec<Digest>,
    /// How many of them have to agree.
    pub threshold: usize,
}

impl Document for Trust {
    const TYPE: &'static str = "https://imgforge.dev/trust/v1";
    const NAME: &'static str = "trust document";

    /// The keys as files, so that `cosign verify-blob-attestation` says of a `cosign.pub` who vouches.
    fn subjects(&self) -> Vec<Subject> {
        let file = |key: &PublicKey| Subject::new(&key.file_name(), Digest::of(key.to_pem().as_bytes()));
        self.keys.iter().map(file).collect()
    }

    fn consistent(&self) -> Result<(), String> {
        if self.version == 0 {
            return Err("version 0 is the pinned key itself".to_owned());
        }
        if self.keys.len() > MAX_KEYS {
            return Err(format!("it names more than {MAX_KEYS} keys"));
        }
        let known = distinct("keys", self.keys.iter().map(PublicKey::fingerprint))?;
        let mut used = BTreeSet::new();
        for (role, keys) in
            [("root", &self.root.keys), ("release", &self.release), ("channel", &self.channel)]
        {
            let keys = distinct(role, keys.iter().copied())?;
            if keys.is_empty() {
                return Err(format!("nobody has the role `{role}`"));
            }
            used.extend(keys);
        }
        if used != known {
            return Err("its keys are not those that have roles".to_owned());
        }
        if self.root.threshold == 0 || self.root.threshold > self.root.keys.len() {
            let (of, wanted) = (self.root.keys.len(), self.root.threshold);
            return Err(format!("its threshold is {wanted} of {of} root keys"));
        }
        distinct("kept", self.kept.iter().copied()).map(drop)
    }
}

fn distinct(what: &str, all: impl Iterator<Item = Digest>) -> Result<BTreeSet<Digest>, String> {
    let mut seen = BTreeSet::new();
    for one in all {
        if !seen.insert(one) {
            return Err(format!("`{what}` names {one} twice"));
        }
    }
    Ok(seen)
}

/// Why a trust document is not followed.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A line that is no seal, or not over a trust document.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Nothing, too much, or lines over different documents.
    #[error("the trust document cannot be read: {0}")]
    Form(&'static str),
    /// Another project's.
    #[error("the trust document is of project `{found}`, not of `{expected}`")]
    Project {
        /// Who was asked for.
        expected: ProjectName,
        /// Who was found.
        found: ProjectName,
    },
    /// A version is missing, repeated or in the wrong place.
    #[error("the trust document has version {found} where {expected} should be")]
    Version {
        /// Version expected.
        expected: u64,
        /// Version found.
        found: u64,
    },
    /// Not enough root keys agree.
    #[error(
        "trust document {version} is signed by {found} of the {needed} root keys that version {of} demands"
    )]
    Threshold {
        /// Version of the document.
        version: u64,
        /// Version whose root keys were counted.
        of: u64,
        /// Distinct keys that signed.
        found: usize,
        /// Keys needed.
        needed: usize,
    },
    /// Somebody signed who has no say, or somebody twice.
    #[error("the trust document carries a signature of a key that has no say in it, or of one key twice")]
    Stranger,
    /// Documents exist, and the pinned key signed none of them.
    #[error("the pinned key {0} signed none of the project's trust documents")]
    Unjoined(Digest),
}

/// The keys of one role, now and before.
#[derive(Debug, Clone)]
struct Role {
    now: TrustedKeys,
    /// Kept to tell a retired key from a stranger, and for releases that still count.
    before: Vec<PublicKey>,
}

impl Role {
    fn replace(&mut self, next: TrustedKeys) {
        let gone: Vec<PublicKey> =
            self.now.iter().filter(|key| !next.holds(key.fingerprint())).cloned().collect();
        self.before.retain(|key| !next.holds(key.fingerprint()));
        self.before.extend(gone);
        self.now = next;
    }

    fn verify<T: Document>(
        &self,
        sealed: &Sealed<T>,
        kept: &BTreeSet<Digest>,
    ) -> Result<Verified<T>, SealError> {
        let refusal = match sealed.verify(&self.now) {
            Err(error @ (SealError::Untrusted { .. } | SealError::Changed { .. })) => error,
            other => return other,
        };
        let Ok(before) = TrustedKeys::new(self.before.clone()) else {
            return Err(refusal);
        };
        match sealed.verify(&before) {
            Ok(verified) if kept.contains(&verified.sealed_digest()) => Ok(verified),
            Ok(verified) => Err(SealError::Retired { document: T::NAME, signer: verified.signer() }),
            Err(_) => Err(refusal),
        }
    }
}

/// Whose signature counts for what: a pinned key, and what its holders decided since.
#[derive(Debug, Clone)]
pub struct Trusted {
    project: Option<ProjectName>,
    pinned: Digest,
    version: u64,
    root: TrustedKeys,
    threshold: usize,
    release: Role,
    channel: Role,
    kept: BTreeSet<Digest>,
}

impl Trusted {
    /// Version 0: one key that may do everything.
    #[must_use]
    pub fn pin(project: ProjectName, key: PublicKey) -> Self {
        Self { project: Some(project), ..Self::any_project(key) }
    }

    /// One key that is believed for whatever project it names: for a single file at hand.
    #[must_use]
    pub fn any_project(key: PublicKey) -> Self {
        let role = || Role { now: key.clone().into(), before: Vec::new() };
        Self {
            project: None,
            pinned: key.fingerprint(),
            version: 0,
            threshold: 1,
            release: role(),
            channel: role(),
            kept: BTreeSet::new(),
            root: key.into(),
        }
    }

    /// Fingerprint of the pinned key: the name under which a machine remembers.
    #[must_use]
    pub fn pinned(&self) -> Digest {
        self.pinned
    }

    /// The project, unless any is believed.
    #[must_use]
    pub fn project(&self) -> Option<&ProjectName> {
        self.project.as_ref()
    }

    /// Version of the last trust document; 0 is the pinned key.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Root keys, and how many of them have to agree.
    #[must_use]
    pub fn root(&self) -> (&TrustedKeys, usize) {
        (&self.root, self.threshold)
    }

    /// Keys of which each may seal releases.
    #[must_use]
    pub fn release_keys(&self) -> &TrustedKeys {
        &self.release.now
    }

    /// Keys that may seal releases, and those that could once. Only for what has to be what a verified
    /// release says anyway.
    #[must_use]
    pub fn signers(&self) -> Vec<PublicKey> {
        self.release.now.iter().chain(&self.release.before).cloned().collect()
    }

    /// Keys of which each may seal channels.
    #[must_use]
    pub fn channel_keys(&self) -> &TrustedKeys {
        &self.channel.now
    }

    /// Digests of releases by earlier keys that still count.
    pub fn kept(&self) -> impl Iterator<Item = Digest> {
        self.kept.iter().copied()
    }

    /// The only way to a release.
    pub fn release(&self, sealed: &Sealed<Release>) -> Result<Verified<Release>, SealError> {
        self.release.verify(sealed, &self.kept)
    }

    /// The only way to a channel.
    pub fn channel(&self, sealed: &Sealed<Channel>) -> Result<Verified<Channel>, SealError> {
        self.channel.verify(sealed, &BTreeSet::new())
    }

    /// Follows the documents of a chain, in order. Those before the pinned key's time are passed over.
    pub fn follow(mut self, chain: &[Step]) -> Result<Self, TrustError> {
        for step in chain {
            self = self.advance(step)?.0;
        }
        if self.version == 0 && !chain.is_empty() {
            return Err(TrustError::Unjoined(self.pinned));
        }
        Ok(self)
    }

    /// Follows one document. A pinned key does not say when it came into use, so documents that it did
    /// not sign are passed over until the first that it did; from then on none may be missing.
    pub fn advance(self, step: &Step) -> Result<(Self, Passed), TrustError> {
        let (document, agreed) = match step.count(&self.root)? {
            (Some(document), agreed) => (document, agreed),
            (None, _) if self.version == 0 => return Ok((self, Passed::Over)),
            (None, _) => {
                let (of, needed, version) = (self.version, self.threshold, self.version.saturating_add(1));
                return Err(TrustError::Threshold { version, of, found: 0, needed });
            }
        };
        if let Some(expected) = self.project.clone().filter(|project| *project != document.project) {
            return Err(TrustError::Project { expected, found: document.project.clone() });
        }
        let expected = self.version.saturating_add(1);
        if self.version > 0 && document.version != expected {
            return Err(TrustError::Version { expected, found: document.version });
        }
        let short = |of, found: &BTreeSet<Digest>, needed| {
            let found = found.len();
            (found < needed).then_some(TrustError::Threshold { version: document.version, of, found, needed })
        };
        if let Some(error) = short(self.version, &agreed, self.threshold) {
            return Err(error);
        }
        let next_root = keys_of(&document, &document.root.keys)?;
        let (_, accepted) = step.count(&next_root)?;
        if let Some(error) = short(document.version, &accepted, document.root.threshold) {
            return Err(error);
        }
        // Who joins does not know the keys before; their signatures are nobody's for now.
        if self.version > 0 && step.bundles.len() > agreed.union(&accepted).count() {
            return Err(TrustError::Stranger);
        }
        let (release, channel) =
            (keys_of(&document, &document.release)?, keys_of(&document, &document.channel)?);
        let mut next = self;
        next.project = Some(document.project.clone());
        next.version = document.version;
        next.threshold = document.root.threshold;
        next.kept = document.kept.iter().copied().collect();
        next.root = next_root;
        next.release.replace(release);
        next.channel.replace(channel);
        Ok((next, Passed::Followed))
    }
}

/// Whether a document was followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passed {
    /// It counts now.
    Followed,
    /// It is older than the pinned key.
    Over,
}

fn keys_of(document: &Trust, fingerprints: &[Digest]) -> Result<TrustedKeys, TrustError> {
    let named = |key: &&PublicKey| fingerprints.contains(&key.fingerprint());
    TrustedKeys::new(document.keys.iter().filter(named).cloned().collect())
        .map_err(|_| TrustError::Form("a role has no key"))
}
