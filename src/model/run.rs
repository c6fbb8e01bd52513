//! What a container of an image needs that an image configuration cannot hold.
//!
//! It goes into the label `dev.imgforge.run` as JSON, so that whoever starts the container can ask
//! the image itself: `docker image inspect --format '{{index .Config.Labels "dev.imgforge.run"}}'`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::name::{Capability, ServiceName};
use super::recipe::{Port, Recipe, Size};

/// Name of the label.
pub const LABEL: &str = "dev.imgforge.run";

/// Run requirements; sizes are in bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requirements {
    /// Memory limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<f64>,
    /// Most processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
    /// Most open files of a process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<u32>,
    /// Capabilities that are kept.
    pub capabilities: Vec<Capability>,
    /// Devices that are needed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
    /// Whether the root filesystem is read-only.
    pub read_only: bool,
    /// Directories in memory, with their size.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tmpfs: BTreeMap<String, u64>,
    /// Directories whose content outlives the container, by path.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<ServiceName, String>,
    /// Ports that services listen on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ports: BTreeMap<ServiceName, Port>,
}

impl Requirements {
    /// Those of a recipe; `None` for an image that nobody runs because it has no services.
    #[must_use]
    pub fn of(recipe: &Recipe) -> Option<Self> {
        if recipe.services.is_empty() {
            return None;
        }
        let resources = recipe.resources.clone().unwrap_or_default();
        Some(Self {
            memory: resources.memory.map(|Size(bytes)| bytes),
            cpus: resources.cpus,
            pids: resources.pids,
            files: resources.files,
            capabilities: recipe.capabilities.to_vec(),
            devices: recipe.devices.to_vec(),
            read_only: recipe.read_only.unwrap_or(false),
            tmpfs: recipe.tmpfs.iter().map(|(path, Size(bytes))| (path.clone(), *bytes)).collect(),
            volumes: recipe
                .volumes
                .iter()
                .map(|(name, volume)| (name.clone(), volume.path.clone()))
                .collect(),
            ports: recipe.ports.clone(),
        })
    }
}
