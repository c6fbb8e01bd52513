//! Puts an image into an OCI registry: the very manifest of the archive, its plain layers, and beside it
//! what its key says of it. [`Reader`] gets it out again.
//!
//! What is there is not sent again, so a push that was interrupted goes on, and a repeated one changes
//! nothing. At the end the registry is asked what stands under the tag.

mod credentials;
mod fault;
mod read;
mod referrers;
mod target;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use hyper::header::HeaderValue;
use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference, RegistryOperation};
use tokio_util::io::ReaderStream;

pub use fault::RegistryError;
pub use read::Reader;
pub use target::{BadTarget, Target};

use super::atomic;
use super::content::{ContentError, ContentStore};
use super::progress::{Event, Hear};
use crate::model::digest::Digest;
use crate::model::image::{Blob, Image};
use crate::model::registry;

/// What a push did to one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// It was not there.
    New,
    /// It was there.
    Same,
}

/// What this machine knows about registries.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Docker's `config.json`, if there is one.
    pub docker_config: Option<PathBuf>,
    /// Registries to be spoken to without TLS, besides those of this machine.
    pub plain_http: Vec<String>,
    /// Certificate authorities to believe, besides this machine's.
    pub ca_bundle: Option<PathBuf>,
}

impl Access {
    /// Whether a registry is spoken to without TLS.
    fn is_plain(&self, target: &Target) -> bool {
        target.is_local() || self.plain_http.iter().any(|host| host == target.registry())
    }

    /// The library's client for a registry.
    fn client(&self, target: &Target) -> Result<Client, RegistryError> {
        let certificates = match &self.ca_bundle {
            Some(file) => certificates(file).map_err(|error| RegistryError::Config(file.clone(), error))?,
            None => Vec::new(),
        };
        let plain = if self.is_plain(target) { vec![target.registry().to_owned()] } else { Vec::new() };
        Ok(Client::new(ClientConfig {
            protocol: ClientProtocol::HttpsExcept(plain),
            use_monolithic_push: true,
            extra_root_certificates: certificates,
            user_agent: concat!("imgforge/", env!("CARGO_PKG_VERSION")),
            connect_timeout: Some(Duration::from_secs(10)),
            read_timeout: Some(super::http::SILENCE),
            ..ClientConfig::default()
        }))
    }
}

/// As the library wants them.
fn certificates(file: &Path) -> Result<Vec<Certificate>, Box<dyn std::error::Error + Send + Sync>> {
    let certificates = pem::parse_many(atomic::read_bounded(file, MAX_BUNDLE)?)?;
    let der = |pem: pem::Pem| Certificate { encoding: CertificateEncoding::Der, data: pem.into_contents() };
    Ok(certificates.into_iter().map(der).collect())
}

/// All authorities of the world come to a tenth of it.
const MAX_BUNDLE: usize = 4 << 20;

/// A place in a registry, and who we are there.
pub struct Registry {
    client: Client,
    target: Target,
}

/// Tries for a blob whose connection broke.
const TRIES: u32 = 3;

/// How often a person hears of a long blob.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// One read of a file.
const PIECE: usize = 1 << 18;

impl Registry {
    /// Says who we are. A registry that asks for a name and gets none fails here.
    pub async fn open(target: Target, access: &Access) -> Result<Self, RegistryError> {
        let host = target.registry().to_owned();
        let login = credentials::find(access.docker_config.as_deref(), &host).await?;
        let client = access.client(&target)?;
        let registry = Self { client, target };
        let tag = registry.target.reference();
        let answer = registry.client.auth(&tag, &login, RegistryOperation::Push).await;
        answer.map_err(|error| registry.fault("log in", error))?;
        if login == RegistryAuth::Anonymous {
            // Remembered too, or later requests would ask nobody for the token that anybody may have.
            registry.client.store_auth_if_needed(&host, &login).await;
        }
        Ok(registry)
    }

    /// Where this is.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Sends layers, configuration and manifest, each only when it is not there, and moves the tag.
    pub async fn image(
        &self,
        image: &Image,
        config: &[u8],
        store: &ContentStore,
        hear: Hear<'_>,
    ) -> Result<Sent, RegistryError> {
        let tag = self.target.reference();
        if self.standing(&tag).await? == Some(image.manifest.digest) {
            return Ok(Sent::Same);
        }
        for layer in image.unique_layers() {
            self.layer(&layer, store, hear).await?;
        }
        self.small(config).await?;
        self.manifest(&tag, image.manifest_bytes(), registry::MANIFEST).await?;
        match self.standing(&tag).await? {
            Some(found) if found == image.manifest.digest => Ok(Sent::New),
            found => Err(RegistryError::Differs {
                reference: tag.to_string(),
                found: found.map_or_else(|| "nothing".to_owned(), |digest| digest.to_string()),
                expected: image.manifest.digest,
            }),
        }
    }

