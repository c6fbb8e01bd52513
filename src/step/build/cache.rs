//! Where steps that were run before come from, and where those of this build go.

use std::collections::HashMap;
use std::path::PathBuf;
use std::str::FromStr;

use bollard_buildkit_proto::moby::buildkit::v1::CacheOptionsEntry;
use serde::Serialize;

use crate::model::digest::Digest;
use crate::model::name::TierName;

/// `--cache-from`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheFrom {
    /// A folder that `--cache-to type=local` wrote.
    Local(PathBuf),
    /// An image in a registry, or one that the engine has, with cache metadata inside or beside it.
    Registry(String),
}

/// `--cache-to`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheTo {
    /// A folder: blobs, and an index with an entry for each tier.
    Local(PathBuf, Mode),
    /// An image of its own in a registry; the builder pushes it.
    Registry(String, Mode),
    /// Inside the built image, which the Docker Engine keeps under this name for somebody to push.
    Inline(String),
}

/// Of which steps the results are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Of those whose layers are in the image.
    Min,
    /// Of all of them.
    Max,
}

/// A text that names no cache.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadCache(String);

const FROM_FORMS: &str = "write REF, `type=registry,ref=REF` or `type=local,src=DIR`";
const TO_FORMS: &str = "write `type=local,dest=DIR`, `type=registry,ref=REF` or `type=inline,ref=REF`, \
     the first two with `,mode=max` where all steps shall be kept";

/// Stands for the tier in the name of an image, so that tiers do not overwrite each other.
const TIER: &str = "{tier}";

impl FromStr for CacheFrom {
    type Err = BadCache;
    fn from_str(text: &str) -> Result<Self, BadCache> {
        if !text.contains('=') && !text.is_empty() {
            return Ok(Self::Registry(text.to_owned()));
        }
        let parts = parts(text, FROM_FORMS)?;
        match fields(&parts, ["type", "src", "ref"], FROM_FORMS)? {
            [Some("local"), Some(folder), None] => Ok(Self::Local(folder.into())),
            [Some("registry"), None, Some(name)] => Ok(Self::Registry(name.to_owned())),
            _ => Err(BadCache(FROM_FORMS.to_owned())),
        }
    }
}

impl FromStr for CacheTo {
    type Err = BadCache;
    fn from_str(text: &str) -> Result<Self, BadCache> {
        let bad = || BadCache(TO_FORMS.to_owned());
        let parts = parts(text, TO_FORMS)?;
        let [kind, folder, name, mode] = fields(&parts, ["type", "dest", "ref", "mode"], TO_FORMS)?;
        let kept = match mode {
            None | Some("min") => Mode::Min,
            Some("max") => Mode::Max,
            Some(_) => return Err(bad()),
        };
        let good = |name: &str| {
            // That of each tier is as good as that of any.
            let parsed = name.replace(TIER, "tier").parse::<oci_client::Reference>();
            match parsed {
                Ok(reference) if reference.digest().is_none() => Ok(()),
                Ok(_) => {
                    Err(BadCache(format!("`{name}` is what a digest leads to; write a name, or `NAME:TAG`")))
                }
                Err(error) => Err(BadCache(format!("`{name}` is no name of an image: {error}"))),
            }
        };
        name.map_or(Ok(()), good)?;
        match (kind, folder, name, mode) {
            (Some("local"), Some(folder), None, _) => Ok(Self::Local(folder.into(), kept)),
            (Some("registry"), None, Some(name), _) => Ok(Self::Registry(name.to_owned(), kept)),
            (Some("inline"), None, Some(name), None) => Ok(Self::Inline(name.to_owned())),
            _ => Err(bad()),
        }
    }
}

fn parts<'a>(text: &'a str, forms: &str) -> Result<Vec<(&'a str, &'a str)>, BadCache> {
    text.split(',').map(|part| part.split_once('=').ok_or_else(|| BadCache(forms.to_owned()))).collect()
}

