//! What this machine knows about reaching stores. The command line reads it from the environment and
//! from `imgforge.toml`.

use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::model::storage::Settings;
use crate::step::http::ClientError;

/// How stores are reached.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Server, region, style.
    pub settings: Settings,
    /// Who we are.
    pub credentials: Option<Credentials>,
    /// CAs to believe besides those of the system, as a company's proxy needs.
    pub ca_bundle: Option<PathBuf>,
    /// Where uploads in progress are written down, so that the next run goes on with them.
    pub uploads: PathBuf,
}

/// A key of an object store, perhaps a temporary one.
#[derive(Clone)]
pub struct Credentials {
    /// Its name.
    pub id: String,
    /// Its secret.
    pub secret: Zeroizing<String>,
    /// What temporary keys come with.
    pub token: Option<Zeroizing<String>>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Nobody to be.
    #[error("store `{0}` needs a key, and there is none")]
    NoCredentials(super::Address),
    /// A jurisdiction that only R2 has.
    #[error(transparent)]
    Jurisdiction(#[from] crate::model::storage::NotR2),
    /// An endpoint that is no URL.
    #[error("`{0}` is not an endpoint: write `https://host`")]
    Endpoint(String),
    /// A link that leads nowhere.
    #[error("this is not a link: use `https://host/path`")]
    Link,
    /// No HTTP client.
    #[error(transparent)]
    Client(#[from] ClientError),
}
