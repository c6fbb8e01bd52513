//! A list that a child appends to its parent's, or replaces.

use std::borrow::Cow;
use std::ops::Deref;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Written `[..]`, which appends to what was inherited, or `{ replace = [..] }`. The second form is
/// resolved on the tree of the file ([`super::tree`]), before any list is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct List<T>(Vec<T>);

impl<T> List<T> {
    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Deref for List<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: JsonSchema> JsonSchema for List<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("ListOf{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let list = <Vec<T>>::json_schema(generator);
        json_schema!({
            "anyOf": [list, {
                "type": "object",
                "description": "Instead of what was inherited.",
                "properties": {"replace": list},
                "required": ["replace"],
                "additionalProperties": false,
            }]
        })
    }
}
