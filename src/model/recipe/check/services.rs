//! What is wrong with the environment contract, services, health and ports.

use std::collections::BTreeMap;

use super::Report;
use crate::model::name::ServiceName;
use crate::model::recipe::service::Protocol;
use crate::model::recipe::{Probe, Recipe};
use crate::model::runtime::config::{self, Config};
use crate::model::runtime::sound::{self, Problem};

/// Checks what runs in the container.
pub(super) fn settings(report: &mut Report<'_>, recipe: &Recipe) {
    runtime(report, recipe);
    ports(report, recipe);
    if let Some(health) = &recipe.health {
        if let Some(Err((reason, fix))) = config::Probe::of(&health.probe).as_ref().map(sound::probe) {
            report.wrong(&["health", "probe"], reason, fix);
        }
        if health.probe == Probe::Services && recipe.services.is_empty() {
            report.wrong(
                &["health", "probe"],
                "there are no services to ask",
                "add services or another probe",
            );
        }
    }
    if !recipe.services.is_empty() && recipe.user.is_none() {
        report.wrong(
            &["services"],
            "the services would run as root",
            "add `[user]` with a name and numbers; if it has to be root, say `name = \"root\"`, `uid = 0`, `gid = 0`",
        );
    }
    if let Some(user) = &recipe.user
        && (user.name.as_str() == "root") != (user.uid == 0)
    {
        report.wrong(
            &["user", "uid"],
            format!("`{}` with number {}", user.name, user.uid),
            "`root` is number 0, and nobody else is",
        );
    }
}

/// What the helper in the image refuses as well: one implementation for both.
fn runtime(report: &mut Report<'_>, recipe: &Recipe) {
    for Problem { place, reason, fix } in sound::problems(&Config::of("", recipe)) {
        let place: Vec<&str> = place.iter().map(String::as_str).collect();
        report.wrong(&place, reason, fix);
    }
    for (name, service) in &recipe.services {
        if service.ready.as_ref().is_some_and(|ready| ready.probe == Probe::Services) {
            report.wrong(
                &["services", name.as_str(), "ready", "probe"],
                "a service cannot wait for all of them",
                "use `http`, `tcp` or `command`",
            );
        }
    }
}

fn ports(report: &mut Report<'_>, recipe: &Recipe) {
    let mut numbers: BTreeMap<(u16, bool), &ServiceName> = BTreeMap::new();
    for (name, port) in &recipe.ports {
        if let Some(first) = numbers.insert((port.number, port.protocol == Protocol::Udp), name) {
            report.wrong(
                &["ports", name.as_str(), "number"],
                format!("{} is also the number of `{first}`", port.number),
                "give each port a number of its own",
            );
        }
        if port.number == 0 {
            report.wrong(
                &["ports", name.as_str(), "number"],
                "0 is no port",
                "write a number from 1 to 65535",
            );
        }
        if let Some(service) = port.service.as_ref().filter(|service| !recipe.services.contains_key(*service))
        {
            report.wrong(
                &["ports", name.as_str(), "service"],
                format!("there is no service `{service}`"),
                "name a service of this tier",
            );
        }
    }
}
