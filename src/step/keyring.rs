//! Private keys: cosign's encrypted PEM, made, taken over and opened.

use std::io;
use std::path::{Path, PathBuf};

use sigstore::crypto::signing_key::{SigStoreKeyPair, kdf};
use sigstore::crypto::{SigStoreSigner, SigningScheme};
use zeroize::Zeroizing;

use super::atomic;
use crate::model::der;
use crate::model::key::{KeyError, PublicKey, check_rsa};

/// Why a key cannot be made or opened.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The disk.
    #[error("cannot access `{}`", .0.display())]
    Io(PathBuf, #[source] io::Error),
    /// It is there already.
    #[error("`{}` exists already, and a key is never replaced", .0.display())]
    Exists(PathBuf),
    /// The password does not open it.
    #[error("the password does not open `{}`, or the file is damaged", .0.display())]
    Password(PathBuf),
    /// Not a private key that can be read.
    #[error("`{}` holds no private key that imgforge reads: {reason}", .file.display())]
    Format {
        /// Which file.
        file: PathBuf,
        /// What it is instead.
        reason: String,
    },
    /// A key that must not be used.
    #[error("the key in `{}` cannot be used", .0.display())]
    Refused(PathBuf, #[source] KeyError),
    /// The cryptographic library.
    #[error("the key could not be processed")]
    Crypto(#[source] sigstore::errors::SigstoreError),
}

/// A private key, ready to sign. It never leaves the process unencrypted.
pub struct SigningKey {
    signer: SigStoreSigner,
    public: PublicKey,
}

impl SigningKey {
    /// Its public half.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs with the key's own algorithm: ASN.1 DER for ECDSA, PKCS#1 v1.5 for RSA.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyringError> {
        self.signer.sign(message).map_err(KeyringError::Crypto)
    }
}

const SEALED_LABELS: [&str; 2] = ["ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"];

/// Larger than any key file.
const MAX_KEY: usize = 64 << 10;

/// Where the halves of a key pair are: `<name>.key` and `<name>.pub`.
#[must_use]
pub fn files(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
    (folder.join(format!("{name}.key")), folder.join(format!("{name}.pub")))
}

/// Makes a P-256 key and writes both halves.
pub fn generate(folder: &Path, name: &str, password: &[u8]) -> Result<PublicKey, KeyringError> {
    let signer = SigningScheme::ECDSA_P256_SHA256_ASN1.create_signer().map_err(KeyringError::Crypto)?;
    let pair = signer.to_sigstore_keypair().map_err(KeyringError::Crypto)?;
    let (private_file, _) = files(folder, name);
    write(&pair, &public(&pair, &private_file)?, folder, name, password)
}

/// Takes over a plain PKCS#8, PKCS#1 or SEC1 key, or one that cosign encrypted with `old`, and writes
/// both halves.
pub fn import(
    source: &Path,
    old: &[u8],
    folder: &Path,
    name: &str,
    password: &[u8],
) -> Result<PublicKey, KeyringError> {
    let pair = read(source, old)?;
    write(&pair, &public(&pair, source)?, folder, name, password)
}

/// Opens a private key.
pub fn open(path: &Path, password: &[u8]) -> Result<SigningKey, KeyringError> {
    let pair = read(path, password)?;
    let public = public(&pair, path)?;
    let scheme = match pair {
        SigStoreKeyPair::ECDSA(_) => SigningScheme::ECDSA_P256_SHA256_ASN1,
        SigStoreKeyPair::RSA(_) => SigningScheme::RSA_PKCS1_SHA256(0),
        SigStoreKeyPair::ED25519(_) => SigningScheme::ED25519,
    };
    let signer = pair.to_sigstore_signer(&scheme).map_err(KeyringError::Crypto)?;
    Ok(SigningKey { signer, public })
}

/// Reads a public key.
pub fn public_file(path: &Path) -> Result<PublicKey, KeyringError> {
    let bytes =
        atomic::read_bounded(path, MAX_KEY).map_err(|error| KeyringError::Io(path.to_owned(), error))?;
    PublicKey::from_pem(&bytes).map_err(|error| KeyringError::Refused(path.to_owned(), error))
}

/// Whether others than the owner may read a private key file.
#[must_use]
pub fn is_exposed(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|data| data.permissions().mode() & 0o077 != 0)
}

