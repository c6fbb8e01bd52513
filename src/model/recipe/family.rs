//! A tier and the tiers it is made from, root first.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use super::parse::{Finding, Findings, nearest, typed};
use super::tree::{Kind, Node, Place};
use super::{Project, Recipe, union};
use crate::model::name::{StageName, TierName};
use crate::model::words::quoted;

/// The files of a project, read but not yet understood.
#[derive(Debug, Clone)]
pub struct Files {
    /// `project.toml`.
    pub project: Node,
    /// `<tier>.toml`, by tier.
    pub tiers: BTreeMap<TierName, Node>,
}

/// What one file does to the filesystem.
#[derive(Debug, Clone)]
pub struct Part {
    /// Whose file it is.
    pub tier: TierName,
    /// Its stages and steps, with the settings that hold for them.
    pub recipe: Recipe,
    /// The file alone, without what it inherits.
    pub own: Node,
}

/// One image on the way from the root to the tier asked for.
#[derive(Debug, Clone)]
pub struct Generation {
    /// Which tier.
    pub tier: TierName,
    /// Its own file; of a union, the files of its members before it.
    pub parts: Vec<Part>,
    /// Its settings: scalars replace, tables merge, lists append. What shapes the filesystem (`base`,
    /// `context`, `stages`, `steps`) is its own alone: it reaches a child through its parent's image.
    pub recipe: Recipe,
    /// The same, with the place of every value.
    pub tree: Node,
}

/// All that a plan is made from: the project and the generations from the root tier to the one
/// asked for. It is never empty, has no circle, and only its root has a base.
#[derive(Debug, Clone)]
pub struct Family {
    project: Project,
    generations: Vec<Generation>,
}

/// Keys that are not inherited.
const OWN: [&str; 6] = ["base", "context", "extends", "stages", "steps", "union"];

impl Family {
    /// Follows `extends` and `union` upwards, and lays the values of an environment over the result.
    pub fn of(tier: &TierName, files: &Files, environment: Option<&StageName>) -> Result<Self, Findings> {
        let project: Project = typed(&files.project)?;
        if !files.tiers.contains_key(tier) {
            let reason = format!("there is no tier `{tier}` beside it; {}", known(files));
            return Err(Finding::file(&files.project.place.file, reason).into());
        }
        let mut generations = lineage(tier, files, &mut Vec::new())?;
        if let (Some(name), Some(last)) = (environment, generations.last_mut()) {
            last.tree = surround(files, &project, name)?.over(last.tree.clone());
            last.recipe = typed(&last.tree)?;
        }
        Ok(Self { project, generations })
    }

    /// The project.
    #[must_use]
    pub fn project(&self) -> &Project {
        &self.project
    }

    /// The tier asked for.
    #[must_use]
    pub fn tier(&self) -> &TierName {
        &self.last().tier
    }

    /// From the root tier to the one asked for.
    #[must_use]
    pub fn generations(&self) -> &[Generation] {
        &self.generations
    }

    /// The settings of the image asked for.
    #[must_use]
    pub fn settings(&self) -> &Recipe {
        &self.last().recipe
    }

    /// The settings, with the place of every value.
    #[must_use]
    pub fn tree(&self) -> &Node {
        &self.last().tree
    }

    fn last(&self) -> &Generation {
        self.generations.last().expect("a family has at least the tier that was asked for")
    }
}

/// The generations of a tier. `above` are the tiers that asked for it, to see a circle.
pub(super) fn lineage(
    tier: &TierName,
    files: &Files,
    above: &mut Vec<TierName>,
) -> Result<Vec<Generation>, Findings> {
    let Some(own) = files.tiers.get(tier) else {
        let asking = above.last().and_then(|asking| files.tiers.get(asking)).unwrap_or(&files.project);
        return Err(unknown(tier, files, &asking.place_of(["extends"])).into());
    };
    let parent: Option<TierName> = own.get("extends").map(typed).transpose()?;
    let members: Vec<TierName> = own.get("union").map(typed).transpose()?.unwrap_or_default();
    let about = |key: &str, reason: &str| Findings::from(Finding::at(&own.place_of([key]), reason));
    let origins = [parent.is_some(), !members.is_empty(), own.get("base").is_some()];
    match origins.into_iter().filter(|given| *given).count() {
        1 => {}
        0 => {
            let finding = Finding::at(&own.place, "nothing says what the tier starts from");
            return Err(finding.fix("add one of `base`, `extends` and `union`").into());
        }
        _ => return Err(about("extends", "only one of `base`, `extends` and `union` can be given")),
    }
    if above.contains(tier) {
        let key = if parent.is_some() { "extends" } else { "union" };
        return Err(about(key, &format!("`{tier}` is made from itself: `{key}` closes a circle")));
    }
    above.push(tier.clone());
    let (mut generations, mut parts, inherited) = if let Some(parent) = &parent {
        let generations = lineage(parent, files, above)?;
        let inherited = generations.last().map(|parent| heritable(&parent.tree));
        (generations, Vec::new(), inherited)
    } else if members.is_empty() {
        (Vec::new(), Vec::new(), None)
    } else {
        let union = union::of(own, &members, files, above)?;
        (union.ancestors, union.parts, Some(union.settings))
    };
    above.pop();
    let tree = match inherited {
        Some(inherited) => own.clone().over(inherited),
        None => own.clone(),
    };
    let recipe: Recipe = typed(&tree)?;
    parts.push(Part { tier: tier.clone(), recipe: recipe.clone(), own: own.clone() });
    generations.push(Generation { tier: tier.clone(), parts, recipe, tree });
    Ok(generations)
}

/// What a child takes over.
pub(super) fn heritable(tree: &Node) -> Node {
    let mut tree = tree.clone();
    if let Kind::Table(table) = &mut tree.kind {
        table.retain(|key, _| !OWN.contains(&key.as_str()));
    }
    tree
}

