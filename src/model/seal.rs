//! Seals: a Sigstore bundle v0.3 that holds one DSSE envelope with exactly one signature.
//!
//! There is one door from bytes to a document: [`Sealed::verify`]. [`Verified`] has a private field
//! and no other constructor, so code that holds one holds a checked document. What is signed is
//! what is shipped: the payload is verified as bytes and only then parsed.
//!
//! Only this one form is read. Cosign falls back to an older form whose embedded key *replaces* the
//! trusted one (GHSA-fx35-mq7g-6g98); here the form is refused before any key is tried.

use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::document::{self, Document, DocumentError};
use super::image::json;
use super::key::{PublicKey, TrustedKeys};
use super::strict;

/// What a bundle is called in a registry.
pub const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// Largest sealed document that is read: a release of a hundred archives is a tenth of it.
pub const MAX_BYTES: usize = 1 << 20;

/// Largest attestation that is read: the packages of a large image, as a document in base64.
pub const MAX_ATTESTATION: usize = 64 << 20;

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Bundle {
    #[schemars(extend("const" = MEDIA_TYPE))]
    media_type: String,
    verification_material: Material,
    dsse_envelope: Envelope,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Material {
    public_key: Hint,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Hint {
    /// SHA-256 of the public key's DER form, in base64. A claim.
    hint: String,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Envelope {
    /// The statement, in base64.
    payload: String,
    #[schemars(extend("const" = PAYLOAD_TYPE))]
    payload_type: String,
    /// A list with one element, because that is all that cosign accepts.
    signatures: [OneSignature; 1],
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OneSignature {
    /// Over the pre-authentication encoding of the payload, in base64.
    sig: String,
}

/// Why a seal does not hold. The three kinds have exit codes of their own.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// Nothing that can be verified: not a bundle, or none that imgforge accepts.
    #[error("the {document} is not sealed: {reason}")]
    NotSealed {
        /// Which document.
        document: &'static str,
        /// What is wrong with the bundle.
        reason: String,
    },
    /// Sealed by somebody else.
    #[error("the {document} is sealed by no trusted key")]
    Untrusted {
        /// Which document.
        document: &'static str,
        /// Fingerprint that the seal claims, if it reads as one. A claim, not a fact.
        claimed: Option<Digest>,
    },
    /// Sealed by a key that counted once.
    #[error("the {document} is sealed by key {signer}, which does not count any more")]
    Retired {
        /// Which document.
        document: &'static str,
        /// Fingerprint of the key.
        signer: Digest,
    },
    /// The seal names a trusted key, but is not its signature over these bytes.
    #[error("the {document} was changed after it was sealed")]
    Changed {
        /// Which document.
        document: &'static str,
    },
    /// A trusted key sealed it, but it is not the document that it should be.
    #[error("the sealed {document} is not valid")]
    Document {
        /// Which document.
        document: &'static str,
        /// What is wrong.
        source: DocumentError,
    },
}

/// A document as it is shipped: bytes that nobody has looked into yet.
#[derive(Debug, Clone)]
pub struct Sealed<T> {
    bytes: Vec<u8>,
    kind: PhantomData<T>,
}

/// A document whose signature by a trusted key has been checked.
#[derive(Debug, Clone)]
pub struct Verified<T> {
    document: T,
    signer: Digest,
    sealed: Digest,
    payload: Digest,
    bytes: Arc<[u8]>,
}

impl<T> Verified<T> {
    /// Fingerprint of the key that sealed it.
    #[must_use]
    pub fn signer(&self) -> Digest {
        self.signer
    }

    /// Digest of what was signed, without the envelope, which anybody may write differently.
    #[must_use]
    pub fn payload_digest(&self) -> Digest {
        self.payload
    }

    /// A part of the document is as verified as the whole.
    pub(super) fn part<U>(&self, part: U) -> Verified<U> {
        Verified {
            document: part,
            signer: self.signer,
            sealed: self.sealed,
            payload: self.payload,
            bytes: Arc::clone(&self.bytes),
        }
    }

    /// The sealed bytes, as they were found.
    #[must_use]
    pub fn sealed_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Digest of the sealed bytes, by which other documents name this one.
    #[must_use]
    pub fn sealed_digest(&self) -> Digest {
        self.sealed
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.document
    }
}

impl<T: Document> Sealed<T> {
    /// Takes bytes as found. They stay opaque until [`Sealed::verify`].
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self { bytes, kind: PhantomData }
    }

    /// The bytes as shipped.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Puts a signature over [`to_be_signed`] and its payload into a bundle.
    #[must_use]
    pub fn assemble(payload: &[u8], signature: &[u8], key: &PublicKey) -> Self {
        Self::from_bytes(bundle(payload, signature, key))
    }

    /// What the signature is over. Nobody has verified it: compare it, never read it.
    pub(super) fn payload(&self) -> Result<Vec<u8>, SealError> {
        self.open().map(|(_, payload, _)| payload)
    }

    /// Hint, payload and signature.
    fn open(&self) -> Result<(String, Vec<u8>, Vec<u8>), SealError> {
        let not_sealed = |reason: String| SealError::NotSealed { document: T::NAME, reason };
        unpack(&self.bytes, MAX_BYTES).map_err(not_sealed)
    }

    /// The door from bytes to a document: a signature by one of these keys. Which keys count for
    /// releases and channels is for [`super::trust::Trusted`] to say.
    pub fn verify(&self, keys: &TrustedKeys) -> Result<Verified<T>, SealError> {
        let document = T::NAME;
        let (payload, signer) = signed(self.open()?, keys, document)?;
        let read = document::read(&payload).map_err(|source| SealError::Document { document, source })?;
        let (sealed, payload) = (Digest::of(&self.bytes), Digest::of(&payload));
        Ok(Verified { document: read, signer, sealed, payload, bytes: self.bytes.as_slice().into() })
    }
}

/// A signature over [`to_be_signed`] and its payload, in a bundle.
#[must_use]
pub fn bundle(payload: &[u8], signature: &[u8], key: &PublicKey) -> Vec<u8> {
    json(&Bundle {
        media_type: MEDIA_TYPE.to_owned(),
        verification_material: Material { public_key: Hint { hint: key.hint() } },
        dsse_envelope: Envelope {
            payload: BASE64.encode(payload),
            payload_type: PAYLOAD_TYPE.to_owned(),
            signatures: [OneSignature { sig: BASE64.encode(signature) }],
        },
    })
}

/// The payload of a bundle that one of these keys signed, and that key's fingerprint. What it says is still
/// to be read: a key signs more than one kind of statement.
pub(super) fn opened(
    bundle: &[u8],
    keys: &TrustedKeys,
    document: &'static str,
) -> Result<(Vec<u8>, Digest), SealError> {
    let parts = unpack(bundle, MAX_BYTES).map_err(|reason| SealError::NotSealed { document, reason })?;
    signed(parts, keys, document)
}

/// The payload, if one of these keys signed it.
fn signed(
    (hint, payload, signature): (String, Vec<u8>, Vec<u8>),
    keys: &TrustedKeys,
    document: &'static str,
) -> Result<(Vec<u8>, Digest), SealError> {
    let message = to_be_signed(&payload);
    match keys.iter().find(|key| key.verifies(&message, &signature)) {
        Some(key) => Ok((payload, key.fingerprint())),
        None if keys.iter().any(|key| key.hint() == hint) => Err(SealError::Changed { document }),
        None => Err(SealError::Untrusted { document, claimed: claimed(&hint) }),
    }
}

/// Whether a bundle holds this payload, signed by this key.
#[must_use]
pub fn holds(bundle: &[u8], payload: &[u8], key: &PublicKey) -> bool {
    signed_by(bundle, std::slice::from_ref(key)).is_ok_and(|found| found.as_deref() == Some(payload))
}

/// What a bundle holds, if one of these keys signed it; an error says why it is no bundle.
pub(super) fn signed_by(bundle: &[u8], keys: &[PublicKey]) -> Result<Option<Vec<u8>>, String> {
    let (_, payload, signature) = unpack(bundle, MAX_ATTESTATION)?;
    let message = to_be_signed(&payload);
    Ok(keys.iter().any(|key| key.verifies(&message, &signature)).then_some(payload))
}

/// Hint, payload and signature.
fn unpack(bytes: &[u8], max: usize) -> Result<(String, Vec<u8>, Vec<u8>), String> {
    if bytes.len() > max {
        return Err(format!("it is larger than {max} bytes"));
    }
    let bundle: Bundle = strict::from_slice(bytes)
        .map_err(|error| format!("it is no Sigstore bundle v0.3 with one signature ({error})"))?;
    if bundle.media_type != MEDIA_TYPE || bundle.dsse_envelope.payload_type != PAYLOAD_TYPE {
        return Err(format!(
            "{:?} of {:?} is not accepted",
            bundle.media_type, bundle.dsse_envelope.payload_type
        ));
    }
    let decode = |text: &str, what| BASE64.decode(text).map_err(|_| format!("its {what} is not base64"));
    let payload = decode(&bundle.dsse_envelope.payload, "payload")?;
    let [signature] = bundle.dsse_envelope.signatures;
    Ok((bundle.verification_material.public_key.hint, payload, decode(&signature.sig, "signature")?))
}

fn claimed(hint: &str) -> Option<Digest> {
    let bytes = BASE64.decode(hint).ok()?;
    (bytes.len() == 32).then(|| Digest::from_hex(&hex::encode(bytes)).ok())?
}

/// What every signature over a document begins with. Nothing else that a key signs may begin so.
pub const PREFIX: &[u8] = b"DSSEv1 ";

/// DSSE's pre-authentication encoding: type and payload with their lengths, so that no byte can
/// move from one to the other.
#[must_use]
pub fn to_be_signed(payload: &[u8]) -> Vec<u8> {
    let mut message = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len()).into_bytes();
    message.extend_from_slice(payload);
    message
}
