//! What a container may use, and how large its image may be.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::value::{Owner, Size};

/// Resources of the container. An image cannot hold them: they are written into its label
/// `dev.imgforge.run`, from which whoever starts it takes them.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Memory limit, such as `4 GiB`.
    pub memory: Option<Size>,
    /// Processors, such as `1.5`.
    pub cpus: Option<f64>,
    /// Most processes and threads.
    pub pids: Option<u32>,
    /// Most open files of a process.
    pub files: Option<u32>,
    /// Heap limit of a language runtime.
    pub heap: Option<Heap>,
}

/// A heap limit that follows the memory limit, also when the operator sets another one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Heap {
    /// Whose heap.
    pub runtime: Runtime,
    /// Share of the memory limit for all services together, which divide it equally.
    pub percent: u8,
}

/// A language runtime with a heap limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Runtime {
    /// `NODE_OPTIONS=--max-old-space-size`.
    Node,
    /// `JAVA_TOOL_OPTIONS=-Xmx`.
    Java,
    /// `GOMEMLIMIT`.
    Go,
}

/// A directory whose content outlives the container.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// Where it is in the container.
    pub path: String,
    /// Its owner; absent: the tier's user.
    pub owner: Option<Owner>,
    /// What is kept there.
    pub description: Option<String>,
}

/// How large the compressed archive may be.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// A larger one is warned about.
    pub warn: Option<Size>,
    /// A larger one is refused.
    pub limit: Size,
}
