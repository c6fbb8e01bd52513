//! Reading one file strictly: every refusal has a file, a line, a column, a reason and, where there
//! is one, a fix.

use std::fmt;

use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

use super::tree::{Node, Place};
use crate::model::words::quoted;

/// Something wrong in a recipe, and where.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, thiserror::Error)]
pub struct Finding {
    /// The file, as the author named it.
    pub file: String,
    /// Line and column, counted from 1; absent where the whole file is meant.
    pub at: Option<(usize, usize)>,
    /// What is wrong.
    pub reason: String,
    /// What to write instead.
    pub fix: Option<String>,
}

impl Finding {
    /// A finding about a whole file.
    #[must_use]
    pub fn file(file: &str, reason: impl Into<String>) -> Self {
        Self { file: file.to_owned(), at: None, reason: reason.into(), fix: None }
    }

    /// A finding about one place.
    #[must_use]
    pub fn at(place: &Place, reason: impl Into<String>) -> Self {
        Self {
            file: place.file.to_string(),
            at: Some((place.line, place.column)),
            reason: reason.into(),
            fix: None,
        }
    }

    /// The same finding with advice.
    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
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

/// All that is wrong, in the order of files and lines. There is at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// `Err` with the findings where there are any.
    pub fn none(mut findings: Vec<Finding>) -> Result<(), Self> {
        findings.sort_by(|a, b| (&a.file, a.at).cmp(&(&b.file, b.at)));
        findings.dedup();
        if findings.is_empty() { Ok(()) } else { Err(Self(findings)) }
    }

    /// One by one.
    pub fn iter(&self) -> impl Iterator<Item = &Finding> {
        self.0.iter()
    }
}

impl From<Finding> for Findings {
    fn from(finding: Finding) -> Self {
        Self(vec![finding])
    }
}

impl std::error::Error for Findings {}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, finding) in self.0.iter().enumerate() {
            let newline = if number == 0 { "" } else { "\n" };
            write!(f, "{newline}{finding}")?;
            if let Some(fix) = &finding.fix {
                write!(f, "\n  fix: {fix}")?;
            }
        }
        Ok(())
    }
}

/// A recipe longer than this is not one that a person wrote.
const MAX_BYTES: usize = 1 << 20;

/// Reads the structure of a project or a recipe.
pub fn tree(file: &str, text: &str) -> Result<Node, Finding> {
    if text.len() > MAX_BYTES {
        return Err(Finding::file(file, format!("is larger than {MAX_BYTES} bytes")));
    }
    Node::read(file, text)
}

/// Gives a tree its types.
pub fn typed<T: DeserializeOwned>(tree: &Node) -> Result<T, Finding> {
    serde_path_to_error::deserialize(tree.value()).map_err(|error| {
        let path: Vec<String> = error.path().iter().map(segment).collect();
        explain(tree, &path, error.inner().message().trim())
    })
}

/// Parses a project or a recipe.
pub fn parse<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, Finding> {
    typed(&tree(file, text)?)
}

fn segment(segment: &Segment) -> String {
    match segment {
        Segment::Seq { index } => index.to_string(),
        Segment::Map { key } => key.clone(),
        Segment::Enum { variant } => variant.clone(),
        Segment::Unknown => "?".to_owned(),
    }
}

/// Turns serde's words into an author's: names the key that was meant, and types as TOML calls them.
fn explain(tree: &Node, path: &[String], message: &str) -> Finding {
    let at = |more: &[&str]| tree.place_of(path.iter().map(String::as_str).chain(more.iter().copied()));
    let names: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let key = path.last().map_or("the file", String::as_str);
    match names.split_first() {
        Some((written, known)) if message.starts_with("unknown field") => {
            advise(Finding::at(&at(&[]), format!("unknown key `{written}`")), written, known)
        }
        Some((written, known)) if message.starts_with("unknown variant") => {
            advise(Finding::at(&at(&[written]), format!("unknown kind `{written}`")), written, known)
        }
        Some((missing, [])) if message.starts_with("missing field") => {
            Finding::at(&at(&[]), format!("`{missing}` is missing")).fix(format!("add `{missing} = ..`"))
        }
        _ if message.starts_with("wanted exactly 1 element") => {
            not_one(&at(&[]), &tree.keys_at(path.iter().map(String::as_str)))
        }
        _ => match message.strip_prefix("invalid type: ").and_then(|rest| rest.split_once(", expected ")) {
            Some((found, expected)) => Finding::at(&at(&[]), format!("`{key}` is {}", kind(found)))
                .fix(format!("write {}", kind(expected))),
            None => Finding::at(&at(&[]), message.replace('\n', ", ")),
        },
    }
}

/// A table that names the kind of what is in it has one key.
fn not_one(place: &Place, keys: &[&str]) -> Finding {
    match keys {
        [] => Finding::at(place, "it is empty, where something of one kind belongs".to_owned())
            .fix("`imgforge recipe schema` lists the kinds"),
        keys => {
            Finding::at(place, format!("{} stand where only one of them can", quoted(keys))).fix("keep one")
        }
    }
}

fn advise(finding: Finding, written: &str, known: &[&str]) -> Finding {
    let list = || quoted(known);
    match nearest(written, known) {
        _ if known.is_empty() => finding.fix("remove it: nothing can be set here"),
        Some(meant) => finding.fix(format!("write `{meant}`")),
        None => finding.fix(format!("known here: {}", list())),
    }
}

