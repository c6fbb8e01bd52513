//! Names: parsed once at the edge, safe in paths, tags and stage names from then on.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// Why a text cannot be the name it should be.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` is not {} {kind}: {rule}", article(kind))]
pub struct BadName {
    text: String,
    kind: &'static str,
    rule: &'static str,
}

fn article(kind: &str) -> &'static str {
    if kind.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

const WORD_RULE: &str = "use 1 to 63 lower-case letters, digits and `-`, beginning with a letter";

const WORD_PATTERN: &str = "^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$";

/// The grammar that project, tier, channel, stage and service names share: it is safe as a file
/// name, a Docker repository component and a Dockerfile stage.
fn is_word(text: &str) -> bool {
    text.len() <= 63
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn is_variable(text: &str) -> bool {
    text.len() <= 128
        && text.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
        && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

/// Debian's grammar of package names, which fits the code names of its suites too.
fn is_debian(text: &str) -> bool {
    let first = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b);
    text.len() <= 100 && text.starts_with(first) && text.bytes().all(plain)
}

/// All that Linux 6 knows, so that a typing error is an error.
fn is_capability(text: &str) -> bool {
    const KNOWN: [&str; 41] = [
        "AUDIT_CONTROL",
        "AUDIT_READ",
        "AUDIT_WRITE",
        "BLOCK_SUSPEND",
        "BPF",
        "CHECKPOINT_RESTORE",
        "CHOWN",
        "DAC_OVERRIDE",
        "DAC_READ_SEARCH",
        "FOWNER",
        "FSETID",
        "IPC_LOCK",
        "IPC_OWNER",
        "KILL",
        "LEASE",
        "LINUX_IMMUTABLE",
        "MAC_ADMIN",
        "MAC_OVERRIDE",
        "MKNOD",
        "NET_ADMIN",
        "NET_BIND_SERVICE",
        "NET_BROADCAST",
        "NET_RAW",
        "PERFMON",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYSLOG",
        "SYS_ADMIN",
        "SYS_BOOT",
        "SYS_CHROOT",
        "SYS_MODULE",
        "SYS_NICE",
        "SYS_PACCT",
        "SYS_PTRACE",
        "SYS_RAWIO",
        "SYS_RESOURCE",
        "SYS_TIME",
        "SYS_TTY_CONFIG",
        "WAKE_ALARM",
    ];
    KNOWN.contains(&text)
}

/// Reads and writes a type as the text that it is parsed from and shown as.
macro_rules! text_form {
    ($type:ident) => {
        impl ::serde::Serialize for $type {
            fn serialize<S: ::serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
                out.collect_str(self)
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $type {
            fn deserialize<D: ::serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                let text = <String as ::serde::Deserialize>::deserialize(input)?;
                text.parse().map_err(::serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use text_form;

macro_rules! name {
    ($type:ident, $kind:literal, $check:expr, $pattern:expr, $rule:expr, $doc:literal) => {
        #[doc = $doc]
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = BadName;
            fn from_str(text: &str) -> Result<Self, BadName> {
                let check: fn(&str) -> bool = $check;
                if check(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(BadName { text: text.to_owned(), kind: $kind, rule: $rule })
                }
            }
        }
        text_form!($type);

        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "pattern": $pattern, "description": $rule})
            }
        }
    };
}

macro_rules! display_text {
    ($($type:ident),*) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    )*};
}

name!(ProjectName, "project name", is_word, WORD_PATTERN, WORD_RULE, "Whose images they are.");
name!(TierName, "tier name", is_word, WORD_PATTERN, WORD_RULE, "Which image of a project.");
name!(
    ChannelName,
    "channel name",
    is_word,
    WORD_PATTERN,
    WORD_RULE,
    "A signed pointer to the current release, such as `stable`."
);
name!(StageName, "stage name", is_word, WORD_PATTERN, WORD_RULE, "A stage inside a tier's recipe.");
name!(ServiceName, "service name", is_word, WORD_PATTERN, WORD_RULE, "A process that a tier runs.");
name!(
    VariableName,
    "environment variable name",
    is_variable,
    "^[A-Z_][A-Z0-9_]*$",
    "use upper-case letters, digits and `_`, beginning with a letter",
    "A variable of the environment contract or a build argument."
);
name!(
    DebianName,
    "Debian name",
    is_debian,
    "^[a-z0-9][a-z0-9+.-]*$",
    "use lower-case letters, digits, `+`, `-` and `.`, beginning with a letter or digit",
    "A Debian package or suite. It can never be taken for an option."
);
name!(
    Capability,
    "Linux capability",
    is_capability,
    "^[A-Z][A-Z0-9_]*$",
    "use its name without `CAP_`, such as `NET_ADMIN`",
    "Something that only root may do, and that a container can be allowed one by one."
);
display_text!(
    Capability,
    DebianName,
    ProjectName,
    TierName,
    ChannelName,
    StageName,
    ServiceName,
    VariableName
);

