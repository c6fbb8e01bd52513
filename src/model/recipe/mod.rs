//! What an author writes: one TOML file per tier and one for the project.
//!
//! The types mirror the files; `deny_unknown_fields` everywhere, so a typing error is an error.
//! [`tree`] remembers where every value was written, [`parse`] reads one file, [`family`] follows
//! `extends` and `union` and lays the files over each other, [`check`] finds what cannot work.

pub mod check;
pub mod family;
mod leaf;
pub mod limits;
pub mod list;
pub mod parse;
pub mod proof;
pub mod reference;
pub mod schema;
pub mod service;
pub mod step;
pub mod tree;
mod union;
pub mod value;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use limits::{Budget, Heap, Resources, Runtime, Volume};
pub use list::List;
pub use proof::{Policy, Test};
pub use service::{Health, Port, Probe, Service, Variable};
pub use step::{Copy, Run, Step};
pub use value::{Mode, Owner, Size};

use crate::model::name::{
    Capability, DebianName, Platform, ProjectName, ServiceName, StageName, TierName, VariableName, Version,
};

/// `project.toml`: whose images these are, and what all of them share.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "imgforge project")]
pub struct Project {
    /// First part of every image name.
    pub name: ProjectName,
    /// One sentence for people.
    pub description: Option<String>,
    /// The version that `build` and `export` use where none is asked for.
    pub version: Version,
    /// The platforms that images are built for; the first where none is asked for.
    pub platforms: Vec<Platform>,
    /// Labels on every image.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Values that differ from one environment to the next, laid over every tier by `--environment NAME`.
    #[serde(default)]
    pub environments: BTreeMap<StageName, Environment>,
}

/// Values of one environment, such as a test network.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Build arguments instead of their defaults.
    #[serde(default)]
    pub args: BTreeMap<VariableName, String>,
    /// Defaults of variables of the environment contract.
    #[serde(default)]
    pub env: BTreeMap<VariableName, String>,
    /// Labels on every image.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// `<tier>.toml`: one image.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "imgforge recipe")]
pub struct Recipe {
    /// One sentence for people; becomes `org.opencontainers.image.description`.
    pub description: Option<String>,
    /// The tier whose image this one starts from and whose settings it inherits.
    pub extends: Option<TierName>,
    /// Tiers that this one is all of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub union: Vec<TierName>,
    /// Where the root filesystem comes from, in a tier that extends none.
    pub base: Option<Base>,
    /// Folder beside the recipe that `copy` steps read from.
    pub context: Option<String>,
    /// Working directory of steps and services.
    pub workdir: Option<String>,
    /// Process 1, as an argument vector that imgforge's own init is appended to; absent: that init.
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
    /// What the container may use.
    pub resources: Option<Resources>,
    /// Linux capabilities that the container keeps; all others are dropped.
    #[serde(default, skip_serializing_if = "List::is_empty")]
    pub capabilities: List<Capability>,
    /// Devices that the container needs, such as `/dev/net/tun`.
    #[serde(default, skip_serializing_if = "List::is_empty")]
    pub devices: List<String>,
    /// Whether the root filesystem is read-only.
    pub read_only: Option<bool>,
    /// Directories in memory, with their size.
    #[serde(default)]
    pub tmpfs: BTreeMap<String, Size>,
    /// Directories whose content outlives the container.
    #[serde(default)]
    pub volumes: BTreeMap<ServiceName, Volume>,
    /// Labels on this image.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// How large the compressed archive may be.
    pub size: Option<Budget>,
    /// What must hold of the built image.
    #[serde(default)]
    pub tests: BTreeMap<StageName, Test>,
    /// What is demanded and what is let through.
    pub policy: Option<Policy>,
}

/// A root filesystem.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Base {
    /// Made from Debian packages by `mmdebstrap`; no registry is involved.
    Debian(Debian),
    /// An image of a registry, by digest.
    Image(BaseImage),
    /// A stage of a Dockerfile of your own.
    Dockerfile(Dockerfile),
    /// Nothing.
    Scratch,
}

/// A Debian root filesystem with a fixed list of packages.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Debian {
    /// `bookworm`, `trixie`. Updates and security updates of a stable suite are included.
    pub suite: DebianName,
    /// What is installed beside the packages that Debian calls essential, and `apt`.
    pub packages: Vec<DebianName>,
}

/// An image of a registry.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BaseImage {
    /// `registry/repository@sha256:..`: a tag can be moved, a digest cannot.
    pub reference: String,
}

impl BaseImage {
    /// The reference with everything that a Dockerfile may leave out: the registry, when it is Docker's.
    #[must_use]
    pub fn in_full(&self) -> String {
        let host = |part: &str| part.contains(['.', ':']) || part == "localhost";
        match self.reference.split_once('/') {
            Some((first, _)) if host(first) => self.reference.clone(),
            Some(_) => format!("docker.io/{}", self.reference),
            None => format!("docker.io/library/{}", self.reference),
        }
    }
}

/// A Dockerfile that exists already.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dockerfile {
    /// Its path in the tier's context, which is also the Dockerfile's.
    pub path: String,
    /// The stage to start from.
    pub target: String,
}

/// Who the services run as: a fixed number, so that volumes keep their owner.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// Name in `/etc/passwd`. `root`, with numbers 0, has to be said aloud here.
    pub name: StageName,
    /// User number.
    pub uid: u32,
    /// Group number.
    pub gid: u32,
}

/// A build stage of its own.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// The tier that it starts from, or another stage of the same recipe.
    pub from: StageName,
    /// What is done there, in order.
    #[serde(default)]
    pub steps: Vec<Step>,
}
