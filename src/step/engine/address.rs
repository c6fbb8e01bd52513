//! Where an engine or a BuildKit daemon listens, as people write it.
//!
//! | written | meaning |
//! |---|---|
//! | `unix:///run/x.sock`, `tcp://host:port` | a socket; `tcp` with TLS when certificates are given |
//! | `ssh://[user@]host[:port]` | a program on another machine, through `ssh` |
//! | `docker-container://NAME`, `podman-container://NAME` | a `buildkitd` in a container |
//! | `kube-pod://POD?namespace=N&container=C&context=K` | a `buildkitd` in a pod |
//! | `buildx://NAME`, `buildx://` | a builder of `docker buildx`, or its current one |
//!
//! All but the first line are programs that pass bytes between their standard input and output and
//! the daemon. The words of those programs come from here and never from a file as they stand, so a
//! project's configuration can name a machine, but not a command.

use std::fmt;
use std::path::PathBuf;

/// Where an engine or a BuildKit daemon listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// `unix:///var/run/docker.sock`
    Unix(PathBuf),
    /// `tcp://host:port`
    Tcp {
        /// Host and port.
        host: String,
        /// Certificates; absent: no TLS.
        tls: Option<Credentials>,
    },
    /// A program whose standard input and output lead there.
    Program(Program),
}

/// Certificates for TLS, as files in PEM form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Who may vouch for the server.
    pub ca: PathBuf,
    /// Who we are, where the server asks for it: certificate and key.
    pub client: Option<(PathBuf, PathBuf)>,
    /// The name that the server's certificate must have; absent: the host's.
    pub server_name: Option<String>,
}

/// A program that passes bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The address as it was written.
    written: String,
    /// The program and its arguments.
    pub words: Vec<String>,
    /// What it leads to.
    pub leads_to: LeadsTo,
}

/// What is at the other end of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeadsTo {
    /// A Docker Engine's API.
    Engine,
    /// BuildKit itself.
    BuildKit,
}

/// A text that is no address.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` is not an address: use {forms}")]
pub struct BadAddress {
    text: String,
    forms: &'static str,
}

const ENGINE_FORMS: &str = "`unix:///path/to/socket`, `tcp://host:port` or `ssh://user@host`";
const BUILDER_FORMS: &str = "`unix:///path/to/socket`, `tcp://host:port`, `ssh://user@host`, \
     `docker+ssh://user@host`, `docker-container://NAME`, `podman-container://NAME`, `kube-pod://NAME` or \
     `buildx://NAME`";

impl Address {
    /// The address of a Docker Engine, as in `DOCKER_HOST`.
    pub fn engine(text: &str) -> Result<Self, BadAddress> {
        let parsed = match text.split_once("://") {
            Some(("ssh", rest)) => ssh(text, rest, LeadsTo::Engine),
            Some((scheme, rest)) => socket(scheme, rest),
            None => None,
        };
        parsed.ok_or_else(|| BadAddress { text: text.to_owned(), forms: ENGINE_FORMS })
    }

    /// The address of anything that builds, as in `BUILDKIT_HOST`. Whether a Docker Engine or a
    /// BuildKit daemon answers at a socket is found out when it does.
    pub fn builder(text: &str) -> Result<Self, BadAddress> {
        let parsed = match text.split_once("://") {
            Some(("ssh", rest)) => ssh(text, rest, LeadsTo::BuildKit),
            Some(("docker+ssh", rest)) => ssh(text, rest, LeadsTo::Engine),
            Some((scheme @ ("docker-container" | "podman-container"), name)) => {
                let program = scheme.trim_end_matches("-container");
                is_name(name)
                    .then(|| program_for(text, &[program, "exec", "-i", name, "buildctl", "dial-stdio"]))
            }
            Some(("kube-pod", rest)) => pod(text, rest),
            Some(("buildx", "")) => Some(program_for(text, &["docker", "buildx", "dial-stdio"])),
            Some(("buildx", name)) => is_name(name)
                .then(|| program_for(text, &["docker", "buildx", "dial-stdio", "--builder", name])),
            Some((scheme, rest)) => socket(scheme, rest),
            None => None,
        };
        parsed.ok_or_else(|| BadAddress { text: text.to_owned(), forms: BUILDER_FORMS })
    }

    /// The Docker Engine of the `docker` command's current context.
    #[must_use]
    pub fn docker_context() -> Self {
        let words = ["docker", "system", "dial-stdio"].map(str::to_owned).to_vec();
        let written = "docker system dial-stdio".to_owned();
        Self::Program(Program { written, words, leads_to: LeadsTo::Engine })
    }

    /// The same address with TLS; only `tcp` has it.
    #[must_use]
    pub fn with_tls(self, credentials: Option<Credentials>) -> Self {
        match self {
            Self::Tcp { host, .. } => Self::Tcp { host, tls: credentials },
            other => other,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { host, .. } => write!(f, "tcp://{host}"),
            Self::Program(program) => f.write_str(&program.written),
        }
    }
}

