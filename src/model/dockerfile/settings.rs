//! What the image says about itself, in the order from what rarely to what always changes.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{value, words};
use crate::model::plan::{Plan, config_path, helper_path, version_path, volumes_path};
use crate::model::recipe::family::Family;
use crate::model::recipe::service::Protocol;
use crate::model::recipe::{Owner, Probe};
use crate::model::run::{self, Requirements};
use crate::model::runtime::{CONFIG_PATH, HELPER_PATH};

pub(super) fn write(out: &mut String, family: &Family, plan: &Plan) {
    let settings = family.settings();
    // The helper is the same in all tiers and versions, and so is its layer.
    for (path, to) in [(helper_path(), HELPER_PATH), (config_path(&plan.tier), CONFIG_PATH)] {
        if plan.generated.contains_key(&path) {
            let _ = writeln!(out, "COPY {}", words(&[path.as_str(), to]));
        }
    }
    if plan.generated.contains_key(&config_path(&plan.tier)) {
        let init = settings.init.iter().flatten().map(String::as_str);
        let _ = writeln!(out, "ENTRYPOINT {}", words(&init.chain([HELPER_PATH]).collect::<Vec<_>>()));
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
        // The engine ends a check that takes longer, and then nobody says why.
        let limit = health.timeout.to_string();
        let ask = |words: &[&str]| {
            let all = [&[HELPER_PATH, "probe"], words, &["--timeout", &limit]].concat();
            all.into_iter().map(str::to_owned).collect()
        };
        let command: Vec<String> = match &health.probe {
            Probe::Command(command) => command.clone(),
            Probe::Http(url) => ask(&["http", url]),
            Probe::Tcp(port) => ask(&["tcp", &port.to_string()]),
            Probe::Services => ask(&["services"]),
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
