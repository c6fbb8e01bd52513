//! What the image says about itself, in the order from what rarely to what always changes.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{value, words};
use crate::model::plan::{Plan, entrypoint_path, version_path, volumes_path};
use crate::model::recipe::family::Family;
use crate::model::recipe::service::Protocol;
use crate::model::recipe::{Owner, Probe};
use crate::model::run::{self, Requirements};

/// Where the entrypoint is in the image.
const ENTRYPOINT: &str = "/usr/local/bin/imgforge-entrypoint";

pub(super) fn write(out: &mut String, family: &Family, plan: &Plan) {
    let settings = family.settings();
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
        let protocol = if port.protocol == Protocol::Udp { "/udp" } else { "" };
        let _ = writeln!(out, "EXPOSE {}{protocol}", port.number);
    }
    if let Some(health) = &settings.health {
        let number = |text: &u16| text.to_string();
        let command = match &health.probe {
            Probe::Command(command) => command.clone(),
            Probe::Http(url) => probe(&["http", url]),
            Probe::Tcp(port) => probe(&["tcp", &number(port)]),
            Probe::Services => probe(&["services"]),
        };
        let _ = writeln!(
            out,
            "HEALTHCHECK --interval={}s --timeout={}s --start-period={}s --retries={} CMD {}",
            health.interval,
            health.timeout,
            health.start_period,
            health.retries,
            words(&command)
        );
    }
    write_volumes(out, plan);
    if let Some(user) = &settings.user {
        let _ = writeln!(out, "USER {}:{}", user.uid, user.gid);
    }
    let _ = writeln!(out, "COPY {}", words(&[version_path().as_str(), "/app/VERSION"]));
    for (key, text) in labels(family, plan) {
        let _ = writeln!(out, "LABEL {}={}", value(&key), value(&text));
    }
}

fn probe(words: &[&str]) -> Vec<String> {
    [&["/usr/local/bin/imgforge-init", "probe"], words].concat().into_iter().map(str::to_owned).collect()
}

/// A volume's directory is copied in, not made by a command: a base may have no shell.
fn write_volumes(out: &mut String, plan: &Plan) {
    let user = plan.settings.user.as_ref().map(|user| Owner { uid: user.uid, gid: user.gid });
    for (name, volume) in &plan.settings.volumes {
        let owner = volume.owner.or(user).map(|owner| format!("--chown={owner} ")).unwrap_or_default();
        let parent = volume.path.trim_end_matches('/').rsplit_once('/').map_or("", |(parent, _)| parent);
        let _ = writeln!(out, "COPY {owner}{}", words(&[volumes_path(name), format!("{parent}/")]));
    }
    if !plan.settings.volumes.is_empty() {
        let paths: Vec<&str> = plan.settings.volumes.values().map(|volume| volume.path.as_str()).collect();
        let _ = writeln!(out, "VOLUME {}", words(&paths));
    }
}

fn labels(family: &Family, plan: &Plan) -> BTreeMap<String, String> {
    let settings = family.settings();
    let mut labels = family.project().labels.clone();
    let mut standard = |key: &str, text: &str| {
        labels.insert(format!("org.opencontainers.image.{key}"), text.to_owned());
    };
    standard("title", &format!("{}/{}", family.project().name, plan.tier));
    standard("version", &plan.version.to_string());
    if let Some(description) = &settings.description {
        standard("description", description);
    }
    if let Some(Ok(json)) = Requirements::of(settings).map(|run| serde_json::to_string(&run)) {
        labels.insert(run::LABEL.to_owned(), json);
    }
    labels.extend(settings.labels.clone());
    labels
}