fn socket(scheme: &str, rest: &str) -> Option<Address> {
    match scheme {
        "unix" if rest.starts_with('/') => Some(Address::Unix(rest.into())),
        "tcp" => {
            let host = rest.trim_end_matches('/');
            let (name, port) = host.rsplit_once(':')?;
            let good = !name.is_empty() && port.parse::<u16>().is_ok();
            good.then(|| Address::Tcp { host: host.to_owned(), tls: None })
        }
        _ => None,
    }
}

fn program_for(written: &str, words: &[&str]) -> Address {
    let words = words.iter().map(|word| (*word).to_owned()).collect();
    Address::Program(Program { written: written.to_owned(), words, leads_to: LeadsTo::BuildKit })
}

/// Host and user become arguments of `ssh`, which takes one that begins with `-` for an option.
fn ssh(written: &str, rest: &str, leads_to: LeadsTo) -> Option<Address> {
    let rest = rest.trim_end_matches('/');
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (rest, None),
    };
    if port.is_some_and(|port| port.parse::<u16>().is_err()) || !host.split('@').all(is_name) {
        return None;
    }
    let remote: &[&str] = match leads_to {
        LeadsTo::Engine => &["docker", "system", "dial-stdio"],
        LeadsTo::BuildKit => &["buildctl", "dial-stdio"],
    };
    let mut words = vec!["ssh", "-T", "-o", "ConnectTimeout=30"];
    words.extend(port.iter().flat_map(|port| ["-p", port]));
    words.extend(["--", host]);
    words.extend(remote);
    let words = words.into_iter().map(str::to_owned).collect();
    Some(Address::Program(Program { written: written.to_owned(), words, leads_to }))
}

fn pod(written: &str, rest: &str) -> Option<Address> {
    let (name, settings) = rest.split_once('?').unwrap_or((rest, ""));
    let mut words = vec!["kubectl".to_owned(), "exec".to_owned(), "-i".to_owned()];
    for setting in settings.split('&').filter(|setting| !setting.is_empty()) {
        let (key, value) = setting.split_once('=')?;
        if !["namespace", "container", "context"].contains(&key) || !is_name(value) {
            return None;
        }
        words.push(format!("--{key}={value}"));
    }
    words.extend([name, "--", "buildctl", "dial-stdio"].map(str::to_owned));
    let leads_to = LeadsTo::BuildKit;
    is_name(name).then(|| Address::Program(Program { written: written.to_owned(), words, leads_to }))
}

/// A name that no program takes for an option, and no shell for more than a name: `ssh` joins its
/// last arguments and gives them to one.
fn is_name(text: &str) -> bool {
    let first = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    first && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_for_both() {
        for text in ["unix:///run/docker.sock", "tcp://[::1]:2375", "tcp://host:2375"] {
            assert_eq!(Address::engine(text).unwrap().to_string(), text);
            assert_eq!(Address::builder(text).unwrap(), Address::engine(text).unwrap());
        }
        for text in ["", "/run/docker.sock", "unix://run", "tcp://host", "tcp://:1", "http://host:1"] {
            assert!(Address::engine(text).is_err() && Address::builder(text).is_err(), "{text} was accepted");
        }
    }

    fn words(address: Result<Address, BadAddress>) -> String {
        match address.unwrap() {
            Address::Program(program) => program.words.join(" "),
            other => panic!("{other} is no program"),
        }
    }

    #[test]
    fn programs_lead_to_what_was_meant() {
        insta::assert_snapshot!(words(Address::engine("ssh://me@host:2222")), @"ssh -T -o ConnectTimeout=30 -p 2222 -- me@host docker system dial-stdio");
        insta::assert_snapshot!(words(Address::builder("ssh://host")), @"ssh -T -o ConnectTimeout=30 -- host buildctl dial-stdio");
        insta::assert_snapshot!(words(Address::builder("docker-container://bk")), @"docker exec -i bk buildctl dial-stdio");
        insta::assert_snapshot!(words(Address::builder("kube-pod://bk?namespace=ci")), @"kubectl exec -i --namespace=ci bk -- buildctl dial-stdio");
        insta::assert_snapshot!(words(Address::builder("buildx://arm")), @"docker buildx dial-stdio --builder arm");
    }

    #[test]
    fn a_name_cannot_become_an_option_or_a_command() {
        for text in [
            "ssh://-oProxyCommand=id",
            "ssh://a@-x",
            "ssh://host;id",
            "ssh://host$(id)",
            "ssh://host:no",
            "docker-container://-v",
            "docker-container://a b",
            "kube-pod://--help",
            "kube-pod://a?kubeconfig=x",
            "buildx://--debug",
        ] {
            assert!(Address::builder(text).is_err(), "{text} was accepted");
        }
    }
}
