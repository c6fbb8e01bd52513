//! Which releases may be removed from a store.

use std::collections::BTreeSet;

use super::name::Version;

/// What a channel protects.
#[derive(Debug, Clone)]
pub struct Line {
    /// Where it points.
    pub current: Version,
    /// The oldest version that anybody should still run.
    pub floor: Option<Version>,
}

/// The versions that nobody needs any more, the oldest first.
///
/// A version stays when a channel points to it, when it is newer than what any channel points to, when
/// a channel allows it (it is not below the floor), and when it is one of the `keep` newest below what a
/// channel points to: those are what one rolls back to. A channel without a floor allows all, so only
/// `keep` decides. Without any channel nobody knows what is needed, and everything stays.
#[must_use]
pub fn removable(versions: &[Version], lines: &[Line], keep: usize) -> Vec<Version> {
    let mut stays = BTreeSet::new();
    for line in lines {
        stays.extend(versions.iter().filter(|version| **version >= line.current));
        let mut below: Vec<&Version> = versions.iter().filter(|version| **version < line.current).collect();
        below.sort();
        stays.extend(below.iter().rev().take(keep.max(1)));
        if let Some(floor) = &line.floor {
            stays.extend(below.into_iter().filter(|version| *version >= floor));
        }
    }
    let mut goes: Vec<Version> =
        versions.iter().filter(|version| !stays.contains(version)).cloned().collect();
    goes.sort();
    if lines.is_empty() { Vec::new() } else { goes }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(text: &str) -> Vec<Version> {
        text.split_whitespace().map(|version| version.parse().unwrap()).collect()
    }

    fn line(current: &str, floor: &str) -> Line {
        Line { current: current.parse().unwrap(), floor: floor.parse().ok() }
    }

    #[test]
    fn what_is_needed_stays() {
        let all = versions("1.0.0 1.1.0 1.2.0 1.3.0 1.4.0 2.0.0");
        for (lines, keep, goes) in [
            (vec![], 1, ""),
            (vec![line("2.0.0", "")], 1, "1.0.0 1.1.0 1.2.0 1.3.0"),
            (vec![line("2.0.0", "")], 0, "1.0.0 1.1.0 1.2.0 1.3.0"),
            (vec![line("2.0.0", "1.2.0")], 1, "1.0.0 1.1.0"),
            (vec![line("2.0.0", ""), line("1.1.0", "")], 1, ""),
            (vec![line("1.3.0", "")], 2, "1.0.0"),
            (vec![line("2.0.0", "1.4.0"), line("1.4.0", "1.3.0")], 1, "1.0.0 1.1.0 1.2.0"),
        ] {
            assert_eq!(removable(&all, &lines, keep), versions(goes), "{lines:?} {keep}");
        }
    }
}
