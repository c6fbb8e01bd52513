//! Whether a store can be used for what it is there for.

use std::path::Path;

use super::network::{PATIENCE, ask};
use super::quoted;
use crate::model::health::{Clock, Finding};
use crate::model::name::{ChannelName, ProjectName};
use crate::step::store::{Access, Address, Key, OpenError, Store, StoreError};

/// What a store is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Releases are put there.
    Publishing,
    /// Releases are read from there.
    Reading,
}

const KEYS: &str = "export AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=...";
const ADDRESS: &str = "# change `address` below `[store]` in imgforge.toml, or name another with `--store`";
const ENDPOINT: &str = "# change `endpoint` below `[store]` in imgforge.toml, or AWS_ENDPOINT_URL_S3";

/// A store, and what time it has.
pub async fn store(
    address: &Address,
    access: &Access,
    purpose: Use,
    project: Option<&ProjectName>,
) -> (Finding, Option<Clock>) {
    match address {
        Address::Directory(folder) => (directory(folder, purpose), None),
        Address::Web(url) => web(url, access).await,
        Address::Bucket { .. } => bucket(address, access, project).await,
    }
}

fn directory(folder: &Path, purpose: Use) -> Finding {
    let shown = folder.display();
    match purpose {
        Use::Reading if !folder.is_dir() => {
            // What operators read from is a mounted disk, mostly.
            let fix =
                "# mount the disk; if it moved: `imgforge trust add PROJECT --key cosign.pub --from STORE`";
            Finding::fault("store", format!("`{shown}` is not there"), fix)
        }
        Use::Reading => Finding::ok("store", format!("folder {shown}")),
        Use::Publishing => {
            let mut finding = super::folder("folder", folder, "IMGFORGE_STORE");
            finding.about = "store";
            finding
        }
    }
}

async fn web(url: &str, access: &Access) -> (Finding, Option<Clock>) {
    match ask(&format!("{url}/"), access.ca_bundle.as_deref()).await {
        Ok(reply) => {
            let clock = reply.date.map(Clock::Reading);
            match reply.status {
                407 => {
                    let text = format!("the proxy before {url} wants a name and a password");
                    (
                        Finding::fault("store", text, "export HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT"),
                        clock,
                    )
                }
                status @ 500.. => {
                    let text = format!("{url} answers {status}");
                    (
                        Finding::fault(
                            "store",
                            text,
                            format!("curl -I {}/  # until it answers", quoted(Path::new(url))),
                        ),
                        clock,
                    )
                }
                _ => (Finding::ok("store", format!("{url} answers")), clock),
            }
        }
        Err(why) => {
            let fix = if why.contains("certificate") {
                "export SSL_CERT_FILE=/path/to/the/authority.pem".to_owned()
            } else {
                format!("curl -I {}/  # until it answers", quoted(Path::new(url)))
            };
            (Finding::fault("store", format!("{url} does not answer: {why}"), fix), None)
        }
    }
}

/// A server that answers is asked for one object by name: keys that may only touch one prefix are good
/// keys, so no bucket is asked for and nothing is listed or written.
async fn bucket(
    address: &Address,
    access: &Access,
    project: Option<&ProjectName>,
) -> (Finding, Option<Clock>) {
    let fault = |text: String, fix: &str| Finding::fault("store", text, fix);
    let store = match Store::open(address, access) {
        Ok(store) => store,
        Err(error @ OpenError::NoCredentials(_)) => return (fault(error.to_string(), KEYS), None),
        Err(error) => return (fault(error.to_string(), ENDPOINT), None),
    };
    let mut clock = None;
    if let Ok(Some(server)) = access.settings.server() {
        match ask(&server, access.ca_bundle.as_deref()).await {
            Ok(reply) => clock = reply.date.map(Clock::Signing),
            Err(why) => return (fault(format!("{server} does not answer: {why}"), ENDPOINT), None),
        }
    }
    let names = (project.cloned().map_or_else(|| "imgforge".parse(), Ok), "stable".parse());
    let (Ok(project), Ok(channel)) = names else {
        return (Finding::ok("store", address.to_string()), clock);
    };
    let key = Key::channel(&project, &ChannelName::clone(&channel));
    let finding = match tokio::time::timeout(PATIENCE, store.size(&key)).await {
        Ok(Ok(_)) => Finding::ok("store", format!("{address} takes this key")),
        Ok(Err(StoreError::Denied { source, .. })) => {
            fault(format!("{address} refuses this key: {source}"), KEYS)
        }
        Ok(Err(StoreError::Refused { source, .. })) => {
            fault(format!("{address} refuses the request: {source}"), ADDRESS)
        }
        Ok(Err(error)) => fault(format!("{address}: {error}"), ENDPOINT),
        Err(_) => fault(format!("{address} is silent"), ENDPOINT),
    };
    (finding, clock)
}
