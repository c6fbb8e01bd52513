//! The image's configuration, and the rules that need nothing else.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Charter, Finding, Rule};

/// What an image configuration says about its containers. Field names are Docker's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Settings {
    /// What it runs on, in Docker's word.
    #[serde(skip)]
    pub architecture: String,
    /// `name`, `uid`, `name:group`, `uid:gid`; empty: root.
    #[serde(deserialize_with = "or_default")]
    pub user: String,
    /// `NAME=value`.
    #[serde(deserialize_with = "or_default")]
    pub env: Vec<String>,
    /// What is started.
    #[serde(deserialize_with = "or_default")]
    pub entrypoint: Vec<String>,
    /// What it is given.
    #[serde(deserialize_with = "or_default")]
    pub cmd: Vec<String>,
    /// Where.
    #[serde(deserialize_with = "or_default")]
    pub working_dir: String,
    /// Notes for people and programs.
    #[serde(deserialize_with = "or_default")]
    pub labels: BTreeMap<String, String>,
    /// How the engine learns that the container works.
    #[serde(rename = "Healthcheck")]
    pub health: Option<Health>,
}

/// The health check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Health {
    /// `["CMD", argument..]`, `["CMD-SHELL", script]`, `["NONE"]`.
    #[serde(deserialize_with = "or_default")]
    pub test: Vec<String>,
    /// Nanoseconds between two checks.
    pub interval: u64,
    /// Nanoseconds that a check may take.
    pub timeout: u64,
    /// Nanoseconds after the start during which failures do not count.
    pub start_period: u64,
    /// Failures in a row that count.
    pub retries: u32,
}

/// Engines write `null` for what is not there.
fn or_default<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(
    input: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(input)?.unwrap_or_default())
}

/// Where programs are looked for in a container without a `PATH`.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Settings {
    /// Reads an image configuration.
    pub fn parse(config: &[u8]) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Image {
            #[serde(default)]
            architecture: String,
            #[serde(default)]
            config: Option<Settings>,
        }
        let Image { architecture, config } = serde_json::from_slice(config)?;
        Ok(Self { architecture, ..config.unwrap_or_default() })
    }

    /// The user and the group, where they are numbers. `root` is number 0.
    #[must_use]
    pub fn ids(&self) -> Option<(u64, u64)> {
        let (user, group) = self.user.split_once(':').unwrap_or((&self.user, ""));
        let number = |text: &str| match text {
            "" | "root" => Some(0),
            text => text.parse().ok(),
        };
        Some((number(user)?, number(group)?))
    }

    /// Folders in which programs are looked for.
    #[must_use]
    pub fn path(&self) -> Vec<&str> {
        let path = self.env.iter().find_map(|variable| variable.strip_prefix("PATH=")).unwrap_or(PATH);
        path.split(':').filter(|folder| !folder.is_empty()).collect()
    }

    /// The argument vector of the health check, if there is one.
    #[must_use]
    pub fn probe(&self) -> Option<Vec<String>> {
        let (form, rest) = self.health.as_ref()?.test.split_first()?;
        match form.as_str() {
            "CMD" if !rest.is_empty() => Some(rest.to_vec()),
            "CMD-SHELL" => Some([&["/bin/sh".to_owned(), "-c".to_owned()], rest].concat()),
            _ => None,
        }
    }
}

/// Rules that [`check`] looks at.
pub const SEEN: [Rule; 3] = [Rule::NonRoot, Rule::HealthCheck, Rule::Label];

/// Judges what the configuration alone shows; BuildKit tells it before it exports anything.
#[must_use]
pub fn check(charter: &Charter, settings: &Settings) -> Vec<Finding> {
    let mut findings = Vec::new();
    let said = charter.settings.user.as_ref().map(|user| user.uid);
    let root = settings.ids().is_none_or(|(uid, _)| uid == 0);
    let named = !settings.user.is_empty() && settings.ids().is_none();
    if named {
        findings.push(charter.error(
            Rule::NonRoot,
            &["user"],
            None,
            format!("the image runs as `{}`, a name that may mean any number", settings.user),
            "name a user with a number: `[user]` with `name`, `uid` and `gid`",
        ));
    } else if root && said != Some(0) {
        findings.push(charter.error(
            Rule::NonRoot,
            &["user"],
            None,
            "the image runs as root, and no `[user]` says so",
            "add `[user]` with `name`, `uid` and `gid`; if it must be root, say `name = \"root\"`, `uid = 0`, `gid = 0`",
        ));
    }
    if !charter.settings.services.is_empty() && settings.probe().is_none() {
        findings.push(charter.error(
            Rule::HealthCheck,
            &["services"],
            None,
            "the tier has services and no health check, so an engine cannot tell that they work",
            "add `[health]` with a `probe`",
        ));
    }
    for label in charter.settings.policy.iter().flat_map(|policy| policy.labels.iter()) {
        if settings.labels.get(label).is_none_or(String::is_empty) {
            findings.push(charter.error(
                Rule::Label,
                &["policy", "labels"],
                Some(label),
                format!("the label `{label}` is demanded, and the image does not have it"),
                format!("add `\"{label}\" = \"..\"` under `[labels]`"),
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_numbers_or_root() {
        let ids = |user: &str| Settings { user: user.to_owned(), ..Settings::default() }.ids();
        assert_eq!(ids(""), Some((0, 0)));
        assert_eq!(ids("root"), Some((0, 0)));
        assert_eq!(ids("1001:1002"), Some((1001, 1002)));
        assert_eq!(ids("0:1001"), Some((0, 1001)));
        assert_eq!(ids("node"), None);
    }

    #[test]
    fn a_configuration_may_hold_nulls() {
        let config = br#"{"config":{"User":"1:1","Env":null,"Entrypoint":null,"Labels":null,"Healthcheck":{"Test":["CMD-SHELL","true"]}}}"#;
        let settings = Settings::parse(config).unwrap();
        assert_eq!(settings.probe().unwrap(), ["/bin/sh", "-c", "true"]);
        assert_eq!(Settings::parse(b"{}").unwrap(), Settings::default());
    }
}
