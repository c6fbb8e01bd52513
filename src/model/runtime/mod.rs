//! What runs inside the image: the configuration of `imgforge-init`, and the helper itself.
//!
//! The helper is a program of its own in `src/init`. `build.rs` compiles it for the machine that
//! imgforge is built for, as one static file, and its bytes are embedded here.

pub mod address;
pub mod config;
mod of;
pub mod sound;

use std::collections::BTreeMap;

use super::name::Platform;

/// Where the helper is in an image.
pub const HELPER_PATH: &str = "/usr/local/bin/imgforge-init";

/// Where its configuration is.
pub const CONFIG_PATH: &str = "/etc/imgforge/init.json";

const HELPER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/imgforge-init"));

/// The platform that helpers run on; empty where `build.rs` knows of none.
pub const HELPER_PLATFORM: &str = env!("IMGFORGE_HELPER_PLATFORM");

/// The helper for images of a platform; or why there is none, and what to do.
pub fn helper(platform: &Platform) -> Result<&'static [u8], (String, &'static str)> {
    if platform.to_string() == HELPER_PLATFORM {
        return Ok(HELPER);
    }
    let has = if HELPER_PLATFORM.is_empty() { "none" } else { HELPER_PLATFORM };
    let reason =
        format!("this needs `imgforge-init` for {platform}, and the one in this imgforge is for {has}");
    Err((reason, "build it with an imgforge that was built for that platform"))
}

/// The bytes of a configuration: compact, fields in the order of the types, names sorted.
#[must_use]
pub fn json(config: &config::Config) -> Vec<u8> {
    let mut bytes = super::image::json(config);
    bytes.push(b'\n');
    bytes
}

/// Milliseconds that a stop takes at most: services end before those that they need, so the timeouts
/// along a chain add up. An engine that kills earlier cuts the last ones short.
#[must_use]
pub fn longest_stop(services: &BTreeMap<String, config::Service>) -> u64 {
    let mut until: BTreeMap<&str, u64> = BTreeMap::new();
    let mut longest = 0;
    for name in sound::order(services).unwrap_or_default().into_iter().rev() {
        // Reverse order: whoever needs `name` has been seen and has left its time here.
        let end = until.get(name).copied().unwrap_or(0).saturating_add(services[name].stop.timeout);
        longest = longest.max(end);
        for need in &services[name].needs {
            let start = until.entry(need).or_default();
            *start = end.max(*start);
        }
    }
    longest
}
