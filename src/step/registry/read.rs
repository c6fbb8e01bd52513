//! Reads an image and what stands beside it out of a registry. Documents are of bounded size; layers go on
//! where they stopped, and have no name before their digest is right.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::time::Duration;

use oci_client::RegistryOperation;
use oci_client::secrets::RegistryAuth;
use reqwest::header::{ACCEPT, CONTENT_RANGE, RANGE};
use reqwest::{Response, StatusCode};
use serde_json::Value;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::{Access, RegistryError, Target, credentials, fault};
use crate::model::digest::{Digest, Hasher};
use crate::model::image::{self, Blob};
use crate::model::registry::{self, Found, Unfit};
use crate::model::seal;
use crate::step::content::ContentStore;
use crate::step::http::{self, Purpose};
use crate::step::progress::{Event, Hear};

/// Largest manifest, index or configuration that is read; registries accept no larger ones.
const MAX_DOCUMENT: u64 = 4 << 20;

/// Signatures that are looked at: anybody who may write to the registry can put more there.
const MOST_SIGNATURES: usize = 32;

/// Tries in a row that bring nothing.
const TRIES: u32 = 5;

/// What a registry wants to be told with each request.
enum Pass {
    Nothing,
    Basic(String, Zeroizing<String>),
    Bearer(Zeroizing<String>),
}

/// A repository of a registry, and who we are there.
pub struct Reader {
    http: reqwest::Client,
    tokens: oci_client::Client,
    login: RegistryAuth,
    pass: Mutex<Pass>,
    target: Target,
    base: String,
}

impl Reader {
    /// Says who we are, if we are anybody there.
    pub async fn open(target: Target, access: &Access) -> Result<Self, RegistryError> {
        let login = credentials::find(access.docker_config.as_deref(), target.registry()).await?;
        let scheme = if access.is_plain(&target) { "http" } else { "https" };
        let reader = Self {
            http: http::client(Purpose::Reading, access.ca_bundle.as_deref())?,
            tokens: access.client(&target)?,
            login,
            pass: Mutex::new(Pass::Nothing),
            base: format!("{scheme}://{}/v2/{}", target.registry(), target.repository()),
            target,
        };
        *reader.pass.lock().await = reader.ask_for_pass().await?;
        Ok(reader)
    }

    /// Where this is.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// A pass that lets us read. Those of large registries last for minutes.
    async fn ask_for_pass(&self) -> Result<Pass, RegistryError> {
        let answer = self.tokens.auth(&self.target.reference(), &self.login, RegistryOperation::Pull).await;
        let token = answer.map_err(|error| fault::judge(self.target.registry(), "log in", error))?;
        Ok(match (token, &self.login) {
            (Some(token), _) => Pass::Bearer(token.into()),
            (None, RegistryAuth::Basic(name, word)) => Pass::Basic(name.clone(), word.clone().into()),
            (None, _) => Pass::Nothing,
        })
    }

    /// What stands under the reference: this is the only time that a tag is asked for. Everything else is
    /// asked for by its digest.
    pub async fn standing(&self) -> Result<(Digest, Vec<u8>), RegistryError> {
        let wanted = self.target.wanted();
        let bytes = self.manifest(&wanted).await?;
        let bytes = bytes.ok_or_else(|| RegistryError::Missing(self.target.text()))?;
        let found = Digest::of(&bytes);
        match wanted.parse::<Digest>() {
            Ok(expected) if expected != found => Err(self.differs(&expected, &found)),
            _ => Ok((found, bytes)),
        }
    }

    /// The manifest with this digest.
    pub async fn named(&self, digest: &Digest) -> Result<Vec<u8>, RegistryError> {
        let bytes = self.manifest(&digest.to_string()).await?;
        self.right(digest, bytes.ok_or_else(|| RegistryError::Missing(self.target.at(&digest.to_string())))?)
    }

    /// A small blob.
    pub async fn blob(&self, blob: &Blob) -> Result<Vec<u8>, RegistryError> {
        let bytes = self.small(blob, MAX_DOCUMENT).await?;
        self.right(&blob.digest, bytes)
    }

    /// What may be a signature of a manifest. All of it is as somebody put it there.
    pub async fn signatures(&self, manifest: &Digest) -> Result<Vec<Found>, RegistryError> {
        let mut found = Vec::new();
        for digest in self.referrers(manifest).await?.into_iter().take(MOST_SIGNATURES) {
            let Some(referrer) = self.manifest(&digest.to_string()).await? else { continue };
            let Some(blob) = registry::bundle_of(&referrer) else { continue };
            if let Some(bytes) = self.beside(&blob).await? {
                found.push(Found::Bundle(bytes));
            }
        }
        let legacy = self.manifest(&registry::legacy_tag(manifest)).await?.unwrap_or_default();
        for (blob, signature) in registry::legacy_payloads(&legacy).into_iter().take(MOST_SIGNATURES) {
            if let Some(payload) = self.beside(&blob).await? {
                found.push(Found::Legacy(payload, signature));
            }
        }
        Ok(found)
    }

