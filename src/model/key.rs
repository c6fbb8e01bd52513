//! Public keys, and the set of them that a verification trusts.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sigstore::crypto::{CosignVerificationKey, Signature};

use super::der::{self, Public};
use super::digest::Digest;

/// A public key that imgforge can verify with and that stock cosign verifies correctly too.
#[derive(Clone)]
pub struct PublicKey {
    spki: Vec<u8>,
    algorithm: Algorithm,
    verifier: CosignVerificationKey,
}

/// What a key is. It is read from the key that is trusted, never from what was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    P256,
    /// RSA PKCS#1 v1.5 with SHA-256, with a modulus of so many bits.
    Rsa(usize),
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::P256 => f.write_str("ECDSA P-256"),
            Self::Rsa(bits) => write!(f, "RSA {bits}"),
        }
    }
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
    /// RSA that can be broken, or that nobody verifies.
    #[error("RSA keys of {SHORTEST_RSA} to {LONGEST_RSA} bits are accepted; this one has {0}")]
    Bits(usize),
    /// A second spelling of a key that has one already.
    #[error(
        "the key is not in its usual form, which `openssl pkey -pubin -ec_conv_form uncompressed` writes"
    )]
    Unusual,
    /// Damaged, or no algorithm that anybody knows.
    #[error("the key is damaged or of an unknown algorithm")]
    Unreadable,
    /// No key at all.
    #[error("no public key is trusted")]
    Empty,
}

/// The least that NIST SP 800-131A allows.
const SHORTEST_RSA: usize = 2048;

/// The most that the library verifies; more only costs time.
const LONGEST_RSA: usize = 8192;

/// Refuses RSA keys that are too short or too long.
pub fn check_rsa(bits: usize) -> Result<(), KeyError> {
    if (SHORTEST_RSA..=LONGEST_RSA).contains(&bits) { Ok(()) } else { Err(KeyError::Bits(bits)) }
}

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
            CosignVerificationKey::ECDSA_P256_SHA256_ASN1(_) | CosignVerificationKey::RSA_PKCS1_SHA256(_) => {
            }
            CosignVerificationKey::ECDSA_P384_SHA384_ASN1(_) => {
                return Err(KeyError::Algorithm("ECDSA P-384"));
            }
            CosignVerificationKey::ECDSA_P521_SHA512_ASN1(_) => {
                return Err(KeyError::Algorithm("ECDSA P-521"));
            }
            CosignVerificationKey::ED25519(_) => return Err(KeyError::Algorithm("Ed25519")),
            CosignVerificationKey::RSA_PSS_SHA256(_) => return Err(KeyError::Algorithm("RSA-PSS")),
        }
        let algorithm = match der::public(spki) {
            Some(Public::P256) => Algorithm::P256,
            Some(Public::Rsa(bits)) => Algorithm::Rsa(bits),
            Some(Public::Unusual) => return Err(KeyError::Unusual),
            Some(Public::Other) | None => return Err(KeyError::Unreadable),
        };
        if let Algorithm::Rsa(bits) = algorithm {
            check_rsa(bits)?;
        }
        Ok(Self { spki: spki.to_vec(), algorithm, verifier })
    }

    /// What the key is.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
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

    /// What the key is called as a file of its own.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{}.pub", self.fingerprint().short())
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

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.spki == other.spki
    }
}

impl Eq for PublicKey {}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&self.to_pem())
    }
}

impl JsonSchema for PublicKey {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PublicKey".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let pattern = "^-----BEGIN PUBLIC KEY-----\n([A-Za-z0-9+/=]+\n)+-----END PUBLIC KEY-----\n$";
        json_schema!({"type": "string", "pattern": pattern, "description": "PEM of a P-256 or RSA key"})
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        let key = Self::from_pem(text.as_bytes()).map_err(serde::de::Error::custom)?;
        if key.to_pem() == text { Ok(key) } else { Err(serde::de::Error::custom("a PEM in unusual form")) }
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

    /// Whether the key with this fingerprint is one of them.
    #[must_use]
    pub fn holds(&self, fingerprint: Digest) -> bool {
        self.iter().any(|key| key.fingerprint() == fingerprint)
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
