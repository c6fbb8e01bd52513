//! The values of recipes, each with the place where it was written.
//!
//! Inheritance is worked out here, before any value has a type: tables merge, lists append, all
//! else replaces. So every value of a resolved recipe still knows its file and line.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use toml::Value;
use toml::de::{DeTable, DeValue};

use super::parse::Finding;

/// Where something was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The file, as the author named it.
    #[serde(serialize_with = "text")]
    pub file: Arc<str>,
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
}

fn text<S: Serializer>(text: &Arc<str>, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(text)
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// A value and where it was written: a table at its first key.
#[derive(Debug, Clone)]
pub struct Node {
    /// Where.
    pub place: Place,
    /// What.
    pub kind: Kind,
}

/// What is written at a place.
#[derive(Debug, Clone)]
pub enum Kind {
    /// A string, a number, a truth value, a date.
    Scalar(Value),
    /// A list; whether it replaces the inherited one.
    List(Vec<Node>, Onto),
    /// A table, and where each key was written.
    Table(BTreeMap<String, (Place, Node)>),
}

/// What a list does to the one that is inherited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Onto {
    /// Stands after it.
    Append,
    /// Stands in its stead: `{ replace = [..] }`.
    Replace,
}

/// Keys whose value is one thing, although it is a list or a table: half of a command is no command.
const WHOLE: [&str; 4] = ["command", "init", "probe", "run"];

impl Node {
    /// Reads the structure of a file; what the values mean is not looked at.
    pub fn read(file: &str, text: &str) -> Result<Self, Finding> {
        let source = Source { file: file.into(), text };
        match DeTable::parse(text) {
            Ok(table) => Ok(source.table(table.span().start, table.into_inner())),
            Err(error) => Err(Finding {
                file: file.to_owned(),
                at: error.span().map(|span| source.position(span.start)),
                reason: match error.span().and_then(|span| text.get(span)) {
                    Some(key) if error.message() == "duplicate key" => format!("`{key}` is set twice"),
                    _ => error.message().trim().replace('\n', ", "),
                },
                fix: None,
            }),
        }
    }

    /// This value, laid over an inherited one.
    #[must_use]
    pub fn over(self, inherited: Self) -> Self {
        let kind = match (inherited.kind, self.kind) {
            (Kind::Table(mut below), Kind::Table(above)) => {
                for (key, (place, value)) in above {
                    let value = match below.remove(&key) {
                        Some((_, inherited)) if !WHOLE.contains(&key.as_str()) => value.over(inherited),
                        _ => value,
                    };
                    below.insert(key, (place, value));
                }
                Kind::Table(below)
            }
            (Kind::List(mut below, onto), Kind::List(above, Onto::Append)) => {
                below.extend(above);
                Kind::List(below, onto)
            }
            (_, above) => above,
        };
        Self { place: self.place, kind }
    }

    /// The value below a key; `None` where this is no table or has no such key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        match &self.kind {
            Kind::Table(table) => table.get(key).map(|(_, node)| node),
            _ => None,
        }
    }

    /// The closest place to a path of keys and list positions: the key itself, or what it should be in.
    #[must_use]
    pub fn place_of<'a>(&self, path: impl IntoIterator<Item = &'a str>) -> Place {
        self.closest(path).0.clone()
    }

    /// The keys of the closest value to a path, where that is a table.
    pub fn keys_at<'a>(&self, path: impl IntoIterator<Item = &'a str>) -> Vec<&str> {
        match &self.closest(path).1.kind {
            Kind::Table(table) => table.keys().map(String::as_str).collect(),
            _ => Vec::new(),
        }
    }

    fn closest<'a>(&self, path: impl IntoIterator<Item = &'a str>) -> (&Place, &Self) {
        let mut place = &self.place;
        let mut node = self;
        for step in path {
            node = match &node.kind {
                Kind::Table(table) => match table.get(step) {
                    Some((key, value)) => {
                        place = key;
                        value
                    }
                    None => break,
                },
                Kind::List(list, _) => match step.parse().ok().and_then(|index: usize| list.get(index)) {
                    Some(value) => {
                        place = &value.place;
                        value
                    }
                    None => break,
                },
                Kind::Scalar(_) => break,
            };
        }
        (place, node)
    }

    /// The value without its places.
    #[must_use]
    pub fn value(&self) -> Value {
        match &self.kind {
            Kind::Scalar(value) => value.clone(),
            Kind::List(list, _) => Value::Array(list.iter().map(Self::value).collect()),
            Kind::Table(table) => {
                Value::Table(table.iter().map(|(key, (_, node))| (key.clone(), node.value())).collect())
            }
        }
    }
}

