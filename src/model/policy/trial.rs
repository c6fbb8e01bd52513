//! Tests of the recipe and of the health check: what is tried, and what the outcome means.
//!
//! What can be seen is looked at in the files ([`super::look`]); the rest is run inside the image,
//! without a network, before the image is exported.

use std::collections::BTreeMap;

use regex::bytes::{Regex, RegexBuilder};

use super::settings::Settings;
use super::{Charter, Finding, Rule};
use crate::model::name::{StageName, VariableName};
use crate::model::recipe::Test;
use crate::model::recipe::proof::{CommandTest, PortTest};

/// Something to run inside the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// What is tried.
    pub aim: Aim,
    /// What is started first and runs beside it.
    pub beside: Option<Process>,
    /// What is asked.
    pub ask: Ask,
    /// Seconds that all of it may take.
    pub within: u32,
}

/// What a trial is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Aim {
    /// A test of the recipe.
    Test(StageName),
    /// The health check, where nothing runs: it must fail.
    Idle,
    /// The health check, while the services run: it must succeed in time.
    Working,
}

/// What is asked inside the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// A command, once.
    Once(Process),
    /// A command, until it ends with code 0.
    Until(Process),
    /// Whether something listens on this TCP port, until it does: the process prints the sockets.
    Port(Process, u16),
}

impl Ask {
    /// What is run to ask.
    #[must_use]
    pub fn process(&self) -> &Process {
        let (Self::Once(process) | Self::Until(process) | Self::Port(process, _)) = self;
        process
    }

    /// Whether the answer is the one that is waited for.
    #[must_use]
    pub fn is_answered(&self, outcome: &Outcome) -> bool {
        match self {
            Self::Once(_) => true,
            Self::Until(_) => outcome.ended == Ended::Exit(0),
            Self::Port(_, number) => listens(&outcome.printed[0], *number),
        }
    }
}

/// A process inside the image, as the image's own user.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// What came out of a trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// How what was asked last ended.
    pub ended: Ended,
    /// What it printed to stdout and to stderr.
    pub printed: [Vec<u8>; 2],
    /// How what ran beside it ended before anything was asked, where it did, and what it printed last.
    pub beside: Option<(Option<Ended>, Vec<u8>)>,
}

/// A command of a test gets this long, in seconds.
const COMMAND_LIMIT: u32 = 60;

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
        trials.push(Trial { aim: Aim::Idle, beside: None, ask: Ask::Once(probe.clone()), within: timeout });
        if let Some(start) = start(charter, settings, []) {
            let patience = seconds(health.start_period).saturating_add(seconds(health.interval));
            let within = patience.clamp(1, HEALTH_LIMIT);
            trials.push(Trial { aim: Aim::Working, beside: Some(start), ask: Ask::Until(probe), within });
        }
    }
    for (name, test) in &charter.settings.tests {
        let aim = Aim::Test(name.clone());
        match test {
            Test::Command(CommandTest { run, environment, .. }) => {
                let run = process(settings, run.clone(), pairs(environment));
                trials.push(Trial { aim, beside: None, ask: Ask::Once(run), within: COMMAND_LIMIT });
            }
            Test::Port(PortTest { number, within, environment }) => {
                // A variable without a value is for the test to notice: the container refuses to start.
                let start = start(charter, settings, pairs(environment)).or_else(|| {
                    let command = [settings.entrypoint.clone(), settings.cmd.clone()].concat();
                    (!command.is_empty()).then(|| process(settings, command, pairs(environment)))
                });
                trials.push(Trial {
                    aim,
                    beside: start,
                    ask: Ask::Port(sockets(settings), *number),
                    within: *within,
                });
            }
            Test::File(_) | Test::Absent(_) | Test::User(_) => {}
        }
    }
    trials
}

/// Prints the sockets of the container. Nothing else is in every image that has a shell.
fn sockets(settings: &Settings) -> Process {
    let args = ["cat", "/proc/net/tcp", "/proc/net/tcp6"].map(str::to_owned);
    process(settings, args.to_vec(), [])
}

/// Whether something listens on a port, by the kernel's table of sockets (`proc_net_tcp`): a line has
/// its number, the local and the remote address, and its state, of which `0A` is listening.
fn listens(table: &[u8], port: u16) -> bool {
    String::from_utf8_lossy(table).lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next().and_then(|address| address.rsplit_once(':'));
        let number = local.and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
        number == Some(port) && fields.nth(1) == Some("0A")
    })
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

