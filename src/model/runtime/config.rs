//! What `imgforge-init` is told by the image: `/etc/imgforge/init.json`.
//!
//! This file, [`sound`](super::sound) and [`address`](super::address) are compiled twice: here, where
//! a plan writes the configuration, and in `src/init`, where the helper reads it. One definition means
//! that a key which one side writes and the other does not know cannot exist. They name nothing but
//! `core`, `std`'s collections, serde and `regex-lite`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Everything the helper does. Times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What messages call the image.
    pub tier: String,
    /// The environment contract.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Variable>,
    /// What runs, by name.
    pub services: BTreeMap<String, Service>,
    /// How the memory limit reaches the services' language runtime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heap: Option<Heap>,
}

/// One variable of the environment contract.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    /// What an operator should put there.
    pub description: String,
    /// Nothing starts without it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub required: bool,
    /// Never printed, and may be given as `NAME_FILE`, the path of a file.
    #[serde(default, skip_serializing_if = "is_false")]
    pub secret: bool,
    /// Value when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// Regular expression that the whole value matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// A value that would do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub example: Option<String>,
}

/// A process, and how it is looked after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Argument vector; no shell is involved.
    pub command: Vec<String>,
    /// Services that are ready before this one starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
    /// Working directory; absent: the image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Variables of this service alone; they win over the container's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// What follows when it ends unasked.
    pub restart: Restart,
    /// When it counts as ready; absent: as soon as it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<Ready>,
    /// How restarts are spaced.
    pub backoff: Backoff,
    /// How it is ended.
    pub stop: Stop,
}

/// What follows when a service ends unasked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// The container ends.
    #[default]
    Never,
    /// Exit 0 is the end of its work; anything else starts it again.
    OnFailure,
    /// It starts again.
    Always,
}

/// When a service counts as ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ready {
    /// What is asked.
    pub probe: Probe,
    /// Time after which a service that is not ready ends the container.
    pub within: u64,
    /// Time between two questions.
    pub interval: u64,
}

/// A question about health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Probe {
    /// An `http://` URL of this machine answers 2xx.
    Http(String),
    /// A port of this machine accepts connections.
    Tcp(u16),
    /// An argument vector ends with 0.
    Command(Vec<String>),
}

/// Delays between restarts: `first`, doubled each time, up to `most`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backoff {
    /// Delay before the first restart.
    pub first: u64,
    /// The longest delay; a service that ran this long has no failures behind it.
    pub most: u64,
    /// Restarts in a row after which the container ends.
    pub restarts: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: 1000, most: 30_000, restarts: 5 }
    }
}

/// How a service is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// What its process group is sent.
    pub signal: StopSignal,
    /// Time after which the group is killed.
    pub timeout: u64,
}

impl Default for Stop {
    fn default() -> Self {
        Self { signal: StopSignal::Term, timeout: 10_000 }
    }
}

/// Signals by which programs are asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum StopSignal {
    /// What nearly everything understands.
    Term,
    /// As Ctrl-C; a fast stop of `PostgreSQL`.
    Int,
    /// A patient stop: nginx, php-fpm.
    Quit,
    /// Some programs' own way.
    Hup,
    /// Some programs' own way.
    Usr1,
    /// Some programs' own way.
    Usr2,
}

/// How the memory limit reaches the services' language runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heap {
    /// Whose.
    pub runtime: HeapRuntime,
    /// Share of the memory limit for all services together.
    pub percent: u8,
    /// Bytes to take for the limit where the container has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
}

/// A language runtime whose heap can be limited by a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeapRuntime {
    /// `NODE_OPTIONS`, `--max-old-space-size`.
    Node,
    /// `JAVA_TOOL_OPTIONS`, `-Xmx`.
    Java,
    /// `GOMEMLIMIT`.
    Go,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !value
}