    /// What the registry lists itself, and what the fallback tag does.
    async fn referrers(&self, manifest: &Digest) -> Result<Vec<Digest>, RegistryError> {
        let list = self.get(&format!("referrers/{manifest}"), 0).await?;
        let list = match list {
            Some(response) => {
                Some(self.bounded(response, "the list of what is said of it", MAX_DOCUMENT).await?)
            }
            None => None,
        };
        let tag = self.manifest(&registry::fallback_tag(manifest)).await?;
        let mut found: Vec<Digest> = Vec::new();
        for list in list.into_iter().chain(tag) {
            let index: Value = serde_json::from_slice(&list).unwrap_or_default();
            for entry in index["manifests"].as_array().into_iter().flatten() {
                match registry::may_sign(entry) {
                    Some(digest) if !found.contains(&digest) => found.push(digest),
                    _ => {}
                }
            }
        }
        Ok(found)
    }

    /// A blob that somebody put beside an image; `None` when it is not there, or larger than any signature.
    async fn beside(&self, blob: &Blob) -> Result<Option<Vec<u8>>, RegistryError> {
        if blob.size > seal::MAX_BYTES as u64 {
            return Ok(None);
        }
        match self.small(blob, seal::MAX_BYTES as u64).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(RegistryError::Missing(_) | RegistryError::TooLarge { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn small(&self, blob: &Blob, most: u64) -> Result<Vec<u8>, RegistryError> {
        let path = format!("blobs/{}", blob.digest);
        let (place, response) = (self.place(&path), self.get(&path, 0).await?);
        self.bounded(response.ok_or_else(|| RegistryError::Missing(place.clone()))?, &place, most).await
    }

    async fn manifest(&self, reference: &str) -> Result<Option<Vec<u8>>, RegistryError> {
        let path = format!("manifests/{reference}");
        match self.get(&path, 0).await? {
            Some(response) => self.bounded(response, &self.place(&path), MAX_DOCUMENT).await.map(Some),
            None => Ok(None),
        }
    }

    async fn bounded(
        &self,
        mut response: Response,
        place: &str,
        most: u64,
    ) -> Result<Vec<u8>, RegistryError> {
        let mut bytes = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| self.broke(place, &error))? {
            bytes.extend_from_slice(&piece);
            if bytes.len() as u64 > most {
                return Err(RegistryError::TooLarge { reference: place.to_owned(), most });
            }
        }
        Ok(bytes)
    }

    /// Brings a layer into the content store, unless it is there. Tells how many bytes came.
    pub async fn layer(
        &self,
        layer: &Blob,
        store: &ContentStore,
        hear: Hear<'_>,
    ) -> Result<u64, RegistryError> {
        if store.has(layer) && store.checked(&layer.digest)? == Some(layer.size) {
            return Ok(0);
        }
        hear(Event::Doing(&format!("fetching layer {}", layer.digest.short())));
        let mut part = Part::open(store, layer)?;
        let (mut begun, mut failures) = (part.hasher.size(), 0);
        loop {
            let before = part.hasher.size();
            if before == layer.size {
                // What an earlier fetch left may have been damaged since.
                if begun == 0 || part.hasher.clone().finish() == layer.digest {
                    break;
                }
                part.begin_again().map_err(RegistryError::Write)?;
                begun = 0;
                continue;
            }
            match self.go_on(layer, &mut part, hear).await {
                Ok(()) => {}
                Err(error @ RegistryError::Unreachable { .. }) => {
                    failures = if part.hasher.size() > before { 1 } else { failures + 1 };
                    if failures >= TRIES {
                        return Err(error);
                    }
                    tokio::time::sleep(Duration::from_millis(250) * 2u32.pow(failures)).await;
                }
                Err(error) => return Err(error),
            }
        }
        let found = part.hasher.clone().finish();
        if found != layer.digest {
            part.discard()?;
            return Err(self.differs(&layer.digest, &found));
        }
        let fetched = layer.size.saturating_sub(begun);
        if image::is_packed(&part.start().map_err(RegistryError::Write)?) {
            part.discard()?;
            return Err(RegistryError::Unfit(self.target.text(), Unfit::Packed(layer.digest)));
        }
        part.keep(store, layer)?;
        Ok(fetched)
    }

    /// Receives what is left of a layer, until the connection ends.
    async fn go_on(&self, layer: &Blob, part: &mut Part, hear: Hear<'_>) -> Result<(), RegistryError> {
        let place = self.target.at(&layer.digest.to_string());
        let from = part.hasher.size();
        let response = self.get(&format!("blobs/{}", layer.digest), from).await?;
        let mut response = response.ok_or_else(|| RegistryError::Missing(place.clone()))?;
        if from > 0 && !continues(&response, from) {
            // All of it comes again.
            part.begin_again().map_err(RegistryError::Write)?;
        }
        hear(Event::Bytes { done: part.hasher.size(), total: layer.size });
        while let Some(piece) = response.chunk().await.map_err(|error| self.broke(&place, &error))? {
            if part.hasher.size() + piece.len() as u64 > layer.size {
                return Err(RegistryError::TooLarge { reference: place, most: layer.size });
            }
            part.file.write_all(&piece).map_err(RegistryError::Write)?;
            part.hasher.update(&piece);
            hear(Event::Bytes { done: part.hasher.size(), total: layer.size });
        }
        if part.hasher.size() < layer.size {
            return Err(self.unreachable(&place, "the connection ended before the layer did"));
        }
        Ok(())
    }

    /// `None` when there is nothing of that name.
    async fn get(&self, path: &str, from: u64) -> Result<Option<Response>, RegistryError> {
        let mut is_new = false;
        loop {
            let url = format!("{}/{path}", self.base);
            let mut request =
                self.http.get(url).header(ACCEPT, registry::MANIFEST).header(ACCEPT, registry::INDEX);
            request = match &*self.pass.lock().await {
                Pass::Nothing => request,
                Pass::Basic(name, word) => request.basic_auth(name, Some(word.as_str())),
                Pass::Bearer(token) => request.bearer_auth(token.as_str()),
            };
            if from > 0 {
                request = request.header(RANGE, format!("bytes={from}-"));
            }
            let response = request.send().await.map_err(|error| self.broke(&self.place(path), &error))?;
            match response.status() {
                StatusCode::NOT_FOUND => return Ok(None),
                StatusCode::UNAUTHORIZED if !is_new => {
                    is_new = true;
                    *self.pass.lock().await = self.ask_for_pass().await?;
                }
                status if status.is_success() => return Ok(Some(response)),
                status => {
                    return Err(fault::status(
                        self.target.registry(),
                        &format!("read `{}`", self.place(path)),
                        status,
                    ));
                }
            }
        }
    }

    /// A part of the repository as people write it.
    fn place(&self, path: &str) -> String {
        let name = path.rsplit('/').next().unwrap_or_default();
        if name.contains(':') { self.target.at(name) } else { self.target.tag(name).to_string() }
    }

    fn right(&self, expected: &Digest, bytes: Vec<u8>) -> Result<Vec<u8>, RegistryError> {
        let found = Digest::of(&bytes);
        if found == *expected { Ok(bytes) } else { Err(self.differs(expected, &found)) }
    }

    fn differs(&self, expected: &Digest, found: &Digest) -> RegistryError {
        RegistryError::Wrong {
            registry: self.target.registry().to_owned(),
            expected: *expected,
            found: *found,
        }
    }

    fn broke(&self, what: &str, error: &reqwest::Error) -> RegistryError {
        self.unreachable(what, &http::root(error))
    }

    fn unreachable(&self, what: &str, why: &str) -> RegistryError {
        fault::unreachable(self.target.registry(), &format!("read `{what}`"), why)
    }
}

/// Whether an answer is the rest that was asked for.
fn continues(response: &Response, from: u64) -> bool {
    let range = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
    response.status() == StatusCode::PARTIAL_CONTENT
        && range.is_some_and(|range| range.starts_with(&format!("bytes {from}-")))
}

/// A layer on its way, which a killed fetch leaves behind for the next one.
struct Part {
    file: File,
    path: std::path::PathBuf,
    hasher: Hasher,
}

impl Part {
    fn open(store: &ContentStore, layer: &Blob) -> Result<Self, RegistryError> {
        let path = store.path(&layer.digest).with_extension("part");
        let open = || {
            let mut file =
                OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
            let mut part = Hasher::default();
            if file.metadata()?.len() > layer.size {
                file.set_len(0)?;
            }
            let mut buffer = vec![0; 1 << 18];
            loop {
                match file.read(&mut buffer)? {
                    0 => break,
                    read => part.update(&buffer[..read]),
                }
            }
            Ok(Self { file, path: path.clone(), hasher: part })
        };
        open().map_err(RegistryError::Write)
    }

    fn begin_again(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.hasher = Hasher::default();
        Ok(())
    }

    /// Its first bytes.
    fn start(&mut self) -> io::Result<Vec<u8>> {
        self.file.seek(SeekFrom::Start(0))?;
        let mut start = Vec::new();
        (&mut self.file).take(image::LONGEST_MAGIC).read_to_end(&mut start)?;
        Ok(start)
    }

    fn discard(self) -> Result<(), RegistryError> {
        fs::remove_file(self.path).map_err(RegistryError::Write)
    }

    fn keep(self, store: &ContentStore, layer: &Blob) -> Result<(), RegistryError> {
        let keep = || {
            self.file.sync_all()?;
            fs::rename(&self.path, store.path(&layer.digest))
        };
        keep().map_err(RegistryError::Write)
    }
}

impl From<http::ClientError> for RegistryError {
    fn from(error: http::ClientError) -> Self {
        Self::Client(error)
    }
}
