//! Signs documents and files.

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::atomic;
use super::keyring::{KeyringError, SigningKey};
use crate::model::attestation::Attestation;
use crate::model::document::{self, Document};
use crate::model::key::TrustedKeys;
use crate::model::seal::{self, SealError, Sealed, Verified, to_be_signed};

/// Why there is no signature.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyringError),
    /// What was signed does not verify: never shipped.
    #[error("what was just signed does not verify")]
    Unverifiable(#[from] SealError),
    /// A file that cannot be read, or is too large to be signed as it is.
    #[error("cannot read `{}`", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// Its signature.
    #[error("cannot write `{}`", .0.display())]
    Write(PathBuf, #[source] io::Error),
    /// A file whose signature would be that of a sealed document.
    #[error("`{}` begins as what is signed of a document does", .0.display())]
    Disguised(PathBuf),
    /// The same, of a statement.
    #[error("what was just signed does not verify")]
    Attestation,
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

/// Signs a statement about an image: a bundle for stock tools, which imgforge itself never trusts.
pub fn attest(attestation: &Attestation, key: &SigningKey) -> Result<Vec<u8>, SignError> {
    let payload = attestation.statement();
    let bundle = seal::bundle(payload, &key.sign(&to_be_signed(payload))?, key.public());
    if seal::holds(&bundle, payload, key.public()) { Ok(bundle) } else { Err(SignError::Attestation) }
}

/// Lists of digests are smaller by far.
const MAX_FILE: usize = 64 << 20;

/// Signs a file as it is, and writes the signature beside it.
pub fn file(path: &Path, key: &SigningKey) -> Result<PathBuf, SignError> {
    let bytes =
        atomic::read_bounded(path, MAX_FILE).map_err(|error| SignError::Read(path.to_owned(), error))?;
    if bytes.starts_with(seal::PREFIX) {
        return Err(SignError::Disguised(path.to_owned()));
    }
    let target = PathBuf::from(format!("{}.sig", path.display()));
    let written = atomic::write(&target, detached(&bytes, key)?.as_bytes(), 0o644);
    written.map_err(|error| SignError::Write(target.clone(), error))?;
    Ok(target)
}

/// A detached signature in base64, as `cosign verify-blob --signature` and openssl read it.
pub fn detached(bytes: &[u8], key: &SigningKey) -> Result<String, SignError> {
    Ok(BASE64.encode(key.sign(bytes)?) + "\n")
}