fn read(path: &Path, password: &[u8]) -> Result<SigStoreKeyPair, KeyringError> {
    let format = |reason: String| KeyringError::Format { file: path.to_owned(), reason };
    let text = Zeroizing::new(
        atomic::read_bounded(path, MAX_KEY).map_err(|error| KeyringError::Io(path.to_owned(), error))?,
    );
    let refused = |error| KeyringError::Refused(path.to_owned(), error);
    let pems = pem::parse_many(&*text).map_err(|_| format("it is not a PEM file".to_owned()))?;
    // `openssl ecparam -genkey` writes the curve once more before the key.
    let pem = pems.iter().find(|pem| pem.tag() != "EC PARAMETERS");
    let pem = pem.ok_or_else(|| format("it is not a PEM file".to_owned()))?;
    if pem.headers().get("DEK-Info").is_some() || pem.tag() == "ENCRYPTED PRIVATE KEY" {
        return Err(format(format!(
            "openssl encrypted it; `openssl pkey -in {}` prints it plain",
            path.display()
        )));
    }
    let der = match pem.tag() {
        // The library would try every algorithm and then say "unsupported key type": ask it only
        // to decrypt, so that a wrong password is called one.
        label if SEALED_LABELS.contains(&label) => {
            kdf::decrypt(pem.contents(), password).map_err(|_| KeyringError::Password(path.to_owned()))?
        }
        "PRIVATE KEY" => pem.contents().to_vec(),
        "RSA PRIVATE KEY" => {
            der::pkcs1_bits(pem.contents()).map_or(Ok(()), check_rsa).map_err(refused)?;
            return SigStoreKeyPair::from_pem(pem::encode(pem).as_bytes()).map_err(KeyringError::Crypto);
        }
        "EC PRIVATE KEY" => der::sec1_to_pkcs8(pem.contents())
            .ok_or_else(|| format("its curve is not known".to_owned()))?
            .as_bytes()
            .to_vec(),
        label => return Err(format(format!("it holds a `{label}`"))),
    };
    let der = Zeroizing::new(der);
    // The library refuses short RSA keys too, but as "unsupported".
    der::rsa_bits(&der).map_or(Ok(()), check_rsa).map_err(refused)?;
    SigStoreKeyPair::from_der(&der).map_err(|_| format("its algorithm is not known".to_owned()))
}

fn public(pair: &SigStoreKeyPair, path: &Path) -> Result<PublicKey, KeyringError> {
    let spki = pair.public_key_to_der().map_err(KeyringError::Crypto)?;
    PublicKey::from_spki(&spki).map_err(|error| KeyringError::Refused(path.to_owned(), error))
}

fn write(
    pair: &SigStoreKeyPair,
    public: &PublicKey,
    folder: &Path,
    name: &str,
    password: &[u8],
) -> Result<PublicKey, KeyringError> {
    let (private_file, public_file) = files(folder, name);
    let sealed = pair.private_key_to_encrypted_pem(password).map_err(KeyringError::Crypto)?;
    // The library writes CRLF; cosign and openssl write LF, and `diff` should find nothing.
    let sealed = Zeroizing::new(sealed.replace("\r\n", "\n"));
    if public_file.exists() {
        return Err(KeyringError::Exists(public_file));
    }
    write_new(&private_file, sealed.as_bytes(), 0o600)?;
    write_new(&public_file, public.to_pem().as_bytes(), 0o644)?;
    Ok(public.clone())
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), KeyringError> {
    atomic::write_new(path, bytes, mode).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => KeyringError::Exists(path.to_owned()),
        _ => KeyringError::Io(path.to_owned(), error),
    })
}
