//! Tests of the recipe and of the health check: what is tried in a container. What comes of it is judged in
//! [`super::verdict`].
//!
//! What can be seen is looked at in the files ([`super::look`]); the rest is run inside the image,
//! without a network, before the image is exported.

use std::collections::{BTreeMap, BTreeSet};

use super::Charter;
use super::settings::Settings;
use crate::model::name::{StageName, VariableName};
use crate::model::recipe::Test;
use crate::model::recipe::proof::{CommandTest, PortTest};
use crate::model::recipe::service::Protocol;

/// Something to try in a container of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trial {
    /// A command, once, where nothing else runs.
    Command {
        /// What it is for.
        aim: Aim,
        /// The command.
        process: Process,
        /// Seconds that it may take.
        within: u32,
    },
    /// The health check, while what the container starts runs: it must succeed in time.
    Health {
        /// What is started.
        start: Process,
        /// The check.
        probe: Process,
        /// Ports that tell, as soon as something listens on all of them, when asking is worth while.
        ports: BTreeSet<u16>,
        /// Seconds after the start in which it must have succeeded.
        within: u32,
    },
    /// Ports on which what the container starts must listen. Tests with the same start share a container.
    Ports {
        /// What is started, if the image starts anything.
        start: Option<Process>,
        /// The tests.
        tests: BTreeMap<StageName, PortTest>,
    },
}

/// What a command is tried for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Aim {
    /// A test of the recipe.
    Test(StageName),
    /// The health check, where nothing runs: it must fail.
    Idle,
}

/// A process inside the image, as the image's own user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Process {
    /// Argument vector.
    pub args: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// User and group.
    pub user: String,
    /// Working directory.
    pub directory: String,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// With this code.
    Exit(u32),
    /// Not in time.
    Late,
    /// It could not be started.
    Unable(String),
}

/// What came of asking something in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// How what was asked last ended.
    pub ended: Ended,
    /// What it printed to stdout and to stderr.
    pub printed: [Vec<u8>; 2],
    /// How what the container started ended before all was answered, where it did, and what it printed last.
    pub beside: Option<(Option<Ended>, Vec<u8>)>,
}

/// A command of a test gets this long, in seconds.
pub(super) const COMMAND_LIMIT: u32 = 60;

/// The health check's first success is waited for at most this long, whatever its start period.
const HEALTH_LIMIT: u32 = 180;

const NANOSECONDS: u64 = 1_000_000_000;

/// What has to be run inside the image.
#[must_use]
pub fn trials(charter: &Charter, settings: &Settings) -> Vec<Trial> {
    let mut trials = Vec::new();
    if let (Some(probe), Some(health)) = (settings.probe(), &settings.health) {
        let probe = process(settings, probe, []);
        let timeout = seconds(health.timeout).clamp(1, COMMAND_LIMIT);
        trials.push(Trial::Command { aim: Aim::Idle, process: probe.clone(), within: timeout });
        if let Some(start) = start(charter, settings, []) {
            let patience = seconds(health.start_period).saturating_add(seconds(health.interval));
            let within = patience.clamp(1, HEALTH_LIMIT);
            trials.push(Trial::Health { start, probe, ports: ports(charter), within });
        }
    }
    let mut listening: Vec<(Option<Process>, BTreeMap<StageName, PortTest>)> = Vec::new();
    for (name, test) in &charter.settings.tests {
        match test {
            Test::Command(CommandTest { run, environment, .. }) => {
                let process = process(settings, run.clone(), pairs(environment));
                let aim = Aim::Test(name.clone());
                trials.push(Trial::Command { aim, process, within: COMMAND_LIMIT });
            }
            Test::Port(test) => {
                // A variable without a value is for the test to notice: the container refuses to start.
                let start = start(charter, settings, pairs(&test.environment)).or_else(|| {
                    let command = [settings.entrypoint.clone(), settings.cmd.clone()].concat();
                    (!command.is_empty()).then(|| process(settings, command, pairs(&test.environment)))
                });
                let (name, test) = (name.clone(), test.clone());
                match listening.iter_mut().find(|(known, _)| *known == start) {
                    Some((_, tests)) => drop(tests.insert(name, test)),
                    None => listening.push((start, [(name, test)].into())),
                }
            }
            Test::File(_) | Test::Absent(_) | Test::User(_) => {}
        }
    }
    trials.extend(listening.into_iter().map(|(start, tests)| Trial::Ports { start, tests }));
    trials
}

/// The recipe's TCP ports.
fn ports(charter: &Charter) -> BTreeSet<u16> {
    let ports = charter.settings.ports.values();
    ports.filter(|port| port.protocol == Protocol::Tcp).map(|port| port.number).collect()
}

/// Prints the sockets of the container. Nothing else is in every image that has a shell.
#[must_use]
pub fn sockets(settings: &Settings) -> Process {
    let args = ["cat", "/proc/net/tcp", "/proc/net/tcp6"].map(str::to_owned);
    process(settings, args.to_vec(), [])
}

