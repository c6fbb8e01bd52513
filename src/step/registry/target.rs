//! Where in a registry an image goes.

use oci_client::Reference;

use crate::model::name::{TierName, Version};

/// A repository of a registry, and a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target(Reference);

/// A text that names no place in a registry.
#[derive(Debug, thiserror::Error)]
pub enum BadTarget {
    /// Its form.
    #[error("`{text}` names no place in a registry")]
    Form {
        /// What was written.
        text: String,
        /// What is wrong.
        source: oci_client::ParseError,
    },
    /// A digest cannot be chosen.
    #[error("`{0}` names an image by its digest, which only the image itself decides")]
    Digest(String),
    /// Nothing that says which.
    #[error("`{0}` has no tag and no digest: write `oci://HOST/PATH:TAG` or `oci://HOST/PATH@sha256:DIGEST`")]
    Untagged(String),
    /// Several images and one place.
    #[error("the tiers would take `{0}` from each other")]
    OnePlace(String),
}

impl Target {
    /// What is meant for a tier: `{tier}` and `{version}` stand for themselves, and the tag is the version
    /// where there is none.
    pub fn of(text: &str, tier: &TierName, version: &Version) -> Result<Self, BadTarget> {
        let mut whole = text.replace("{tier}", tier.as_str()).replace("{version}", &version.to_string());
        if whole.contains('@') {
            return Err(BadTarget::Digest(text.to_owned()));
        }
        // A port is before the last `/`, a tag after it.
        if !whole.rsplit('/').next().unwrap_or_default().contains(':') {
            whole = format!("{whole}:{version}");
        }
        match whole.parse() {
            Ok(reference) => Ok(Self(reference)),
            Err(source) => Err(BadTarget::Form { text: whole, source }),
        }
    }

    /// What is fetched: it needs a tag or a digest, because nobody should have to guess which is meant.
    pub fn fetched(text: &str) -> Result<Self, BadTarget> {
        let last = text.rsplit('/').next().unwrap_or_default();
        if !last.contains([':', '@']) {
            return Err(BadTarget::Untagged(text.to_owned()));
        }
        text.parse().map(Self).map_err(|source| BadTarget::Form { text: text.to_owned(), source })
    }

    /// The same for several tiers, which need a place each.
    pub fn each(text: &str, tiers: &[(TierName, Version)]) -> Result<Vec<Self>, BadTarget> {
        if tiers.len() > 1 && !text.contains("{tier}") {
            return Err(BadTarget::OnePlace(text.to_owned()));
        }
        tiers.iter().map(|(tier, version)| Self::of(text, tier, version)).collect()
    }

    /// As it is written, with the tag.
    #[must_use]
    pub fn text(&self) -> String {
        self.0.to_string()
    }

    /// As it is written, with a digest in place of the tag.
    #[must_use]
    pub fn at(&self, digest: &str) -> String {
        Reference::with_digest(
            self.0.registry().to_owned(),
            self.0.repository().to_owned(),
            digest.to_owned(),
        )
        .to_string()
    }

    /// The tag, if that is what it is named by.
    #[must_use]
    pub fn named_tag(&self) -> Option<&str> {
        if self.0.digest().is_some() { None } else { self.0.tag() }
    }

    /// What is asked for: the digest, or else the tag.
    pub(super) fn wanted(&self) -> String {
        self.0.digest().or(self.0.tag()).unwrap_or_default().to_owned()
    }

    pub(super) fn repository(&self) -> &str {
        self.0.repository()
    }

    /// The registry's host, and its port where it is not the usual one.
    pub(super) fn registry(&self) -> &str {
        self.0.resolve_registry()
    }

    /// Whether it is on this machine, where nobody listens on the way.
    pub(super) fn is_local(&self) -> bool {
        let host = self.registry();
        let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
        host == "localhost"
            || host
                .trim_start_matches('[')
                .trim_end_matches(']')
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }

    pub(super) fn reference(&self) -> Reference {
        self.0.clone()
    }

    /// Another tag of the same repository. A digest is one too, for who puts a manifest under it: the
    /// library takes it for the end of the address, and expects one there.
    pub(super) fn tag(&self, tag: &str) -> Reference {
        Reference::with_tag(self.0.registry().to_owned(), self.0.repository().to_owned(), tag.to_owned())
    }

    pub(super) fn digest(&self, digest: &str) -> Reference {
        Reference::with_digest(
            self.0.registry().to_owned(),
            self.0.repository().to_owned(),
            digest.to_owned(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Target, BadTarget> {
        Target::of(text, &"oracle".parse().unwrap(), &"1.2.3".parse().unwrap())
    }

    #[test]
    fn a_place_is_written_in_few_ways() {
        let text = |text: &str| of(text).unwrap().text();
        assert_eq!(text("ghcr.io/acme/{tier}"), "ghcr.io/acme/oracle:1.2.3");
        assert_eq!(text("localhost:5000/a/b:latest"), "localhost:5000/a/b:latest");
        assert_eq!(text("acme/{tier}:v{version}"), "docker.io/acme/oracle:v1.2.3");
        assert!(matches!(of("ghcr.io/a@sha256:00"), Err(BadTarget::Digest(_))));
        assert!(matches!(of("ghcr.io/UPPER/a"), Err(BadTarget::Form { .. })));
        assert!(matches!(of(""), Err(BadTarget::Form { .. })));
        let fetched = |text: &str| Target::fetched(text).map(|target| target.wanted());
        assert_eq!(fetched("localhost:5000/a/b:1.0.0").unwrap(), "1.0.0");
        let digest = format!("sha256:{}", "0".repeat(64));
        assert_eq!(fetched(&format!("ghcr.io/a:1@{digest}")).unwrap(), digest);
        assert!(matches!(fetched("localhost:5000/a"), Err(BadTarget::Untagged(_))));
        assert!(matches!(fetched("ghcr.io/A:1"), Err(BadTarget::Form { .. })));
        let tiers = [
            ("a".parse().unwrap(), "1.0.0".parse().unwrap()),
            ("b".parse().unwrap(), "1.0.0".parse().unwrap()),
        ];
        assert!(matches!(Target::each("ghcr.io/x", &tiers), Err(BadTarget::OnePlace(_))));
        assert_eq!(Target::each("ghcr.io/{tier}", &tiers).unwrap().len(), 2);
    }

    #[test]
    fn only_this_machine_is_spoken_to_without_tls() {
        let local = |text: &str| of(text).unwrap().is_local();
        assert!(local("localhost:5000/a") && local("127.0.0.1:5000/a") && local("localhost/a"));
        assert!(!local("ghcr.io/a") && !local("localhost.example/a") && !local("10.0.0.1:5000/a"));
    }
}
