//! What parses but cannot work: found when a recipe is checked, and once more by the helper, which
//! believes no file.

use std::collections::{BTreeMap, BTreeSet};

use regex_lite::Regex;

use super::address::LocalUrl;
use super::config::{Config, Probe, Service, Variable};

/// Something that cannot work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Keys from the top of a recipe down, such as `services`, `telemetry`, `command`.
    pub place: Vec<String>,
    /// What is wrong.
    pub reason: String,
    /// What would be right.
    pub fix: String,
}

impl core::fmt::Display for Problem {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "`{}`: {}: {}", self.place.join("."), self.reason, self.fix)
    }
}

/// Collects problems below one key.
struct Report<'a> {
    found: &'a mut Vec<Problem>,
    at: [&'a str; 2],
}

impl Report<'_> {
    fn wrong(&mut self, below: &[&str], reason: impl Into<String>, fix: impl Into<String>) {
        let place = self.at.iter().chain(below).map(|&key| key.to_owned()).collect();
        self.found.push(Problem { place, reason: reason.into(), fix: fix.into() });
    }
}

/// A regular expression that a whole value has to match.
///
/// By `regex-lite` on both sides, so that what is accepted in a recipe is understood in the image.
pub fn pattern(text: &str) -> Result<Regex, String> {
    // Alone first: `a)(b` is only an expression inside the group.
    Regex::new(text).and_then(|_| Regex::new(&format!(r"\A(?:{text})\z"))).map_err(|error| error.to_string())
}

/// All that is wrong with a configuration.
#[must_use]
pub fn problems(config: &Config) -> Vec<Problem> {
    let mut found = Vec::new();
    for (name, contract) in &config.env {
        variable(&mut Report { found: &mut found, at: ["env", name] }, name, contract, &config.env);
    }
    for (name, spec) in &config.services {
        service(&mut Report { found: &mut found, at: ["services", name] }, name, spec, config);
    }
    if let Err(circle) = order(&config.services) {
        let names = circle.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let first = circle.first().copied().unwrap_or_default();
        Report { found: &mut found, at: ["services", first] }.wrong(
            &["needs"],
            format!("services {names} need each other in a circle"),
            "let one of them start without the others",
        );
    }
    if let Some(heap) = config.heap.filter(|heap| !(1..=100).contains(&heap.percent)) {
        Report { found: &mut found, at: ["resources", "heap"] }.wrong(
            &["percent"],
            format!("`percent` is {}", heap.percent),
            "write a number from 1 to 100",
        );
    }
    found
}

fn variable(report: &mut Report<'_>, name: &str, variable: &Variable, all: &BTreeMap<String, Variable>) {
    match variable.pattern.as_deref().map(pattern) {
        Some(Err(why)) => {
            let reason = format!("the pattern of `{name}` is not a regular expression: {why}");
            report.wrong(&["pattern"], reason, "see https://docs.rs/regex-lite");
        }
        Some(Ok(pattern)) => {
            for (key, value) in [("default", &variable.default), ("example", &variable.example)] {
                if value.as_ref().is_some_and(|value| !pattern.is_match(value)) {
                    let reason = format!("the {key} of `{name}` does not match its pattern");
                    report.wrong(&[key], reason, "change the value or the pattern");
                }
            }
        }
        None => {}
    }
    if let Some(default) = &variable.default {
        if variable.secret {
            report.wrong(&["default"], "a secret with a default is no secret", "remove `default`");
        }
        if variable.required {
            let reason = "a variable with a default is never missing";
            report.wrong(&["default"], reason, "remove `default` or `required`");
        }
        if default.is_empty() {
            report.wrong(&["default"], "an empty value counts as none", "remove `default`");
        }
    }
    let file = format!("{name}_FILE");
    if variable.secret && all.contains_key(&file) {
        let reason = format!("`{file}` is how this secret is given as a file, and a variable of its own");
        report.wrong(&["secret"], reason, format!("rename `[env.{file}]`"));
    }
}