/// The values of an environment in the shape of a recipe.
fn surround(files: &Files, project: &Project, name: &StageName) -> Result<Node, Findings> {
    let place = files.project.place_of(["environments"]);
    let Some(environment) = files.project.get("environments").and_then(|all| all.get(name.as_str())) else {
        let finding = Finding::at(&place, format!("there is no environment `{name}`"));
        let known = match project.environments.len() {
            0 => "none".to_owned(),
            _ => quoted(project.environments.keys()),
        };
        return Err(finding.fix(format!("the project has {known}")).into());
    };
    let mut environment = environment.clone();
    if let Kind::Table(table) = &mut environment.kind
        && let Some((_, Node { kind: Kind::Table(variables), .. })) = table.get_mut("env")
    {
        for (place, value) in variables.values_mut() {
            let default = BTreeMap::from([("default".to_owned(), (place.clone(), value.clone()))]);
            *value = Node { place: place.clone(), kind: Kind::Table(default) };
        }
    }
    Ok(environment)
}

/// A tier that does not exist, at the place that names it.
pub(super) fn unknown(tier: &TierName, files: &Files, place: &Place) -> Finding {
    let names: Vec<&str> = files.tiers.keys().map(TierName::as_str).collect();
    let finding = Finding::at(place, format!("there is no tier `{tier}`"));
    match nearest(tier.as_str(), &names) {
        Some(meant) => finding.fix(format!("write `{meant}`; {}", known(files))),
        None => finding.fix(known(files)),
    }
}

fn known(files: &Files) -> String {
    format!("this project has {}", quoted(files.tiers.keys()))
}

impl Files {
    /// One value of a tier's own file, where it is there and of the right type.
    #[must_use]
    pub fn own<T: DeserializeOwned>(&self, tier: &TierName, key: &str) -> Option<T> {
        typed(self.tiers.get(tier)?.get(key)?).ok()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::recipe::parse::tree;

    /// A family of files that are written in a test.
    pub(in crate::model::recipe) fn family(tier: &str, files: &[(&str, &str)]) -> Result<Family, Findings> {
        let project =
            "name='p'\nversion='1.0.0'\nplatforms=['linux/amd64']\n[environments.test.env]\nA='2'\n";
        let read = |(name, text): &(&str, &str)| {
            (name.parse().unwrap(), tree(&format!("{name}.toml"), text).unwrap())
        };
        let tiers = files.iter().map(read).collect();
        let files = Files { project: tree("project.toml", project).unwrap(), tiers };
        Family::of(&tier.parse().unwrap(), &files, None)
    }

    const BASE: &str = "[base.debian]\nsuite = 'trixie'\npackages = []\n[labels]\na = '1'\nb = '1'\n";

    #[test]
    fn a_child_replaces_scalars_and_merges_tables() {
        let child = "extends = 'base'\nworkdir = '/app'\n[labels]\nb = '2'\n";
        let family = family("child", &[("base", BASE), ("child", child)]).unwrap();
        let settings = family.settings();
        assert_eq!(settings.workdir.as_deref(), Some("/app"));
        assert_eq!((&*settings.labels["a"], &*settings.labels["b"]), ("1", "2"));
        assert_eq!(settings.base, None, "the base reaches the child through its parent");
        assert_eq!(family.tree().place_of(["labels", "a"]).to_string(), "base.toml:5:1");
        let tiers: Vec<&str> = family.generations().iter().map(|one| one.tier.as_str()).collect();
        assert_eq!(tiers, ["base", "child"]);
    }

    #[test]
    fn a_child_may_change_one_key_of_a_table() {
        let base = format!("{BASE}[env.A]\ndescription = 'a'\ndefault = '1'\n");
        let family =
            family("c", &[("base", &base), ("c", "extends = 'base'\n[env.A]\ndefault = '2'\n")]).unwrap();
        let [variable] = family.settings().env.values().collect::<Vec<_>>()[..] else {
            panic!("one variable")
        };
        assert_eq!((&*variable.description, variable.default.as_deref()), ("a", Some("2")));
    }

    #[test]
    fn refusals_name_the_place_and_the_fix() {
        let refusal = |tier, files: &[(&str, &str)]| family(tier, files).unwrap_err().to_string();
        insta::assert_snapshot!(refusal("nope", &[("base", BASE)]), @"project.toml: there is no tier `nope` beside it; this project has `base`");
        insta::assert_snapshot!(refusal("a", &[("base", BASE), ("a", "extends = 'bose'")]), @"
        a.toml:1:1: there is no tier `bose`
          fix: write `base`; this project has `a`, `base`
        ");
        insta::assert_snapshot!(refusal("a", &[("a", "extends = 'b'"), ("b", "extends = 'a'")]), @"a.toml:1:1: `a` is made from itself: `extends` closes a circle");
        insta::assert_snapshot!(refusal("a", &[("a", "extends = 'a'")]), @"a.toml:1:1: `a` is made from itself: `extends` closes a circle");
        insta::assert_snapshot!(refusal("a", &[("a", "description = 'x'")]), @"
        a.toml:1:1: nothing says what the tier starts from
          fix: add one of `base`, `extends` and `union`
        ");
        insta::assert_snapshot!(refusal("a", &[("base", BASE), ("a", &format!("extends = 'base'\n{BASE}"))]), @"a.toml:1:1: only one of `base`, `extends` and `union` can be given");
        insta::assert_snapshot!(refusal("a", &[("base", BASE), ("a", "extends = 'base'\n[services.x]\nneeds = []\n")]), @"
        a.toml:2:11: `command` is missing
          fix: add `command = ..`
        ");
    }
}
