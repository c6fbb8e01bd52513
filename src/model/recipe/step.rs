//! What is done to a filesystem.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::value::{Mode, Owner};
use crate::model::name::{DebianName, StageName};

/// One thing done to a filesystem.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Step {
    /// Copies files from the context or another stage.
    Copy(Copy),
    /// Installs Debian packages.
    Apt(Apt),
    /// Installs Node packages exactly as locked, with npm.
    Npm(Npm),
    /// Installs Node packages exactly as locked, with pnpm.
    Pnpm(Npm),
    /// Installs Python packages exactly as locked.
    Pip(Pip),
    /// Compiles a Rust program exactly as locked.
    Cargo(Cargo),
    /// Compiles a Go program exactly as locked.
    Go(Go),
    /// Runs a shell command.
    Run(Run),
}

impl Step {
    /// The lock that a package step demands, as a path in the context.
    #[must_use]
    pub fn lock(&self) -> Option<&str> {
        match self {
            Self::Npm(Npm { lock, .. })
            | Self::Pnpm(Npm { lock, .. })
            | Self::Pip(Pip { lock, .. })
            | Self::Cargo(Cargo { lock, .. })
            | Self::Go(Go { lock, .. }) => Some(lock.trim_start_matches("./")),
            Self::Copy(_) | Self::Apt(_) | Self::Run(_) => None,
        }
    }
}

/// Copies files in.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Copy {
    /// The stage to copy from; absent: the context.
    pub from: Option<StageName>,
    /// What to copy.
    pub paths: Vec<String>,
    /// Where to; ends with `/` when it is a directory.
    pub to: String,
    /// `uid:gid`; absent: root, so that services cannot change their own code.
    pub owner: Option<Owner>,
    /// Mode of everything copied; absent: 0644, and 0755 for what is executable and for directories.
    pub mode: Option<Mode>,
}

/// Installs Debian packages without recommendations.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Apt {
    /// Package names.
    pub packages: Vec<DebianName>,
}

/// `npm ci` or `pnpm install --frozen-lockfile`, without scripts and without development dependencies.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Npm {
    /// The lock file in the context; a build without one is refused.
    pub lock: String,
    /// Directory in the stage that holds `package.json` and the lock.
    pub directory: String,
}

/// `pip install --require-hashes` into a virtual environment.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pip {
    /// Requirements with a `--hash` for every package, in the context.
    pub lock: String,
    /// Virtual environment to create.
    pub directory: String,
}

/// `cargo build --release --locked`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cargo {
    /// `Cargo.lock` in the context.
    pub lock: String,
    /// Directory in the stage that holds `Cargo.toml` and the lock.
    pub directory: String,
    /// Programs to keep.
    pub binaries: Vec<String>,
    /// Directory that they are put into.
    pub to: String,
}

/// `go build -trimpath -mod=readonly`, without C.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Go {
    /// `go.sum` in the context.
    pub lock: String,
    /// Directory in the stage that holds `go.mod` and the lock.
    pub directory: String,
    /// The main package, such as `./cmd/relay`.
    pub package: String,
    /// The program to write.
    pub to: String,
}

/// A shell command.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Given to `/bin/sh -c`.
    pub shell: String,
    /// Secrets that it may read at `/run/secrets/<id>`; given with `--secret id=..,src=..`.
    #[serde(default)]
    pub secrets: Vec<StageName>,
}
