//! Rules about single files: secrets, compilers, privileges; and the size of them all.

use std::collections::BTreeSet;

use super::{Charter, Evidence, Finding, Rule, Weight};
use crate::model::listing::What;
use crate::model::recipe::Size;

/// How many of the largest paths are named when a budget is exceeded.
const LARGEST: usize = 10;

pub(super) fn secrets(charter: &Charter, evidence: &Evidence) -> Vec<Finding> {
    let finding = |(path, secret): &(String, super::Secret)| {
        let gone = evidence.files.at(path).is_none();
        let gone = if gone { "; a later step removes it, but every layer is shipped" } else { "" };
        charter.error(
            Rule::Secret,
            &["steps"],
            Some(path),
            format!("`/{path}` {secret}{gone}"),
            "give it to a step with `secrets`, or to the container when it starts; change it if the image was ever shared",
        )
    };
    evidence.secrets.iter().map(finding).collect()
}

/// Names of programs that make programs; a prefix such as `x86_64-linux-gnu-` and a version at the end
/// are taken off first.
const COMPILERS: [&str; 21] = [
    "c++", "c89", "c99", "cargo", "cc", "cc1", "cc1plus", "clang", "clang++", "cmake", "cpp", "g++", "gcc",
    "gfortran", "gmake", "go", "javac", "make", "ninja", "rustc", "tcc",
];

pub(super) fn compilers(charter: &Charter, evidence: &Evidence) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, node) in evidence.files.iter() {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let folder = folder.rsplit('/').next().unwrap_or_default();
        let program = match node.what {
            What::File(_) => node.mode & 0o111 != 0,
            // Many names of one compiler are links to it: it is found by itself.
            _ => false,
        };
        let place = ["bin", "sbin"].contains(&folder) || name.starts_with("cc1");
        if program && place && COMPILERS.contains(&plain(name)) {
            findings.push(charter.error(
                Rule::Compiler,
                &["steps"],
                Some(path),
                format!("`/{path}` is a tool that builds programs"),
                "build in a stage of its own (`[stages.build]`) and copy only the result",
            ));
        }
    }
    findings
}

/// `x86_64-linux-gnu-gcc-14.2` is `gcc`.
fn plain(name: &str) -> &str {
    let version = |part: &str| part.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let name = match name.rsplit_once('-') {
        Some((rest, end)) if version(end) => rest,
        _ => name,
    };
    name.rsplit_once("-linux-gnu-").or(name.rsplit_once("-linux-musl-")).map_or(name, |(_, tool)| tool)
}

const SET_USER: u32 = 0o4000;
const SET_GROUP: u32 = 0o2000;

pub(super) fn privileges(charter: &Charter, evidence: &Evidence) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, node) in evidence.files.iter() {
        let What::File(_) = node.what else { continue };
        let before = evidence.base.at(path);
        let same_owner = before.is_some_and(|before| (before.uid, before.gid) == (node.uid, node.gid));
        let had = before.filter(|_| same_owner).map_or(0, |before| before.mode);
        let added = node.mode & !had;
        let mut gains = Vec::new();
        if added & SET_USER != 0 {
            gains.push(format!("runs as user {}, whoever starts it (set-user-ID)", node.uid));
        }
        if added & SET_GROUP != 0 {
            gains.push(format!("runs as group {}, whoever starts it (set-group-ID)", node.gid));
        }
        if node.capability.is_some() && node.capability != before.and_then(|node| node.capability.clone()) {
            gains.push("has file capabilities".to_owned());
        }
        if !gains.is_empty() {
            findings.push(charter.error(
                Rule::Setuid,
                &["steps"],
                Some(path),
                format!("`/{path}` {}, and the base does not have it so", gains.join(", and ")),
                format!("remove what needs it, or take the privilege away: `chmod ug-s /{path}` (`setcap -r` for capabilities)"),
            ));
        }
    }
    findings
}

pub(super) fn size(charter: &Charter, evidence: &Evidence) -> Vec<Finding> {
    let Some(size) = evidence.archive else { return Vec::new() };
    let Some(budget) = &charter.settings.size else { return Vec::new() };
    let (weight, key, Size(most)) = match budget.warn {
        _ if size > budget.limit.0 => (Weight::Error, "limit", budget.limit),
        Some(warn) if size > warn.0 => (Weight::Warning, "warn", warn),
        _ => return Vec::new(),
    };
    let largest = largest(evidence);
    let details = largest.iter().map(|(path, bytes)| format!("{:>9}  /{path}", megabytes(*bytes))).collect();
    let reason = format!(
        "the compressed archive has {}, more than {}; its largest files, before compression:",
        megabytes(size),
        megabytes(most)
    );
    let fix = "leave out what the services do not need, or raise the budget under `[size]`";
    vec![Finding { weight, details, ..charter.error(Rule::Size, &["size", key], None, reason, fix) }]
}

/// The largest files that a container sees.
fn largest(evidence: &Evidence) -> Vec<(&str, u64)> {
    let mut files: BTreeSet<(u64, &str)> = BTreeSet::new();
    for (path, node) in evidence.files.iter() {
        if let What::File(size) = node.what {
            files.insert((size, path));
            if files.len() > LARGEST {
                files.pop_first();
            }
        }
    }
    files.into_iter().rev().map(|(size, path)| (path, size)).collect()
}

/// Decimal megabytes, as a budget is written.
fn megabytes(bytes: u64) -> String {
    let tenths = bytes.div_ceil(100_000);
    format!("{}.{} MB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compilers_have_prefixes_and_versions() {
        for (name, expected) in [
            ("x86_64-linux-gnu-gcc-14", "gcc"),
            ("g++-12", "g++"),
            ("clang-15.0.7", "clang"),
            ("gcc", "gcc"),
            ("gcc-ranlib", "gcc-ranlib"),
            ("make", "make"),
            ("python3.11", "python3.11"),
        ] {
            assert_eq!(plain(name), expected);
        }
    }

    #[test]
    fn megabytes_are_decimal_and_rounded_up() {
        assert_eq!(megabytes(180_000_000), "180.0 MB");
        assert_eq!(megabytes(180_000_001), "180.1 MB");
    }
}