/// Judges the outcome of a trial.
#[must_use]
pub fn judge(charter: &Charter, trial: &Trial, outcome: &Outcome) -> Option<Finding> {
    match &trial.aim {
        Aim::Idle => idle(charter, outcome),
        Aim::Working => working(charter, trial, outcome),
        Aim::Test(name) => match charter.settings.tests.get(name)? {
            Test::Command(test) => command(charter, name, test, outcome),
            Test::Port(test) => port(charter, name, test, trial, outcome),
            Test::File(_) | Test::Absent(_) | Test::User(_) => None,
        },
    }
}

/// Exit codes with which shells and runtimes say that a program cannot be run.
const UNABLE: [u32; 2] = [126, 127];

fn idle(charter: &Charter, outcome: &Outcome) -> Option<Finding> {
    let (reason, fix) = match &outcome.ended {
        Ended::Exit(0) => (
            "the health check succeeds although no service runs, so it can never fail".to_owned(),
            "ask a service something: `probe = { http = \"http://127.0.0.1:PORT/\" }`",
        ),
        Ended::Unable(why) => (format!("the health check cannot be run: {why}"), "correct its command"),
        Ended::Exit(code) if UNABLE.contains(code) => (
            format!("the health check cannot be run: exit code {code}{}", said(outcome)),
            "correct its command",
        ),
        Ended::Exit(_) | Ended::Late => return None,
    };
    Some(charter.error(Rule::HealthProbe, &["health", "probe"], None, reason, fix))
}

fn working(charter: &Charter, trial: &Trial, outcome: &Outcome) -> Option<Finding> {
    let reason = match (&outcome.ended, &outcome.beside) {
        (Ended::Exit(0), _) => return None,
        (_, Some((Some(ended), last))) => {
            format!("the container {} before its health check succeeded{}", how(ended), quote(last))
        }
        (ended, beside) => format!(
            "the health check did not succeed within {} seconds of a start with the recipe's example values; the last one {}{}{}",
            trial.within,
            how(ended),
            said(outcome),
            beside.as_ref().map(|(_, last)| quote(last)).unwrap_or_default(),
        ),
    };
    let fix = "correct the services, the check or the `example` of a variable; raise `start_period` if they need longer";
    Some(charter.error(Rule::HealthProbe, &["health"], None, reason, fix))
}

fn command(charter: &Charter, name: &StageName, test: &CommandTest, outcome: &Outcome) -> Option<Finding> {
    let shown = test.run.join(" ");
    let expected = u32::try_from(test.exit).unwrap_or(u32::MAX);
    let reason = match &outcome.ended {
        Ended::Exit(code) if *code == expected => {
            let pattern = test.stdout.as_ref()?;
            match pattern_of(pattern) {
                Ok(regex) if regex.is_match(&outcome.printed[0]) => return None,
                Ok(_) => format!("`{shown}` does not print `{pattern}`{}", quote(&outcome.printed[0])),
                Err(_) => format!("`{pattern}` is not a regular expression"),
            }
        }
        Ended::Exit(code) => {
            format!("`{shown}` ended with code {code} instead of {}{}", test.exit, said(outcome))
        }
        Ended::Late => format!("`{shown}` did not end within {COMMAND_LIMIT} seconds"),
        Ended::Unable(why) => format!("`{shown}` cannot be run: {why}"),
    };
    Some(failed(charter, name, reason))
}

fn port(
    charter: &Charter,
    name: &StageName,
    test: &PortTest,
    trial: &Trial,
    outcome: &Outcome,
) -> Option<Finding> {
    let reason = match (&outcome.ended, &outcome.beside) {
        _ if trial.ask.is_answered(outcome) => return None,
        _ if trial.beside.is_none() => "the image starts nothing that could listen".to_owned(),
        (_, Some((Some(ended), last))) => {
            format!(
                "the container {} before anything listened on port {}{}",
                how(ended),
                test.number,
                quote(last)
            )
        }
        (Ended::Unable(why), _) => format!("port {} cannot be asked: {why}", test.number),
        (_, beside) => {
            let last = beside.as_ref().map(|(_, last)| quote(last)).unwrap_or_default();
            format!("nothing listens on port {} after {} seconds{last}", test.number, test.within)
        }
    };
    Some(failed(charter, name, reason))
}

/// `^` and `$` are the ends of a line, as in `grep`.
pub(super) fn pattern_of(text: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(text).multi_line(true).build()
}

pub(super) fn failed(charter: &Charter, name: &StageName, reason: impl Into<String>) -> Finding {
    let key = ["tests", name.as_str()];
    let reason = format!("test `{name}` failed: {}", reason.into());
    charter.error(
        Rule::Test,
        &key,
        Some(name.as_str()),
        reason,
        "correct the image, or what the test expects",
    )
}

fn how(ended: &Ended) -> String {
    match ended {
        Ended::Exit(code) => format!("ended with code {code}"),
        Ended::Late => "did not end in time".to_owned(),
        Ended::Unable(why) => format!("could not be started ({why})"),
    }
}