fn service(report: &mut Report<'_>, name: &str, service: &Service, config: &Config) {
    if service.command.first().is_none_or(String::is_empty) {
        report.wrong(&["command"], "the command is empty", "name a program");
    }
    for (index, need) in service.needs.iter().enumerate() {
        if !config.services.contains_key(need) {
            let known = config.services.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            let reason = format!("there is no service `{need}`");
            report.wrong(&["needs", &index.to_string()], reason, format!("this tier has {known}"));
        } else if need == name {
            report.wrong(&["needs", &index.to_string()], "a service cannot need itself", "remove it");
        }
    }
    if service.directory.as_ref().is_some_and(|directory| !directory.starts_with('/')) {
        report.wrong(
            &["directory"],
            format!("the directory of `{name}` is not absolute"),
            "begin it with `/`",
        );
    }
    for variable in service.environment.keys() {
        if config.env.get(variable).is_some_and(|contract| contract.secret) {
            let reason = format!("`{variable}` is a secret of the operator");
            report.wrong(&["environment", variable], reason, "remove it: every service gets it");
        }
    }
    if let Some(ready) = &service.ready {
        if let Err((reason, fix)) = probe(&ready.probe) {
            report.wrong(&["ready", "probe"], reason, fix);
        }
        if ready.within == 0 || ready.interval == 0 {
            let reason = "`within` and `interval` must be at least 1 second";
            report.wrong(&["ready"], reason, "write a number of seconds");
        }
    }
    let backoff = service.backoff;
    if backoff.first == 0 {
        report.wrong(&["backoff"], "`first` is no pause", "write at least 1 second");
    }
    if backoff.first > backoff.most {
        report.wrong(&["backoff"], "`first` is longer than `most`", "write `first` not above `most`");
    }
}

/// Why a probe cannot be asked, and what would be right.
pub fn probe(probe: &Probe) -> Result<(), (String, &'static str)> {
    match probe {
        Probe::Http(url) => {
            let local = url.parse::<LocalUrl>().map(drop);
            local.map_err(|reason| (reason, "write `http://127.0.0.1:PORT/PATH`"))
        }
        Probe::Tcp(0) => Err(("0 is no port".to_owned(), "write a number from 1 to 65535")),
        Probe::Command(words) if words.first().is_none_or(String::is_empty) => {
            Err(("the command is empty".to_owned(), "name a program"))
        }
        Probe::Tcp(_) | Probe::Command(_) => Ok(()),
    }
}

/// Names in an order in which each service comes after those that it needs; or those that cannot be
/// ordered. Needs that do not exist are somebody else's finding.
pub fn order(services: &BTreeMap<String, Service>) -> Result<Vec<&str>, Vec<&str>> {
    let mut waiting: BTreeMap<&str, &Service> =
        services.iter().map(|(name, service)| (name.as_str(), service)).collect();
    let mut ordered = Vec::new();
    while !waiting.is_empty() {
        let free = |(name, service): &(&&str, &&Service)| {
            service.needs.iter().all(|need| need == **name || !waiting.contains_key(need.as_str()))
        };
        let Some(name) = waiting.iter().find(free).map(|(name, _)| *name) else {
            return Err(circle(&waiting));
        };
        waiting.remove(name);
        ordered.push(name);
    }
    Ok(ordered)
}

