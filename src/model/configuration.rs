//! The configuration of an image in normal form: the same, whatever engine wrote it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::image::Blob;
use super::time::Timestamp;

/// Engines agree on a configuration but for its dates, and for keys that are there but `null`.
pub fn normal(config: &[u8], layers: &[Blob], epoch: Timestamp) -> Result<Vec<u8>, serde_json::Error> {
    let mut config: Map<String, Value> = serde_json::from_slice(config)?;
    // What a builder writes for itself: an inline cache, and what it was asked for.
    config.retain(|key, _| !key.starts_with("moby.buildkit."));
    let date = Value::from(epoch.to_string());
    config.insert("created".to_owned(), date.clone());
    if let Some(Value::Array(history)) = config.get_mut("history") {
        for step in history.iter_mut().filter_map(Value::as_object_mut) {
            step.insert("created".to_owned(), date.clone());
            if let Some(Value::String(by)) = step.get_mut("created_by") {
                *by = without_flags(by);
            }
        }
    }
    if let Some(Value::Object(settings)) = config.get_mut("config") {
        settings.retain(|_, value| !value.is_null());
    }
    let digests: Vec<String> = layers.iter().map(|layer| layer.digest.to_string()).collect();
    config.insert("rootfs".to_owned(), serde_json::json!({"diff_ids": digests, "type": "layers"}));
    serde_json::to_vec(&sorted(Value::Object(config)))
}

/// `COPY --chown=1:1 a b` as `COPY a b`: older engines leave the flags out.
fn without_flags(instruction: &str) -> String {
    let mut words = instruction.split(' ');
    let first = words.next().unwrap_or_default();
    if !["ADD", "COPY", "RUN"].contains(&first) {
        return instruction.to_owned();
    }
    let rest = words.skip_while(|word| word.starts_with("--"));
    [first].into_iter().chain(rest).collect::<Vec<_>>().join(" ")
}

/// Keys in order at every level, whether or not some crate turned on `serde_json/preserve_order`.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let ordered: BTreeMap<String, Value> = map.into_iter().collect();
            Value::Object(ordered.into_iter().map(|(key, value)| (key, sorted(value))).collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(sorted).collect()),
        other => other,
    }
}
