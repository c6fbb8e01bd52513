//! What is wrong with the environment contract, services, health and ports.

use std::collections::{BTreeMap, BTreeSet};

use super::Report;
use crate::model::name::ServiceName;
use crate::model::recipe::service::Protocol;
use crate::model::recipe::{Probe, Recipe};

/// Checks what runs in the container.
pub(super) fn settings(report: &mut Report<'_>, recipe: &Recipe) {
    variables(report, recipe);
    services(report, recipe);
    ports(report, recipe);
    if let Some(health) = &recipe.health {
        probe(report, &["health", "probe"], &health.probe);
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
    if let Some(heap) = recipe.resources.as_ref().and_then(|resources| resources.heap.as_ref())
        && !(1..=100).contains(&heap.percent)
    {
        report.wrong(
            &["resources", "heap", "percent"],
            format!("`percent` is {}", heap.percent),
            "write a number from 1 to 100",
        );
    }
}

fn variables(report: &mut Report<'_>, recipe: &Recipe) {
    for (name, variable) in &recipe.env {
        let at = |key: &'static str| ["env", name.as_str(), key];
        if variable.secret && variable.default.is_some() {
            report.wrong(&at("default"), "a secret with a default is no secret", "remove `default`");
        }
        if variable.required && variable.default.is_some() {
            report.wrong(
                &at("default"),
                "a variable with a default is never missing",
                "remove `default` or `required`",
            );
        }
        let Some(pattern) = &variable.pattern else { continue };
        match regex::Regex::new(&format!("^(?:{pattern})$")) {
            Err(_) => {
                report.wrong(
                    &at("pattern"),
                    format!("the pattern of `{name}` is not a regular expression"),
                    "see https://docs.rs/regex-lite",
                );
            }
            Ok(pattern) => {
                for (key, value) in [("default", &variable.default), ("example", &variable.example)] {
                    if value.as_ref().is_some_and(|value| !pattern.is_match(value)) {
                        report.wrong(
                            &at(key),
                            format!("the {key} of `{name}` does not match its pattern"),
                            "change the value or the pattern",
                        );
                    }
                }
            }
        }
    }
}

fn services(report: &mut Report<'_>, recipe: &Recipe) {
    for (name, service) in &recipe.services {
        let at = |key: &'static str| ["services", name.as_str(), key];
        if service.command.first().is_none_or(String::is_empty) {
            report.wrong(&at("command"), "the command is empty", "name a program");
        }
        for (index, need) in service.needs.iter().enumerate() {
            if !recipe.services.contains_key(need) {
                let known =
                    recipe.services.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
                let path = ["services", name.as_str(), "needs", &index.to_string()];
                report.wrong(
                    &path,
                    format!("there is no service `{need}`"),
                    format!("this tier has {known}"),
                );
            }
        }
        if let Some(ready) = &service.ready {
            probe(report, &["services", name.as_str(), "ready", "probe"], &ready.probe);
            if ready.probe == Probe::Services {
                report.wrong(
                    &["services", name.as_str(), "ready", "probe"],
                    "a service cannot wait for all of them",
                    "use `http`, `tcp` or `command`",
                );
            }
            if ready.within == 0 || ready.interval == 0 {
                report.wrong(
                    &at("ready"),
                    "`within` and `interval` must be at least 1 second",
                    "write a number of seconds",
                );
            }
        }
        if service.backoff.first > service.backoff.most {
            report.wrong(&at("backoff"), "`first` is longer than `most`", "write `first` not above `most`");
        }
    }
    if let Some(circle) = circle(recipe) {
        let names = circle.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        report.wrong(
            &["services", circle[0].as_str(), "needs"],
            format!("services {names} need each other in a circle"),
            "let one of them start without the others",
        );
    }
}

/// Services that can never start, because each needs another of them.
fn circle(recipe: &Recipe) -> Option<Vec<&ServiceName>> {
    let mut waiting: BTreeSet<&ServiceName> = recipe.services.keys().collect();
    loop {
        let ready: Vec<&ServiceName> = waiting
            .iter()
            .copied()
            .filter(|name| recipe.services[*name].needs.iter().all(|need| !waiting.contains(need)))
            .collect();
        if ready.is_empty() {
            return (!waiting.is_empty()).then(|| waiting.into_iter().collect());
        }
        for name in ready {
            waiting.remove(name);
        }
    }
}

fn probe(report: &mut Report<'_>, path: &[&str], probe: &Probe) {
    match probe {
        Probe::Http(url) if !is_local(url) => {
            report.wrong(
                path,
                format!("`{url}` is not an address of this container"),
                "write `http://127.0.0.1:PORT/PATH`",
            );
        }
        Probe::Command(command) if command.first().is_none_or(String::is_empty) => {
            report.wrong(path, "the command is empty", "name a program");
        }
        Probe::Tcp(0) => report.wrong(path, "0 is no port", "write a number from 1 to 65535"),
        Probe::Http(_) | Probe::Tcp(_) | Probe::Command(_) | Probe::Services => {}
    }
}

/// Plain HTTP to the container itself, with a port.
fn is_local(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return false };
    let authority = rest.split('/').next().unwrap_or_default();
    let port = ["127.0.0.1:", "localhost:", "[::1]:"].iter().find_map(|host| authority.strip_prefix(host));
    port.is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port != 0))
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
