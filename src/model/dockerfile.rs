//! The Dockerfile of a plan: one stage per tier, one per named stage.
//!
//! Written for the frontend that Docker 20.10 has built in (BuildKit 0.8): no `# syntax=` line,
//! which would need a registry, no heredocs, no `COPY --link`. Words from a recipe are always
//! quoted, so a value can never become an instruction.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::entrypoint::quote;
use super::name::{DebianName, StageName, TierName};
use super::plan::{Plan, entrypoint_path, rootfs_path, version_path};
use super::recipe::family::Family;
use super::recipe::{Base, Copy, Recipe, Run, Step, User, check};

/// The secret under which every package step finds the CA bundle of a company's proxy.
pub const CA_SECRET: &str = "ca-bundle";

/// Where the entrypoint is in the image.
const ENTRYPOINT: &str = "/usr/local/bin/imgforge-entrypoint";

pub(super) fn render(family: &Family, settings: &Recipe, plan: &Plan) -> String {
    let mut out = format!(
        "# Rendered by imgforge for `{}`. `{}/` holds what imgforge adds to the context.\n",
        plan.tag,
        super::plan::OWN_FOLDER
    );
    for (tier, recipe) in family.generations() {
        // A plan is only rendered after its recipes were checked, so there is an order.
        for (name, stage) in check::stages(recipe).unwrap_or_default() {
            let _ = writeln!(out, "\nFROM {} AS {}", stage.from, stage_name(tier, name));
            preamble(&mut out, recipe);
            stage.steps.iter().for_each(|step| write_step(&mut out, tier, step));
        }
        let parent = recipe.extends.as_ref().map_or("scratch", TierName::as_str);
        let _ = writeln!(out, "\nFROM {parent} AS {tier}");
        if let Some(Base::Debian(_)) = recipe.base {
            let _ = writeln!(out, "ADD {}", words(&[&rootfs_path(tier), "/"]));
        }
        if let Some(user) = &recipe.user {
            write_user(&mut out, user, recipe.workdir.as_deref());
        }
        preamble(&mut out, recipe);
        recipe.steps.iter().for_each(|step| write_step(&mut out, tier, step));
    }
    write_settings(&mut out, family, settings, plan);
    out
}

fn preamble(out: &mut String, recipe: &Recipe) {
    for (name, default) in &recipe.args {
        let _ = writeln!(out, "ARG {name}={}", value(default));
    }
    if let Some(directory) = &recipe.workdir {
        let _ = writeln!(out, "WORKDIR {}", value(directory));
    }
}

/// Appended by hand, not by `useradd`, which writes today's date into `/etc/shadow`.
fn write_user(out: &mut String, user: &User, home: Option<&str>) {
    let User { name, uid, gid } = user;
    let home = home.unwrap_or("/nonexistent");
    let line = quote(&format!("{name}:x:{uid}:{gid}::{home}:/usr/sbin/nologin"));
    let group = quote(&format!("{name}:x:{gid}:"));
    let script = format!("echo {line} >> /etc/passwd && echo {group} >> /etc/group");
    let _ = writeln!(out, "RUN {}", words(&["/bin/sh", "-c", &script]));
}

fn write_step(out: &mut String, tier: &TierName, step: &Step) {
    match step {
        Step::Copy(copy) => write_copy(out, tier, copy),
        Step::Run(Run { shell, secrets }) => {
            out.push_str("RUN ");
            for id in secrets {
                let _ = write!(out, "--mount=type=secret,id={id},required=true ");
            }
            let _ = writeln!(out, "{}", words(&["/bin/sh", "-c", shell]));
        }
        Step::Apt(apt) => {
            let packages = apt.packages.iter().map(DebianName::as_str).collect::<Vec<_>>().join(" ");
            let _ = writeln!(
                out,
                "RUN {}",
                words(&[
                    "/bin/sh",
                    "-c",
                    &format!(
                        "apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y \
                     --no-install-recommends -- {packages} && rm -rf /var/lib/apt/lists/*"
                    )
                ])
            );
        }
        Step::Npm(npm) => {
            let _ = writeln!(
                out,
                "RUN --mount=type=secret,id={CA_SECRET} --mount=type=cache,target=/root/.npm {}",
                words(&[
                    "/bin/sh",
                    "-c",
                    &format!(
                        "if [ -f /run/secrets/{CA_SECRET} ]; then export NODE_EXTRA_CA_CERTS=/run/secrets/{CA_SECRET}; fi; \
                     cd {} && npm ci --omit=dev --ignore-scripts --no-audit --no-fund",
                        quote(&npm.directory)
                    )
                ])
            );
        }
    }
}

