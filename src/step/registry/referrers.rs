//! What stands beside an image: statements as referrers, and the legacy signature.

use futures_util::StreamExt as _;
use serde_json::Value;

use super::{Registry, RegistryError, Sent};
use crate::model::attestation::Attestation;
use crate::model::image::{Blob, Image};
use crate::model::registry;
use crate::model::seal;
use crate::step::keyring::SigningKey;

/// How often a list is written again that somebody else changed meanwhile.
const ROUNDS: u32 = 5;

impl Registry {
    /// Puts a statement beside an image, unless the same key said the same there already.
    pub async fn attach(
        &self,
        image: &Image,
        attestation: &Attestation,
        bundle: &[u8],
        key: &SigningKey,
    ) -> Result<Sent, RegistryError> {
        let kind = attestation.predicate_type();
        for entry in self.referrers(image).await? {
            let Some(digest) = registry::may_hold(&entry, kind) else { continue };
            let manifest = self.document(&self.target.digest(&digest.to_string())).await?.unwrap_or_default();
            let Some(blob) = registry::bundle_of(&manifest) else { continue };
            let found = self.bundle(&blob).await?;
            if found.is_some_and(|found| seal::holds(&found, attestation.statement(), key.public())) {
                return Ok(Sent::Same);
            }
        }
        self.small(registry::EMPTY).await?;
        self.small(bundle).await?;
        let manifest = registry::referrer(image, Blob::of(bundle), kind);
        let blob = Blob::of(&manifest);
        let digest = blob.digest.to_string();
        self.manifest(&self.target.tag(&digest), manifest, registry::MANIFEST).await?;
        if !self.referrers(image).await?.iter().any(|entry| entry["digest"] == digest.as_str()) {
            self.list(image, blob, kind).await?;
        }
        Ok(Sent::New)
    }

    /// The signature as cosign wrote it before it had bundles: other tools read only that.
    pub async fn legacy(&self, image: &Image, key: &SigningKey) -> Result<Sent, RegistryError> {
        let payload = registry::simple_signing(&self.target.text(), image);
        let signature = key.sign(&payload)?;
        let tag = self.target.tag(&registry::legacy_tag(&image.manifest.digest));
        let foreign = |error| RegistryError::Foreign(tag.to_string(), error);
        let before = self.document(&tag).await?;
        let now =
            registry::legacy(before.as_deref(), &payload, key.public(), || signature).map_err(foreign)?;
        let Some(now) = now else { return Ok(Sent::Same) };
        self.small(&payload).await?;
        self.small(&now.config).await?;
        self.manifest(&tag, now.manifest, registry::MANIFEST).await?;
        Ok(Sent::New)
    }

    /// What the registry lists, itself or under the fallback tag.
    async fn referrers(&self, image: &Image) -> Result<Vec<Value>, RegistryError> {
        let reference = self.target.digest(&image.manifest.digest.to_string());
        let answer = self.client.pull_referrers(&reference, None).await;
        let index = answer.map_err(|error| self.fault("list what is said of the image", error))?;
        Ok(index.manifests.iter().filter_map(|entry| serde_json::to_value(entry).ok()).collect())
    }

    /// Lists a referrer where the registry does not. Two who do so at once would lose one of theirs, and no
    /// registry has a condition against it: so what was written is looked at again.
    async fn list(&self, image: &Image, referrer: Blob, kind: &str) -> Result<(), RegistryError> {
        let tag = self.target.tag(&registry::fallback_tag(&image.manifest.digest));
        for _ in 0..ROUNDS {
            let before = self.document(&tag).await?;
            let now = registry::listed(before.as_deref(), referrer, kind)
                .map_err(|error| RegistryError::Foreign(tag.to_string(), error))?;
            match now {
                None => return Ok(()),
                Some(index) => self.manifest(&tag, index, registry::INDEX).await?,
            }
        }
        Err(RegistryError::Crowded(tag.to_string()))
    }

    /// A bundle that somebody put there; `None` when it is larger than any of ours.
    async fn bundle(&self, blob: &Blob) -> Result<Option<Vec<u8>>, RegistryError> {
        if blob.size > seal::MAX_ATTESTATION as u64 {
            return Ok(None);
        }
        let digest = blob.digest.to_string();
        let failed = |error| self.fault(&format!("give blob {digest}"), error);
        let tag = self.target.reference();
        let mut stream = match self.client.pull_blob_stream(&tag, digest.as_str()).await {
            Ok(stream) => stream,
            Err(error) if super::fault::is_missing(&error) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mut bytes = Vec::new();
        while let Some(piece) = stream.next().await {
            bytes.extend_from_slice(&piece.map_err(|error| failed(error.into()))?);
            if bytes.len() > seal::MAX_ATTESTATION {
                return Ok(None);
            }
        }
        Ok(Some(bytes))
    }
}
