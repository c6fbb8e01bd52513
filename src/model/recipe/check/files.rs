//! What is wrong with stages, steps, paths and limits.

use super::{Report, stages};
use crate::model::name::TierName;
use crate::model::recipe::family::Part;
use crate::model::recipe::{Base, BaseImage, Copy, Recipe, Step, Test};
use crate::model::words::quoted;

/// What one file does to the filesystem; `above` are the tiers that it can start from.
pub(super) fn part(report: &mut Report<'_>, part: &Part, above: &[&TierName]) {
    let recipe = &part.recipe;
    if let Some(Base::Image(BaseImage { reference })) = &recipe.base
        && !is_pinned(reference)
    {
        report.wrong(
            &["base", "image", "reference"],
            format!("`{reference}` does not say which image: a tag can be moved"),
            "write `registry/repository@sha256:..` with the digest of the image",
        );
    }
    for (name, stage) in &recipe.stages {
        let known = recipe.stages.contains_key(&stage.from)
            || above.iter().any(|tier| tier.as_str() == stage.from.as_str());
        if !known {
            let ancestors = quoted(above);
            let reason = format!(
                "stage `{name}` starts from `{}`, which is neither a stage nor an ancestor",
                stage.from
            );
            report.wrong(
                &["stages", name.as_str(), "from"],
                reason,
                format!("the ancestors are {ancestors}"),
            );
        }
        steps(report, recipe, &["stages", name.as_str(), "steps"], &stage.steps);
    }
    if let Err(circle) = stages(recipe) {
        let names = quoted(&circle);
        let reason = format!("stages {names} need each other in a circle");
        report.wrong(&["stages", circle[0].as_str()], reason, "let one of them do without the others");
    }
    steps(report, recipe, &["steps"], &recipe.steps);
}