/// What TOML calls a type of serde's.
fn kind(serde: &str) -> String {
    match serde {
        "u8" | "u16" | "u32" | "u64" | "i32" => "a whole number".to_owned(),
        "f64" => "a number".to_owned(),
        "a string" | "string" => "a text in quotes".to_owned(),
        "a boolean" => "`true` or `false`".to_owned(),
        "a sequence" | "sequence" => "a list `[..]`".to_owned(),
        "map" | "a map" => "a table".to_owned(),
        _ if serde.starts_with("struct ") => "a table".to_owned(),
        _ if serde.starts_with("string ") => format!("the text {}", &serde["string ".len()..]),
        _ => serde.replace("integer", "the whole number").replace("boolean", "the truth value"),
    }
}

/// The known name that was probably meant.
#[must_use]
pub fn nearest<'a>(written: &str, known: &[&'a str]) -> Option<&'a str> {
    let close = |name: &&&str| strsim::damerau_levenshtein(written, name) <= 1 + name.len() / 4;
    known.iter().filter(close).min_by_key(|name| strsim::damerau_levenshtein(written, name)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::recipe::{Project, Recipe};

    fn refusal<T: DeserializeOwned + fmt::Debug>(text: &str) -> String {
        Findings::from(parse::<T>("oracle.toml", text).unwrap_err()).to_string()
    }

    #[test]
    fn an_unknown_key_names_its_place_and_what_was_meant() {
        let text = "description = \"x\"\n\n[health]\nprobe = \"services\"\ninterval_ = 3\n";
        insta::assert_snapshot!(refusal::<Recipe>(text), @"
        oracle.toml:5:1: unknown key `interval_`
          fix: write `interval`
        ");
        insta::assert_snapshot!(refusal::<Recipe>("[services.a]\ncommand = ['x']\nready = { prob = 1 }\n"), @"
        oracle.toml:3:11: unknown key `prob`
          fix: write `probe`
        ");
        insta::assert_snapshot!(refusal::<Recipe>("[services.a]\ncommand = 'x'\n"), @r#"
        oracle.toml:2:1: `command` is the text "x"
          fix: write a list `[..]`
        "#);
        insta::assert_snapshot!(refusal::<Recipe>("[services.a]\n"), @"
        oracle.toml:1:11: `command` is missing
          fix: add `command = ..`
        ");
        insta::assert_snapshot!(refusal::<Recipe>("[[steps]]\ncopy = { paths = ['a'], to = '/' }\n[[steps]]\ncopy = { path = 'a', to = '/' }\n"), @"
        oracle.toml:4:10: unknown key `path`
          fix: write `paths`
        ");
        insta::assert_snapshot!(refusal::<Recipe>("[[steps]]\ncopy = { paths = ['a'], to = '/' }\nrun.shell = 'b'\n"), @"
        oracle.toml:1:1: `copy`, `run` stand where only one of them can
          fix: keep one
        ");
        insta::assert_snapshot!(refusal::<Recipe>("[[steps]]\n"), @"
        oracle.toml:1:1: it is empty, where something of one kind belongs
          fix: `imgforge recipe schema` lists the kinds
        ");
        insta::assert_snapshot!(refusal::<Recipe>("[services.a]\ncommand = ['x']\nready.probe = { http = 'http://127.0.0.1:1/', file = '/x' }\n"), @"
        oracle.toml:3:7: `file`, `http` stand where only one of them can
          fix: keep one
        ");
        insta::assert_snapshot!(refusal::<Recipe>("workdir = '/'\nworkdir = '/a'\n"), @"oracle.toml:2:1: `workdir` is set twice");
        insta::assert_snapshot!(refusal::<Recipe>("[env.'my greeting']\n"), @"oracle.toml:1:6: `my greeting` is not an environment variable name: use upper-case letters, digits and `_`, beginning with a letter");
        insta::assert_snapshot!(refusal::<Recipe>("[base.debian]\nsuite='trixie'\npackages=['a', 'B']\n"), @"oracle.toml:3:16: `B` is not a Debian name: use lower-case letters, digits, `+`, `-` and `.`, beginning with a letter or digit");
        insta::assert_snapshot!(refusal::<Recipe>("[volumes.Data]\npath='/x'\n"), @"oracle.toml:1:10: `Data` is not a service name: use 1 to 63 lower-case letters, digits and `-`, beginning with a letter");
    }

    #[test]
    fn a_bad_name_names_the_rule() {
        insta::assert_snapshot!(refusal::<Project>("name = \"No Derr\"\n"), @"oracle.toml:1:1: `No Derr` is not a project name: use 1 to 63 lower-case letters, digits and `-`, beginning with a letter");
        insta::assert_snapshot!(refusal::<Recipe>("[[steps]]\ncpy = {}\n"), @"
        oracle.toml:2:1: unknown kind `cpy`
          fix: write `copy`
        ");
        insta::assert_snapshot!(refusal::<Recipe>("[resources]\nmemory = \"4 gigs\"\n"), @"oracle.toml:2:1: `4 gigs` is not a size: use a whole number and a unit, such as `4 GiB` or `200 MB`");
        insta::assert_snapshot!(refusal::<Recipe>("capabilities = [\"CAP_NET_ADMIN\"]\n"), @"oracle.toml:1:17: `CAP_NET_ADMIN` is not a Linux capability: use its name without `CAP_`, such as `NET_ADMIN`");
    }
}
