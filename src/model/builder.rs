//! The configuration, and the builders that it names.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::name::Platform;
use super::recipe::parse::{self, Finding};
use super::sbom::denied::Pattern;
use super::scan::gate;
use super::storage;

/// `imgforge.toml`: what a person or a project sets once.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    /// Builders by name.
    #[serde(default)]
    pub builders: BTreeMap<String, Settings>,
    /// Where releases live.
    #[serde(default)]
    pub store: storage::Settings,
    /// Licences.
    #[serde(default)]
    pub licenses: Licenses,
    /// Vulnerabilities.
    #[serde(default)]
    pub scan: gate::Settings,
    /// Registries that are not as others, by host and port.
    #[serde(default)]
    pub registries: BTreeMap<String, Registry>,
}

/// `[licenses]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Licenses {
    /// Those that no image may hold.
    #[serde(default)]
    pub deny: Vec<Pattern>,
}

/// One registry.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    /// Speak to it without TLS: whoever listens on the way reads passwords and may change images.
    #[serde(default)]
    pub plain_http: bool,
}

impl Configuration {
    /// Reads a file; paths in it become relative to where imgforge runs.
    pub fn parse(file: &str, text: &str, folder: &Path) -> Result<Self, Finding> {
        let mut configuration: Self = parse::parse(file, text)?;
        for (name, builder) in &mut configuration.builders {
            if builder.cert.is_some() != builder.key.is_some() {
                return Err(Finding::file(
                    file,
                    format!("builder `{name}`: `cert` and `key` belong together"),
                ));
            }
            if builder.ca.is_none() && builder.cert.is_some() {
                return Err(Finding::file(file, format!("builder `{name}`: a certificate needs a `ca`")));
            }
            for path in [&mut builder.ca, &mut builder.cert, &mut builder.key].into_iter().flatten() {
                *path = folder.join(&*path);
            }
        }
        for place in configuration.scan.db.iter_mut().filter(|place| !place.contains("://")) {
            *place = folder.join(&*place).to_string_lossy().into_owned();
        }
        Ok(configuration)
    }
}

/// One builder. Paths are relative to the folder of the file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where it listens, as in `--builder`.
    pub endpoint: String,
    /// What it is reserved for; empty: whatever it says that it can.
    #[serde(default)]
    pub platforms: Vec<Platform>,
    /// Who vouches for its certificate; turns TLS on.
    pub ca: Option<PathBuf>,
    /// Our certificate.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// The name in its certificate; absent: the endpoint's host.
    pub server_name: Option<String>,
}

/// What a builder that cannot help has instead.
#[derive(Debug, Clone)]
pub struct Offer {
    /// Its name, or its address.
    pub builder: String,
    /// What it builds for.
    pub platforms: Vec<Platform>,
}

/// Builders and what they build for, in words.
pub struct Offers<'a>(pub &'a [Offer]);

impl fmt::Display for Offers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, offer) in self.0.iter().enumerate() {
            let platforms: Vec<String> = offer.platforms.iter().map(ToString::to_string).collect();
            let separator = if at == 0 { "" } else { "; " };
            write!(f, "{separator}`{}` has {}", offer.builder, platforms.join(", "))?;
        }
        Ok(())
    }
}
