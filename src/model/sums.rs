//! `SHA256SUMS`: the release for people who have only `sha256sum` and `openssl`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::key::PublicKey;
use super::release::Whole;

/// File name.
pub const FILE_NAME: &str = "SHA256SUMS";

/// File name of the detached signature: base64 of the same key's signature over the file.
pub const SIGNATURE_NAME: &str = "SHA256SUMS.sig";

/// The text for some files, in the form that `sha256sum -c` reads. These are whole files: an archive's
/// digest in its release stops where the seal begins.
#[must_use]
pub fn render(files: &[Whole]) -> String {
    files
        .iter()
        .fold(String::new(), |sums, whole| sums + &whole.blob.digest.hex() + "  " + &whole.file + "\n")
}

/// Whether a detached signature is this key's over these sums.
#[must_use]
pub fn is_signed(sums: &str, signature: &[u8], key: &PublicKey) -> bool {
    BASE64.decode(signature.trim_ascii()).is_ok_and(|signature| key.verifies(sums.as_bytes(), &signature))
}