/// Of services that wait for each other, those on the circle and not those behind it.
fn circle<'a>(waiting: &BTreeMap<&'a str, &'a Service>) -> Vec<&'a str> {
    let mut path: Vec<&str> = waiting.keys().next().copied().into_iter().collect();
    let mut seen: BTreeSet<&str> = path.iter().copied().collect();
    while let Some(service) = path.last().and_then(|last| waiting.get(last)) {
        let next = service.needs.iter().find_map(|need| waiting.get_key_value(need.as_str()));
        let Some((&next, _)) = next else { break };
        if !seen.insert(next) {
            return path.iter().skip_while(|name| **name != next).copied().collect();
        }
        path.push(next);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> Config {
        serde_json::from_str(json).unwrap()
    }

    fn service(extra: &str) -> String {
        format!(
            r#"{{"command":["x"],"restart":"never","backoff":{{"first":1,"most":2,"restarts":0}},
                "stop":{{"signal":"TERM","timeout":10}}{extra}}}"#
        )
    }

    fn services(list: &[(&str, &str)]) -> Config {
        let list: Vec<String> =
            list.iter().map(|(name, extra)| format!("{name:?}:{}", service(extra))).collect();
        config(&format!(r#"{{"tier":"t","services":{{{}}}}}"#, list.join(",")))
    }

    fn said(config: &Config) -> Vec<String> {
        problems(config).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn services_are_ordered_by_need() {
        let config = services(&[("a", r#","needs":["c"]"#), ("b", ""), ("c", r#","needs":["b"]"#)]);
        assert_eq!(order(&config.services).unwrap(), ["b", "c", "a"]);
        assert!(problems(&config).is_empty());
    }

    #[test]
    fn a_circle_names_its_members_only() {
        let config = services(&[
            ("a", r#","needs":["b"]"#),
            ("b", r#","needs":["c"]"#),
            ("c", r#","needs":["b"]"#),
            ("d", ""),
        ]);
        let said = said(&config);
        assert_eq!(
            said,
            [
                "`services.b.needs`: services `b`, `c` need each other in a circle: let one of them start without the others"
            ]
        );
    }

    #[test]
    fn each_fault_of_a_service_has_its_place() {
        let config = services(&[
            ("a", r#","needs":["a","z"],"directory":"x""#),
            ("b", r#","ready":{"probe":{"tcp":0},"within":0,"interval":1}"#),
            ("c", r#","ready":{"probe":{"http":"http://example.com"},"within":1,"interval":1}"#),
        ]);
        assert_eq!(
            said(&config),
            [
                "`services.a.needs.0`: a service cannot need itself: remove it",
                "`services.a.needs.1`: there is no service `z`: this tier has `a`, `b`, `c`",
                "`services.a.directory`: the directory of `a` is not absolute: begin it with `/`",
                "`services.b.ready.probe`: 0 is no port: write a number from 1 to 65535",
                "`services.b.ready`: `within` and `interval` must be at least 1 second: write a number of seconds",
                "`services.c.ready.probe`: `http://example.com` is not an address of this container: write `http://127.0.0.1:PORT/PATH`",
            ]
        );
    }

    #[test]
    fn each_fault_of_a_variable_has_its_place() {
        let config = config(
            r#"{"tier":"t","services":{},"heap":{"runtime":"go","percent":101},"env":{
                "A":{"description":"a","pattern":"("},
                "B":{"description":"b","pattern":"[a-z]+","default":"a1","example":"ok"},
                "C":{"description":"c","secret":true,"default":"x"},
                "C_FILE":{"description":"d","required":true,"default":"x"}}}"#,
        );
        let said = said(&config);
        assert!(
            said[0].starts_with("`env.A.pattern`: the pattern of `A` is not a regular expression: "),
            "{said:?}"
        );
        assert_eq!(
            said[1..],
            [
                "`env.B.default`: the default of `B` does not match its pattern: change the value or the pattern",
                "`env.C.default`: a secret with a default is no secret: remove `default`",
                "`env.C.secret`: `C_FILE` is how this secret is given as a file, and a variable of its own: rename `[env.C_FILE]`",
                "`env.C_FILE.default`: a variable with a default is never missing: remove `default` or `required`",
                "`resources.heap.percent`: `percent` is 101: write a number from 1 to 100",
            ]
        );
    }

    #[test]
    fn a_pattern_is_about_the_whole_value_and_cannot_leave_its_group() {
        let digits = pattern("a|b").unwrap();
        assert!(digits.is_match("a") && !digits.is_match("ab") && !digits.is_match("a\n"));
        assert!(pattern("a)|(b").is_err());
    }
}
