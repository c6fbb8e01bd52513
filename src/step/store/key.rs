//! Names of objects, always made from parsed names.

use std::fmt;

use crate::model::name::{ChannelName, ProjectName, Version};
use crate::model::release;

const CHANNEL_SUFFIX: &str = ".sigstore.json";

/// No object is named so: all others begin with a project and a slash.
const LINK: &str = "the link";

/// The name of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(String);

impl Key {
    /// A channel's pointer.
    #[must_use]
    pub fn channel(project: &ProjectName, channel: &ChannelName) -> Self {
        Self(format!("{project}/channels/{channel}{CHANNEL_SUFFIX}"))
    }

    /// A file of a release. `file` comes from a verified release or is a constant.
    #[must_use]
    pub fn file(project: &ProjectName, version: &Version, file: &str) -> Self {
        Self(format!("{project}/releases/{version}/{file}"))
    }

    /// Another file of the same release.
    #[must_use]
    pub fn beside(&self, file: &str) -> Self {
        let folder = self.0.rsplit_once('/').map_or("", |(folder, _)| folder);
        Self(format!("{folder}/{file}"))
    }

    /// What is behind a link: it has a name only for those who follow it.
    #[must_use]
    pub fn link() -> Self {
        Self(LINK.to_owned())
    }

    /// Whether this is what is behind a link.
    #[must_use]
    pub fn is_link(&self) -> bool {
        self.0 == LINK
    }

    /// A trust document.
    #[must_use]
    pub fn trust(project: &ProjectName, version: u64) -> Self {
        Self(format!("{project}/trust/{version}.jsonl"))
    }

    /// A release.
    #[must_use]
    pub fn release(project: &ProjectName, version: &Version) -> Self {
        Self::file(project, version, release::FILE_NAME)
    }

    /// The folder of all channels.
    pub(super) fn channels(project: &ProjectName) -> Self {
        Self(format!("{project}/channels/"))
    }

    /// The channel that an object of that folder is.
    pub(super) fn channel_of(name: &str) -> Option<ChannelName> {
        name.strip_suffix(CHANNEL_SUFFIX)?.parse().ok()
    }

    /// The folder of all releases.
    pub(super) fn releases(project: &ProjectName) -> Self {
        Self(format!("{project}/releases/"))
    }

    /// What tells whether a store keeps conditions.
    pub(super) fn probe(project: &ProjectName) -> Self {
        Self(format!("{project}/.conditions"))
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
