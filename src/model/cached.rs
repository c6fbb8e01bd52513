//! Which archives of the cache nobody needs any more.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::name::{ImageTag, Platform, ProjectName, TierName, Version};

/// What an archive in the cache is of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Held {
    /// Whose image.
    pub project: ProjectName,
    /// Which image.
    pub tier: TierName,
    /// For which platform.
    pub platform: Platform,
    /// Which version.
    pub version: Version,
}

impl Held {
    /// The name that an engine knows it by.
    #[must_use]
    pub fn tag(&self) -> ImageTag {
        ImageTag::new(&self.project, &self.tier, &self.version)
    }
}

/// Archives of each tier that always stay: the newest, and the one to roll back to.
pub const KEPT: usize = 2;

/// Those that may go, the oldest first: neither among the newest of their tier, nor in use.
#[must_use]
pub fn needless(all: &[Held], in_use: &BTreeSet<String>) -> Vec<Held> {
    let mut tiers: BTreeMap<_, Vec<&Held>> = BTreeMap::new();
    for held in all {
        tiers.entry((&held.project, &held.tier, &held.platform)).or_default().push(held);
    }
    let mut needless = Vec::new();
    for (_, mut versions) in tiers {
        versions.sort_by_key(|held| Reverse(&held.version));
        versions.dedup_by_key(|held| &held.version);
        let old = versions.into_iter().skip(KEPT);
        needless.extend(old.filter(|held| !in_use.contains(&held.tag().to_string())).cloned());
    }
    needless.sort_by(|one, other| one.version.cmp(&other.version).then_with(|| one.cmp(other)));
    needless
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_and_what_one_rolls_back_to_stay() {
        let held = |tier: &str, version: &str| Held {
            project: "noderr".parse().unwrap(),
            tier: tier.parse().unwrap(),
            platform: "linux/amd64".parse().unwrap(),
            version: version.parse().unwrap(),
        };
        let all = [
            held("oracle", "1.0.0"),
            held("oracle", "1.10.0"),
            held("oracle", "1.9.0"),
            held("oracle", "1.2.0"),
            held("guardian", "0.1.0"),
        ];
        let goes = |in_use: &[&str]| -> Vec<String> {
            let in_use = in_use.iter().map(ToString::to_string).collect();
            needless(&all, &in_use).iter().map(|held| held.tag().to_string()).collect()
        };
        assert_eq!(goes(&[]), ["noderr/oracle:1.0.0", "noderr/oracle:1.2.0"]);
        assert_eq!(goes(&["noderr/oracle:1.0.0"]), ["noderr/oracle:1.2.0"]);
    }
}
