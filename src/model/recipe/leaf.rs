//! A resolved recipe value by value.

use serde::Serialize;
use toml::Value;

use super::tree::{Kind, Node, Place};

/// One value of a resolved recipe.
#[derive(Debug, Clone, Serialize)]
pub struct Leaf {
    /// Its key, in TOML's dotted form.
    pub key: String,
    /// What it is.
    pub value: Value,
    /// Where it was written.
    pub place: Place,
}

impl Leaf {
    /// As it could stand in a recipe.
    #[must_use]
    pub fn line(&self) -> String {
        format!("{} = {}", self.key, self.value)
    }

    /// File and line.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("{}:{}", self.place.file, self.place.line)
    }
}

impl Node {
    /// All values below, in the order of their keys. A list of plain values is one value.
    #[must_use]
    pub fn leaves(&self) -> Vec<Leaf> {
        let mut found = Vec::new();
        collect(&mut found, "", &self.place, self);
        found
    }
}

fn collect(found: &mut Vec<Leaf>, key: &str, place: &Place, node: &Node) {
    let plain = |list: &[Node]| list.iter().all(|item| matches!(item.kind, Kind::Scalar(_)));
    match &node.kind {
        Kind::Table(table) if !table.is_empty() => {
            for (name, (place, value)) in table {
                let name = quoted(name);
                let key = if key.is_empty() { name } else { format!("{key}.{name}") };
                collect(found, &key, place, value);
            }
        }
        Kind::List(list, _) if !plain(list) => {
            for (index, item) in list.iter().enumerate() {
                collect(found, &format!("{key}[{index}]"), &item.place, item);
            }
        }
        _ => found.push(Leaf { key: key.to_owned(), value: node.value(), place: place.clone() }),
    }
}

/// A key that TOML reads back.
fn quoted(name: &str) -> String {
    let bare = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if !name.is_empty() && name.bytes().all(bare) { name.to_owned() } else { Value::from(name).to_string() }
}
