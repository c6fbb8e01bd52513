//! What to do when a store does not give or take.

use std::io::ErrorKind;

use imgforge::flow::Error;
use imgforge::model::registry::Unfit;
use imgforge::step::http::ClientError;
use imgforge::step::registry::RegistryError;
use imgforge::step::store::{OpenError, StoreError};

use super::Code;

/// A document that is larger than any that imgforge reads.
pub(super) const TOO_LARGE: (Code, &str) =
    (Code::NotSigned, "no document of a release is as large, nothing was loaded; tell the project");

pub(super) fn store(error: &StoreError) -> (Code, &'static str) {
    match error {
        StoreError::Missing { .. } => {
            (Code::Other, "check the store, the project, the channel and the version")
        }
        StoreError::Conflict { .. } => {
            (Code::Other, "somebody else published meanwhile; look, then run it again")
        }
        StoreError::Changed { .. } => (
            Code::Network,
            "nothing of the new one was mixed with the old; run the same command again, or ask who publishes: a release never changes",
        ),
        StoreError::Io { source, .. } if source.kind() == ErrorKind::FileTooLarge => TOO_LARGE,
        StoreError::Io { .. } => (Code::Other, "check the store and its permissions"),
        StoreError::Unreachable { source, .. } if source.to_string().contains("peer certificate") => {
            (Code::Network, "where a proxy looks into TLS, name its CA with `IMGFORGE_CA_BUNDLE`")
        }
        StoreError::Unreachable { .. } => {
            (Code::Network, "run the same command again: it goes on where it stopped")
        }
        StoreError::Denied { key, .. } if key.is_link() => (
            Code::Denied,
            "links last for a while: get a new one, and run the same command with `--url NEW`, or with it in the old one's place; it goes on where it stopped",
        ),
        StoreError::Denied { .. } => (
            Code::Denied,
            "the link or the key expired, or may not do this; run the command again with another one: it goes on where it stopped",
        ),
        StoreError::Refused { .. } => (Code::Other, "check the bucket, the endpoint and the region"),
        StoreError::ReadOnly(_) | StoreError::NoLinks(_) => {
            (Code::Usage, "name the bucket itself, `s3://BUCKET/PREFIX`, with `--store`")
        }
    }
}

pub(super) fn open(error: &OpenError) -> (Code, &'static str) {
    match error {
        OpenError::NoCredentials(_) => (
            Code::Usage,
            "set `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, or read from its public `https://` address",
        ),
        OpenError::Jurisdiction(_) | OpenError::Endpoint(_) => {
            (Code::Usage, "change `endpoint` below `[store]` in imgforge.toml, or `AWS_ENDPOINT_URL_S3`")
        }
        OpenError::Link => (Code::Usage, "copy all of it, in quotes"),
        OpenError::Client(error) => client(error),
    }
}

pub(super) fn client(error: &ClientError) -> (Code, &'static str) {
    match error {
        ClientError::Bundle(..) => (Code::Usage, "change or unset `IMGFORGE_CA_BUNDLE` or `SSL_CERT_FILE`"),
        ClientError::Start(_) => (Code::Other, "check this machine's certificates and proxy settings"),
    }
}

pub(super) fn registry(error: &RegistryError) -> (Code, &'static str) {
    match error {
        RegistryError::Target(_) => (Code::Usage, "write `HOST/PATH/{tier}`, such as `ghcr.io/acme/{tier}`"),
        RegistryError::Config(..) => (Code::Usage, "repair the file, or run `docker login HOST` again"),
        RegistryError::Helper { .. } => (Code::Usage, "run `docker login HOST` again"),
        RegistryError::Denied { .. } => {
            (Code::Denied, "run `docker login HOST` with a name that may do that")
        }
        RegistryError::Unreachable { .. } => {
            (Code::Network, "run the same command again: it goes on where it stopped")
        }
        RegistryError::Refused { .. } => (Code::Other, "the registry's own log says more"),
        RegistryError::Differs { .. } => {
            (Code::Mismatch, "somebody moved the tag meanwhile; look, then push again")
        }
        RegistryError::Missing(_) => (Code::Other, "check the registry, the repository and the tag"),
        RegistryError::TooLarge { .. } | RegistryError::Wrong { .. } => {
            (Code::Mismatch, "the registry was damaged or replaced, nothing was loaded; tell the project")
        }
        RegistryError::Unfit(_, Unfit::Platform { .. }) => {
            (Code::Usage, "choose another platform with `--platform`")
        }
        RegistryError::Unfit(_, Unfit::Packed(_) | Unfit::Impossible(_)) => {
            (Code::Mismatch, "nothing was loaded; tell the project")
        }
        RegistryError::Unfit(..) => (
            Code::Other,
            "only images that `imgforge push` put there can be taken as they are, nothing was loaded",
        ),
        RegistryError::OtherVersion { .. } => (
            Code::Mismatch,
            "somebody put an image under the tag of another, nothing was loaded; tell the project",
        ),
        RegistryError::Client(error) => client(error),
        RegistryError::Write(_) => (Code::Other, "check the cache's disk and its permissions"),
        RegistryError::Foreign(..) => (Code::Other, "remove that tag, or push to another repository"),
        RegistryError::Crowded(_) => (Code::Other, "push again when the others are done"),
        RegistryError::Content(_) => (Code::Other, "build it again with `imgforge build TIER`"),
        RegistryError::Key(_) => super::files::KEY,
    }
}

/// What cannot be published as it was asked for.
pub(super) fn publication(error: &Error) -> (Code, &'static str) {
    let hint = match error {
        Error::Leftover(..) => "remove them with `imgforge prune --delete`, or choose the next version",
        Error::OtherPatches { .. } => {
            "patches are sealed with the archives: name the same versions with `--patch-from`"
        }
        Error::Backwards { .. } => "publish older lines on a channel of their own with `--channel NAME`",
        _ => "a published version never changes: choose the next one",
    };
    (Code::Other, hint)
}
