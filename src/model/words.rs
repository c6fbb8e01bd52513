//! How messages name several things.

use std::fmt::Display;

/// `` `a`, `b` ``
#[must_use]
pub fn quoted<T: Display>(names: impl IntoIterator<Item = T>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}
