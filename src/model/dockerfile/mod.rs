//! The Dockerfile of a plan: one stage per tier, one per named stage.
//!
//! Written for the frontend that Docker 20.10 has built in (BuildKit 0.8): no `# syntax=` line,
//! which would need a registry, no heredocs, no `COPY --link`. Words from a recipe are always
//! quoted, so a value can never become an instruction.

pub mod own;
mod pinned;
mod settings;
mod steps;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::lock::want::At;
use super::name::{StageName, TierName};
use super::plan::{Plan, rootfs_path};
use super::recipe::family::{Family, Generation, Part};
use super::recipe::{Base, User, check};

/// The secret under which every package step finds the CA bundle of a company's proxy.
pub const CA_SECRET: &str = "ca-bundle";

/// Renders a plan whose family was checked. `own` is the text of the Dockerfile that the root tier
/// starts from, where it does.
pub(super) fn render(family: &Family, plan: &Plan, own: Option<&str>) -> String {
    let mut out = own.map(|text| format!("{}\n\n", text.trim_end())).unwrap_or_default();
    let _ = writeln!(
        out,
        "# Rendered by imgforge for `{}`. `{}/` holds what imgforge adds to the context.",
        plan.tag,
        super::plan::OWN_FOLDER
    );
    let mut parent: Option<&Generation> = None;
    for generation in family.generations() {
        write_generation(&mut out, generation, parent, plan);
        parent = Some(generation);
    }
    settings::write(&mut out, family, plan);
    out
}

fn write_generation(out: &mut String, generation: &Generation, parent: Option<&Generation>, plan: &Plan) {
    let mut bodies: BTreeMap<String, String> = BTreeMap::new();
    let mut lines: Vec<String> = Vec::new();
    for part in &generation.parts {
        let names = write_stages(out, part, plan, &mut bodies);
        let mut body = String::new();
        if let (Some(user), true) = (&part.recipe.user, part.own.get("user").is_some()) {
            write_user(&mut body, user, part.recipe.workdir.as_deref());
        }
        preamble(&mut body, part);
        write_steps(&mut body, part, None, plan, &names);
        // What several members of a union do alike is done once.
        for line in body.lines() {
            let sets = ["ARG ", "WORKDIR "].iter().any(|word| line.starts_with(word));
            if sets || generation.parts.len() == 1 || !lines.iter().any(|known| known == line) {
                lines.push(line.to_owned());
            }
        }
    }
    let from = match (parent, &generation.recipe.base) {
        (Some(parent), _) => parent.tier.as_str(),
        (None, Some(Base::Image(image))) => &image.reference,
        (None, Some(Base::Dockerfile(dockerfile))) => &dockerfile.target,
        (None, _) => "scratch",
    };
    let _ = writeln!(out, "\nFROM {from} AS {}", generation.tier);
    if let Some(Base::Debian(_)) = generation.recipe.base {
        let _ = writeln!(out, "ADD {}", words(&[&rootfs_path(&generation.tier), "/"]));
    }
    for line in lines {
        let _ = writeln!(out, "{line}");
    }
}

/// Writes the stages of a part; returns the name of each. Equal stages of a union are written once.
fn write_stages<'a>(
    out: &mut String,
    part: &'a Part,
    plan: &Plan,
    bodies: &mut BTreeMap<String, String>,
) -> BTreeMap<&'a StageName, String> {
    let mut names = BTreeMap::new();
    // A plan is only rendered after its recipes were checked, so there is an order.
    for (name, stage) in check::stages(&part.recipe).unwrap_or_default() {
        let from = names.get(&stage.from).cloned().unwrap_or_else(|| stage.from.to_string());
        let mut body = String::new();
        preamble(&mut body, part);
        write_steps(&mut body, part, Some(name), plan, &names);
        let known = bodies.entry(format!("{from}\n{body}")).or_insert_with(|| {
            let name = stage_name(&part.tier, name);
            let _ = write!(out, "\nFROM {from} AS {name}\n{body}");
            name
        });
        names.insert(name, known.clone());
    }
    names
}

fn write_steps(
    out: &mut String,
    part: &Part,
    stage: Option<&StageName>,
    plan: &Plan,
    stages: &BTreeMap<&StageName, String>,
) {
    let steps = match stage {
        Some(stage) => part.recipe.stages.get(stage).map(|stage| &stage.steps),
        None => Some(&part.recipe.steps),
    };
    for (number, step) in steps.into_iter().flatten().enumerate() {
        let at = At { tier: part.tier.clone(), stage: stage.cloned(), step: Some(number) };
        steps::write(out, step, &steps::Where { part, plan, stages, pin: plan.lock.pin(&at) });
    }
}

fn preamble(out: &mut String, part: &Part) {
    for (name, default) in &part.recipe.args {
        let _ = writeln!(out, "ARG {name}={}", value(default));
    }
    if let (Some(directory), true) = (&part.recipe.workdir, part.own.get("workdir").is_some()) {
        let _ = writeln!(out, "WORKDIR {}", value(directory));
    }
}

/// Appended by hand, not by `useradd`, which writes today's date into `/etc/shadow`.
fn write_user(out: &mut String, user: &User, home: Option<&str>) {
    let User { name, uid, gid } = user;
    if *uid == 0 {
        return;
    }
    let home = home.unwrap_or("/nonexistent");
    let line = quote(&format!("{name}:x:{uid}:{gid}::{home}:/usr/sbin/nologin"));
    let group = quote(&format!("{name}:x:{gid}:"));
    let script = format!("echo {line} >> /etc/passwd && echo {group} >> /etc/group");
    let _ = writeln!(out, "RUN {}", words(&["/bin/sh", "-c", &script]));
}

fn stage_name(tier: &TierName, stage: &StageName) -> String {
    format!("{tier}.{stage}")
}

/// A word that the shell takes literally.
fn quote(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-./:@".contains(&b);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The JSON form of an instruction's arguments: spaces, quotes and newlines are safe in it.
fn words<T: AsRef<str>>(words: &[T]) -> String {
    let words: Vec<String> =
        words.iter().map(|word| serde_json::Value::from(word.as_ref()).to_string()).collect();
    format!("[{}]", words.join(", "))
}

/// A double-quoted value in which nothing expands. [`check`] refuses control characters, because a
/// Dockerfile cannot hold a newline in a value.
fn value(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' | '$' => quoted.extend(['\\', c]),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_what_a_shell_would_read() {
        assert_eq!(quote("services/telemetry/main.mjs"), "services/telemetry/main.mjs");
        assert_eq!(quote("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(quote(""), "''");
    }

    #[test]
    fn a_value_cannot_become_an_instruction() {
        assert_eq!(value("a\" $HOME\\"), r#""a\" \$HOME\\""#);
        assert_eq!(words(&["a b", "c\"\nRUN x"]), r#"["a b", "c\"\nRUN x"]"#);
    }
}
