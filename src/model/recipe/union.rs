//! A tier that is several others at once, computed and never copied by hand.
//!
//! It starts from the nearest common ancestor of its members and does the steps of each of them. Of
//! the settings, what is equal stays once; services, ports, volumes and tests that share a name and
//! nothing else get the member's name in front; any other difference must be settled in the union's
//! own file.

use std::collections::{BTreeMap, BTreeSet};

use toml::Value;

use super::family::{Files, Generation, Part, heritable, lineage, unknown};
use super::parse::{Finding, Findings};
use super::tree::{Kind, Node, Place};
use crate::model::name::TierName;
use crate::model::words::quoted;

/// What a union inherits.
pub(super) struct Union {
    /// From the root to the nearest common ancestor.
    pub(super) ancestors: Vec<Generation>,
    /// What the members add to it.
    pub(super) parts: Vec<Part>,
    /// The settings of the ancestor and of all members.
    pub(super) settings: Node,
}

/// Tables of things whose names only have a meaning inside their tier.
const NAMED: [&str; 4] = ["ports", "services", "tests", "volumes"];

/// Tables whose keys mean the same everywhere.
const SHARED: [&str; 4] = ["args", "env", "labels", "tmpfs"];

/// Works out what a union inherits; `own` is its file, `members` what its key `union` names.
pub(super) fn of(
    own: &Node,
    members: &[TierName],
    files: &Files,
    above: &mut Vec<TierName>,
) -> Result<Union, Findings> {
    let place = own.place_of(["union"]);
    let refuse = |reason: String| Findings::from(Finding::at(&place, reason));
    let mut lines = Vec::new();
    for (index, member) in members.iter().enumerate() {
        if !files.tiers.contains_key(member) {
            return Err(unknown(member, files, &own.place_of(["union", &index.to_string()])).into());
        }
        let line = lineage(member, files, above)?;
        if line.iter().any(|generation| generation.parts.len() > 1) {
            return Err(refuse(format!("`{member}` is a union itself: name its members instead")));
        }
        lines.push(line);
    }
    let shared = (0..lines[0].len())
        .take_while(|at| {
            let tier = |line: &Vec<Generation>| line.get(*at).map(|generation| generation.tier.clone());
            lines.iter().all(|line| tier(line) == tier(&lines[0]))
        })
        .count();
    if shared == 0 {
        return Err(refuse(format!("{} have no ancestor in common", quoted(members))));
    }
    let mut parts: Vec<Part> = Vec::new();
    for part in lines.iter().flat_map(|line| &line[shared..]).flat_map(|generation| &generation.parts) {
        if parts.iter().all(|known| known.tier != part.tier) {
            parts.push(part.clone());
        }
    }
    let ancestors: Vec<Generation> = lines[0][..shared].to_vec();
    let additions: Vec<(&TierName, Node)> = lines
        .iter()
        .zip(members)
        .filter_map(|(line, member)| {
            let own = line[shared..].iter().flat_map(|generation| &generation.parts);
            let merged = own.map(|part| heritable(&part.own)).reduce(|below, above| above.over(below))?;
            Some((member, merged))
        })
        .collect();
    let combined = Combination { own, place: &place }.of(&additions)?;
    let settings = match ancestors.last() {
        Some(ancestor) => combined.over(heritable(&ancestor.tree)),
        None => combined,
    };
    Ok(Union { ancestors, parts, settings })
}

type Table = BTreeMap<String, (Place, Node)>;

struct Combination<'a> {
    own: &'a Node,
    place: &'a Place,
}

