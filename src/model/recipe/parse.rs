//! Reading one file strictly: every refusal has a file, a line, a column and a reason.

use std::fmt;

use serde::de::DeserializeOwned;

/// Something wrong in a recipe, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Finding {
    /// The file, as the author named it.
    pub file: String,
    /// Line and column, counted from 1; absent where the whole file is meant.
    pub at: Option<(usize, usize)>,
    /// What is wrong.
    pub reason: String,
}

impl Finding {
    /// A finding about a whole file.
    #[must_use]
    pub fn file(file: &str, reason: impl Into<String>) -> Self {
        Self { file: file.to_owned(), at: None, reason: reason.into() }
    }
}

impl Finding {
    /// The same finding, with the folder that the file is in.
    #[must_use]
    pub fn below(mut self, folder: &str) -> Self {
        self.file = format!("{folder}/{}", self.file);
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some((line, column)) => write!(f, "{}:{line}:{column}: {}", self.file, self.reason),
            None => write!(f, "{}: {}", self.file, self.reason),
        }
    }
}

/// A recipe longer than this is not one that a person wrote.
const MAX_BYTES: usize = 1 << 20;

/// Parses a project or a recipe.
pub fn parse<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, Finding> {
    if text.len() > MAX_BYTES {
        return Err(Finding::file(file, format!("is larger than {MAX_BYTES} bytes")));
    }
    toml::from_str(text).map_err(|error| Finding {
        file: file.to_owned(),
        at: error.span().map(|span| position(text, span.start)),
        reason: error.message().trim().replace('\n', ", "),
    })
}

fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..floor(text, offset)];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |tail| tail.chars().count()) + 1;
    (line, column)
}

fn floor(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::recipe::{Project, Recipe};

    fn refusal<T: DeserializeOwned + fmt::Debug>(text: &str) -> String {
        parse::<T>("oracle.toml", text).unwrap_err().to_string()
    }

    #[test]
    fn an_unknown_key_names_its_place_and_the_known_ones() {
        let text = "description = \"x\"\n\n[health]\ncomand = [\"true\"]\n";
        insta::assert_snapshot!(refusal::<Recipe>(text), @"oracle.toml:4:1: unknown field `comand`, expected one of `command`, `interval`, `timeout`, `start_period`, `retries`");
    }

    #[test]
    fn a_bad_name_names_the_rule() {
        insta::assert_snapshot!(refusal::<Project>("name = \"No Derr\"\n"), @"oracle.toml:1:8: `No Derr` is not a project name: use 1 to 63 lower-case letters, digits and `-`, beginning with a letter");
        insta::assert_snapshot!(refusal::<Recipe>("[[steps]]\ncpy = {}\n"), @"oracle.toml:2:1: unknown variant `cpy`, expected one of `copy`, `apt`, `npm`, `run`");
    }
}