/// A release version: semantic versioning without build metadata, because `+` cannot be a Docker
/// tag, and ordered, because floors and rollback protection compare versions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(semver::Version);

impl FromStr for Version {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        match semver::Version::parse(text) {
            Ok(version) if version.build.is_empty() && text.len() <= 100 => Ok(Self(version)),
            _ => Err(BadName {
                text: text.to_owned(),
                kind: "version",
                rule: "use MAJOR.MINOR.PATCH, such as `1.4.0` or `1.4.0-rc.1`, without a leading `v`",
            }),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
text_form!(Version);

impl JsonSchema for Version {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Version".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "examples": ["1.4.0", "1.4.0-rc.1"]})
    }
}

/// Operating system and architecture, as OCI writes them: `linux/amd64`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`.
    pub architecture: String,
}

impl FromStr for Platform {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        match text {
            "linux/amd64" | "linux/arm64" => {
                let (os, architecture) = text.split_once('/').unwrap_or_default();
                Ok(Self { os: os.to_owned(), architecture: architecture.to_owned() })
            }
            _ => Err(BadName {
                text: text.to_owned(),
                kind: "platform",
                rule: "use `linux/amd64` or `linux/arm64`",
            }),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)
    }
}
text_form!(Platform);

impl JsonSchema for Platform {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Platform".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"enum": ["linux/amd64", "linux/arm64"]})
    }
}

/// The name under which an engine knows an image: `<project>/<tier>:<version>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImageTag {
    project: ProjectName,
    tier: TierName,
    version: Version,
}

impl ImageTag {
    /// The one tag that an image of this tier and version carries.
    #[must_use]
    pub fn new(project: &ProjectName, tier: &TierName, version: &Version) -> Self {
        Self { project: project.clone(), tier: tier.clone(), version: version.clone() }
    }

    /// Whose image.
    #[must_use]
    pub fn project(&self) -> &ProjectName {
        &self.project
    }

    /// Which image.
    #[must_use]
    pub fn tier(&self) -> &TierName {
        &self.tier
    }

    /// Which version.
    #[must_use]
    pub fn version(&self) -> &Version {
        &self.version
    }
}

impl fmt::Display for ImageTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.project, self.tier, self.version)
    }
}

impl FromStr for ImageTag {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let bad =
            || BadName { text: text.to_owned(), kind: "image tag", rule: "use `<project>/<tier>:<version>`" };
        let (repository, version) = text.split_once(':').ok_or_else(bad)?;
        let (project, tier) = repository.split_once('/').ok_or_else(bad)?;
        Ok(Self { project: project.parse()?, tier: tier.parse()?, version: version.parse()? })
    }
}
text_form!(ImageTag);

impl ChannelName {
    /// The channel of those who name none.
    #[must_use]
    pub fn stable() -> Self {
        Self("stable".to_owned())
    }
}

impl JsonSchema for ImageTag {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ImageTag".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "examples": ["noderr/oracle:1.4.0"]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_safe_in_paths_and_tags() {
        assert!("market-data".parse::<TierName>().is_ok());
        for text in ["", "Oracle", "a/b", "../x", "-a", "a-", "a.b", "1a", &"a".repeat(64)] {
            assert!(text.parse::<TierName>().is_err(), "{text} was accepted");
        }
    }

    #[test]
    fn versions_have_an_order_and_no_other_spelling() {
        let version = |text: &str| text.parse::<Version>().unwrap();
        assert!(version("1.4.0-rc.1") < version("1.4.0"));
        assert!(version("1.9.0") < version("1.10.0"));
        for text in ["v1.2.3", "1.2", "1.2.3+build", "1.2.3 ", "01.2.3"] {
            assert!(text.parse::<Version>().is_err(), "{text} was accepted");
        }
    }

    #[test]
    fn tags_round_trip() {
        let tag: ImageTag = "noderr/oracle:1.4.0".parse().unwrap();
        assert_eq!(tag.to_string(), "noderr/oracle:1.4.0");
        assert!("oracle:1.4.0".parse::<ImageTag>().is_err());
        assert!("evil.io/noderr/oracle:1.4.0".parse::<ImageTag>().is_err());
    }
}
