//! Statements about an image that stock tools read: in-toto, with a predicate that others defined.
//!
//! What is stated of every image travels twice. The predicate is a *paper* in the archive, so it is there
//! offline, and whoever trusts the release trusts it. The statement, signed, is a bundle beside the archive,
//! for tools that know nothing of imgforge. [`Statement`] makes the one of the other, byte for
//! byte: a reader who has the archive knows what a bundle has to say before it looks into it.

use serde::Serialize;
use serde_json::Value;

use super::document::{self, Subject};
use super::image::Image;
use super::key::PublicKey;
use super::release::Whole;
use super::sbom::{Inventory, cyclonedx, spdx};
use super::{provenance, seal};

/// That the key's owner vouches for the image: what `cosign sign` writes.
pub const SIGNATURE: &str = "https://sigstore.dev/cosign/sign/v1";
/// `cosign --type spdxjson`.
pub const SPDX: &str = "https://spdx.dev/Document";
/// `cosign --type cyclonedx`.
pub const CYCLONEDX: &str = "https://cyclonedx.org/bom";

/// What is stated of every image that is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// What is in it, as `CycloneDX` 1.6.
    Cyclonedx,
    /// Where it comes from, as SLSA v1.
    Provenance,
    /// What is in it, as SPDX 2.3.
    Spdx,
}

impl Topic {
    /// All of them, in the order in which papers stand in an archive.
    pub const ALL: [Self; 3] = [Self::Cyclonedx, Self::Provenance, Self::Spdx];

    /// The word that file names have.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Cyclonedx => "cyclonedx",
            Self::Provenance => "provenance",
            Self::Spdx => "spdx",
        }
    }

    /// The type of the predicate.
    #[must_use]
    pub fn predicate_type(self) -> &'static str {
        match self {
            Self::Cyclonedx => CYCLONEDX,
            Self::Provenance => provenance::TYPE,
            Self::Spdx => SPDX,
        }
    }

    /// What there is to say, where that follows from the packages alone.
    #[must_use]
    pub fn of_packages(self, packages: &Inventory) -> Option<Value> {
        match self {
            Self::Cyclonedx => Some(cyclonedx::document(packages)),
            Self::Provenance => None,
            Self::Spdx => Some(spdx::document(packages)),
        }
    }

    /// What the paper is called.
    #[must_use]
    pub fn paper(self) -> String {
        format!("{}.json", self.word())
    }

    /// The topic of a paper.
    #[must_use]
    pub fn of_paper(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| topic.paper() == name)
    }

    /// What the signed statement beside an archive is called.
    #[must_use]
    pub fn bundle(self, archive: &str) -> String {
        format!("{}.{}.sigstore.json", archive.strip_suffix(".tar.gz").unwrap_or(archive), self.word())
    }
}

/// Why a signed statement beside an archive is refused.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    /// Nothing that can be verified.
    #[error("statement `{file}` is not signed: {reason}")]
    NotSigned {
        /// Which file.
        file: String,
        /// What is wrong with the bundle.
        reason: String,
    },
    /// Signed by somebody else, or changed since.
    #[error("statement `{file}` carries no signature of a trusted key over what it says")]
    Untrusted {
        /// Which file.
        file: String,
    },
    /// Signed, and about another archive, or not what the paper in this one says.
    #[error("statement `{file}` does not say of `{archive}` what stands in it")]
    Other {
        /// Which file.
        file: String,
        /// The archive.
        archive: String,
    },
    /// A paper that is no such document.
    #[error("`{paper}` in `{archive}` cannot be read")]
    Paper {
        /// Which paper.
        paper: String,
        /// The archive.
        archive: String,
        /// What is wrong.
        source: serde_json::Error,
    },
}

/// A statement about an archive, and the bundle that it is published in.
#[derive(Debug, Clone)]
pub struct Statement {
    /// What it is called.
    pub file: String,
    /// The archive.
    pub archive: String,
    /// What is signed.
    pub attestation: Attestation,
}

impl Statement {
    /// The statement that a paper of an archive becomes. Its subjects are the image, by the digests that
    /// engines show, and the whole file, so that it can be verified of either.
    pub fn new(topic: Topic, image: &Image, archive: &Whole, paper: &[u8]) -> Result<Self, StatementError> {
        let Whole { file, blob } = archive;
        let predicate: Value = serde_json::from_slice(paper).map_err(|source| StatementError::Paper {
            paper: topic.paper(),
            archive: file.clone(),
            source,
        })?;
        let subjects = [Attestation::of_parts(image), vec![Subject::new(file, blob.digest)]].concat();
        let attestation = Attestation::new(subjects, topic.predicate_type(), &predicate);
        Ok(Self { file: topic.bundle(file), archive: file.clone(), attestation })
    }

    /// Whether a bundle is this very statement, signed by one of these keys. Whoever has the archive knows
    /// what has to be in it: nothing of the bundle is believed, and no key is trusted for what it says.
    pub fn check(&self, bundle: &[u8], keys: &[PublicKey]) -> Result<(), StatementError> {
        let file = || self.file.clone();
        match seal::signed_by(bundle, keys) {
            Err(reason) => Err(StatementError::NotSigned { file: file(), reason }),
            Ok(None) => Err(StatementError::Untrusted { file: file() }),
            Ok(Some(payload)) if payload == self.attestation.statement() => Ok(()),
            Ok(Some(_)) => Err(StatementError::Other { file: file(), archive: self.archive.clone() }),
        }
    }
}

/// A statement, as the bytes that are signed.
#[derive(Debug, Clone)]
pub struct Attestation {
    predicate_type: &'static str,
    statement: Vec<u8>,
}

impl Attestation {
    /// A statement about these.
    #[must_use]
    pub fn new(subjects: Vec<Subject>, predicate_type: &'static str, predicate: &Value) -> Self {
        Self { predicate_type, statement: document::statement(subjects, predicate_type, predicate) }
    }

    /// The image as the subjects of a statement: its manifest and its configuration.
    #[must_use]
    pub fn of_parts(image: &Image) -> Vec<Subject> {
        vec![
            Subject::new(&image.tag.to_string(), image.manifest.digest),
            Subject::new("config", image.config.digest),
        ]
    }

    /// A statement about an image: its subject is the manifest, by the name that the image was built under,
    /// so that whoever reads the statement sees project, tier and version.
    #[must_use]
    pub fn of_image(image: &Image, predicate_type: &'static str, predicate: &Value) -> Self {
        let subject = vec![Subject::new(&image.tag.to_string(), image.manifest.digest)];
        Self::new(subject, predicate_type, predicate)
    }

    /// A signature in cosign's sense.
    #[must_use]
    pub fn signature(image: &Image) -> Self {
        #[derive(Serialize)]
        struct Nothing {}
        let subject = vec![Subject::new(&image.tag.to_string(), image.manifest.digest)];
        Self { predicate_type: SIGNATURE, statement: document::statement(subject, SIGNATURE, &Nothing {}) }
    }

    /// What it is about the image.
    #[must_use]
    pub fn predicate_type(&self) -> &'static str {
        self.predicate_type
    }

    /// The bytes that are signed.
    #[must_use]
    pub fn statement(&self) -> &[u8] {
        &self.statement
    }
}
