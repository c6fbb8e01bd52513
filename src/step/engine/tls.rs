//! TLS to engines and builders: both sides show certificates, no system store is asked.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::address::Credentials;
use super::stream::{Language, Stream};

/// Shakes hands. The server must have a certificate from the named authority, for the name that was
/// asked for; ours is shown when there is one.
pub(super) async fn secure(
    stream: TcpStream,
    host: &str,
    credentials: &Credentials,
    language: Language,
) -> io::Result<Stream> {
    let mut config = config(credentials)?;
    // gRPC servers refuse clients that do not announce `h2`; an engine may know only the other.
    config.alpn_protocols = match language {
        Language::Http1 => vec![b"http/1.1".to_vec()],
        Language::Http2 => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
    };
    let name = credentials.server_name.as_deref().unwrap_or_else(|| host_name(host));
    let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    Ok(Box::new(stream))
}

fn config(credentials: &Credentials) -> io::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&credentials.ca)? {
        roots.add(certificate).map_err(|error| unusable(&credentials.ca, error))?;
    }
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let Some((certificate, key)) = &credentials.client else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates(certificate)?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, error))?;
    builder.with_client_auth_cert(chain, secret).map_err(|error| unusable(certificate, error))
}

fn certificates(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|error| unusable(path, error))?.collect();
    match found {
        Ok(found) if found.is_empty() => Err(unusable(path, "there is no certificate in it")),
        Ok(found) => Ok(found),
        Err(error) => Err(unusable(path, error)),
    }
}

fn unusable(path: &Path, error: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("`{}`: {error}", path.display()))
}

/// `host:port` and `[address]:port` without the port.
fn host_name(host: &str) -> &str {
    host.rsplit_once(':').map_or(host, |(name, _)| name).trim_start_matches('[').trim_end_matches(']')
}