fn said(outcome: &Outcome) -> String {
    let [stdout, stderr] = &outcome.printed;
    quote(if stderr.is_empty() { stdout } else { stderr })
}

/// The last lines of what something printed, on one line.
fn quote(bytes: &[u8]) -> String {
    const LINES: usize = 3;
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(LINES)..];
    if last.is_empty() { String::new() } else { format!("; it printed: {}", last.join(" | ")) }
}

/// Rules that the outcomes of [`trials`] show.
pub const SEEN: [Rule; 1] = [Rule::HealthProbe];

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"  sl  local_address rem_address   st tx_queue rx_queue\n   0: 00000000:0BB8 00000000:0000 0A 00000000:00000000\n   1: 0100007F:0BB9 0100007F:0BB8 01 00000000:00000000\n";

    #[test]
    fn only_a_listening_socket_listens() {
        assert!(listens(TABLE, 3000));
        assert!(!listens(TABLE, 3001));
        assert!(!listens(b"\xff : :", 0));
    }

    const RECIPE: &str = "[env.ID]\ndescription = 'x'\nrequired = true\n[tests.v.command]\nrun = ['x', '-v']\nstdout = '^v[0-9]'\n[tests.p.port]\nnumber = 3000\n[tests.p.port.environment]\nA = 'b'\n";

    fn settings() -> Settings {
        let config = br#"{"architecture":"amd64","config":{"User":"1:1","Env":["A=a"],"Entrypoint":["/start"],"Healthcheck":{"Test":["CMD","/check"],"Interval":1000000000,"Timeout":2000000000,"StartPeriod":20000000000}}}"#;
        Settings::parse(config).unwrap()
    }

    #[test]
    fn a_working_check_is_tried_where_examples_say_what_would_do() {
        let aims = |recipe: &str| -> Vec<Aim> {
            trials(&Charter::sample(recipe), &settings()).into_iter().map(|trial| trial.aim).collect()
        };
        let test = |name: &str| Aim::Test(name.parse().unwrap());
        assert_eq!(aims(RECIPE), [Aim::Idle, test("p"), test("v")]);
        let example = RECIPE.replace("required = true", "required = true\nexample = '7'");
        assert_eq!(aims(&example), [Aim::Idle, Aim::Working, test("p"), test("v")]);
        let trials = trials(&Charter::sample(&example), &settings());
        let start = trials[2].beside.as_ref().unwrap();
        assert!(["A=a", "ID=7", "A=b"].iter().all(|pair| start.env.contains(&(*pair).to_owned())));
        assert_eq!((trials[0].within, trials[1].within), (2, 21));
    }

    #[test]
    fn outcomes_are_explained() {
        let charter = Charter::sample(RECIPE);
        let trials = trials(&charter, &settings());
        let out = |ended, stdout: &str| Outcome {
            ended,
            printed: [stdout.into(), b"oops\n".to_vec()],
            beside: None,
        };
        let say = |at: usize, outcome: Outcome| {
            judge(&charter, &trials[at], &outcome).map(|finding| finding.to_string()).unwrap_or_default()
        };
        assert_eq!(say(0, out(Ended::Exit(1), "")), "");
        assert_eq!(say(0, out(Ended::Late, "")), "");
        insta::assert_snapshot!(say(0, out(Ended::Exit(0), "")), @"t.toml:1: health-probe: the health check succeeds although no service runs, so it can never fail");
        insta::assert_snapshot!(say(0, out(Ended::Exit(127), "")), @"t.toml:1: health-probe: the health check cannot be run: exit code 127; it printed: oops");
        assert_eq!(say(2, out(Ended::Exit(0), "v1.2")), "");
        insta::assert_snapshot!(say(2, out(Ended::Exit(0), "1.2")), @"t.toml:4: test: test `v` failed: `x -v` does not print `^v[0-9]`; it printed: 1.2");
        insta::assert_snapshot!(say(2, out(Ended::Exit(3), "")), @"t.toml:4: test: test `v` failed: `x -v` ended with code 3 instead of 0; it printed: oops");
        let beside = |ended| Some((ended, b"listening\n".to_vec()));
        insta::assert_snapshot!(say(1, Outcome { beside: beside(None), ..out(Ended::Late, "") }), @"t.toml:7: test: test `p` failed: nothing listens on port 3000 after 30 seconds; it printed: listening");
        let ended = Outcome { beside: beside(Some(Ended::Exit(64))), ..out(Ended::Late, "") };
        insta::assert_snapshot!(say(1, ended), @"t.toml:7: test: test `p` failed: the container ended with code 64 before anything listened on port 3000; it printed: listening");
    }
}
