//! What runs in the container: environment contract, services, health check, ports.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::list::List;
use crate::model::name::{ServiceName, VariableName};

/// One variable of the environment contract.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
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
    /// Regular expression that the whole value must match.
    pub pattern: Option<String>,
    /// A value that would do, shown when the given one does not.
    pub example: Option<String>,
}

/// A process that the tier runs.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Argument vector; no shell is involved.
    pub command: Vec<String>,
    /// Services that must be ready before this one starts, and that stop after it.
    #[serde(default, skip_serializing_if = "List::is_empty")]
    pub needs: List<ServiceName>,
    /// Working directory; absent: the tier's.
    pub directory: Option<String>,
    /// Variables for this service alone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<VariableName, String>,
    /// What happens when it ends.
    #[serde(default)]
    pub restart: Restart,
    /// How to know that it can be used; absent: as soon as it runs.
    pub ready: Option<Ready>,
    /// How restarts slow down and when they end.
    #[serde(default)]
    pub backoff: Backoff,
    /// How it is stopped.
    #[serde(default)]
    pub stop: Stop,
}

/// What happens when a service ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// The others are stopped and the container ends: half a node is not a node.
    #[default]
    Never,
    /// It is started again unless it ended with code 0.
    OnFailure,
    /// It is started again.
    Always,
}

/// When a service can be used.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ready {
    /// What must succeed once.
    pub probe: Probe,
    /// Seconds after the start by which it must have.
    #[serde(default = "one_minute")]
    pub within: u32,
    /// Seconds between two attempts, at most: the first ones come sooner.
    #[serde(default = "one_second")]
    pub interval: u32,
}

const fn one_minute() -> u32 {
    60
}

const fn one_second() -> u32 {
    1
}

/// How restarts slow down and when they end.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Backoff {
    /// Seconds before the first restart; each further pause is twice as long.
    pub first: u32,
    /// Longest pause in seconds; a service that ran this long starts counting anew.
    pub most: u32,
    /// Restarts in a row after which the container ends.
    pub restarts: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: 1, most: 30, restarts: 5 }
    }
}

/// How a service is stopped.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Stop {
    /// What is sent to its process group.
    pub signal: Signal,
    /// Seconds after which it is killed.
    pub timeout: u32,
}

impl Default for Stop {
    fn default() -> Self {
        Self { signal: Signal::Term, timeout: 10 }
    }
}

/// A signal that asks a service to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "POSIX says what they are")]
pub enum Signal {
    Term,
    Int,
    Quit,
    Hup,
    Usr1,
    Usr2,
}

/// A question that a working service answers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Probe {
    /// `http://127.0.0.1:PORT/PATH` answers with a status from 200 to 299.
    Http(String),
    /// Something listens on this port of the container.
    Tcp(u16),
    /// The command ends with code 0.
    Command(Vec<String>),
    /// Every service is ready; only for the health check.
    Services,
}

/// The engine's health check.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// What must succeed.
    pub probe: Probe,
    /// Seconds between two checks.
    #[serde(default = "half_a_minute")]
    pub interval: u32,
    /// Seconds that a check may take.
    #[serde(default = "ten_seconds")]
    pub timeout: u32,
    /// Seconds after the start during which failures do not count.
    pub start_period: u32,
    /// Failures in a row that make a container unhealthy.
    #[serde(default = "three")]
    pub retries: u32,
}

const fn half_a_minute() -> u32 {
    30
}

const fn ten_seconds() -> u32 {
    10
}

const fn three() -> u32 {
    3
}

/// A port that a service listens on.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// Port number inside the container.
    pub number: u16,
    /// How it is spoken to.
    #[serde(default)]
    pub protocol: Protocol,
    /// The service that listens.
    pub service: Option<ServiceName>,
    /// Who should be able to reach it.
    #[serde(default)]
    pub publish: Publish,
    /// What answers there.
    pub description: Option<String>,
}

/// Transport protocol of a port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "they are the names")]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
}

/// Who should be able to reach a port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Publish {
    /// Everybody who reaches the machine.
    Public,
    /// Processes of the same machine.
    #[default]
    Local,
    /// Only other containers.
    None,
}
