//! The only reader of the environment and the clock.

use std::path::PathBuf;

use imgforge::model::time::Timestamp;
use imgforge::step::build::Builder;
use imgforge::step::engine::Address;
use zeroize::Zeroizing;

use super::report::Failure;

/// What the environment says.
pub(crate) struct Config {
    /// Pinned projects.
    pub(crate) pins: PathBuf,
    /// Images, root filesystems, archives: may be deleted at any time.
    pub(crate) cache: PathBuf,
    /// What was seen: must not be deleted, it protects against rollback.
    pub(crate) state: PathBuf,
    docker_host: Option<String>,
    buildkit_host: Option<String>,
    /// `COSIGN_PASSWORD`: set but empty is the empty password, as cosign has it.
    pub(crate) password: Option<Zeroizing<String>>,
    /// The CA bundle that package managers inside a build shall believe.
    pub(crate) ca_bundle: Option<PathBuf>,
    /// This machine's time, read once.
    pub(crate) now: Timestamp,
}

const DEFAULT_ENGINE: &str = "unix:///var/run/docker.sock";

impl Config {
    pub(crate) fn read() -> Result<Self, Failure> {
        let folder = |variable: &str, below_home: &str| match path(variable).filter(|path| path.is_absolute())
        {
            Some(path) => Ok(path.join("imgforge")),
            None => {
                path("HOME").map(|home| home.join(below_home).join("imgforge")).ok_or_else(Failure::no_home)
            }
        };
        Ok(Self {
            pins: folder("XDG_CONFIG_HOME", ".config")?,
            cache: folder("XDG_CACHE_HOME", ".cache")?,
            state: folder("XDG_STATE_HOME", ".local/state")?,
            docker_host: text("DOCKER_HOST"),
            buildkit_host: text("BUILDKIT_HOST"),
            password: raw("COSIGN_PASSWORD").map(Zeroizing::new),
            ca_bundle: path("IMGFORGE_CA_BUNDLE").or_else(|| path("SSL_CERT_FILE")),
            now: now(),
        })
    }
}

impl Config {
    /// The Docker Engine. Only commands that need one look whether the address is good.
    pub(crate) fn engine(&self) -> Result<Address, Failure> {
        address("DOCKER_HOST", self.docker_host.as_deref().unwrap_or(DEFAULT_ENGINE))
    }

    /// What builds.
    pub(crate) fn builder(&self) -> Result<Builder, Failure> {
        match &self.buildkit_host {
            Some(host) => address("BUILDKIT_HOST", host).map(Builder::BuildKit),
            None => self.engine().map(Builder::Engine),
        }
    }
}

fn address(variable: &'static str, text: &str) -> Result<Address, Failure> {
    text.parse().map_err(|error| Failure::environment(variable, error))
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
fn raw(variable: &str) -> Option<String> {
    std::env::var(variable).ok()
}

/// A variable that is set but empty counts as not set.
pub(crate) fn text(variable: &str) -> Option<String> {
    raw(variable).filter(|text| !text.is_empty())
}

fn path(variable: &str) -> Option<PathBuf> {
    text(variable).map(PathBuf::from)
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
fn now() -> Timestamp {
    // Whole seconds: documents are read by people, and no rule needs more.
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}
