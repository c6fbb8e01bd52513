//! What can go wrong at a registry, by what to do about it.

use std::path::PathBuf;

use oci_client::errors::{OciDistributionError, OciErrorCode};

use super::target::BadTarget;
use crate::model::digest::Digest;
use crate::model::name::ImageTag;
use crate::model::registry::Unfit;
use crate::step::content::ContentError;
use crate::step::http::{self, ClientError};
use crate::step::keyring::KeyringError;

/// Why an image is not in a registry.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No place.
    #[error(transparent)]
    Target(#[from] BadTarget),
    /// Docker's configuration.
    #[error("`{}` cannot be read for credentials", .0.display())]
    Config(PathBuf, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// The program that keeps credentials.
    #[error("`{program}` gives no credentials for `{registry}`: {reason}")]
    Helper {
        /// Its name.
        program: String,
        /// For which registry.
        registry: String,
        /// What it said.
        reason: String,
    },
    /// Not allowed.
    #[error("registry `{registry}` does not let us {what}")]
    Denied {
        /// Which registry.
        registry: String,
        /// What was asked.
        what: String,
        /// What it said.
        source: Said,
    },
    /// The network, or a server in trouble.
    #[error("registry `{registry}` cannot be reached to {what}")]
    Unreachable {
        /// Which registry.
        registry: String,
        /// What was asked.
        what: String,
        /// Why.
        source: Said,
    },
    /// An answer that asking again will not change.
    #[error("registry `{registry}` refuses to {what}")]
    Refused {
        /// Which registry.
        registry: String,
        /// What was asked.
        what: String,
        /// What it said.
        source: Said,
    },
    /// Something else than was sent.
    #[error("`{reference}` is {found} now, not {expected}")]
    Differs {
        /// Where.
        reference: String,
        /// What is there.
        found: String,
        /// What was sent.
        expected: Digest,
    },
    /// Nothing of that name.
    #[error("there is no `{0}`")]
    Missing(String),
    /// More bytes than anything of its kind has, or than were announced.
    #[error("`{reference}` has more than {most} bytes")]
    TooLarge {
        /// What.
        reference: String,
        /// How many it may have.
        most: u64,
    },
    /// Other bytes than were signed.
    #[error("registry `{registry}` sent other bytes than were signed: expected {expected}, read {found}")]
    Wrong {
        /// Which registry.
        registry: String,
        /// What was signed, or asked for.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// An image that is not in the one form that we take.
    #[error("`{0}` cannot be taken as it is")]
    Unfit(String, #[source] Unfit),
    /// An image of another version than its tag says.
    #[error("the registry shows `{found}` as `{reference}`")]
    OtherVersion {
        /// What was asked for.
        reference: String,
        /// What the image says of itself.
        found: ImageTag,
    },
    /// TLS or proxies.
    #[error(transparent)]
    Client(ClientError),
    /// The disk.
    #[error("the layer cannot be written")]
    Write(#[source] std::io::Error),
    /// A document that somebody else put where ours belongs.
    #[error("`{0}` holds something else than signatures")]
    Foreign(String, #[source] crate::model::registry::NotThat),
    /// Others write the same list faster.
    #[error("`{0}` is changed by others all the time")]
    Crowded(String),
    /// The content store.
    #[error(transparent)]
    Content(ContentError),
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyringError),
}

/// What a registry said, or the network.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Said(String);

/// Longest answer that is repeated.
const MAX_SAID: usize = 300;

/// Whether there is nothing of that name.
pub(super) fn is_missing(error: &OciDistributionError) -> bool {
    match error {
        OciDistributionError::ImageManifestNotFoundError(_) => true,
        OciDistributionError::ServerError { code, .. } => *code == 404,
        OciDistributionError::RegistryError { envelope, .. } => envelope.errors.iter().any(|error| {
            matches!(
                error.code,
                OciErrorCode::ManifestUnknown | OciErrorCode::NameUnknown | OciErrorCode::NotFound
            )
        }),
        _ => false,
    }
}

/// The network.
pub(super) fn unreachable(registry: &str, what: &str, why: &str) -> RegistryError {
    let (registry, what) = (registry.to_owned(), what.to_owned());
    RegistryError::Unreachable { registry, what, source: Said(why.to_owned()) }
}

/// An answer that is not what was asked for.
pub(super) fn status(registry: &str, what: &str, status: reqwest::StatusCode) -> RegistryError {
    let source = Said(match status.as_u16() {
        401 => "it wants to know who we are".to_owned(),
        other => format!("it answered {other}"),
    });
    answered(registry.to_owned(), what.to_owned(), status.as_u16(), source)
}

fn answered(registry: String, what: String, code: u16, source: Said) -> RegistryError {
    match code {
        401 | 403 => RegistryError::Denied { registry, what, source },
        408 | 429 | 500.. => RegistryError::Unreachable { registry, what, source },
        _ => RegistryError::Refused { registry, what, source },
    }
}

pub(super) fn judge(registry: &str, what: &str, error: OciDistributionError) -> RegistryError {
    let (registry, what) = (registry.to_owned(), what.to_owned());
    let said = |text: String| Said(text.chars().take(MAX_SAID).collect::<String>().trim().to_owned());
    let denied =
        |text| RegistryError::Denied { registry: registry.clone(), what: what.clone(), source: said(text) };
    match error {
        OciDistributionError::AuthenticationFailure(text) => denied(text),
        OciDistributionError::UnauthorizedError { .. } => denied("it wants to know who we are".to_owned()),
        OciDistributionError::RegistryError { envelope, .. } => {
            let text =
                envelope.errors.iter().map(|error| error.message.clone()).collect::<Vec<_>>().join(", ");
            let forbidden =
                |code: &OciErrorCode| matches!(code, OciErrorCode::Denied | OciErrorCode::Unauthorized);
            if envelope.errors.iter().any(|error| forbidden(&error.code)) {
                return denied(text);
            }
            RegistryError::Refused { registry, what, source: said(text) }
        }
        OciDistributionError::ServerError { code, message, .. } => {
            let source = said(format!("it answered {code}: {message}"));
            answered(registry, what, code, source)
        }
        OciDistributionError::RequestError(error) => match error.status().map(|status| status.as_u16()) {
            Some(401 | 403) => denied("it wants to know who we are".to_owned()),
            // Without the address, which may hold a token.
            _ => {
                RegistryError::Unreachable { registry, what, source: said(http::root(&error.without_url())) }
            }
        },
        other => RegistryError::Refused { registry, what, source: said(other.to_string()) },
    }
}
