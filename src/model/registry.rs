//! What stands in a registry beside an image: signatures and statements, in the forms that cosign reads.
//!
//! A *referrer* is a manifest that names the image as its `subject`. Where a registry does not list
//! referrers itself, an index under the tag `sha256-<digest>` does. The *legacy* signature is an image
//! under the tag `sha256-<digest>.sig`. Index and legacy image belong to all who sign: what others wrote
//! there is kept byte for byte, as JSON goes. In a layout on disk, cosign finds a referrer by looking into
//! every blob, so no index has to name it.

mod signature;
mod standing;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::archive::{self, Content, Entry};
use super::attestation;
use super::digest::Digest;
use super::image::{Blob, Image, json as bytes_of};
use super::key::PublicKey;
use super::seal;

pub use signature::{Found, first, legacy_payloads};
pub use standing::{Manifest, Standing, Unfit, only, own_name, standing};

/// Media type of an image's manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of a list of manifests.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const NOTHING: &str = "application/vnd.oci.empty.v1+json";
const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const PREDICATE_TYPE: &str = "dev.sigstore.bundle.predicateType";

/// The configuration of what has none.
pub const EMPTY: &[u8] = b"{}";

/// The tag under which an image's referrers are listed where the registry does not.
#[must_use]
pub fn fallback_tag(digest: &Digest) -> String {
    format!("sha256-{}", digest.hex())
}

/// The tag of an image's legacy signatures.
#[must_use]
pub fn legacy_tag(digest: &Digest) -> String {
    format!("sha256-{}.sig", digest.hex())
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: Digest,
    size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    annotations: Value,
}

impl Descriptor {
    fn new(media_type: &str, blob: Blob) -> Self {
        let Blob { digest, size } = blob;
        Self {
            media_type: media_type.to_owned(),
            digest,
            size,
            artifact_type: None,
            annotations: Value::Null,
        }
    }
}

/// A manifest that names an image as its subject and holds one bundle.
#[must_use]
pub fn referrer(image: &Image, bundle: Blob, predicate_type: &str) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Referrer {
        schema_version: u8,
        media_type: &'static str,
        artifact_type: &'static str,
        config: Descriptor,
        layers: [Descriptor; 1],
        subject: Descriptor,
        annotations: Value,
    }
    bytes_of(&Referrer {
        schema_version: 2,
        media_type: MANIFEST,
        artifact_type: seal::MEDIA_TYPE,
        config: Descriptor::new(NOTHING, Blob::of(EMPTY)),
        layers: [Descriptor::new(seal::MEDIA_TYPE, bundle)],
        subject: Descriptor::new(MANIFEST, image.manifest),
        annotations: notes(predicate_type),
    })
}

/// A tar of the blobs that `cosign verify --local-image` looks for in an unpacked archive. They are not in
/// the archive itself, whose every byte follows from the image and the sealed release.
#[must_use]
pub fn layout(image: &Image, bundle: &[u8], predicate_type: &str) -> Vec<u8> {
    let referrer = referrer(image, Blob::of(bundle), predicate_type);
    let mut tar = Vec::new();
    for bytes in [EMPTY, bundle, &referrer] {
        let path = archive::blob_path(&Blob::of(bytes));
        let entry = Entry { path, content: Content::Bytes(bytes.to_vec()) };
        tar.extend(entry.header());
        tar.extend(bytes);
        tar.resize(tar.len() + archive::padding(entry.size()), 0);
    }
    tar.resize(tar.len() + archive::END, 0);
    tar
}

fn notes(predicate_type: &str) -> Value {
    json!({"dev.sigstore.bundle.content": "dsse-envelope", PREDICATE_TYPE: predicate_type})
}

/// Why a document of a registry cannot be gone on with.
#[derive(Debug, thiserror::Error)]
#[error("it is not what this tag should hold")]
pub struct NotThat;

/// A referrer that is listed, and may hold a statement of this type.
#[must_use]
pub fn may_hold(entry: &Value, predicate_type: &str) -> Option<Digest> {
    let ours = entry["artifactType"] == seal::MEDIA_TYPE;
    // Not every registry repeats the annotations in its list.
    let noted = entry["annotations"][PREDICATE_TYPE].as_str().is_none_or(|found| found == predicate_type);
    if ours && noted { entry["digest"].as_str()?.parse().ok() } else { None }
}

/// A referrer that is listed, and may be a signature. Who lists it need not say what it is: cosign calls
/// it after its empty configuration where the registry does not look itself.
#[must_use]
pub fn may_sign(entry: &Value) -> Option<Digest> {
    let noted = entry["annotations"][PREDICATE_TYPE].as_str();
    let may = noted.is_none_or(|found| found == attestation::SIGNATURE);
    if may { entry["digest"].as_str()?.parse().ok() } else { None }
}