impl Combination<'_> {
    fn of(&self, members: &[(&TierName, Node)]) -> Result<Node, Findings> {
        let renamed: Vec<(&TierName, Node)> =
            members.iter().map(|(tier, node)| (*tier, rename(tier, node, members))).collect();
        let mut table = Table::new();
        let mut conflicts = Vec::new();
        for (_, member) in &renamed {
            let Kind::Table(keys) = &member.kind else { continue };
            for (key, (place, value)) in keys {
                // A union describes itself.
                if key == "description" {
                    continue;
                }
                let settled = self.own.get(key);
                match table.get_mut(key) {
                    None => {
                        table.insert(key.clone(), (place.clone(), value.clone()));
                    }
                    Some((_, there)) => self.join(key, there, value, settled, &mut conflicts),
                }
            }
        }
        Findings::none(conflicts)?;
        Ok(Node { place: self.place.clone(), kind: Kind::Table(table) })
    }

    /// Adds what another member says about a key.
    fn join(
        &self,
        path: &str,
        there: &mut Node,
        value: &Node,
        own: Option<&Node>,
        conflicts: &mut Vec<Finding>,
    ) {
        let top = path.split('.').next().unwrap_or_default();
        let inside =
            [NAMED.as_slice(), SHARED.as_slice(), &["policy"]].concat().contains(&top) && path == top;
        if there.value() == value.value() {
            return;
        }
        let first = there.place.clone();
        match (&mut there.kind, &value.kind) {
            (Kind::Table(table), Kind::Table(more)) if inside => {
                for (key, (place, value)) in more {
                    let settled = own.and_then(|own| own.get(key));
                    match table.get_mut(key) {
                        None => {
                            table.insert(key.clone(), (place.clone(), value.clone()));
                        }
                        Some((_, there)) => {
                            self.join(&format!("{path}.{key}"), there, value, settled, conflicts);
                        }
                    }
                }
            }
            (Kind::List(list, _), Kind::List(more, _))
                if ["capabilities", "devices", "policy"].contains(&top) =>
            {
                let known: Vec<Value> = list.iter().map(Node::value).collect();
                list.extend(more.iter().filter(|item| !known.contains(&item.value())).cloned());
            }
            // What the union's own file says replaces whatever the members say.
            _ if own.is_some() => {}
            _ => conflicts.push(
                Finding::at(
                    self.place,
                    format!("`{path}` is one thing at {} and another at {}", first, value.place),
                )
                .fix(format!("set `{path}` in this file")),
            ),
        }
    }
}

/// Puts the member's name before what shares a name with something else in another member.
fn rename(tier: &TierName, node: &Node, members: &[(&TierName, Node)]) -> Node {
    let mut node = node.clone();
    let clashing = |table: &str| -> BTreeSet<String> {
        let Some(Kind::Table(mine)) = node.get(table).map(|node| &node.kind) else { return BTreeSet::new() };
        let differs = |name: &&String| {
            let value = mine[*name].1.value();
            let there = |(_, other): &(&TierName, Node)| {
                other.get(table).and_then(|all| all.get(name)).map(Node::value)
            };
            members.iter().filter_map(there).any(|other| other != value)
        };
        mine.keys().filter(differs).cloned().collect()
    };
    let clashes: BTreeMap<&str, BTreeSet<String>> = NAMED.map(|table| (table, clashing(table))).into();
    let Kind::Table(keys) = &mut node.kind else { return node };
    for (table, names) in &clashes {
        let Some((_, Node { kind: Kind::Table(entries), .. })) = keys.get_mut(*table) else { continue };
        for name in names {
            if let Some(entry) = entries.remove(name) {
                entries.insert(format!("{tier}-{name}"), entry);
            }
        }
        for (_, entry) in entries.values_mut() {
            refer(entry, tier, &clashes["services"]);
        }
    }
    node
}

