//! Certificates, proxies, and what time others have.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::Url;
use reqwest::header::DATE;
use tokio::net::TcpStream;

use super::quoted;
use crate::model::health::Finding;
use crate::step::http::{self, Purpose};

/// Long enough for a slow line, and a person waits.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Where systems keep the authorities that they believe.
const SYSTEM: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The authorities that servers' certificates must come from: those of a file that a variable names, or
/// the system's.
#[must_use]
pub fn authorities(named: Option<(&str, &Path)>) -> Finding {
    let Some((variable, file)) = named else {
        return match SYSTEM.iter().find_map(|file| count(Path::new(file)).map(|count| (file, count))) {
            Some((file, count)) => Finding::ok("tls", format!("{count} authorities in {file}")),
            None => Finding::fault(
                "tls",
                "this system has no certificate authorities, so no HTTPS server is believed",
                "sudo apt-get install -y ca-certificates",
            ),
        };
    };
    match count(file) {
        Some(count) => {
            Finding::ok("tls", format!("{count} authorities in {}, by `{variable}`", file.display()))
        }
        None if file.exists() => Finding::fault(
            "tls",
            format!("`{variable}` names `{}`, which holds no certificate in PEM form", file.display()),
            format!("openssl x509 -inform DER -in {0} -out {0}.pem  # then name that file", quoted(file)),
        ),
        None => Finding::fault(
            "tls",
            format!("`{variable}` names `{}`, which is not there", file.display()),
            format!("unset {variable}"),
        ),
    }
}

fn count(file: &Path) -> Option<usize> {
    const MAX: usize = 16 << 20;
    let bytes = crate::step::atomic::read_bounded(file, MAX).ok()?;
    let found = pem::parse_many(bytes).ok()?;
    let count = found.iter().filter(|pem| pem.tag() == "CERTIFICATE").count();
    (count > 0).then_some(count)
}

/// A proxy that a variable names. What is shown is its host: the rest may be a password.
pub async fn proxy(variable: &str, text: &str) -> Finding {
    let fix = format!("unset {variable}");
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let parsed = reqwest::Proxy::all(text).ok().and_then(|_| Url::parse(&with_scheme).ok());
    let host =
        parsed.as_ref().and_then(|url| Some((url.host_str()?, url.port_or_known_default().unwrap_or(1080))));
    let Some((host, port)) = host else {
        return Finding::fault("proxy", format!("`{variable}` holds no address of a proxy"), fix);
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match tokio::time::timeout(PATIENCE, TcpStream::connect((bare, port))).await {
        Ok(Ok(_)) => Finding::ok("proxy", format!("{host}:{port} answers, by `{variable}`")),
        Ok(Err(error)) => {
            Finding::fault("proxy", format!("`{variable}` names {host}:{port}: {}", http::root(&error)), fix)
        }
        Err(_) => Finding::fault("proxy", format!("`{variable}` names {host}:{port}, which is silent"), fix),
    }
}

/// What a server answers, whatever it thinks of the request.
pub(super) struct Reply {
    /// The status.
    pub(super) status: u16,
    /// Its time.
    pub(super) date: Option<Timestamp>,
}

/// Asks a server for as little as possible.
pub(super) async fn ask(url: &str, bundle: Option<&Path>) -> Result<Reply, String> {
    let client = http::client(Purpose::Reading, bundle).map_err(|error| http::root(&error))?;
    let answer = client.head(url).timeout(PATIENCE).send().await;
    let answer = answer.map_err(|error| http::root(&error.without_url()))?;
    let date = answer.headers().get(DATE).and_then(|date| date.to_str().ok());
    let date = date.and_then(|date| Some(jiff::fmt::rfc2822::parse(date).ok()?.timestamp()));
    Ok(Reply { status: answer.status().as_u16(), date })
}