fn write_copy(out: &mut String, tier: &TierName, copy: &Copy) {
    let from = copy.from.as_ref().map(|stage| format!("--from={} ", stage_name(tier, stage)));
    let owner = copy.owner.as_ref().map(|owner| format!("--chown={owner} "));
    // A tier's context stands under its name, so that parent and child may have one each.
    let paths = copy.paths.iter().map(|path| match copy.from {
        Some(_) => path.clone(),
        None => format!("{tier}/{path}"),
    });
    let all: Vec<String> = paths.chain([copy.to.clone()]).collect();
    let _ = writeln!(out, "COPY {}{}{}", from.unwrap_or_default(), owner.unwrap_or_default(), words(&all));
}

/// What the image says about itself, in the order from what rarely to what always changes.
fn write_settings(out: &mut String, family: &Family, settings: &Recipe, plan: &Plan) {
    if plan.generated.contains_key(&entrypoint_path()) {
        let _ = writeln!(out, "COPY {}", words(&[entrypoint_path().as_str(), ENTRYPOINT]));
        let init = settings.init.iter().flatten().map(String::as_str);
        let _ = writeln!(out, "ENTRYPOINT {}", words(&init.chain([ENTRYPOINT]).collect::<Vec<_>>()));
    }
    for (name, variable) in &settings.env {
        if let Some(default) = &variable.default {
            let _ = writeln!(out, "ENV {name}={}", value(default));
        }
    }
    for port in settings.ports.values() {
        let _ = writeln!(out, "EXPOSE {}", port.number);
    }
    if let Some(health) = &settings.health {
        let _ = writeln!(
            out,
            "HEALTHCHECK --interval={}s --timeout={}s --start-period={}s --retries={} CMD {}",
            health.interval,
            health.timeout,
            health.start_period,
            health.retries,
            words(&health.command)
        );
    }
    if let Some(user) = &settings.user {
        let _ = writeln!(out, "USER {}:{}", user.uid, user.gid);
    }
    let _ = writeln!(out, "COPY {}", words(&[version_path().as_str(), "/app/VERSION"]));
    for (key, text) in labels(family, settings, plan) {
        let _ = writeln!(out, "LABEL {}={}", value(&key), value(&text));
    }
}

fn labels(family: &Family, settings: &Recipe, plan: &Plan) -> BTreeMap<String, String> {
    let mut labels = family.project().labels.clone();
    let mut standard = |key: &str, text: &str| {
        labels.insert(format!("org.opencontainers.image.{key}"), text.to_owned());
    };
    standard("title", &format!("{}/{}", family.project().name, plan.tier));
    standard("version", &plan.version.to_string());
    if let Some(description) = &settings.description {
        standard("description", description);
    }
    labels.extend(settings.labels.clone());
    labels
}

fn stage_name(tier: &TierName, stage: &StageName) -> String {
    format!("{tier}.{stage}")
}

/// The JSON form of an instruction's arguments: spaces, quotes and newlines are safe in it.
fn words<T: AsRef<str>>(words: &[T]) -> String {
    let words: Vec<String> =
        words.iter().map(|word| serde_json::Value::from(word.as_ref()).to_string()).collect();
    format!("[{}]", words.join(", "))
}

/// A double-quoted value in which nothing expands. [`Plan::resolve`] refuses control characters,
/// because a Dockerfile cannot hold a newline in a value.
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
    fn a_value_cannot_become_an_instruction() {
        assert_eq!(value("a\" $HOME\\"), r#""a\" \$HOME\\""#);
        assert_eq!(words(&["a b", "c\"\nRUN x"]), r#"["a b", "c\"\nRUN x"]"#);
    }
}