    /// The digest of what stands under a tag.
    async fn standing(&self, tag: &Reference) -> Result<Option<Digest>, RegistryError> {
        Ok(self.document(tag).await?.map(|bytes| Digest::of(&bytes)))
    }

    /// A manifest or an index, as bytes.
    async fn document(&self, reference: &Reference) -> Result<Option<Vec<u8>>, RegistryError> {
        let types = [registry::MANIFEST, registry::INDEX];
        let anybody = RegistryAuth::Anonymous;
        match self.client.pull_manifest_raw(reference, &anybody, &types).await {
            Ok((bytes, _)) => Ok(Some(bytes.to_vec())),
            Err(error) if fault::is_missing(&error) => Ok(None),
            Err(error) => Err(self.fault(&format!("read `{reference}`"), error)),
        }
    }

    async fn layer(&self, layer: &Blob, store: &ContentStore, hear: Hear<'_>) -> Result<(), RegistryError> {
        if self.has(&layer.digest).await? {
            return Ok(());
        }
        hear(Event::Doing(&format!("sending layer {}", layer.digest.short())));
        let mut tries = 0;
        loop {
            tries += 1;
            let sent = self.stream(layer, store.open_blob(&layer.digest)?, hear).await;
            match sent {
                Ok(()) => return Ok(()),
                // Done, without the address that the specification wants.
                Err(OciDistributionError::RegistryNoLocationError) if self.has(&layer.digest).await? => {
                    return Ok(());
                }
                Err(OciDistributionError::RequestError(_)) if tries < TRIES => {
                    tokio::time::sleep(Duration::from_secs(tries.into())).await;
                }
                Err(error) => return Err(self.fault(&format!("take layer {}", layer.digest), error)),
            }
        }
    }

    async fn stream(
        &self,
        layer: &Blob,
        file: std::fs::File,
        hear: Hear<'_>,
    ) -> Result<(), OciDistributionError> {
        let done = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&done);
        let pieces = ReaderStream::with_capacity(tokio::fs::File::from_std(file), PIECE).map(move |piece| {
            let piece = piece?;
            count.fetch_add(piece.len() as u64, Ordering::Relaxed);
            Ok(piece)
        });
        let tag = self.target.reference();
        let digest = layer.digest.to_string();
        let mut sending =
            std::pin::pin!(self.client.push_blob_stream(&tag, pieces, &digest, Some(layer.size)));
        let mut ticks = tokio::time::interval(TELL_EVERY);
        loop {
            tokio::select! {
                sent = &mut sending => {
                    sent?;
                    hear(Event::Bytes { done: layer.size, total: layer.size });
                    return Ok(());
                }
                _ = ticks.tick() => {
                    hear(Event::Bytes { done: done.load(Ordering::Relaxed), total: layer.size });
                }
            }
        }
    }

    /// A blob that is small enough to be held.
    async fn small(&self, bytes: &[u8]) -> Result<(), RegistryError> {
        let digest = Digest::of(bytes);
        if self.has(&digest).await? {
            return Ok(());
        }
        let sent = self.client.push_blob(&self.target.reference(), bytes.to_vec(), &digest.to_string()).await;
        match sent {
            Ok(_) => Ok(()),
            Err(OciDistributionError::RegistryNoLocationError) if self.has(&digest).await? => Ok(()),
            Err(error) => Err(self.fault(&format!("take blob {digest}"), error)),
        }
    }

    async fn has(&self, digest: &Digest) -> Result<bool, RegistryError> {
        let answer = self.client.blob_exists(&self.target.reference(), &digest.to_string()).await;
        answer.map_err(|error| self.fault(&format!("look for blob {digest}"), error))
    }

    async fn manifest(
        &self,
        at: &Reference,
        bytes: Vec<u8>,
        kind: &'static str,
    ) -> Result<(), RegistryError> {
        let sent = self.client.push_manifest_raw(at, bytes, HeaderValue::from_static(kind)).await;
        sent.map(drop).map_err(|error| self.fault(&format!("take `{at}`"), error))
    }

    fn fault(&self, what: &str, error: OciDistributionError) -> RegistryError {
        fault::judge(self.target.registry(), what, error)
    }
}

impl From<ContentError> for RegistryError {
    fn from(error: ContentError) -> Self {
        Self::Content(error)
    }
}
