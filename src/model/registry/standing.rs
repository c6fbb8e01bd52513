//! What stands under a reference, read by those who fetch it.

use serde_json::Value;

use super::{Descriptor, INDEX, MANIFEST};
use crate::model::digest::Digest;
use crate::model::image::Blob;
use crate::model::name::{ImageTag, Platform};
use crate::model::strict;

/// The one kind of layer that an image of ours has.
const PLAIN: &str = "application/vnd.oci.image.layer.v1.tar";

/// A manifest or an index.
#[derive(Debug)]
pub enum Standing {
    /// An image for one platform.
    Image(Manifest),
    /// A list of images: for which platform, and which.
    Index(Vec<(String, Digest)>),
}

/// What a manifest says of an image. Whether it says anything else shows when it is written anew.
#[derive(Debug)]
pub struct Manifest {
    /// The configuration.
    pub config: Blob,
    /// The layers, the lowest first.
    pub layers: Vec<Blob>,
}

/// Why an image cannot be taken as it stands in a registry.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// No manifest.
    #[error("it is neither the manifest of an image nor an index")]
    Form,
    /// Other layers than those that are signed and shipped everywhere else.
    #[error("it has a layer of type `{0}`: only plain layers have the digests that Docker shows")]
    Layer(String),
    /// A manifest with more than configuration and layers.
    #[error("its manifest is not the one that follows from its configuration and layers")]
    Other,
    /// A platform that is missing, or there twice.
    #[error("its index has {} for {platform}", listed(.present))]
    Platform {
        /// Which platform was asked for.
        platform: Platform,
        /// Those that are there.
        present: Vec<String>,
    },
    /// Larger than any image that was ever made.
    #[error("its manifest names {0}")]
    Impossible(String),
    /// An image that does not know what it is.
    #[error("its labels `org.opencontainers.image.title` and `.version` do not say which image it is")]
    Nameless,
    /// A layer that engines would unpack once more.
    #[error("layer {0} is compressed, so engines would see other bytes than were signed")]
    Packed(Digest),
}

fn listed(present: &[String]) -> String {
    if present.is_empty() {
        "nothing".to_owned()
    } else {
        format!("{}, and not one image", present.join(", "))
    }
}

/// Reads a document that a registry gave.
pub fn standing(bytes: &[u8]) -> Result<Standing, Unfit> {
    let document: Value = strict::from_slice(bytes).map_err(|_| Unfit::Form)?;
    let descriptor =
        |value: &Value| serde_json::from_value::<Descriptor>(value.clone()).map_err(|_| Unfit::Form);
    match document["mediaType"].as_str() {
        Some(INDEX) => {
            let entries = document["manifests"].as_array().ok_or(Unfit::Form)?;
            let mut images = Vec::new();
            for entry in entries {
                let platform = &entry["platform"];
                let word = |key: &str| platform[key].as_str().unwrap_or("unknown");
                images.push((format!("{}/{}", word("os"), word("architecture")), descriptor(entry)?.digest));
            }
            Ok(Standing::Index(images))
        }
        Some(MANIFEST) => {
            let blob = |described: Descriptor| Blob { digest: described.digest, size: described.size };
            let mut layers = Vec::new();
            for layer in document["layers"].as_array().ok_or(Unfit::Form)? {
                let layer = descriptor(layer)?;
                if layer.media_type != PLAIN {
                    return Err(Unfit::Layer(layer.media_type));
                }
                layers.push(blob(layer));
            }
            Ok(Standing::Image(Manifest { config: blob(descriptor(&document["config"])?), layers }))
        }
        _ => Err(Unfit::Form),
    }
}

/// The only image of an index for a platform.
pub fn only(images: &[(String, Digest)], platform: &Platform) -> Result<Digest, Unfit> {
    let wanted = platform.to_string();
    let mut found = images.iter().filter(|(platform, _)| *platform == wanted);
    if let (Some((_, digest)), None) = (found.next(), found.next()) {
        return Ok(*digest);
    }
    let present = images.iter().map(|(platform, _)| platform.clone()).collect();
    Err(Unfit::Platform { platform: platform.clone(), present })
}

/// The name of an image, as its own configuration has it. Tags of a registry are anybody's who may write
/// there; the configuration is what was signed.
pub fn own_name(config: &[u8]) -> Result<ImageTag, Unfit> {
    let config: Value = strict::from_slice(config).map_err(|_| Unfit::Nameless)?;
    let label = |name: &str| config["config"]["Labels"][format!("org.opencontainers.image.{name}")].as_str();
    let name = label("title").zip(label("version")).map(|(title, version)| format!("{title}:{version}"));
    name.and_then(|name| name.parse().ok()).ok_or(Unfit::Nameless)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::image::tests::sample;

    #[test]
    fn what_we_push_is_read_back() {
        let (image, _) = sample();
        let Standing::Image(found) = standing(&image.manifest_bytes()).unwrap() else { panic!("an index") };
        assert_eq!((found.config, &found.layers), (image.config, &image.layers));
    }

    #[test]
    fn what_is_something_else_is_refused_with_the_reason() {
        let (image, _) = sample();
        let text = String::from_utf8(image.manifest_bytes()).unwrap();
        let reason = |text: &str| standing(text.as_bytes()).unwrap_err().to_string();
        for other in ["", "{}", "[]", &text.replace(MANIFEST, "x"), &text.replace("\"size\":", "\"size\":-")]
        {
            assert_eq!(reason(other), Unfit::Form.to_string(), "{other}");
        }
        insta::assert_snapshot!(reason(&text.replacen("layer.v1.tar", "layer.v1.tar+gzip", 1)), @"it has a layer of type `application/vnd.oci.image.layer.v1.tar+gzip`: only plain layers have the digests that Docker shows");
    }

    #[test]
    fn an_index_has_one_image_for_a_platform() {
        let digest = Digest::of(b"x");
        let entry = |platform: &str| {
            let (os, architecture) = platform.split_once('/').unwrap();
            serde_json::json!({"mediaType": MANIFEST, "digest": digest, "size": 1,
                "platform": {"os": os, "architecture": architecture}})
        };
        let index = |platforms: &[&str]| {
            let manifests: Vec<_> = platforms.iter().map(|platform| entry(platform)).collect();
            let text = serde_json::json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
            let Standing::Index(images) = standing(text.to_string().as_bytes()).unwrap() else { panic!() };
            only(&images, &"linux/amd64".parse().unwrap()).map_err(|error| error.to_string())
        };
        assert_eq!(index(&["linux/arm64", "linux/amd64", "unknown/unknown"]), Ok(digest));
        insta::assert_snapshot!(index(&["linux/arm64"]).unwrap_err(), @"its index has linux/arm64, and not one image for linux/amd64");
        assert!(index(&["linux/amd64", "linux/amd64"]).is_err() && index(&[]).is_err());
    }

    #[test]
    fn an_image_says_what_it_is() {
        let named = |labels: serde_json::Value| {
            own_name(serde_json::json!({"config": {"Labels": labels}}).to_string().as_bytes())
        };
        let (title, version) = ("org.opencontainers.image.title", "org.opencontainers.image.version");
        assert_eq!(
            named(serde_json::json!({title: "p/t", version: "1.0.0"})).unwrap().to_string(),
            "p/t:1.0.0"
        );
        for labels in [
            serde_json::json!(null),
            serde_json::json!({title: "p/t"}),
            serde_json::json!({title: "evil.example/p/t", version: "1.0.0"}),
            serde_json::json!({title: "p/t", version: "latest"}),
        ] {
            assert!(matches!(named(labels), Err(Unfit::Nameless)));
        }
    }
}
