//! The only reader of the environment and the clock.

use std::path::PathBuf;

use imgforge::model::builder::Configuration;
use imgforge::model::lock::debian::SNAPSHOT;
use imgforge::model::lock::golang;
use imgforge::model::storage;
use imgforge::model::time::Timestamp;
use imgforge::step::engine::address::Credentials;
use imgforge::step::web::Downloads;
use imgforge::step::{registry, store};
use zeroize::Zeroizing;

use super::report::Failure;

/// The configuration's file name, in a person's folder and in a project's.
const FILE: &str = "imgforge.toml";

/// What decides whom this machine believes and whom it asks first. Of the proxies, the first of each pair
/// that is set counts.
const NETWORK: [&str; 8] = [
    "IMGFORGE_CA_BUNDLE",
    "SSL_CERT_FILE",
    "https_proxy",
    "HTTPS_PROXY",
    "http_proxy",
    "HTTP_PROXY",
    "all_proxy",
    "ALL_PROXY",
];

/// What the environment says.
pub(crate) struct Config {
    /// Pinned projects.
    pub(crate) pins: PathBuf,
    /// Images, root filesystems, archives: may be deleted at any time.
    pub(crate) cache: PathBuf,
    /// What was seen: must not be deleted, it protects against rollback.
    pub(crate) state: PathBuf,
    /// Where the Docker Engine and the builders are.
    pub(crate) endpoints: Endpoints,
    /// `COSIGN_PASSWORD`: set but empty is the empty password, as cosign has it.
    pub(crate) password: Option<Zeroizing<String>>,
    /// How packages are downloaded; package managers inside a build believe the same CAs.
    pub(crate) downloads: Downloads,
    /// The variables that name certificate authorities and proxies, as far as they are set.
    pub(crate) network: Vec<(&'static str, String)>,
    /// This machine's time, read once.
    pub(crate) now: Timestamp,
}

/// What the environment and the configuration say about engines and builders.
pub(crate) struct Endpoints {
    /// `DOCKER_HOST`, and the certificates for it when `DOCKER_TLS_VERIFY` is set.
    pub(crate) docker: Option<String>,
    pub(crate) docker_tls: Option<Credentials>,
    /// `BUILDKIT_HOST`, and the certificates for it when `BUILDKIT_TLS_CACERT` is set.
    pub(crate) buildkit: Option<String>,
    pub(crate) buildkit_tls: Option<Credentials>,
    /// `imgforge.toml` of this person, under that of the project in this folder.
    files: [PathBuf; 2],
}

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
            endpoints: Endpoints {
                docker: text("DOCKER_HOST"),
                docker_tls: docker_tls(),
                buildkit: text("BUILDKIT_HOST"),
                buildkit_tls: buildkit_tls(),
                files: [folder("XDG_CONFIG_HOME", ".config")?.join(FILE), PathBuf::from(FILE)],
            },
            password: raw("COSIGN_PASSWORD").map(Zeroizing::new),
            downloads: Downloads {
                ca_bundle: path("IMGFORGE_CA_BUNDLE").or_else(|| path("SSL_CERT_FILE")),
                snapshot: text("IMGFORGE_DEBIAN_SNAPSHOT").unwrap_or_else(|| SNAPSHOT.to_owned()),
                go_proxy: text("GOPROXY").unwrap_or_else(|| golang::PROXY.to_owned()),
            },
            network: NETWORK.iter().filter_map(|name| Some((*name, text(name)?))).collect(),
            now: now(),
        })
    }
}

impl Endpoints {
    /// What the files say. Only commands that build look whether they are good.
    pub(crate) fn configuration(&self) -> Result<Configuration, Failure> {
        let mut whole = Configuration::default();
        for path in &self.files {
            let text = match std::fs::read_to_string(path) {
                Ok(text) => text,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Failure::file(path, &error)),
            };
            let folder = path.parent().unwrap_or(path);
            let found = Configuration::parse(&path.to_string_lossy(), &text, folder).map_err(|finding| {
                let fix = finding.fix.clone();
                let again = || "change the file, and run the same command again".to_owned();
                Failure::usage(finding, fix.unwrap_or_else(again))
            })?;
            whole.builders.extend(found.builders);
            whole.licenses.deny.extend(found.licenses.deny);
            whole.registries.extend(found.registries);
            whole.scan.db.extend(found.scan.db);
            whole.scan.except.extend(found.scan.except);
            whole.scan.fail_on = found.scan.fail_on.or(whole.scan.fail_on);
            whole.store = found.store.or(whole.store);
        }
        Ok(whole)
    }
}

impl Config {
    /// How stores are reached: the AWS variables keep their meaning, and count before the files.
    pub(crate) fn access(&self) -> Result<store::Access, Failure> {
        let environment = storage::Settings {
            endpoint: text("AWS_ENDPOINT_URL_S3").or_else(|| text("AWS_ENDPOINT_URL")),
            region: text("AWS_REGION").or_else(|| text("AWS_DEFAULT_REGION")),
            ..storage::Settings::default()
        };
        let key = text("AWS_ACCESS_KEY_ID").zip(text("AWS_SECRET_ACCESS_KEY"));
        Ok(store::Access {
            settings: environment.or(self.endpoints.configuration()?.store),
            credentials: key.map(|(id, secret)| store::Credentials {
                id,
                secret: secret.into(),
                token: text("AWS_SESSION_TOKEN").map(Zeroizing::new),
            }),
            ca_bundle: self.downloads.ca_bundle.clone(),
            uploads: self.state.join("uploads"),
        })
    }
}

impl Config {
    /// How registries are reached: with what `docker login` left.
    pub(crate) fn registries(&self) -> Result<registry::Access, Failure> {
        let folder = path("DOCKER_CONFIG").or_else(|| path("HOME").map(|home| home.join(".docker")));
        let configured = self.endpoints.configuration()?.registries;
        let plain = configured.into_iter().filter(|(_, registry)| registry.plain_http);
        Ok(registry::Access {
            docker_config: folder.map(|folder| folder.join("config.json")),
            plain_http: plain.map(|(host, _)| host).collect(),
            ca_bundle: self.downloads.ca_bundle.clone(),
        })
    }
}

/// As the `docker` command has it: three files in one folder.
fn docker_tls() -> Option<Credentials> {
    text("DOCKER_TLS_VERIFY")?;
    let folder = path("DOCKER_CERT_PATH").or_else(|| path("HOME").map(|home| home.join(".docker")))?;
    let client = Some((folder.join("cert.pem"), folder.join("key.pem")));
    Some(Credentials { ca: folder.join("ca.pem"), client, server_name: None })
}

/// As `buildctl` names its options.
fn buildkit_tls() -> Option<Credentials> {
    let client = path("BUILDKIT_TLS_CERT").zip(path("BUILDKIT_TLS_KEY"));
    Some(Credentials {
        ca: path("BUILDKIT_TLS_CACERT")?,
        client,
        server_name: text("BUILDKIT_TLS_SERVERNAME"),
    })
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
