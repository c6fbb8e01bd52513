//! Statements about an image that stock tools read: in-toto, with a predicate that others defined.

use serde::Serialize;
use serde_json::Value;

use super::document::{self, Subject};
use super::image::Image;

/// That the key's owner vouches for the image: what `cosign sign` writes.
pub const SIGNATURE: &str = "https://sigstore.dev/cosign/sign/v1";
/// `cosign --type spdxjson`.
pub const SPDX: &str = "https://spdx.dev/Document";
/// `cosign --type cyclonedx`.
pub const CYCLONEDX: &str = "https://cyclonedx.org/bom";

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