fn fields<'a, const N: usize>(
    parts: &[(&'a str, &'a str)],
    keys: [&str; N],
    forms: &str,
) -> Result<[Option<&'a str>; N], BadCache> {
    if parts.iter().any(|(key, value)| !keys.contains(key) || value.is_empty()) {
        return Err(BadCache(forms.to_owned()));
    }
    Ok(keys.map(|key| parts.iter().find(|(found, _)| *found == key).map(|(_, value)| *value)))
}

impl CacheTo {
    /// Whether every tier would write to the same image.
    pub(super) fn collides(&self) -> bool {
        matches!(self, Self::Registry(name, _) | Self::Inline(name) if !name.contains(TIER))
    }

    /// What BuildKit is asked for.
    pub(super) fn entry(&self, tier: &TierName) -> CacheOptionsEntry {
        let mode = |mode: &Mode| ("mode", if *mode == Mode::Max { "max" } else { "min" }.to_owned());
        match self {
            Self::Local(folder, kept) => entry("local", [("dest", folder.display().to_string()), mode(kept)]),
            Self::Registry(name, kept) => {
                entry("registry", [("ref", Self::for_tier(name, tier)), mode(kept)])
            }
            Self::Inline(_) => entry("inline", []),
        }
    }

    /// A name, with that of the tier in it.
    pub(super) fn for_tier(name: &str, tier: &TierName) -> String {
        name.replace(TIER, tier.as_str())
    }
}

/// A local cache is imported by the digest of each manifest in it.
pub(super) fn local(folder: &str, manifest: &Digest) -> CacheOptionsEntry {
    entry("local", [("src", folder.to_owned()), ("digest", manifest.to_string())])
}

pub(super) fn registry(name: &str, tier: &TierName) -> CacheOptionsEntry {
    entry("registry", [("ref", CacheTo::for_tier(name, tier))])
}

fn entry<const N: usize>(kind: &str, attributes: [(&str, String); N]) -> CacheOptionsEntry {
    let attrs: HashMap<String, String> =
        attributes.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    CacheOptionsEntry { r#type: kind.to_owned(), attrs }
}

/// The form in which the Dockerfile frontend reads where to import from.
pub(super) fn attribute(imports: &[CacheOptionsEntry]) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Entry<'a> {
        r#type: &'a str,
        attrs: std::collections::BTreeMap<&'a String, &'a String>,
    }
    let entries: Vec<Entry<'_>> = imports
        .iter()
        .map(|import| Entry { r#type: &import.r#type, attrs: import.attrs.iter().collect() })
        .collect();
    serde_json::to_string(&entries).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_meant_is_accepted() {
        assert_eq!("host/x:1".parse::<CacheFrom>().unwrap(), CacheFrom::Registry("host/x:1".to_owned()));
        assert_eq!("type=local,src=a".parse::<CacheFrom>().unwrap(), CacheFrom::Local("a".into()));
        assert_eq!(
            "type=local,dest=a,mode=max".parse::<CacheTo>().unwrap(),
            CacheTo::Local("a".into(), Mode::Max)
        );
        for name in ["a", "host:5000/a/{tier}", "host/{tier}-cache:v1"] {
            assert!(format!("type=inline,ref={name}").parse::<CacheTo>().is_ok(), "{name}");
        }
        for text in ["", "type=local", "type=local,dest=a", "type=s3,ref=a", "type=local,src="] {
            assert!(text.parse::<CacheFrom>().is_err(), "{text} was accepted");
        }
        for text in [
            "",
            "type=inline",
            "type=inline,ref=a,mode=max",
            "type=local,dest=a,mode=all",
            "x",
            "type=inline,ref=a/B",
            "type=registry,ref=a@sha256:0000000000000000000000000000000000000000000000000000000000000000",
        ] {
            assert!(text.parse::<CacheTo>().is_err(), "{text} was accepted");
        }
    }
}