struct Source<'a> {
    file: Arc<str>,
    text: &'a str,
}

impl Source<'_> {
    fn place(&self, offset: usize) -> Place {
        let (line, column) = self.position(offset);
        Place { file: Arc::clone(&self.file), line, column }
    }

    fn position(&self, offset: usize) -> (usize, usize) {
        let before = &self.text[..self.text.floor_char_boundary(offset)];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |tail| tail.chars().count()) + 1;
        (line, column)
    }

    fn table(&self, offset: usize, table: DeTable<'_>) -> Node {
        let read = table.into_iter().map(|(key, value)| {
            let place = self.place(key.span().start);
            (key.into_inner().into_owned(), (place, self.node(value.span().start, value.into_inner())))
        });
        let mut table: BTreeMap<String, (Place, Node)> = read.collect();
        let place = self.place(offset);
        if table.len() == 1
            && let Some((_, Node { kind: Kind::List(list, _), .. })) = table.get_mut("replace")
        {
            return Node { place, kind: Kind::List(std::mem::take(list), Onto::Replace) };
        }
        Node { place, kind: Kind::Table(table) }
    }

    fn node(&self, offset: usize, value: DeValue<'_>) -> Node {
        let kind = match value {
            DeValue::Table(table) => return self.table(offset, table),
            DeValue::Array(list) => {
                let list = list.into_iter().map(|item| self.node(item.span().start, item.into_inner()));
                Kind::List(list.collect(), Onto::Append)
            }
            DeValue::String(text) => Kind::Scalar(Value::String(text.into_owned())),
            DeValue::Boolean(truth) => Kind::Scalar(Value::Boolean(truth)),
            DeValue::Datetime(date) => Kind::Scalar(Value::Datetime(date)),
            DeValue::Integer(number) => {
                let parsed = i64::from_str_radix(number.as_str(), number.radix());
                // Too large for any key that a recipe has: left as text, it fails as a wrong type.
                Kind::Scalar(parsed.map_or_else(|_| Value::String(number.to_string()), Value::Integer))
            }
            DeValue::Float(number) => {
                let parsed = number.as_str().parse();
                Kind::Scalar(parsed.map_or_else(|_| Value::String(number.to_string()), Value::Float))
            }
        };
        Node { place: self.place(offset), kind }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(child: &str, parent: &str) -> String {
        let [child, parent] =
            [("child", child), ("parent", parent)].map(|(file, text)| Node::read(file, text).unwrap());
        toml::to_string(&child.over(parent).value()).unwrap()
    }

    #[test]
    fn tables_merge_lists_append_and_the_rest_replaces() {
        let parent = "a = 1\nlist = [1]\ncommand = ['x', 'y']\n[t]\nb = 1\nc = 1\n";
        let child = "a = 2\nlist = [2]\ncommand = ['z']\n[t]\nc = 2\n";
        insta::assert_snapshot!(merged(child, parent), @r#"
        a = 2
        command = ["z"]
        list = [1, 2]

        [t]
        b = 1
        c = 2
        "#);
        insta::assert_snapshot!(merged("list = { replace = [2] }", "list = [1]"), @"list = [2]");
    }

    #[test]
    fn a_merged_value_knows_its_file() {
        let parent = Node::read("parent", "[t]\nb = 1\n").unwrap();
        let tree = Node::read("child", "\n[t]\nc = [1,\n 2]\n").unwrap().over(parent);
        let place = |path: &[&str]| tree.place_of(path.iter().copied()).to_string();
        assert_eq!(place(&["t", "b"]), "parent:2:1");
        assert_eq!(place(&["t", "c"]), "child:3:1");
        assert_eq!(place(&["t", "c", "1"]), "child:4:2");
        assert_eq!(place(&["t", "unknown", "deeper"]), "child:2:2");
    }
}
