//! The one HTTP client: TLS by rustls with this machine's roots and those of a CA bundle, proxies as the
//! environment has them, HTTP/1.1, so that ranges asked for together travel over connections of their own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Certificate, Client};

/// What a client is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Reading what anybody may read. Redirects are followed a few times, never from TLS to plain text.
    Reading,
    /// Signed requests: they are for one address, so redirects are not followed. Whoever sends them
    /// bounds the wait for an answer, which for a large body is long.
    Signed,
}

const CONNECT: Duration = Duration::from_secs(10);

/// Silence after which a connection counts as dead.
pub const SILENCE: Duration = Duration::from_mins(1);

const MAX_REDIRECTS: usize = 5;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The CA bundle.
    #[error("cannot read the CA bundle `{}`", .0.display())]
    Bundle(PathBuf, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// TLS or proxies.
    #[error("the HTTP client cannot start")]
    Start(#[source] reqwest::Error),
}

/// A client that believes the system's CAs and, where given, those of a bundle. It keeps connections, so
/// make one and clone it.
pub fn client(purpose: Purpose, bundle: Option<&Path>) -> Result<Client, ClientError> {
    let builder = Client::builder()
        .user_agent(concat!("imgforge/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
        .tcp_user_timeout(SILENCE);
    let builder = match purpose {
        Purpose::Signed => builder.redirect(Policy::none()),
        Purpose::Reading => builder.read_timeout(SILENCE).redirect(Policy::custom(|attempt| {
            let from_tls = attempt.previous().last().is_some_and(|url| url.scheme() == "https");
            if attempt.previous().len() > MAX_REDIRECTS {
                attempt.error("too many redirects")
            } else if from_tls && attempt.url().scheme() != "https" {
                attempt.error("it redirects from HTTPS to plain HTTP")
            } else {
                attempt.follow()
            }
        })),
    };
    let builder = match bundle {
        Some(path) => {
            let certificates =
                certificates(path).map_err(|error| ClientError::Bundle(path.to_owned(), error))?;
            builder.tls_certs_merge(certificates)
        }
        None => builder,
    };
    builder.build().map_err(ClientError::Start)
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, Box<dyn std::error::Error + Send + Sync>> {
    let certificates = Certificate::from_pem_bundle(&std::fs::read(path)?)?;
    if certificates.is_empty() { Err("there is no certificate in it".into()) } else { Ok(certificates) }
}

/// The innermost cause of an error: what a person can act on.
pub fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
