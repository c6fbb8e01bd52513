//! The connection to a Docker Engine.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use bollard::{API_DEFAULT_VERSION, Docker};

/// Where an engine or a BuildKit daemon listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// `unix:///var/run/docker.sock`
    Unix(PathBuf),
    /// `tcp://host:port`, without TLS
    Tcp(String),
}

/// A text that is no address.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not an address: use `unix:///path/to/socket` or `tcp://host:port`")]
pub struct BadAddress(String);

impl FromStr for Address {
    type Err = BadAddress;
    fn from_str(text: &str) -> Result<Self, BadAddress> {
        if let Some(path) = text.strip_prefix("unix://").filter(|path| path.starts_with('/')) {
            return Ok(Self::Unix(path.into()));
        }
        match text.strip_prefix("tcp://").and_then(|rest| rest.rsplit_once(':')) {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                Ok(Self::Tcp(format!("{host}:{port}")))
            }
            _ => Err(BadAddress(text.to_owned())),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(host) => write!(f, "tcp://{host}"),
        }
    }
}

/// An engine that answered.
#[derive(Debug, Clone)]
pub struct Engine {
    /// Its API.
    pub docker: Docker,
    /// Where it listens.
    pub address: Address,
    /// What it calls itself.
    pub version: String,
}

/// What an engine answered, or that it did not.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Nobody answers.
    #[error("no Docker Engine answers at `{address}`")]
    Unreachable {
        /// Where it should be.
        address: Address,
        /// Why not.
        source: bollard::errors::Error,
    },
    /// It refused a request.
    #[error("the Docker Engine refused to {what}")]
    Refused {
        /// What was asked.
        what: String,
        /// Its answer.
        source: bollard::errors::Error,
    },
}

/// Seconds that one request may take: loading a large image on a slow disk is one request.
const TIMEOUT: u64 = 3600;

impl Engine {
    /// Connects, and agrees on an API version.
    pub async fn connect(address: &Address) -> Result<Self, EngineError> {
        let unreachable = |source| EngineError::Unreachable { address: address.clone(), source };
        let docker = match address {
            Address::Unix(path) => {
                Docker::connect_with_socket(&path.to_string_lossy(), TIMEOUT, API_DEFAULT_VERSION)
            }
            Address::Tcp(host) => {
                Docker::connect_with_http(&format!("http://{host}"), TIMEOUT, API_DEFAULT_VERSION)
            }
        };
        let docker = docker.map_err(unreachable)?.negotiate_version().await.map_err(unreachable)?;
        let version = docker.version().await.map_err(unreachable)?.version.unwrap_or_default();
        Ok(Self { docker, address: address.clone(), version })
    }

    /// Names a refusal.
    pub fn refused(what: impl Into<String>) -> impl FnOnce(bollard::errors::Error) -> EngineError {
        let what = what.into();
        |source| EngineError::Refused { what, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_parsed_once() {
        for text in ["unix:///run/docker.sock", "tcp://[::1]:2375", "tcp://host:2375"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in ["", "/run/docker.sock", "unix://run", "tcp://host", "ssh://host", "tcp://:1"] {
            assert!(text.parse::<Address>().is_err(), "{text} was accepted");
        }
    }
}
