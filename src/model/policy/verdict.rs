//! What came of the [trials](super::trial), judged.

use std::collections::BTreeSet;

use regex::bytes::{Regex, RegexBuilder};

use super::trial::{Aim, COMMAND_LIMIT, Ended, Outcome};
use super::{Charter, Finding, Rule};
use crate::model::name::StageName;
use crate::model::recipe::Test;
use crate::model::recipe::proof::{CommandTest, PortTest};

/// Judges a command.
#[must_use]
pub fn command(charter: &Charter, aim: &Aim, outcome: &Outcome) -> Option<Finding> {
    match aim {
        Aim::Idle => idle(charter, outcome),
        Aim::Test(name) => match charter.settings.tests.get(name)? {
            Test::Command(test) => tested(charter, name, test, outcome),
            _ => None,
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

/// Judges the health check of a container whose services had so many seconds.
#[must_use]
pub fn health(charter: &Charter, within: u32, outcome: &Outcome) -> Option<Finding> {
    let reason = match (&outcome.ended, &outcome.beside) {
        (Ended::Exit(0), _) => return None,
        (_, Some((Some(ended), last))) => {
            format!("the container {} before its health check succeeded{}", how(ended), quote(last))
        }
        (ended, beside) => format!(
            "the health check did not succeed within {} seconds of a start with the recipe's example values; the last one {}{}{}",
            within,
            how(ended),
            said(outcome),
            beside.as_ref().map(|(_, last)| quote(last)).unwrap_or_default(),
        ),
    };
    let fix = "correct the services, the check or the `example` of a variable; raise `start_period` if they need longer";
    Some(charter.error(Rule::HealthProbe, &["health"], None, reason, fix))
}

fn tested(charter: &Charter, name: &StageName, test: &CommandTest, outcome: &Outcome) -> Option<Finding> {
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

/// Judges a port, where these tests saw somebody listen in time.
#[must_use]
pub fn port(
    charter: &Charter,
    name: &StageName,
    test: &PortTest,
    seen: &BTreeSet<StageName>,
    outcome: &Outcome,
) -> Option<Finding> {
    let reason = match (&outcome.ended, &outcome.beside) {
        _ if seen.contains(name) => return None,
        (_, None) => "the image starts nothing that could listen".to_owned(),
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

/// Rules that the outcomes of [trials](super::trial::trials) show.
pub const SEEN: [Rule; 1] = [Rule::HealthProbe];

#[cfg(test)]
pub(super) fn sample() -> super::settings::Settings {
    let config = br#"{"architecture":"amd64","config":{"User":"1:1","Env":["A=a"],"Entrypoint":["/start"],"Healthcheck":{"Test":["CMD","/check"],"Interval":1000000000,"Timeout":2000000000,"StartPeriod":20000000000}}}"#;
    super::settings::Settings::parse(config).expect("a configuration")
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECIPE: &str =
        "[tests.v.command]\nrun = ['x', '-v']\nstdout = '^v[0-9]'\n[tests.p.port]\nnumber = 3000\n";

    fn out(ended: Ended, stdout: &str) -> Outcome {
        Outcome { ended, printed: [stdout.into(), b"oops\n".to_vec()], beside: None }
    }

    fn text(finding: Option<Finding>) -> String {
        finding.map(|finding| finding.to_string()).unwrap_or_default()
    }

    #[test]
    fn commands_are_explained() {
        let charter = Charter::sample(RECIPE);
        let idle = |ended| text(command(&charter, &Aim::Idle, &out(ended, "")));
        assert_eq!((idle(Ended::Exit(1)), idle(Ended::Late)), (String::new(), String::new()));
        insta::assert_snapshot!(idle(Ended::Exit(0)), @"t.toml:1: health-probe: the health check succeeds although no service runs, so it can never fail");
        insta::assert_snapshot!(idle(Ended::Exit(127)), @"t.toml:1: health-probe: the health check cannot be run: exit code 127; it printed: oops");
        let aim = Aim::Test("v".parse().unwrap());
        let tested = |ended, stdout: &str| text(command(&charter, &aim, &out(ended, stdout)));
        assert_eq!(tested(Ended::Exit(0), "v1.2"), "");
        insta::assert_snapshot!(tested(Ended::Exit(0), "1.2"), @"t.toml:1: test: test `v` failed: `x -v` does not print `^v[0-9]`; it printed: 1.2");
        insta::assert_snapshot!(tested(Ended::Exit(3), ""), @"t.toml:1: test: test `v` failed: `x -v` ended with code 3 instead of 0; it printed: oops");
    }

    #[test]
    fn what_should_have_started_is_explained() {
        let charter = Charter::sample(RECIPE);
        let name: StageName = "p".parse().unwrap();
        let Some(Test::Port(test)) = charter.settings.tests.get(&name) else { panic!("a port test") };
        let judge = |seen: &[&StageName], beside: Option<Option<Ended>>| {
            let seen = seen.iter().copied().cloned().collect();
            let beside = beside.map(|ended| (ended, b"listening\n".to_vec()));
            text(port(&charter, &name, test, &seen, &Outcome { beside, ..out(Ended::Late, "") }))
        };
        assert_eq!(judge(&[&name], Some(None)), "");
        insta::assert_snapshot!(judge(&[], Some(None)), @"t.toml:4: test: test `p` failed: nothing listens on port 3000 after 30 seconds; it printed: listening");
        insta::assert_snapshot!(judge(&[], Some(Some(Ended::Exit(64)))), @"t.toml:4: test: test `p` failed: the container ended with code 64 before anything listened on port 3000; it printed: listening");
        insta::assert_snapshot!(judge(&[], None), @"t.toml:4: test: test `p` failed: the image starts nothing that could listen");
        assert_eq!(text(health(&charter, 5, &out(Ended::Exit(0), ""))), "");
        insta::assert_snapshot!(text(health(&charter, 5, &out(Ended::Exit(2), ""))), @"t.toml:1: health-probe: the health check did not succeed within 5 seconds of a start with the recipe's example values; the last one ended with code 2; it printed: oops");
    }
}
