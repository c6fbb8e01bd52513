//! Public keys, and the set of them that a verification trusts.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sigstore::crypto::{CosignVerificationKey, Signature};

use super::digest::Digest;

/// A public key that imgforge can verify with and that stock cosign verifies correctly too.
#[derive(Clone)]
pub struct PublicKey {
    spki: Vec<u8>,
    verifier: CosignVerificationKey,
}

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Not PEM.
    #[error("this is not a PEM file")]
    NotPem,
    /// PEM of something else.
    #[error("this is a PEM file of `{0}`, not of `PUBLIC KEY`")]
    Label(String),
    /// An algorithm whose bundles cosign 3 signs but cannot verify.
    #[error("{0} keys are refused: cosign 3 cannot verify the bundles that it signs with them")]
    Algorithm(&'static str),
    /// RSA that can be broken.
    #[error("RSA keys of less than 2048 bits are refused")]
    Short,
    /// Damaged, or no algorithm that anybody knows.
    #[error("the key is damaged or of an unknown algorithm")]
    Unreadable,
    /// No key at all.
    #[error("no public key is trusted")]
    Empty,
}

/// Bytes of the DER form of an RSA key with a modulus of 2048 bits and the smallest exponent.
const SHORTEST_RSA: usize = 292;

impl PublicKey {
    /// Reads a `PUBLIC KEY` PEM: ECDSA P-256 or RSA of at least 2048 bits.
    pub fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        let pem = pem::parse(text).map_err(|_| KeyError::NotPem)?;
        if pem.tag() != "PUBLIC KEY" {
            return Err(KeyError::Label(pem.tag().to_owned()));
        }
        Self::from_spki(pem.contents())
    }

    /// Reads the DER form.
    pub fn from_spki(spki: &[u8]) -> Result<Self, KeyError> {
        let verifier = CosignVerificationKey::try_from_der(spki).map_err(|_| KeyError::Unreadable)?;
        match &verifier {
            CosignVerificationKey::RSA_PKCS1_SHA256(_) if spki.len() < SHORTEST_RSA => Err(KeyError::Short),
            CosignVerificationKey::ECDSA_P256_SHA256_ASN1(_) | CosignVerificationKey::RSA_PKCS1_SHA256(_) => {
                Ok(Self { spki: spki.to_vec(), verifier })
            }
            CosignVerificationKey::ECDSA_P384_SHA384_ASN1(_) => Err(KeyError::Algorithm("ECDSA P-384")),
            CosignVerificationKey::ECDSA_P521_SHA512_ASN1(_) => Err(KeyError::Algorithm("ECDSA P-521")),
            CosignVerificationKey::ED25519(_) => Err(KeyError::Algorithm("Ed25519")),
            CosignVerificationKey::RSA_PSS_SHA256(_) => Err(KeyError::Algorithm("RSA-PSS")),
        }
    }

    /// SHA-256 of the DER form: what a person compares over the telephone.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        Digest::of(&self.spki)
    }

    /// The hint that cosign writes into bundles: the fingerprint in base64.
    #[must_use]
    pub fn hint(&self) -> String {
        BASE64.encode(self.fingerprint().bytes())
    }

    /// PEM with plain line feeds, as cosign and openssl write it.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
        pem::encode_config(&pem::Pem::new("PUBLIC KEY", self.spki.clone()), config)
    }

    /// Whether this key signed this message. The algorithm is the key's, never the signature's.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.verifier.verify_signature(Signature::Raw(signature), message).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.fingerprint())
    }
}

/// The keys whose signature counts. There is at least one: an empty set would have to mean either
/// "nobody" or "anybody", and someone would read it the wrong way.
#[derive(Debug, Clone)]
pub struct TrustedKeys(Vec<PublicKey>);

impl TrustedKeys {
    /// Refuses an empty set.
    pub fn new(keys: Vec<PublicKey>) -> Result<Self, KeyError> {
        if keys.is_empty() { Err(KeyError::Empty) } else { Ok(Self(keys)) }
    }

    /// The key by which a machine remembers what it has seen: the first one that was trusted.
    #[must_use]
    pub fn root(&self) -> Digest {
        self.0[0].fingerprint()
    }

    /// The keys.
    pub fn iter(&self) -> impl Iterator<Item = &PublicKey> {
        self.0.iter()
    }
}

impl From<PublicKey> for TrustedKeys {
    fn from(key: PublicKey) -> Self {
        Self(vec![key])
    }
}
