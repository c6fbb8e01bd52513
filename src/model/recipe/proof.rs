//! What must hold of a built image before anybody gets it: tests and policy.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::list::List;
use super::value::{Mode, Owner};
use crate::model::name::{StageName, VariableName};
use crate::model::policy::Rule;

/// A test of the built image. Tests run inside it, without a network.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Test {
    /// A command does what it should.
    Command(CommandTest),
    /// A file is as it should be.
    File(FileTest),
    /// Nothing is at this path.
    Absent(String),
    /// A user exists.
    User(UserTest),
    /// A port answers once the container's services have started.
    Port(PortTest),
}

/// A command and what is expected of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandTest {
    /// Argument vector; no shell is involved.
    pub run: Vec<String>,
    /// Its exit code.
    #[serde(default)]
    pub exit: i32,
    /// Regular expression that occurs in what it prints.
    pub stdout: Option<String>,
    /// Variables that it gets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<VariableName, String>,
}

/// A file and what is expected of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileTest {
    /// Absolute path.
    pub path: String,
    /// Its mode.
    pub mode: Option<Mode>,
    /// Its owner.
    pub owner: Option<Owner>,
    /// Regular expression that occurs in it.
    pub contains: Option<String>,
}

/// A user and what is expected of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserTest {
    /// Name in `/etc/passwd`.
    pub name: StageName,
    /// Its number.
    pub uid: u32,
}

/// A port that must answer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PortTest {
    /// TCP port.
    pub number: u16,
    /// Seconds that the services may take.
    #[serde(default = "half_a_minute")]
    pub within: u32,
    /// Variables that the container gets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<VariableName, String>,
}

const fn half_a_minute() -> u32 {
    30
}

/// What is demanded and what is let through.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Labels that the image must have.
    #[serde(default, skip_serializing_if = "List::is_empty")]
    pub labels: List<String>,
    /// Findings that are meant to be.
    #[serde(default, skip_serializing_if = "List::is_empty")]
    pub allow: List<Allowance>,
}

/// One finding that is meant to be.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Allowance {
    /// The rule, as its finding names it.
    pub rule: Rule,
    /// What the finding is about: a path, a label. `*` and `**` as in `.dockerignore`; absent: anything.
    pub path: Option<String>,
    /// Why it is right.
    pub reason: String,
}
