//! What the DER form of a key says of itself, before a library that only knows "unsupported" sees it.
//!
//! Every function gives `None` for what cannot be read.

use pkcs8::der::asn1::{ContextSpecific, ObjectIdentifier, OctetStringRef, UintRef};
use pkcs8::der::{AnyRef, Decode as _, Reader, SliceReader, TagNumber};
use pkcs8::spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};
use pkcs8::{PrivateKeyInfo, SecretDocument};

const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// What a public key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Public {
    /// ECDSA P-256 with an uncompressed point.
    P256,
    /// RSA with so many bits.
    Rsa(usize),
    /// Another algorithm.
    Other,
    /// A good algorithm in a form that no tool writes. Accepting it would give one key two
    /// fingerprints, and let it be counted twice.
    Unusual,
}

/// First byte and length of an uncompressed point on P-256: a tag and two coordinates.
const POINT: (u8, usize) = (4, 65);

/// Reads the DER form of a public key (SPKI).
#[must_use]
pub fn public(spki: &[u8]) -> Option<Public> {
    let key = SubjectPublicKeyInfoRef::from_der(spki).ok()?;
    let bits = key.subject_public_key.as_bytes()?;
    Some(match key.algorithm.oid {
        EC if key.algorithm.parameters_oid().ok() != Some(P256) => Public::Other,
        EC if (*bits.first()?, bits.len()) == POINT => Public::P256,
        RSA if key.algorithm.parameters == Some(AnyRef::NULL) => Public::Rsa(number_after(bits, 0)?),
        EC | RSA => Public::Unusual,
        _ => Public::Other,
    })
}

/// Bits of a private key in PKCS#8, if it is an RSA key.
#[must_use]
pub fn rsa_bits(pkcs8: &[u8]) -> Option<usize> {
    let key = PrivateKeyInfo::try_from(pkcs8).ok()?;
    if key.algorithm.oid == RSA { pkcs1_bits(key.private_key) } else { None }
}

/// Bits of an RSA private key in PKCS#1.
#[must_use]
pub fn pkcs1_bits(pkcs1: &[u8]) -> Option<usize> {
    number_after(pkcs1, 1)
}

/// Puts a SEC1 key, as `openssl ecparam -genkey` writes it, into PKCS#8. `None` also when it does not
/// name its curve.
#[must_use]
pub fn sec1_to_pkcs8(sec1: &[u8]) -> Option<SecretDocument> {
    let mut reader = SliceReader::new(sec1).ok()?;
    let curve = reader.sequence(|inner| {
        u8::decode(inner)?;
        OctetStringRef::decode(inner)?;
        let curve = ContextSpecific::<ObjectIdentifier>::decode_explicit(inner, TagNumber::N0)?;
        while !inner.is_finished() {
            AnyRef::decode(inner)?;
        }
        Ok(curve)
    });
    let curve = curve.ok()??.value;
    let algorithm = AlgorithmIdentifierRef { oid: EC, parameters: Some(AnyRef::from(&curve)) };
    SecretDocument::try_from(PrivateKeyInfo::new(algorithm, sec1)).ok()
}

/// Bits of the number that follows `skip` others in a sequence.
fn number_after(der: &[u8], skip: usize) -> Option<usize> {
    let mut reader = SliceReader::new(der).ok()?;
    let bits = reader.sequence(|inner| {
        for _ in 0..skip {
            UintRef::decode(inner)?;
        }
        let number = UintRef::decode(inner)?;
        while !inner.is_finished() {
            AnyRef::decode(inner)?;
        }
        let bytes = number.as_bytes();
        let leading = bytes.first().map_or(0, |byte| byte.leading_zeros() as usize);
        Ok((bytes.len() * 8).saturating_sub(leading))
    });
    bits.ok()
}
