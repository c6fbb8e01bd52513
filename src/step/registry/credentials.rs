//! Who we are at a registry, as `docker login` left it: in `config.json`, or with a helper program.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use oci_client::secrets::RegistryAuth;
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use zeroize::Zeroizing;

use super::RegistryError;
use crate::model::registry::{self, Login};
use crate::step::atomic;

const MAX_CONFIG: usize = 1 << 20;
const MAX_ANSWER: u64 = 64 << 10;

/// A helper may ask a person to unlock something.
const PATIENCE: Duration = Duration::from_mins(1);

/// A name under which helpers keep what is not a password.
const TOKEN: &str = "<token>";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// What this machine knows about a registry.
pub(super) async fn find(config: Option<&Path>, host: &str) -> Result<RegistryAuth, RegistryError> {
    let Some(file) = config else { return Ok(RegistryAuth::Anonymous) };
    let unreadable = |error| RegistryError::Config(file.to_owned(), error);
    let text = match atomic::read_bounded(file, MAX_CONFIG) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(RegistryAuth::Anonymous),
        Err(error) => return Err(unreadable(error.into())),
    };
    match registry::login(&text, host).map_err(|error| unreadable(error.into()))? {
        Login::Nobody => Ok(RegistryAuth::Anonymous),
        Login::Plain(name, password) => Ok(RegistryAuth::Basic(name, password)),
        Login::Helper(helper) => {
            let program = format!("docker-credential-{helper}");
            let failed = |reason: String| RegistryError::Helper {
                program: program.clone(),
                registry: host.to_owned(),
                reason,
            };
            // The name comes from a file, and must not become a path.
            if !helper.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
                return Err(failed("that is no name of a program".to_owned()));
            }
            match tokio::time::timeout(PATIENCE, ask(&program, registry::known_as(host))).await {
                Ok(Ok(Some(answer))) if answer.username == TOKEN => Err(failed(
                    "it has a token of Docker Hub's; log in with a name and an access token".to_owned(),
                )),
                Ok(Ok(Some(answer))) => Ok(RegistryAuth::Basic(answer.username, answer.secret)),
                Ok(Ok(None)) => Ok(RegistryAuth::Anonymous),
                Ok(Err(error)) => Err(failed(error.to_string())),
                Err(_) => Err(failed("it does not answer".to_owned())),
            }
        }
    }
}

/// The protocol of Docker's helpers: the registry on standard input, an object on standard output.
async fn ask(program: &str, registry: &str) -> std::io::Result<Option<Answer>> {
    let mut child = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that has read enough may have closed it.
        let _ = stdin.write_all(registry.as_bytes()).await;
    }
    let mut said = Zeroizing::new(Vec::new());
    if let Some(stdout) = child.stdout.take() {
        stdout.take(MAX_ANSWER).read_to_end(&mut said).await?;
    }
    if child.wait().await?.success() {
        return serde_json::from_slice(&said)
            .map(Some)
            .map_err(|_| std::io::Error::other("its answer is no JSON object"));
    }
    // Helpers print this sentence on standard output when they know nobody.
    let text = String::from_utf8_lossy(&said);
    if text.contains("credentials not found") {
        Ok(None)
    } else {
        Err(std::io::Error::other(text.trim().to_owned()))
    }
}
