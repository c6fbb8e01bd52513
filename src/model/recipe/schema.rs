//! The JSON Schema of recipes, made from the types that read them.

use serde_json::Value;

use super::{Project, Recipe};

/// Which file.
#[derive(Debug, Clone, Copy)]
pub enum Subject {
    /// `project.toml`.
    Project,
    /// `<tier>.toml`.
    Recipe,
}

/// The schema, in the dialect of 2020-12.
///
/// A tier's file may leave out what it inherits, so nothing is required in it: whether a key is
/// missing shows only when the tier is resolved, which `imgforge recipe check` does.
#[must_use]
pub fn of(subject: Subject) -> Value {
    match subject {
        Subject::Project => schemars::schema_for!(Project).to_value(),
        Subject::Recipe => {
            let mut schema = schemars::schema_for!(Recipe).to_value();
            for inherited in ["Variable", "Service", "Health", "Port", "Volume", "Budget", "Heap", "User"] {
                if let Some(definition) = schema["$defs"].get_mut(inherited).and_then(Value::as_object_mut) {
                    definition.remove("required");
                }
            }
            schema
        }
    }
}
