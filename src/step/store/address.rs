//! How people write where releases live.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use reqwest::Url;

use crate::model::name::ProjectName;

/// Where a store is. Parsed once; [`super::Store::open`] makes a store of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A folder: needs no account, and is how a USB stick works.
    Directory(PathBuf),
    /// A bucket of R2, S3 or a server that speaks like them.
    Bucket {
        /// Its name.
        bucket: String,
        /// What all keys begin with: empty, or ends with `/`.
        prefix: String,
    },
    /// A web server, for reading.
    Web(String),
}

/// A text that names no store.
#[derive(Debug, thiserror::Error)]
pub enum BadAddress {
    /// None of the kinds.
    #[error("`{0}` is not a store: use a folder, `s3://bucket/prefix` or `https://host/path`")]
    Kind(String),
    /// A bucket's name.
    #[error("`{0}` cannot name a bucket: 3 to 63 of `a-z 0-9 - .`")]
    Bucket(String),
    /// A prefix.
    #[error("`{0}` cannot begin the names of objects: use words of `A-Z a-z 0-9 - _ .` between `/`")]
    Prefix(String),
    /// A URL.
    #[error("`{0}` is not the address of a web server: no user, no `?`, no `#`")]
    Url(String),
}

impl Address {
    /// The store and the project of an address that names both: `https://host/images/noderr` is the folder
    /// of `noderr` in `https://host/images`.
    #[must_use]
    pub fn split(&self) -> Option<(Self, ProjectName)> {
        let project = |name: &str| name.parse().ok();
        match self {
            Self::Directory(path) => {
                let project = project(path.file_name()?.to_str()?)?;
                Some((Self::Directory(path.parent()?.to_owned()), project))
            }
            Self::Bucket { bucket, prefix } => {
                let path = prefix.trim_end_matches('/');
                let (before, last) = path.rsplit_once('/').unwrap_or(("", path));
                let prefix = if before.is_empty() { String::new() } else { format!("{before}/") };
                Some((Self::Bucket { bucket: bucket.clone(), prefix }, project(last)?))
            }
            Self::Web(url) => {
                let (before, last) = url.rsplit_once('/')?;
                // Not the host.
                let is_path = before.split_once("://").is_some_and(|(_, rest)| !rest.is_empty());
                is_path
                    .then(|| project(last))
                    .flatten()
                    .map(|project| (Self::Web(before.to_owned()), project))
            }
        }
    }
}

impl FromStr for Address {
    type Err = BadAddress;
    fn from_str(text: &str) -> Result<Self, BadAddress> {
        if let Some(rest) = text.strip_prefix("s3://") {
            return bucket(rest);
        }
        if text.starts_with("https://") || text.starts_with("http://") {
            return web(text);
        }
        let path = text.strip_prefix("file://").unwrap_or(text);
        if path.is_empty() || path.contains("://") {
            return Err(BadAddress::Kind(text.to_owned()));
        }
        Ok(Self::Directory(path.into()))
    }
}

fn bucket(text: &str) -> Result<Address, BadAddress> {
    let (bucket, prefix) = text.split_once('/').unwrap_or((text, ""));
    let name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    if !(3..=63).contains(&bucket.len()) || !bucket.bytes().all(name) {
        return Err(BadAddress::Bucket(bucket.to_owned()));
    }
    let prefix = prefix.trim_end_matches('/');
    let word = |word: &str| {
        !["", ".", ".."].contains(&word)
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    if !prefix.is_empty() && !prefix.split('/').all(word) {
        return Err(BadAddress::Prefix(prefix.to_owned()));
    }
    let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
    Ok(Address::Bucket { bucket: bucket.to_owned(), prefix })
}

fn web(text: &str) -> Result<Address, BadAddress> {
    let bad = || BadAddress::Url(text.to_owned());
    let url = Url::parse(text).map_err(|_| bad())?;
    let plain = url.username().is_empty() && url.password().is_none();
    if !plain || url.query().is_some() || url.fragment().is_some() || url.host_str().is_none() {
        return Err(bad());
    }
    Ok(Address::Web(url.as_str().trim_end_matches('/').to_owned()))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(folder) => write!(f, "{}", folder.display()),
            Self::Bucket { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::Bucket { bucket, prefix } => write!(f, "s3://{bucket}/{}", prefix.trim_end_matches('/')),
            Self::Web(url) => f.write_str(url),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_parsed() {
        for text in [
            "/srv/store",
            "dist/store",
            "s3://images",
            "s3://images/team/a",
            "https://dl.example/x",
            "http://[::1]:80/a",
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string().parse::<Address>().unwrap(), address);
        }
        assert_eq!("s3://images/a/".parse::<Address>().unwrap().to_string(), "s3://images/a");
        assert_eq!("https://dl.example/".parse::<Address>().unwrap().to_string(), "https://dl.example");
        assert_eq!("file:///srv".parse::<Address>().unwrap().to_string(), "/srv");
    }

    #[test]
    fn the_folder_of_a_project_is_store_and_project() {
        for (text, store) in [
            ("https://dl.example/images/noderr", "https://dl.example/images"),
            ("https://dl.example/noderr", "https://dl.example"),
            ("s3://images/team/noderr", "s3://images/team"),
            ("s3://images/noderr", "s3://images"),
            ("/media/usb/noderr", "/media/usb"),
        ] {
            let (found, project) = text.parse::<Address>().unwrap().split().unwrap();
            assert_eq!((found.to_string().as_str(), project.as_str()), (store, "noderr"));
        }
        for text in ["https://noderr", "s3://noderr", "/", "https://dl.example/No"] {
            assert!(text.parse::<Address>().unwrap().split().is_none(), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_a_store_is_refused() {
        for text in [
            "",
            "ftp://x",
            "s3://",
            "s3://B",
            "s3://images/../x",
            "s3://images//x",
            "s3://images/a?b",
            "https://",
            "https://user@host",
            "https://host/?a=b",
            "https://host/#a",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