fn steps(report: &mut Report<'_>, recipe: &Recipe, path: &[&str], steps: &[Step]) {
    for (index, step) in steps.iter().enumerate() {
        let index = index.to_string();
        let at = |rest: &[&'static str]| [path, &[&index], rest].concat();
        if step.lock().is_some() && recipe.context.is_none() {
            report.wrong(
                &at(&[]),
                "the lock is in a context, and the tier has none",
                "name the folder with `context = \"..\"`",
            );
        }
        match step {
            Step::Copy(step) => copy(report, recipe, &at(&["copy"]), step),
            Step::Apt(step) if step.packages.is_empty() => {
                report.wrong(
                    &at(&["apt", "packages"]),
                    "no package is named",
                    "name at least one, or remove the step",
                );
            }
            Step::Npm(step) => directory(report, &at(&["npm", "directory"]), &step.directory),
            Step::Pnpm(step) => directory(report, &at(&["pnpm", "directory"]), &step.directory),
            Step::Pip(step) => directory(report, &at(&["pip", "directory"]), &step.directory),
            Step::Cargo(step) => {
                directory(report, &at(&["cargo", "directory"]), &step.directory);
                directory(report, &at(&["cargo", "to"]), &step.to);
                if step.binaries.is_empty() {
                    report.wrong(
                        &at(&["cargo", "binaries"]),
                        "no program is kept",
                        "name the programs to keep",
                    );
                }
            }
            Step::Go(step) => {
                directory(report, &at(&["go", "directory"]), &step.directory);
                directory(report, &at(&["go", "to"]), &step.to);
            }
            Step::Apt(_) | Step::Run(_) => {}
        }
    }
}

fn copy(report: &mut Report<'_>, recipe: &Recipe, path: &[&str], copy: &Copy) {
    let at = |key: &'static str| [path, &[key]].concat();
    directory(report, &at("to"), &copy.to);
    if copy.paths.is_empty() {
        report.wrong(&at("paths"), "nothing is copied", "name what to copy");
    }
    match &copy.from {
        Some(stage) if !recipe.stages.contains_key(stage) => {
            report.wrong(
                &at("from"),
                format!("there is no stage `{stage}`"),
                format!("add `[stages.{stage}]`"),
            );
        }
        None if recipe.context.is_none() => {
            report.wrong(
                path,
                "copies from a context, and the tier has none",
                "name the folder with `context = \"..\"`",
            );
        }
        _ => {}
    }
    for file in &copy.paths {
        if file.split('/').any(|part| part == "..") {
            report.wrong(&at("paths"), format!("`{file}` leaves the context"), "name a wider `context`");
        } else if file.contains('$') {
            report.wrong(
                &at("paths"),
                format!("`{file}`: the `$` would be replaced while building"),
                "rename the file",
            );
        }
    }
}

/// A path in the image that means only itself.
fn directory(report: &mut Report<'_>, path: &[&str], directory: &str) {
    if !directory.starts_with('/') || directory.contains('$') || directory.split('/').any(|part| part == "..")
    {
        report.wrong(
            path,
            format!("`{directory}` is not an absolute path"),
            "begin with `/`, without `..` and `$`",
        );
    }
}

/// Paths and limits among the settings.
pub(super) fn settings(report: &mut Report<'_>, recipe: &Recipe) {
    if let Some(path) = &recipe.workdir {
        directory(report, &["workdir"], path);
        if path.contains(':') {
            report.wrong(
                &["workdir"],
                format!("`{path}` cannot be a home directory"),
                "write it without `:`",
            );
        }
    }
    for (name, volume) in &recipe.volumes {
        directory(report, &["volumes", name.as_str(), "path"], &volume.path);
        if volume.path.trim_end_matches('/').is_empty() {
            report.wrong(
                &["volumes", name.as_str(), "path"],
                "a volume cannot be all of `/`",
                "name a directory",
            );
        }
    }
    for path in recipe.tmpfs.keys() {
        directory(report, &["tmpfs", path], path);
    }
    for (index, device) in recipe.devices.iter().enumerate() {
        if !device.starts_with("/dev/") || device.contains("..") {
            report.wrong(
                &["devices", &index.to_string()],
                format!("`{device}` is not a device"),
                "write a path such as `/dev/net/tun`",
            );
        }
    }
    if let Some(resources) = &recipe.resources {
        if resources.cpus.is_some_and(|cpus| !(cpus > 0.0 && cpus.is_finite())) {
            report.wrong(
                &["resources", "cpus"],
                "`cpus` is not a number of processors",
                "write a number above 0, such as `1.5`",
            );
        }
        if resources.memory.is_some_and(|memory| memory.0 < 6 << 20) {
            report.wrong(
                &["resources", "memory"],
                "`memory` is less than engines accept",
                "write at least `6 MiB`",
            );
        }
    }
    if let Some(budget) = &recipe.size
        && budget.warn.is_some_and(|warn| warn > budget.limit)
    {
        report.wrong(
            &["size", "warn"],
            "`warn` is above `limit`: it would never warn",
            "write less than `limit`",
        );
    }
    for (name, test) in &recipe.tests {
        let name = name.as_str();
        match test {
            Test::Absent(path) => directory(report, &["tests", name, "absent"], path),
            Test::File(file) => directory(report, &["tests", name, "file", "path"], &file.path),
            Test::Command(command) if command.run.is_empty() => {
                report.wrong(&["tests", name, "command", "run"], "the command is empty", "name a program");
            }
            Test::Command(_) | Test::User(_) | Test::Port(_) => {}
        }
        let (key, pattern) = match test {
            Test::Command(test) => (["command", "stdout"], &test.stdout),
            Test::File(test) => (["file", "contains"], &test.contains),
            Test::Absent(_) | Test::User(_) | Test::Port(_) => continue,
        };
        if let Some(Err(error)) = pattern.as_ref().map(|pattern| regex::Regex::new(pattern)) {
            let error = error.to_string();
            report.wrong(
                &["tests", name, key[0], key[1]],
                format!("is not a regular expression: {}", error.lines().last().unwrap_or_default()),
                "correct it; `\\.` is a dot",
            );
        }
    }
    for (index, allowance) in recipe.policy.iter().flat_map(|policy| policy.allow.iter()).enumerate() {
        if allowance.reason.trim().is_empty() {
            report.wrong(
                &["policy", "allow", &index.to_string(), "reason"],
                "`reason` is empty",
                "say why it is right",
            );
        }
        if !allowance.rule.allowable() {
            report.wrong(
                &["policy", "allow", &index.to_string(), "rule"],
                format!("`{}` is the recipe's own demand: nothing can be excepted from it", allowance.rule),
                "change the test or the budget instead",
            );
        }
    }
}

/// Whether an image reference has a digest, and nothing that a Dockerfile would expand or split.
fn is_pinned(reference: &str) -> bool {
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/:".contains(&b));
    reference.split_once("@sha256:").is_some_and(|(name, digest)| {
        !name.is_empty()
            && plain(name)
            && digest.len() == 64
            && digest.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase())
    })
}