/// The only blob of a referrer.
#[must_use]
pub fn bundle_of(manifest: &[u8]) -> Option<Blob> {
    let manifest: Value = serde_json::from_slice(manifest).ok()?;
    let layer: Descriptor = serde_json::from_value(manifest["layers"].get(0)?.clone()).ok()?;
    (layer.media_type == seal::MEDIA_TYPE).then_some(Blob { digest: layer.digest, size: layer.size })
}

/// The index of the fallback tag with one more referrer; `None` when it is listed already.
pub fn listed(
    before: Option<&[u8]>,
    referrer: Blob,
    predicate_type: &str,
) -> Result<Option<Vec<u8>>, NotThat> {
    let mut index: Value = match before {
        Some(bytes) => serde_json::from_slice(bytes).map_err(|_| NotThat)?,
        None => json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}),
    };
    let entries = index["manifests"].as_array_mut().ok_or(NotThat)?;
    let digest = referrer.digest.to_string();
    if entries.iter().any(|entry| entry["digest"] == digest.as_str()) {
        return Ok(None);
    }
    let mut entry = Descriptor::new(MANIFEST, referrer);
    entry.artifact_type = Some(seal::MEDIA_TYPE.to_owned());
    entry.annotations = notes(predicate_type);
    entries.push(json!(entry));
    Ok(Some(bytes_of(&index)))
}

/// What a legacy signature is over. Other tools compare the reference, so it says the tag too.
#[must_use]
pub fn simple_signing(reference: &str, image: &Image) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "kebab-case")]
    struct Payload<'a> {
        critical: Critical<'a>,
        optional: Option<()>,
    }
    #[derive(Serialize)]
    struct Critical<'a> {
        identity: Identity<'a>,
        image: Signed,
        r#type: &'static str,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "kebab-case")]
    struct Identity<'a> {
        docker_reference: &'a str,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "kebab-case")]
    struct Signed {
        docker_manifest_digest: Digest,
    }
    bytes_of(&Payload {
        critical: Critical {
            identity: Identity { docker_reference: reference },
            image: Signed { docker_manifest_digest: image.manifest.digest },
            r#type: "cosign container image signature",
        },
        optional: None,
    })
}

/// An image of legacy signatures: its manifest and its configuration.
pub struct Legacy {
    /// The manifest.
    pub manifest: Vec<u8>,
    /// The configuration.
    pub config: Vec<u8>,
}

/// The legacy signatures with one more; `None` when this key signed this payload there already.
pub fn legacy(
    before: Option<&[u8]>,
    payload: &[u8],
    key: &PublicKey,
    sign: impl FnOnce() -> Vec<u8>,
) -> Result<Option<Legacy>, NotThat> {
    let before: Value = before.map_or(Ok(Value::Null), serde_json::from_slice).map_err(|_| NotThat)?;
    let mut layers = before["layers"].as_array().cloned().unwrap_or_default();
    let blob = Blob::of(payload);
    let ours = |layer: &Value| {
        let signature = layer["annotations"][SIGNATURE].as_str().and_then(|text| BASE64.decode(text).ok());
        layer["digest"] == blob.digest.to_string().as_str()
            && signature.is_some_and(|signature| key.verifies(payload, &signature))
    };
    if layers.iter().any(ours) {
        return Ok(None);
    }
    let mut layer = Descriptor::new(SIMPLE_SIGNING, blob);
    layer.annotations = json!({SIGNATURE: BASE64.encode(sign())});
    layers.push(json!(layer));
    let digests: Vec<&Value> = layers.iter().map(|layer| &layer["digest"]).collect();
    let config = bytes_of(&json!({
        "architecture": "", "os": "", "config": {}, "created": "0001-01-01T00:00:00Z",
        "rootfs": {"type": "layers", "diff_ids": digests},
    }));
    let described = Descriptor::new(CONFIG, Blob::of(&config));
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": described, "layers": layers});
    Ok(Some(Legacy { manifest: bytes_of(&manifest), config }))
}

/// Where the credentials for a registry are.
#[derive(Debug, PartialEq, Eq)]
pub enum Login {
    /// In the configuration itself: name and password.
    Plain(String, String),
    /// Another program has them: the last part of its name.
    Helper(String),
    /// Nowhere: anybody may.
    Nobody,
}

/// Docker Hub has a name of its own in Docker's configuration.
const HUB: &str = "https://index.docker.io/v1/";

/// The name under which Docker's configuration keeps a registry.
#[must_use]
pub fn known_as(registry: &str) -> &str {
    if ["docker.io", "index.docker.io", "registry-1.docker.io"].contains(&registry) { HUB } else { registry }
}