/// Follows the new names of services in `needs` and `service`.
fn refer(entry: &mut Node, tier: &TierName, services: &BTreeSet<String>) {
    let Kind::Table(keys) = &mut entry.kind else { return };
    for key in ["needs", "service"] {
        let Some((_, node)) = keys.get_mut(key) else { continue };
        let names: &mut [Node] = match &mut node.kind {
            Kind::List(list, _) => list,
            _ => std::slice::from_mut(node),
        };
        for name in names {
            if let Kind::Scalar(Value::String(text)) = &mut name.kind
                && services.contains(text)
            {
                *text = format!("{tier}-{text}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::family::tests::family;

    const BASE: &str = "base = 'scratch'\nworkdir = '/app'\n";
    const ONE: &str = "extends = 'base'\ncapabilities = ['NET_ADMIN']\n[services.shared]\ncommand = ['s']\n[services.main]\ncommand = ['1']\nneeds = ['shared']\n\
                       [services.after]\ncommand = ['a']\nneeds = ['main']\n[ports.api]\nnumber = 3000\nservice = 'main'\n[resources]\nmemory = '1 GiB'\n";
    const TWO: &str = "extends = 'base'\ncapabilities = ['NET_RAW', 'NET_ADMIN']\n[services.shared]\ncommand = ['s']\n[services.main]\ncommand = ['2']\n\
                       [ports.api]\nnumber = 3001\nservice = 'main'\n[resources]\nmemory = '2 GiB'\n";

    #[test]
    fn equal_things_stay_once_and_others_get_their_tier_in_front() {
        let all = "union = ['one', 'two']\n[resources]\nmemory = '3 GiB'\n";
        let family = family("all", &[("base", BASE), ("one", ONE), ("two", TWO), ("all", all)]).unwrap();
        let settings = family.settings();
        let services: Vec<String> = settings
            .services
            .iter()
            .map(|(name, service)| {
                let needs: Vec<&str> =
                    service.needs.iter().map(crate::model::name::ServiceName::as_str).collect();
                format!("{name} needs {}", needs.join(" "))
            })
            .collect();
        insta::assert_snapshot!(services.join("\n"), @"
        after needs one-main
        one-main needs shared
        shared needs 
        two-main needs
        ");
        let ports: Vec<String> =
            settings.ports.iter().map(|(name, port)| format!("{name} {}", port.number)).collect();
        assert_eq!(ports, ["one-api 3000", "two-api 3001"]);
        assert_eq!(
            settings.ports.values().map(|port| port.service.clone().unwrap().to_string()).collect::<Vec<_>>(),
            ["one-main", "two-main"]
        );
        let capabilities: Vec<&str> =
            settings.capabilities.iter().map(crate::model::name::Capability::as_str).collect();
        assert_eq!(capabilities, ["NET_ADMIN", "NET_RAW"]);
        assert_eq!(settings.workdir.as_deref(), Some("/app"));
        let tiers: Vec<&str> = family.generations()[1].parts.iter().map(|part| part.tier.as_str()).collect();
        assert_eq!(tiers, ["one", "two", "all"]);
    }

    #[test]
    fn what_differs_must_be_settled() {
        let refusal = |files: &[(&str, &str)]| family("all", files).unwrap_err().to_string();
        let all = "union = ['one', 'two']\n";
        insta::assert_snapshot!(refusal(&[("base", BASE), ("one", ONE), ("two", TWO), ("all", all)]), @"
        all.toml:1:1: `resources` is one thing at one.toml:14:1 and another at two.toml:10:1
          fix: set `resources` in this file
        ");
        insta::assert_snapshot!(refusal(&[("base", BASE), ("one", ONE), ("all", "union = ['one', 'tow']")]), @"
        all.toml:1:17: there is no tier `tow`
          fix: this project has `all`, `base`, `one`
        ");
        insta::assert_snapshot!(refusal(&[("one", BASE), ("two", BASE), ("all", all)]), @"all.toml:1:1: `one`, `two` have no ancestor in common");
        insta::assert_snapshot!(refusal(&[("base", BASE), ("one", ONE), ("two", "union = ['one', 'base']"), ("all", all)]), @"all.toml:1:1: `two` is a union itself: name its members instead");
        insta::assert_snapshot!(refusal(&[("base", BASE), ("one", ONE), ("all", "union = ['one', 'all']")]), @"all.toml:1:1: `all` is made from itself: `union` closes a circle");
    }
}
