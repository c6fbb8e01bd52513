//! What an author writes: one TOML file per tier and one for the project.
//!
//! The types mirror the files; `deny_unknown_fields` everywhere, so a typing error is an error.
//! [`parse`] reads one file, [`family`] follows `extends` from a tier up to its root.

pub mod check;
pub mod family;
pub mod parse;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::name::{
    DebianName, Platform, ProjectName, ServiceName, StageName, TierName, VariableName, Version,
};

/// `project.toml`: whose images these are, and what all of them share.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Project {
    /// First part of every image name.
    pub name: ProjectName,
    /// One sentence for people.
    pub description: Option<String>,
    /// The version that `build` and `export` use where none is asked for.
    pub version: Version,
    /// The platform that images are built for.
    pub platform: Platform,
    /// Labels on every image.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// `<tier>.toml`: one image.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// One sentence for people; becomes `org.opencontainers.image.description`.
    pub description: Option<String>,
    /// The tier whose image this one starts from and whose settings it inherits.
    pub extends: Option<TierName>,
    /// Where the root filesystem comes from, in a tier that extends none.
    pub base: Option<Base>,
    /// Folder beside the recipe that `copy` steps read from.
    pub context: Option<String>,
    /// Working directory of steps and services.
    pub workdir: Option<String>,
    /// Process 1, as an argument vector that the generated entrypoint is appended to.
    pub init: Option<Vec<String>>,
    /// Who the services run as.
    pub user: Option<User>,
    /// Build arguments with their defaults, for `run` steps.
    #[serde(default)]
    pub args: BTreeMap<VariableName, String>,
    /// Images used while building, of which only copies reach the tier.
    #[serde(default)]
    pub stages: BTreeMap<StageName, Stage>,
    /// What is done to the parent's filesystem, in order.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// The environment contract, enforced when the container starts.
    #[serde(default)]
    pub env: BTreeMap<VariableName, Variable>,
    /// Processes that the tier runs.
    #[serde(default)]
    pub services: BTreeMap<ServiceName, Service>,
    /// How the engine learns that the container works.
    pub health: Option<Health>,
    /// Ports that services listen on.
    #[serde(default)]
    pub ports: BTreeMap<ServiceName, Port>,
    /// Labels on this image.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// A root filesystem.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Base {
    /// Made from Debian packages by `mmdebstrap`; no registry is involved.
    Debian(Debian),
}

/// A Debian root filesystem with a fixed list of packages.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Debian {
    /// `bookworm`, `trixie`. Updates and security updates of a stable suite are included.
    pub suite: DebianName,
    /// What is installed beside the packages that Debian calls essential, and `apt`.
    pub packages: Vec<DebianName>,
}

/// Who the services run as: a fixed number, so that volumes keep their owner.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// Name in `/etc/passwd`.
    pub name: StageName,
    /// User number.
    pub uid: u32,
    /// Group number.
    pub gid: u32,
}

/// A build stage of its own.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// The tier it starts from.
    pub from: TierName,
    /// What is done there, in order.
    #[serde(default)]
    pub steps: Vec<Step>,
}

/// One thing done to a filesystem.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Step {
    /// Copies files from the context or another stage.
    Copy(Copy),
    /// Installs Debian packages.
    Apt(Apt),
    /// Installs Node packages exactly as locked.
    Npm(Npm),
    /// Runs a shell command.
    Run(Run),
}

/// Copies files in.
#[derive(Debug, Clone, Deserialize, Serialize)]
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
}

/// Owner of copied files, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl std::str::FromStr for Owner {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once(':').and_then(|(uid, gid)| Some((uid.parse().ok()?, gid.parse().ok()?)));
        match parsed {
            Some((uid, gid)) => Ok(Self { uid, gid }),
            None => Err(format!("`{text}` is not an owner: use two numbers, such as `1001:1001`")),
        }
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.uid, self.gid)
    }
}

impl Serialize for Owner {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Owner {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Installs Debian packages without recommendations.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Apt {
    /// Package names.
    pub packages: Vec<DebianName>,
}

/// `npm ci`, without scripts and without development dependencies.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Npm {
    /// The lock file in the context; a build without one is refused.
    pub lock: String,
    /// Directory in the stage that holds `package.json` and the lock.
    pub directory: String,
}

/// A shell command.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Given to `/bin/sh -c`.
    pub shell: String,
    /// Secrets that it may read at `/run/secrets/<id>`; given with `--secret id=..,src=..`.
    #[serde(default)]
    pub secrets: Vec<StageName>,
}

/// One variable of the environment contract.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    /// What an operator should put there.
    pub description: String,
    /// The container refuses to start without it.
    #[serde(default)]
    pub required: bool,
    /// May be given as `NAME_FILE`, a path, so that the value stays out of the process list.
    #[serde(default)]
    pub secret: bool,
    /// Value when the operator gives none.
    pub default: Option<String>,
}

/// A process that the tier runs.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Argument vector; no shell is involved.
    pub command: Vec<String>,
}

/// The engine's health check.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// Argument vector; exit 0 means healthy.
    pub command: Vec<String>,
    /// Seconds between two checks.
    pub interval: u32,
    /// Seconds that a check may take.
    pub timeout: u32,
    /// Seconds after the start during which failures do not count.
    pub start_period: u32,
    /// Failures in a row that make a container unhealthy.
    pub retries: u32,
}

/// A port that a service listens on.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// TCP port number.
    pub number: u16,
    /// What answers there.
    pub description: Option<String>,
}
