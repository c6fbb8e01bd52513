//! Debian packages: which ones, is apt's to say. It runs outside of any image, on a list of installed
//! packages that is made from the locked ones, with sources of its own and Debian's keys.

use std::path::PathBuf;
use std::process::Stdio;

use tokio::process::Command;

use super::{ResolveError, Resolver};
use crate::model::lock::{Item, Pin, debian};
use crate::model::name::{DebianName, Platform};
use crate::model::recipe::Debian;
use crate::step::debs;
use crate::step::progress::Event;

/// Why apt has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AptError {
    /// Not installed.
    #[error("`apt-get` is not installed, and it decides which Debian packages are needed")]
    NoTool,
    /// The disk.
    #[error("cannot work in `{}`", .0.display())]
    Io(PathBuf, #[source] std::io::Error),
    /// It ended badly.
    #[error("apt cannot resolve the packages of Debian `{suite}`")]
    Failed {
        /// The suite.
        suite: DebianName,
        /// Its last lines.
        log: Vec<String>,
    },
    /// It said something else than it should.
    #[error("{0}")]
    Answer(String),
}

/// Where Debian's package has the keys; apt checks every list against them.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

const LOG_LINES: usize = 15;

/// What mmdebstrap installs in a minimal base beside the packages asked for.
const MINIMAL: [&str; 3] = ["?essential", "?priority(required)", "apt"];

/// The fetched and verified package lists of a suite, for one architecture.
pub(super) struct Lists {
    folder: tempfile::TempDir,
    suite: DebianName,
    architecture: String,
}

impl Lists {
    async fn fetch(suite: &DebianName, architecture: &str) -> Result<Self, AptError> {
        let folder = tempfile::Builder::new().prefix("imgforge-apt-").tempdir();
        let folder = folder.map_err(|error| AptError::Io(std::env::temp_dir(), error))?;
        let lists = Self { folder, suite: suite.clone(), architecture: architecture.to_owned() };
        let path = |below: &str| lists.folder.path().join(below);
        let prepare = || {
            // apt gives up root for `_apt` while it downloads.
            std::fs::set_permissions(
                lists.folder.path(),
                std::os::unix::fs::PermissionsExt::from_mode(0o755),
            )?;
            std::fs::create_dir_all(path("lists/partial"))?;
            std::fs::create_dir_all(path("cache/archives/partial"))?;
            std::fs::write(path("sources.list"), debian::sources(suite, &format!("[signed-by={KEYS}] ")))
        };
        prepare().map_err(|error| AptError::Io(lists.folder.path().to_owned(), error))?;
        lists.write_status("")?;
        lists.run(&["update"]).await?;
        Ok(lists)
    }

    fn write_status(&self, text: &str) -> Result<(), AptError> {
        std::fs::write(self.folder.path().join("status"), text)
            .map_err(|error| AptError::Io(self.folder.path().to_owned(), error))
    }

    /// The files that installing these packages on that system would download.
    async fn install(&self, status: &str, packages: &[&str]) -> Result<Vec<Item>, AptError> {
        self.write_status(status)?;
        let words =
            [&["install", "--yes", "--print-uris", "--no-install-recommends", "--"], packages].concat();
        let answer = self.run(&words).await?;
        debian::uris(&answer).map_err(AptError::Answer)
    }

    async fn run(&self, words: &[&str]) -> Result<String, AptError> {
        let folder = self.folder.path().display();
        let architecture = &self.architecture;
        let options = [
            format!("Dir::Etc::SourceList={folder}/sources.list"),
            "Dir::Etc::SourceParts=/dev/null".to_owned(),
            "Dir::Etc::Preferences=/dev/null".to_owned(),
            "Dir::Etc::PreferencesParts=/dev/null".to_owned(),
            format!("Dir::State::Lists={folder}/lists"),
            format!("Dir::State::status={folder}/status"),
            format!("Dir::State::extended_states={folder}/extended_states"),
            format!("Dir::Cache={folder}/cache"),
            format!("APT::Architecture={architecture}"),
            format!("APT::Architectures={architecture}"),
            "APT::Default-Release=".to_owned(),
            "APT::Get::AllowUnauthenticated=false".to_owned(),
            "Acquire::AllowInsecureRepositories=false".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::ForceHash=SHA256".to_owned(),
            "APT::Update::Error-Mode=any".to_owned(),
        ];
        let output = Command::new("apt-get")
            .args(options.iter().flat_map(|option| ["-o", option]))
            .args(words)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => AptError::NoTool,
                _ => AptError::Io(self.folder.path().to_owned(), error),
            })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let mut log: Vec<String> = [&output.stdout, &output.stderr]
            .into_iter()
            .flat_map(|bytes| String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect::<Vec<_>>())
            .collect();
        let log = log.split_off(log.len().saturating_sub(LOG_LINES));
        Err(AptError::Failed { suite: self.suite.clone(), log })
    }
}

impl Resolver<'_> {
    /// Everything in a base.
    pub(super) async fn base(
        &mut self,
        base: &Debian,
        platform: &Platform,
    ) -> Result<Vec<Item>, ResolveError> {
        let names = base.packages.iter().map(DebianName::as_str);
        let packages: Vec<&str> = MINIMAL.into_iter().chain(names).collect();
        self.installed(&base.suite, platform, "", &packages).await
    }

    /// What packages add to a system with these pins.
    pub(super) async fn packages(
        &mut self,
        packages: &[DebianName],
        suite: &DebianName,
        platform: &Platform,
        before: &[&Pin],
    ) -> Result<Vec<Item>, ResolveError> {
        let items: Vec<&Item> = before.iter().flat_map(|pin| &pin.files).collect();
        self.take(items.iter().copied()).await?;
        for item in &items {
            if !self.controls.contains_key(&item.digest) {
                self.controls.insert(item.digest, debs::control(&self.store.path(&item.digest))?);
            }
        }
        let controls = items.iter().filter_map(|item| self.controls.get(&item.digest)).map(String::as_str);
        let status = debian::status(controls);
        let names: Vec<&str> = packages.iter().map(DebianName::as_str).collect();
        self.installed(suite, platform, &status, &names).await
    }

    async fn installed(
        &mut self,
        suite: &DebianName,
        platform: &Platform,
        status: &str,
        packages: &[&str],
    ) -> Result<Vec<Item>, ResolveError> {
        let key = format!("{suite} {}", platform.architecture);
        if !self.lists.contains_key(&key) {
            (self.hear)(Event::Doing(&format!("fetching the package lists of Debian {suite}")));
            self.lists.insert(key.clone(), Lists::fetch(suite, &platform.architecture).await?);
        }
        let items = match self.lists.get(&key) {
            Some(lists) => lists.install(status, packages).await?,
            None => Vec::new(),
        };
        self.take(items.iter()).await?;
        Ok(items)
    }
}
