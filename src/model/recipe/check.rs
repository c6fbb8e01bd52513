//! What parses but cannot work, or could be read as something else than it says.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::{Copy, Project, Recipe, Stage, Step};
use crate::model::name::StageName;

/// Checks the project.
pub fn project(project: &Project) -> Result<(), String> {
    one_line(project)
}

/// Checks one tier by itself.
pub fn recipe(recipe: &Recipe) -> Result<(), String> {
    one_line(recipe)?;
    if let Some(directory) = &recipe.workdir
        && (!directory.starts_with('/') || directory.contains([':', '$']))
    {
        return Err(format!("workdir `{directory}`: write an absolute path without `:` and `$`"));
    }
    let commands =
        recipe.services.iter().map(|(name, service)| (format!("services.{name}"), &service.command));
    let health = recipe.health.iter().map(|health| ("health".to_owned(), &health.command));
    if let Some((place, _)) = commands.chain(health).find(|(_, command)| command.is_empty()) {
        return Err(format!("`{place}`: the command is empty"));
    }
    for step in recipe.stages.values().flat_map(|stage| &stage.steps).chain(&recipe.steps) {
        match step {
            Step::Copy(step) => copy(recipe, step)?,
            Step::Apt(step) if step.packages.is_empty() => return Err("apt: name a package".to_owned()),
            Step::Apt(_) | Step::Npm(_) | Step::Run(_) => {}
        }
    }
    stages(recipe).map(drop)
}

/// The stages in an order in which each comes after those that it copies from.
pub fn stages(recipe: &Recipe) -> Result<Vec<(&StageName, &Stage)>, String> {
    let mut waiting: BTreeMap<&StageName, &Stage> = recipe.stages.iter().collect();
    let mut ordered = Vec::new();
    while !waiting.is_empty() {
        let ready = |stage: &Stage| {
            stage.steps.iter().all(|step| match step {
                Step::Copy(Copy { from: Some(from), .. }) => !waiting.contains_key(from),
                _ => true,
            })
        };
        let Some(name) = waiting.iter().find(|(_, stage)| ready(stage)).map(|(name, _)| *name) else {
            let names = waiting.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            return Err(format!("stages {names} copy from each other in a circle"));
        };
        ordered.extend(waiting.remove_entry(name));
    }
    Ok(ordered)
}

fn copy(recipe: &Recipe, copy: &Copy) -> Result<(), String> {
    if !copy.to.starts_with('/') || copy.to.contains('$') {
        return Err(format!("copy to `{}`: write an absolute path without `$`", copy.to));
    }
    if copy.paths.is_empty() {
        return Err(format!("copy to `{}`: name what to copy in `paths`", copy.to));
    }
    match &copy.from {
        Some(stage) if !recipe.stages.contains_key(stage) => {
            return Err(format!("copy from `{stage}`: there is no `[stages.{stage}]`"));
        }
        None if recipe.context.is_none() => {
            let paths = copy.paths.join("`, `");
            return Err(format!("copy of `{paths}`: name the folder with `context = \"..\"`"));
        }
        _ => {}
    }
    let leaves = |path: &&String| path.contains('$') || path.split('/').any(|part| part == "..");
    match copy.paths.iter().find(leaves) {
        Some(path) => Err(format!("copy of `{path}`: `..` leaves the context and `$` would expand")),
        None => Ok(()),
    }
}

/// A value in a Dockerfile is one line; what cannot be written in one is refused, not mangled. Only
/// shell scripts may have more: they are written as JSON.
fn one_line<T: Serialize>(written: &T) -> Result<(), String> {
    fn walk(key: &str, value: &Value) -> Result<(), String> {
        let bad = |text: &str| text.contains(char::is_control);
        match value {
            Value::String(text) if key != "shell" && bad(text) => {
                Err(format!("`{key}`: {text:?} holds a line break or another control character"))
            }
            Value::Array(list) => list.iter().try_for_each(|value| walk(key, value)),
            Value::Object(map) => map.iter().try_for_each(|(name, value)| {
                if bad(name) {
                    Err(format!("`{key}`: the key {name:?} holds a control character"))
                } else {
                    walk(name, value)
                }
            }),
            _ => Ok(()),
        }
    }
    walk("", &serde_json::to_value(written).unwrap_or_default())
}
