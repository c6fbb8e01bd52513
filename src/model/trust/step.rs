//! Trust documents as they are shipped: bundles over the same payload, one a line.

use std::collections::BTreeSet;

use super::{MAX_CHAIN, MAX_KEYS, Trust, TrustError};
use crate::model::digest::Digest;
use crate::model::key::{PublicKey, TrustedKeys};
use crate::model::seal::{SealError, Sealed, Verified};

/// The file of one version.
#[derive(Debug, Clone)]
pub struct Step {
    pub(super) bundles: Vec<Sealed<Trust>>,
    payload: Vec<u8>,
}

impl Step {
    /// Reads the file of one version.
    pub fn parse(bytes: &[u8]) -> Result<Self, TrustError> {
        let mut steps = chain(bytes)?;
        match (steps.pop(), steps.is_empty()) {
            (Some(step), true) => Ok(step),
            (None, _) => Err(TrustError::Form("it is empty")),
            (Some(_), false) => Err(TrustError::Form("its lines are not over the same document")),
        }
    }

    /// Begins a document with its first signature.
    pub fn begin(first: Sealed<Trust>) -> Result<Self, TrustError> {
        let payload = first.payload()?;
        Ok(Self { bundles: vec![first], payload })
    }

    /// The bytes that every bundle signs.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Adds a signature over the same bytes. One by a key that signed already is left out.
    pub fn add(&mut self, another: Sealed<Trust>, key: &PublicKey) -> Result<(), TrustError> {
        if another.payload()? != self.payload {
            return Err(TrustError::Form("its lines are not over the same document"));
        }
        if self.bundles.iter().all(|bundle| bundle.verify(&key.clone().into()).is_err()) {
            self.bundles.push(another);
        }
        Ok(())
    }

    /// The file.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.bundles.iter().flat_map(|bundle| [bundle.bytes(), b"\n"].concat()).collect()
    }

    /// The document, if one of these keys signed it, and which of them did. Each counts once.
    pub fn count(
        &self,
        keys: &TrustedKeys,
    ) -> Result<(Option<Verified<Trust>>, BTreeSet<Digest>), TrustError> {
        let (mut document, mut signers) = (None, BTreeSet::new());
        for bundle in &self.bundles {
            match bundle.verify(keys) {
                Ok(verified) => {
                    signers.insert(verified.signer());
                    document = Some(verified);
                }
                Err(SealError::Untrusted { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok((document, signers))
    }
}

/// Reads a chain: the files of several versions, one after the other.
pub fn chain(bytes: &[u8]) -> Result<Vec<Step>, TrustError> {
    if bytes.len() > MAX_CHAIN {
        return Err(TrustError::Form("it is too large"));
    }
    let mut steps: Vec<Step> = Vec::new();
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let bundle = Sealed::<Trust>::from_bytes(line.to_vec());
        let payload = bundle.payload()?;
        match steps.last_mut() {
            Some(step) if step.payload == payload => step.bundles.push(bundle),
            _ => steps.push(Step { bundles: vec![bundle], payload }),
        }
        if steps.last().is_some_and(|step| step.bundles.len() > 2 * MAX_KEYS) {
            return Err(TrustError::Form("it carries too many signatures"));
        }
    }
    Ok(steps)
}
