//! Whether a key signed an image: what `cosign sign` and `imgforge push` put beside it, in either form.
//!
//! `cosign verify --key` takes any statement of the key for a signature, such as an SBOM that it attested.
//! Here, only the one kind of statement counts whose meaning is that the image is vouched for, and it must
//! be about this very manifest and nothing else.

use base64::Engine as _;
use serde::Deserialize;
use serde_json::Value;

use super::{BASE64, SIGNATURE, SIMPLE_SIGNING};
use crate::model::attestation;
use crate::model::digest::Digest;
use crate::model::document::DocumentError;
use crate::model::image::Blob;
use crate::model::key::TrustedKeys;
use crate::model::seal::{self, SealError};
use crate::model::strict;

/// What is signed, and what signs it, in messages.
const IMAGE: &str = "image";
const SIGNATURE_OF_IT: &str = "signature";

/// In-toto's, old and new: the tools write both.
const STATEMENTS: [&str; 2] = ["https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"];

/// The statement in a bundle. Its predicate says nothing that anybody would act on.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Subject>,
    predicate_type: String,
}

#[derive(Deserialize)]
struct Subject {
    digest: std::collections::BTreeMap<String, String>,
}

/// What was found beside an image. Nobody has verified any of it.
#[derive(Debug, Clone)]
pub enum Found {
    /// A Sigstore bundle.
    Bundle(Vec<u8>),
    /// The older form: what is signed, and the signature.
    Legacy(Vec<u8>, Vec<u8>),
}

impl Found {
    /// The fingerprint of the key that vouches for this manifest with it.
    pub fn verify(&self, manifest: &Digest, keys: &TrustedKeys) -> Result<Digest, SealError> {
        let (signer, about) = match self {
            Self::Bundle(bundle) => {
                let (payload, signer) = seal::opened(bundle, keys, IMAGE)?;
                (signer, statement(&payload))
            }
            Self::Legacy(payload, signature) => {
                let signer = keys.iter().find(|key| key.verifies(payload, signature));
                let signer = signer.ok_or(SealError::Untrusted { document: IMAGE, claimed: None })?;
                (signer.fingerprint(), simple(payload))
            }
        };
        let wrong = |source| SealError::Document { document: SIGNATURE_OF_IT, source };
        let about = about.map_err(wrong)?;
        if about != *manifest {
            return Err(wrong(DocumentError::Inconsistent(format!(
                "it is of the image {about}, and stands beside {manifest}"
            ))));
        }
        Ok(signer)
    }
}

/// What the first of these says that holds; else the reason why none does, of which that one is told that is
/// nearest to a signature.
pub fn first(found: &[Found], manifest: &Digest, keys: &TrustedKeys) -> Result<Digest, SealError> {
    let rank = |error: &SealError| match error {
        SealError::NotSealed { .. } => 0,
        SealError::Untrusted { .. } | SealError::Retired { .. } => 1,
        SealError::Changed { .. } => 2,
        SealError::Document { .. } => 3,
    };
    let mut nearest =
        SealError::NotSealed { document: IMAGE, reason: "there is no signature beside it".to_owned() };
    for one in found {
        match one.verify(manifest, keys) {
            Ok(signer) => return Ok(signer),
            Err(error) if rank(&error) >= rank(&nearest) => nearest = error,
            Err(_) => {}
        }
    }
    Err(nearest)
}

/// The manifest that a statement vouches for.
fn statement(payload: &[u8]) -> Result<Digest, DocumentError> {
    let statement: Statement = strict::from_slice(payload).map_err(DocumentError::Json)?;
    if statement.predicate_type != attestation::SIGNATURE {
        return Err(DocumentError::Type {
            expected: attestation::SIGNATURE,
            found: statement.predicate_type,
        });
    }
    if !STATEMENTS.contains(&statement.kind.as_str()) {
        return Err(DocumentError::Type { expected: STATEMENTS[0], found: statement.kind });
    }
    let subject = |reason: &str| DocumentError::Inconsistent(reason.to_owned());
    let [one] = &statement.subject[..] else { return Err(subject("it is not about one image")) };
    let digest = one.digest.get("sha256").and_then(|hex| Digest::from_hex(hex).ok());
    digest.ok_or_else(|| subject("its subject has no SHA-256"))
}

/// The manifest that a payload of the older form vouches for. The reference in it is what somebody called
/// the image once: whoever may write to a registry may write it too.
fn simple(payload: &[u8]) -> Result<Digest, DocumentError> {
    const KIND: &str = "cosign container image signature";
    let payload: Value = strict::from_slice(payload).map_err(DocumentError::Json)?;
    let critical = &payload["critical"];
    if critical["type"] != KIND {
        let found = critical["type"].as_str().unwrap_or("none").to_owned();
        return Err(DocumentError::Type { expected: KIND, found });
    }
    let digest = critical["image"]["docker-manifest-digest"].as_str().and_then(|text| text.parse().ok());
    digest.ok_or_else(|| DocumentError::Inconsistent("it names no image".to_owned()))
}

/// The payloads, and what signs them, in an image of legacy signatures.
#[must_use]
pub fn legacy_payloads(manifest: &[u8]) -> Vec<(Blob, Vec<u8>)> {
    let manifest: Value = strict::from_slice(manifest).unwrap_or_default();
    let layers = manifest["layers"].as_array().cloned().unwrap_or_default();
    let read = |layer: &Value| {
        let described: super::Descriptor = serde_json::from_value(layer.clone()).ok()?;
        let signature = BASE64.decode(layer["annotations"][SIGNATURE].as_str()?).ok()?;
        let blob = Blob { digest: described.digest, size: described.size };
        (described.media_type == SIMPLE_SIGNING).then_some((blob, signature))
    };
    layers.iter().filter_map(read).collect()
}
