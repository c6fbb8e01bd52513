//! The floors of the house: each may look only down (see the map in `src/lib.rs`).

use std::fs;
use std::path::{Path, PathBuf};

/// Crates that only describe, and so may be named where nothing happens.
const MODEL_CRATES: [&str; 25] = [
    "base64",
    "cvss",
    "flate2",
    "regex",
    "regex_lite",
    "hex",
    "insta",
    "jiff",
    "object",
    "oci_spec",
    "pem",
    "pep440_rs",
    "pkcs8",
    "saphyr",
    "tar",
    "semver",
    "schemars",
    "serde",
    "serde_json",
    "serde_path_to_error",
    "sha2",
    "sigstore",
    "spdx",
    "strsim",
    "toml",
];

/// What steps share; every other step is a verb, and verbs do not know each other.
const SHARED_STEPS: [&str; 13] = [
    "atomic", "content", "debs", "engine", "feed", "http", "keyring", "layers", "members", "progress",
    "store", "stream", "web",
];

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                // Tests inside a file may use what they need.
                let text = text.split("#[cfg(test)]\nmod").next().unwrap_or_default();
                let text = text.split("#[cfg(test)]\npub(crate) mod").next().unwrap_or_default().to_owned();
                found.push((path, text));
            }
        }
    }
    assert!(!found.is_empty());
    found
}

/// Lines of code, without comments, with their number.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(at, line)| (at + 1, line))
}

fn complain(floor: &str, forbidden: impl Fn(&Path, &str) -> Option<String>) {
    let mut complaints = Vec::new();
    for (path, text) in sources(floor) {
        for (number, line) in code(&text) {
            if let Some(reason) = forbidden(&path, line) {
                complaints.push(format!("{}:{number}: {reason}: {}", path.display(), line.trim()));
            }
        }
    }
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// First names of the paths that a `use` line brings in.
fn used(line: &str) -> Option<&str> {
    line.trim_start().strip_prefix("use ")?.split([':', ';', ' ']).next()
}

#[test]
fn model_touches_nothing() {
    let forbidden = [
        "std::fs",
        "std::net",
        "std::env",
        "std::process",
        "std::thread",
        "std::time",
        "std::io",
        "tokio",
        "async ",
        "rand::",
        "Timestamp::now",
        "crate::step",
        "crate::flow",
        "File::open",
    ];
    complain("model", |_, line| {
        if let Some(name) = forbidden.iter().find(|name| line.contains(**name)) {
            return Some(format!("`model` may not name `{name}`"));
        }
        let name = used(line)?;
        let local = ["std", "core", "super", "crate", "self"].contains(&name) || MODEL_CRATES.contains(&name);
        (!local).then(|| format!("`model` may not name the crate `{name}`"))
    });
}

#[test]
fn steps_do_not_know_each_other() {
    complain("step", |path, line| {
        if line.contains("crate::flow") {
            return Some("`step` may not name `flow`".to_owned());
        }
        // Files of one folder below `step` are one step, in rooms.
        let family = path.components().rev().nth(1).is_some_and(|parent| parent.as_os_str() != "step");
        let target = match line.trim_start().strip_prefix("use ")? {
            rest if rest.starts_with("crate::step::") => rest.trim_start_matches("crate::step::"),
            rest if rest.starts_with("super::super::") => rest.trim_start_matches("super::super::"),
            rest if rest.starts_with("super::") && !family => rest.trim_start_matches("super::"),
            _ => return None,
        };
        let name = target.split([':', ';', '{']).next().unwrap_or_default();
        // `load` takes what `check` proved: the type is the proof that the order was kept.
        let proof = path.ends_with("load/loading.rs") && target.starts_with("check::Checked");
        (!SHARED_STEPS.contains(&name) && !proof).then(|| format!("a step may not name the step `{name}`"))
    });
}

#[test]
fn flows_name_no_third_party() {
    complain("flow", |_, line| {
        let name = used(line)?;
        (!["std", "super", "crate"].contains(&name))
            .then(|| format!("`flow` may not name the crate `{name}`"))
    });
}

#[test]
fn only_the_screen_prints() {
    for floor in ["model", "step", "flow", "cli"] {
        complain(floor, |path, line| {
            let prints = ["println!", "print!(", "eprintln!", "io::stdout", "io::stderr"];
            let prints = prints.iter().any(|name| line.contains(name));
            (prints && !path.ends_with("cli/screen.rs")).then(|| "only `cli/screen.rs` prints".to_owned())
        });
    }
}

#[test]
fn files_stay_readable() {
    for floor in ["model", "step", "flow", "cli", "init"] {
        for (path, text) in sources(floor) {
            let lines = text.lines().count();
            assert!(lines <= 400, "{} has {lines} lines: make a room of it", path.display());
        }
    }
}

#[test]
fn helpers_share_what_is_pure_and_nothing_else() {
    let runtime = ["address", "config", "sound"].map(|name| format!("../../model/runtime/{name}.rs"));
    let layers = ["../../model/blocks.rs", "../../model/layer/mod.rs"].map(str::to_owned);
    for (helper, shared) in [("init", &runtime[..]), ("differ", &layers[..])] {
        let included: Vec<String> = sources(&format!("{helper}/src"))
            .iter()
            .flat_map(|(_, text)| text.lines())
            .filter_map(|line| {
                Some(line.trim().strip_prefix("#[path = \"")?.trim_end_matches("\"]").to_owned())
            })
            .collect();
        assert_eq!(included, shared);
        complain(helper, |_, line| line.contains("unsafe ").then(|| "`unsafe` is forbidden".to_owned()));
    }
}

#[test]
fn an_error_does_not_repeat_its_source() {
    // `report` prints the chain; a message that holds its source would be read twice.
    for floor in ["model", "step", "flow"] {
        complain(floor, |_, line| {
            let repeats =
                line.contains("#[error(") && (line.contains("{source}") || line.contains("{0}: {1}"));
            repeats.then(|| "an error message repeats its source".to_owned())
        });
    }
}
