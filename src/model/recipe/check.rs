//! What parses but cannot work, or could be read as something else than it says.

mod files;
mod services;

use std::collections::BTreeMap;

use toml::Value;

use super::family::{Family, Generation};
use super::parse::{Finding, Findings};
use super::tree::{Kind, Node};
use super::{Recipe, Stage, Step};
use crate::model::name::StageName;

/// Finds all that is wrong with a family, at once.
pub fn family(family: &Family) -> Result<(), Findings> {
    let mut above = Vec::new();
    let mut found = Vec::new();
    for generation in family.generations() {
        one_line(&mut found, &[], &generation.tree);
        for part in &generation.parts {
            files::part(&mut Report { tree: &part.own, found: &mut found }, part, &above);
        }
        above.push(&generation.tier);
    }
    if let Some(Generation { recipe, tree, .. }) = family.generations().last() {
        let mut report = Report { tree, found: &mut found };
        files::settings(&mut report, recipe);
        services::settings(&mut report, recipe);
    }
    Findings::none(found)
}

/// Collects findings; knows where a key was written.
struct Report<'a> {
    tree: &'a Node,
    found: &'a mut Vec<Finding>,
}

impl Report<'_> {
    /// Something is wrong with what stands at a path of keys.
    fn wrong(&mut self, path: &[&str], reason: impl Into<String>, fix: impl Into<String>) {
        let place = self.tree.place_of(path.iter().copied());
        self.found.push(Finding::at(&place, reason).fix(fix));
    }
}

/// The stages in an order in which each comes after those that it starts or copies from; the names
/// of those for which there is none.
pub fn stages(recipe: &Recipe) -> Result<Vec<(&StageName, &Stage)>, Vec<&StageName>> {
    let mut waiting: BTreeMap<&StageName, &Stage> = recipe.stages.iter().collect();
    let mut ordered = Vec::new();
    while !waiting.is_empty() {
        let ready = |stage: &Stage| {
            let copied = stage.steps.iter().filter_map(|step| match step {
                Step::Copy(copy) => copy.from.as_ref(),
                _ => None,
            });
            copied.chain([&stage.from]).all(|needed| !waiting.contains_key(needed))
        };
        let Some(name) = waiting.iter().find(|(_, stage)| ready(stage)).map(|(name, _)| *name) else {
            return Err(waiting.into_keys().collect());
        };
        ordered.extend(waiting.remove_entry(name));
    }
    Ok(ordered)
}

/// A value in a Dockerfile is one line; what cannot be written in one is refused, not mangled. Only
/// shell scripts may have more: they are written as JSON.
fn one_line(found: &mut Vec<Finding>, path: &[&str], node: &Node) {
    let bad = |text: &str| text.contains(char::is_control);
    let mut wrong = |node: &Node, reason: String| {
        found.push(Finding::at(&node.place, reason).fix("write it in one line of printable characters"));
    };
    match &node.kind {
        Kind::Scalar(Value::String(text)) if bad(text) && path.last() != Some(&"shell") => {
            let key = path.last().copied().unwrap_or_default();
            wrong(node, format!("`{key}`: {text:?} holds a line break or another control character"));
        }
        Kind::Scalar(_) => {}
        Kind::List(list, _) => list.iter().for_each(|node| one_line(found, path, node)),
        Kind::Table(table) => {
            for (key, (_, value)) in table {
                if bad(key) {
                    wrong(value, format!("the key {key:?} holds a control character"));
                }
            }
            for (key, (_, value)) in table {
                one_line(found, &[path, &[key]].concat(), value);
            }
        }
    }
}
