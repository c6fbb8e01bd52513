//! A tier and the tiers it extends, root first.

use std::collections::BTreeMap;

use super::parse::Finding;
use super::{Project, Recipe};
use crate::model::name::TierName;

/// All that a plan is made from: the project and the recipes from the root tier to the one asked
/// for. It cannot be empty, has no cycle, and only its root has a base.
#[derive(Debug, Clone)]
pub struct Family {
    project: Project,
    ancestors: Vec<(TierName, Recipe)>,
    tier: (TierName, Recipe),
}

impl Family {
    /// Follows `extends` upwards. `recipes` are those of the project, by tier.
    pub fn of(
        tier: &TierName,
        project: Project,
        recipes: &BTreeMap<TierName, Recipe>,
    ) -> Result<Self, Finding> {
        let youngest = find(tier, recipes, tier)?;
        let mut ancestors: Vec<(TierName, Recipe)> = Vec::new();
        let mut below = (tier, youngest);
        while let Some(parent) = &below.1.extends {
            if parent == tier || ancestors.iter().any(|(name, _)| name == parent) {
                return Err(about(below.0, format!("`extends = \"{parent}\"` closes a circle")));
            }
            if below.1.base.is_some() {
                return Err(about(below.0, "has both `base` and `extends`: keep one of them"));
            }
            let recipe = find(parent, recipes, below.0)?;
            ancestors.push((parent.clone(), recipe.clone()));
            below = (parent, recipe);
        }
        if below.1.base.is_none() {
            return Err(about(below.0, "has neither `base` nor `extends`: add one of them"));
        }
        ancestors.reverse();
        Ok(Self { project, ancestors, tier: (tier.clone(), youngest.clone()) })
    }

    /// The project.
    #[must_use]
    pub fn project(&self) -> &Project {
        &self.project
    }

    /// The tier asked for.
    #[must_use]
    pub fn tier(&self) -> &TierName {
        &self.tier.0
    }

    /// From the root tier to the one asked for.
    pub fn generations(&self) -> impl Iterator<Item = &(TierName, Recipe)> {
        self.ancestors.iter().chain([&self.tier])
    }

    /// The settings of the image asked for: scalars replace, tables merge.
    ///
    /// What shapes the filesystem (`base`, `context`, `stages`, `steps`) is not merged: it reaches
    /// the child through its parent's image.
    #[must_use]
    pub fn settings(&self) -> Recipe {
        let mut merged = Recipe::default();
        for (_, recipe) in self.generations() {
            let next = recipe.clone();
            merged.description = next.description.or(merged.description);
            merged.workdir = next.workdir.or(merged.workdir);
            merged.init = next.init.or(merged.init);
            merged.user = next.user.or(merged.user);
            merged.health = next.health.or(merged.health);
            merged.args.extend(next.args);
            merged.env.extend(next.env);
            merged.services.extend(next.services);
            merged.ports.extend(next.ports);
            merged.labels.extend(next.labels);
        }
        merged
    }
}

fn about(tier: &TierName, reason: impl Into<String>) -> Finding {
    Finding::file(&format!("{tier}.toml"), reason)
}

fn find<'a>(
    tier: &TierName,
    recipes: &'a BTreeMap<TierName, Recipe>,
    asked_by: &TierName,
) -> Result<&'a Recipe, Finding> {
    recipes.get(tier).ok_or_else(|| {
        let known = recipes.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        about(asked_by, format!("there is no tier `{tier}`; this project has {known}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::recipe::parse::parse;

    fn family(tier: &str, files: &[(&str, &str)]) -> Result<Family, String> {
        let project = parse("project.toml", "name='p'\nversion='1.0.0'\nplatform='linux/amd64'").unwrap();
        let recipes =
            files.iter().map(|(name, text)| (name.parse().unwrap(), parse(name, text).unwrap())).collect();
        Family::of(&tier.parse().unwrap(), project, &recipes).map_err(|finding| finding.to_string())
    }

    const BASE: &str = "[base.debian]\nsuite = 'trixie'\npackages = []\n[labels]\na = '1'\nb = '1'\n";

    #[test]
    fn a_child_replaces_scalars_and_merges_tables() {
        let child = "extends = 'base'\nworkdir = '/app'\n[labels]\nb = '2'\n";
        let family = family("child", &[("base", BASE), ("child", child)]).unwrap();
        let settings = family.settings();
        assert_eq!(settings.workdir.as_deref(), Some("/app"));
        assert_eq!(settings.labels["a"], "1");
        assert_eq!(settings.labels["b"], "2");
        assert_eq!(
            family.generations().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
            ["base", "child"]
        );
    }

    #[test]
    fn refusals_name_the_file_and_the_fix() {
        let refusal = |tier, files: &[(&str, &str)]| family(tier, files).unwrap_err();
        insta::assert_snapshot!(refusal("nope", &[("base", BASE)]), @"nope.toml: there is no tier `nope`; this project has `base`");
        insta::assert_snapshot!(refusal("a", &[("a", "extends = 'b'"), ("b", "extends = 'a'")]), @r#"b.toml: `extends = "a"` closes a circle"#);
        insta::assert_snapshot!(refusal("a", &[("a", "extends = 'a'")]), @r#"a.toml: `extends = "a"` closes a circle"#);
        insta::assert_snapshot!(refusal("a", &[("a", "description = 'x'")]), @"a.toml: has neither `base` nor `extends`: add one of them");
        insta::assert_snapshot!(refusal("a", &[("base", BASE), ("a", &format!("extends = 'base'\n{BASE}"))]), @"a.toml: has both `base` and `extends`: keep one of them");
    }
}
