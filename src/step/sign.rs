//! Signs documents and files.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::keyring::{KeyringError, SigningKey};
use crate::model::document::{self, Document};
use crate::model::key::TrustedKeys;
use crate::model::seal::{SealError, Sealed, Verified, to_be_signed};

/// Why there is no signature.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyringError),
    /// What was signed does not verify: never shipped.
    #[error("what was just signed does not verify")]
    Unverifiable(#[from] SealError),
}

/// Seals a document, and verifies the seal as an operator will.
pub fn seal<T: Document>(document: &T, key: &SigningKey) -> Result<(Sealed<T>, Verified<T>), SignError> {
    let sealed = again(&document::write(document), key)?;
    let verified = sealed.verify(&TrustedKeys::from(key.public().clone()))?;
    Ok((sealed, verified))
}

/// Seals bytes that somebody sealed before: for documents that take several signatures.
pub fn again<T: Document>(payload: &[u8], key: &SigningKey) -> Result<Sealed<T>, SignError> {
    let signature = key.sign(&to_be_signed(payload))?;
    let sealed = Sealed::assemble(payload, &signature, key.public());
    sealed.verify(&TrustedKeys::from(key.public().clone()))?;
    Ok(sealed)
}

/// A detached signature in base64, as `cosign verify-blob --signature` and openssl read it.
pub fn detached(bytes: &[u8], key: &SigningKey) -> Result<String, SignError> {
    Ok(BASE64.encode(key.sign(bytes)?) + "\n")
}
