//! The connection to a Docker Engine, or to anything else that listens where engines do.

pub mod address;
pub mod stream;
mod tls;

use bollard::errors::Error as ApiError;
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use hyper::Uri;
use hyper::header::{HOST, HeaderValue};
use hyper_util::rt::TokioIo;

pub use address::Address;
use stream::Language;

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
    /// It was there, and is gone.
    #[error("the connection to the Docker Engine broke before it could {what}")]
    Broken {
        /// What was asked.
        what: String,
        /// Why.
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
        let everywhere = address.clone();
        let docker = Docker::connect_with_custom_transport(
            move |request| ask(everywhere.clone(), request),
            Some("http://docker"),
            TIMEOUT,
            API_DEFAULT_VERSION,
        );
        let docker = docker.map_err(unreachable)?.negotiate_version().await.map_err(unreachable)?;
        let version = docker.version().await.map_err(unreachable)?.version.unwrap_or_default();
        Ok(Self { docker, address: address.clone(), version })
    }

    /// Names a refusal, or that there was not even that.
    pub fn refused(what: impl Into<String>) -> impl FnOnce(ApiError) -> EngineError {
        let what = what.into();
        |source| match source {
            ApiError::IOError { .. }
            | ApiError::HyperResponseError { .. }
            | ApiError::RequestTimeoutError => EngineError::Broken { what, source },
            source => EngineError::Refused { what, source },
        }
    }
}

/// One request over a connection of its own: the same road for sockets, TLS and programs.
async fn ask(
    address: Address,
    mut request: BollardRequest,
) -> Result<hyper::Response<hyper::body::Incoming>, ApiError> {
    let stream = stream::open(&address, Language::Http1).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    // The library writes the whole address; servers are used to the path alone and a `Host`.
    if let Some(path) = request.uri().path_and_query().cloned() {
        *request.uri_mut() = Uri::from(path);
    }
    request.headers_mut().insert(HOST, HeaderValue::from_static("docker"));
    Ok(sender.send_request(request).await?)
}