/// What Docker's `config.json` says about a registry.
pub fn login(config: &[u8], registry: &str) -> Result<Login, serde_json::Error> {
    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Config {
        auths: std::collections::BTreeMap<String, Known>,
        cred_helpers: std::collections::BTreeMap<String, String>,
        creds_store: Option<String>,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Known {
        auth: Option<String>,
        username: Option<String>,
        password: Option<String>,
    }
    let config: Config = serde_json::from_slice(config)?;
    let name = known_as(registry);
    let helper = config.cred_helpers.get(registry).or_else(|| config.cred_helpers.get(name));
    if let Some(helper) = helper.or(config.creds_store.as_ref()) {
        return Ok(Login::Helper(helper.clone()));
    }
    let host = |key: &str| {
        let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
        rest.split('/').next() == Some(registry)
    };
    let Some((_, auth)) = config.auths.iter().find(|(key, _)| *key == name || host(key)) else {
        return Ok(Login::Nobody);
    };
    let pair = auth.auth.as_ref().and_then(|text| String::from_utf8(BASE64.decode(text).ok()?).ok());
    let pair =
        pair.and_then(|pair| pair.split_once(':').map(|(name, word)| (name.to_owned(), word.to_owned())));
    Ok(match pair.or_else(|| auth.username.clone().zip(auth.password.clone())) {
        Some((name, password)) => Login::Plain(name, password),
        None => Login::Nobody,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::image::tests::sample;

    #[test]
    fn credentials_are_found_as_docker_finds_them() {
        let config = |text: &str, registry: &str| login(text.as_bytes(), registry).unwrap();
        let me = || Login::Plain("me".to_owned(), "a:b".to_owned());
        assert_eq!(config("{}", "ghcr.io"), Login::Nobody);
        let plain = r#"{"auths": {"https://ghcr.io/v2/": {"auth": "bWU6YTpi"}, "x:5000": {"username": "me", "password": "a:b"}}}"#;
        assert_eq!(config(plain, "ghcr.io"), me());
        assert_eq!(config(plain, "x:5000"), me());
        assert_eq!(config(plain, "x"), Login::Nobody);
        let hub = r#"{"auths": {"https://index.docker.io/v1/": {"auth": "bWU6YTpi"}}, "HttpHeaders": {}}"#;
        assert_eq!(config(hub, "docker.io"), me());
        let helpers = r#"{"auths": {"a": {}}, "credHelpers": {"a": "ecr-login"}, "credsStore": "pass"}"#;
        assert_eq!(config(helpers, "a"), Login::Helper("ecr-login".to_owned()));
        assert_eq!(config(helpers, "b"), Login::Helper("pass".to_owned()));
        assert!(login(b"[", "a").is_err());
    }

    #[test]
    fn what_others_listed_is_kept() {
        let others =
            br#"{"schemaVersion":2,"manifests":[{"digest":"sha256:aa","x":1}],"annotations":{"y":"z"}}"#;
        let blob = Blob::of(b"referrer");
        let index = listed(Some(others), blob, "t").unwrap().unwrap();
        let read: Value = serde_json::from_slice(&index).unwrap();
        assert_eq!((&read["manifests"][0]["x"], &read["annotations"]["y"]), (&json!(1), &json!("z")));
        assert_eq!(may_hold(&read["manifests"][1], "t"), Some(blob.digest));
        assert_eq!(may_hold(&read["manifests"][1], "u"), None);
        assert!(listed(Some(&index), blob, "t").unwrap().is_none());
        assert!(listed(Some(b"{}"), blob, "t").is_err());
    }

    #[test]
    fn forms_are_golden() {
        let (image, _) = sample();
        insta::assert_snapshot!(String::from_utf8(referrer(&image, Blob::of(b"bundle"), "t")).unwrap(), @r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"application/vnd.dev.sigstore.bundle.v0.3+json","config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","digest":"sha256:1e6ed65d77d6364eeaed5a745ba5c4985ae2b700dd85d7cf7f027bdf294a33fc","size":6}],"subject":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:90c73c0d25a4b351fcc233d808fc24c699e40dd65eb842b044610be48d3d5c3b","size":541},"annotations":{"dev.sigstore.bundle.content":"dsse-envelope","dev.sigstore.bundle.predicateType":"t"}}"#);
        insta::assert_snapshot!(String::from_utf8(simple_signing("host/p/t:1", &image)).unwrap(), @r#"{"critical":{"identity":{"docker-reference":"host/p/t:1"},"image":{"docker-manifest-digest":"sha256:90c73c0d25a4b351fcc233d808fc24c699e40dd65eb842b044610be48d3d5c3b"},"type":"cosign container image signature"},"optional":null}"#);
    }
}