/// The ports that something listens on, by the kernel's table of sockets (`proc_net_tcp`): a line has
/// its number, the local and the remote address, and its state, of which `0A` is listening.
#[must_use]
pub fn listening(table: &[u8]) -> BTreeSet<u16> {
    let port = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let (_, port) = fields.next()?.rsplit_once(':')?;
        (fields.nth(1)? == "0A").then(|| u16::from_str_radix(port, 16).ok())?
    };
    String::from_utf8_lossy(table).lines().filter_map(port).collect()
}

fn seconds(nanoseconds: u64) -> u32 {
    // Docker's defaults where nothing is said are 30 s; zero means the default.
    if nanoseconds == 0 { 30 } else { u32::try_from(nanoseconds.div_ceil(NANOSECONDS)).unwrap_or(u32::MAX) }
}

fn pairs(environment: &BTreeMap<VariableName, String>) -> impl Iterator<Item = String> {
    environment.iter().map(|(name, value)| format!("{name}={value}"))
}

fn process(settings: &Settings, args: Vec<String>, more: impl IntoIterator<Item = String>) -> Process {
    let directory = if settings.working_dir.is_empty() { "/" } else { &settings.working_dir };
    let mut env = settings.env.clone();
    if !env.iter().any(|variable| variable.starts_with("PATH=")) {
        env.push(format!("PATH={}", settings.path().join(":")));
    }
    env.extend(more);
    Process { args, env, user: settings.user.clone(), directory: directory.to_owned() }
}

/// What a container starts, with the recipe's examples for what it must be given; `None` where a variable
/// is required and nobody said what would do.
fn start(charter: &Charter, settings: &Settings, more: impl IntoIterator<Item = String>) -> Option<Process> {
    let command = [settings.entrypoint.clone(), settings.cmd.clone()].concat();
    let more: Vec<String> = more.into_iter().collect();
    let mut env = Vec::new();
    for (name, variable) in charter.settings.env.iter().filter(|(_, variable)| variable.required) {
        let given = more.iter().any(|pair| pair.split('=').next() == Some(name.as_str()));
        if !given && variable.default.is_none() {
            env.push(format!("{name}={}", variable.example.as_ref()?));
        }
    }
    env.extend(more);
    (!command.is_empty()).then(|| process(settings, command, env))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"  sl  local_address rem_address   st tx_queue rx_queue\n   0: 00000000:0BB8 00000000:0000 0A 00000000:00000000\n   1: 0100007F:0BB9 0100007F:0BB8 01 00000000:00000000\n";

    #[test]
    fn only_a_listening_socket_listens() {
        assert_eq!(listening(TABLE), [3000].into());
        assert_eq!(listening(b"\xff : :\n0: :0BB8\n"), [].into());
    }

    const PORT: &str = "number = 3000\n[tests.p.port.environment]\nA = 'b'\n";

    fn recipe() -> String {
        format!(
            "[ports.api]\nnumber = 3000\n[ports.vpn]\nnumber = 51820\nprotocol = 'udp'\n[env.ID]\ndescription = 'x'\nrequired = true\n[tests.v.command]\nrun = ['x', '-v']\n[tests.p.port]\n{PORT}[tests.q.port]\n{}[tests.r.port]\nnumber = 3002\n",
            PORT.replace("3000", "3001").replace("tests.p", "tests.q")
        )
    }

    #[test]
    fn what_has_the_same_start_shares_a_container() {
        let settings = super::super::verdict::sample();
        let tried = |recipe: &str| trials(&Charter::sample(recipe), &settings);
        // What ID must be is not known: the container is not started for the health check.
        let [
            Trial::Command { aim: Aim::Idle, within: 2, .. },
            Trial::Command { aim: Aim::Test(v), .. },
            ports @ ..,
        ] = &tried(&recipe())[..]
        else {
            panic!("{:?}", tried(&recipe()))
        };
        assert_eq!((v.as_str(), ports.len()), ("v", 2));
        let example = recipe().replace("required = true", "required = true\nexample = '7'");
        let [_, Trial::Health { start: health, ports, within: 21, .. }, _, first, second] =
            &tried(&example)[..]
        else {
            panic!("{:?}", tried(&example))
        };
        assert_eq!(*ports, [3000].into());
        let names = |trial: &Trial| match trial {
            Trial::Ports { tests, .. } => tests.keys().map(ToString::to_string).collect::<Vec<_>>(),
            _ => panic!("{trial:?}"),
        };
        assert_eq!(
            (names(first), names(second)),
            (vec!["p".to_owned(), "q".to_owned()], vec!["r".to_owned()])
        );
        let Trial::Ports { start: Some(start), .. } = first else { panic!("{first:?}") };
        assert!(["A=a", "ID=7", "A=b"].iter().all(|pair| start.env.contains(&(*pair).to_owned())));
        assert!(health.env.contains(&"ID=7".to_owned()) && !health.env.contains(&"A=b".to_owned()));
    }
}
