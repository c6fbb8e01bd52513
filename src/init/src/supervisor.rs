//! Starts services in the order of their needs, looks after them, and ends them in reverse.
//!
//! One thread and no clock of its own: [`Supervisor::step`] is given the time, does everything that is
//! due, and says when it wants to be called again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::config::{Probe, Ready, Restart};
use crate::log::{Level, Log};
use crate::process::{self, Ending, Program};
use crate::status::Status;
use crate::unit::{Asking, Led, Next, Patience, Phase, Question, Unit, Verdict};

/// A service was not ready in time (`EX_UNAVAILABLE`).
pub const NOT_READY: u8 = 69;

/// How long one question may take; a server that accepts and never answers must not use up `within`.
const QUESTION: Duration = Duration::from_secs(5);

/// All services.
pub struct Supervisor<'a> {
    units: BTreeMap<&'a str, Unit<'a>>,
    ending: Option<u8>,
    hurry: bool,
    helper: &'a str,
    log: Log,
}

impl<'a> Supervisor<'a> {
    /// Services that wait. `helper` is the path of this program, which asks the built-in probes.
    pub fn new(units: BTreeMap<&'a str, Unit<'a>>, helper: &'a str, log: Log) -> Self {
        Self { units, ending: None, hurry: false, helper, log }
    }

    /// What is told to whoever asks.
    pub fn status(&self) -> Status {
        Status::new(self.units.iter().map(|(name, unit)| ((*name).to_owned(), unit.activity())).collect())
    }

    /// When [`Self::step`] has to be called at the latest.
    pub fn wake(&self, now: Instant) -> Option<Instant> {
        self.units.values().filter_map(|unit| unit.wake(now)).min()
    }

    /// Does everything that is due. The exit code, once nothing runs and nothing will.
    pub fn step(&mut self, now: Instant) -> Option<u8> {
        let names: Vec<&str> = self.units.keys().copied().collect();
        for name in &names {
            self.advance(name, now);
        }
        if self.ending.is_some() {
            self.stop_those_that_nobody_needs(now);
        } else {
            // Each start may make another possible: a service without probe is ready at once.
            while names.iter().any(|name| self.may_start(name) && self.start(name, now)) {}
        }
        let resting = |unit: &Unit| matches!(unit.phase, Phase::Done | Phase::Over);
        self.units.values().all(resting).then(|| self.ending.unwrap_or(0))
    }

    /// A signal that the container got.
    pub fn signal(&mut self, signal: i32, now: Instant) {
        let name = process::name(signal).unwrap_or("?");
        let Some(signal) = Signal::from_named_raw(signal) else { return };
        if ![Signal::TERM, Signal::INT, Signal::QUIT].contains(&signal) {
            self.log.say(Level::Info, None, &format!("{name} passed on to all services"));
            self.units.values().filter_map(Unit::group).for_each(|group| process::tell(group, signal));
        } else if self.ending.is_none() {
            self.log.say(Level::Info, None, &format!("{name}: stopping all services"));
            self.ending = Some(0);
        } else {
            self.log.say(Level::Warn, None, &format!("{name} while stopping: killing what is left"));
            self.hurry = true;
            self.stop_those_that_nobody_needs(now);
        }
    }

    /// A process that was reaped; those that are nobody's were adopted, and that is all there is to do.
    pub fn ended(&mut self, pid: Pid, ending: Ending, now: Instant) {
        if let Some(name) =
            self.units.iter().find(|(_, unit)| unit.group() == Some(pid)).map(|(name, _)| *name)
        {
            self.service_ended(name, pid, ending, now);
            return;
        }
        for (name, unit) in &mut self.units {
            let Phase::Starting { group, asking, since } = &mut unit.phase else { continue };
            if asking.running.as_ref().is_none_or(|question| question.group != pid) {
                continue;
            }
            process::tell(pid, Signal::KILL);
            let stderr = asking.running.take().and_then(|question| question.stderr);
            if ending == Ending::Code(0) {
                let took = seconds(now - *since);
                unit.phase = Phase::Ready { group: *group, since: *since };
                self.log.say(Level::Info, Some(name), &format!("ready after {took}"));
            } else {
                asking.complaint =
                    process::complaint(stderr).or_else(|| Some(format!("the probe ended {ending}")));
                asking.later(now, *since, unit.spec.ready.as_ref().map_or(0, |ready| ready.interval));
            }
            return;
        }
    }

    fn service_ended(&mut self, name: &'a str, group: Pid, ending: Ending, now: Instant) {
        let Some(unit) = self.units.get_mut(name) else { return };
        let (since, asking) = match &mut unit.phase {
            Phase::Leaving { led, .. } => {
                *led = Led::No;
                let clean = ending.clean_after(process::signal(unit.spec.stop.signal));
                let level = if clean { Level::Info } else { Level::Warn };
                self.log.say(level, Some(name), &format!("ended {ending}"));
                if !clean && self.ending == Some(0) {
                    self.ending = Some(ending.failure());
                }
                return;
            }
            Phase::Starting { since, asking, .. } => (*since, asking.running.take()),
            Phase::Ready { since, .. } => (*since, None),
            Phase::Waiting | Phase::Pausing { .. } | Phase::Done | Phase::Over => return,
        };
        if let Some(question) = asking {
            process::tell(question.group, Signal::KILL);
        }
        let ran = now - since;
        let after = format!("ended {ending} after {}", seconds(ran));
        // Everything is ending, and its turn had not come.
        let verdict =
            if self.ending.is_some() { Verdict::Fail(ending.code()) } else { unit.judge(ending, ran) };
        let (level, next, what) = match verdict {
            Verdict::Fail(_) if self.ending.is_some() => {
                (Level::Warn, Next::Over, format!("{after}, before its turn"))
            }
            Verdict::Restart(pause) => {
                let (count, most) = (unit.failures, unit.spec.backoff.restarts);
                let what = format!("{after}, restart {count} of {most} in {}", seconds(pause));
                (Level::Warn, Next::Restart(pause), what)
            }
            Verdict::Done => (Level::Info, Next::Done, format!("{after}, its work is done")),
            Verdict::Fail(_) => {
                let why = match unit.spec.restart {
                    Restart::Never => "the container ends",
                    Restart::OnFailure | Restart::Always => "it keeps failing, the container ends",
                };
                (Level::Error, Next::Over, format!("{after}, {why}"))
            }
        };
        // What it left behind in its group gets the same chance to end as it had.
        process::tell(group, process::signal(unit.spec.stop.signal));
        let patience = Patience::Until(now + Duration::from_millis(unit.spec.stop.timeout));
        let never = unit.spec.restart == Restart::Never;
        unit.phase = Phase::Leaving { group, led: Led::No, patience, next };
        self.log.say(level, Some(name), &what);
        match verdict {
            Verdict::Fail(code) if self.ending.unwrap_or(0) == 0 => self.ending = Some(code),
            Verdict::Done if never && self.ending.is_none() && self.somebody_else_works(name) => {
                self.log.say(Level::Error, Some(name), "half a node is not a node: the container ends");
                self.ending = Some(1);
            }
            Verdict::Fail(_) | Verdict::Done | Verdict::Restart(_) => {}
        }
    }

    fn somebody_else_works(&self, name: &str) -> bool {
        let done = |unit: &Unit| matches!(unit.phase, Phase::Done | Phase::Leaving { next: Next::Done, .. });
        self.units.iter().any(|(other, unit)| *other != name && !done(unit))
    }

    /// What time alone does to a service.
    fn advance(&mut self, name: &'a str, now: Instant) {
        let Some(unit) = self.units.get_mut(name) else { return };
        match &mut unit.phase {
            Phase::Starting { .. } => self.ask(name, now),
            Phase::Leaving { group, led: Led::No, patience, next }
                if process::is_empty(*group) || patience.is_spent(now) =>
            {
                unit.phase = match next {
                    Next::Restart(pause) => Phase::Pausing { until: now + *pause },
                    Next::Done => Phase::Done,
                    Next::Over => Phase::Over,
                };
            }
            Phase::Leaving { group, led, patience, .. } if patience.ends(now) => {
                process::tell(*group, Signal::KILL);
                *patience = Patience::Killed(now);
                let timeout = seconds(Duration::from_millis(unit.spec.stop.timeout));
                let what = if *led == Led::Yes { "it" } else { "what it left behind" };
                self.log.say(
                    Level::Warn,
                    Some(name),
                    &format!("{what} did not end within {timeout}: killed"),
                );
            }
            Phase::Pausing { until } if *until <= now => unit.phase = Phase::Waiting,
            _ => {}
        }
    }

    fn may_start(&self, name: &str) -> bool {
        let ready = |need: &String| self.units.get(need.as_str()).is_some_and(Unit::is_ready);
        self.units
            .get(name)
            .is_some_and(|unit| matches!(unit.phase, Phase::Waiting) && unit.spec.needs.iter().all(ready))
    }

    /// Starts a service; whether that worked.
    fn start(&mut self, name: &'a str, now: Instant) -> bool {
        let Some(unit) = self.units.get_mut(name) else { return false };
        let directory = unit.spec.directory.as_deref();
        let program = Program { words: &unit.spec.command, directory, environment: &unit.environment };
        match program.service() {
            Ok(group) => {
                let pid = group.as_raw_pid();
                self.log.say(Level::Info, Some(name), &format!("started as process {pid}"));
                unit.phase = match unit.spec.ready {
                    Some(_) => {
                        let asking = Asking { due: now, running: None, complaint: None };
                        Phase::Starting { group, since: now, asking }
                    }
                    None => Phase::Ready { group, since: now },
                };
                true
            }
            Err(error) => {
                // Another try would find the same image.
                self.log.say(Level::Error, Some(name), &format!("cannot be started: {}", error.why));
                unit.phase = Phase::Over;
                self.ending.get_or_insert(error.code);
                self.stop_those_that_nobody_needs(now);
                false
            }
        }
    }

    /// Asks a service that is starting whether it is ready, as often as it is due.
    fn ask(&mut self, name: &'a str, now: Instant) {
        let Some(unit) = self.units.get_mut(name) else { return };
        let Phase::Starting { group, since, asking } = &mut unit.phase else { return };
        let Some(Ready { probe, within, interval }) = &unit.spec.ready else { return };
        let end = *since + Duration::from_millis(*within);
        if now >= end {
            let within = seconds(Duration::from_millis(*within));
            let last = asking.complaint.take().unwrap_or_else(|| "the probe did not answer".to_owned());
            self.log.say(
                Level::Error,
                Some(name),
                &format!("not ready within {within}, the container ends; {last}"),
            );
            if let Some(question) = asking.running.take() {
                process::tell(question.group, Signal::KILL);
            }
            unit.phase = Phase::Ready { group: *group, since: *since };
            self.ending.get_or_insert(NOT_READY);
            return;
        }
        if let Some(question) = asking.running.as_ref() {
            if now >= question.end {
                // It is reaped like any other, and asked again then.
                process::tell(question.group, Signal::KILL);
            }
            return;
        }
        if now < asking.due {
            return;
        }
        let words = match probe {
            Probe::Http(url) => built_in(self.helper, "http", url),
            Probe::Tcp(port) => built_in(self.helper, "tcp", &port.to_string()),
            Probe::Command(words) => words.clone(),
        };
        let directory = unit.spec.directory.as_deref();
        match (Program { words: &words, directory, environment: &unit.environment }).probe() {
            Ok((group, stderr)) => {
                asking.running = Some(Question { group, end: end.min(now + QUESTION), stderr });
            }
            Err(error) => {
                asking.complaint = Some(format!("the probe cannot be started: {}", error.why));
                asking.later(now, *since, *interval);
            }
        }
    }

    /// Ends whatever no running service needs; called again as services end, it goes through all of
    /// them in reverse order.
    fn stop_those_that_nobody_needs(&mut self, now: Instant) {
        let needed: Vec<String> = self
            .units
            .values()
            .filter(|unit| unit.group().is_some() && !self.hurry)
            .flat_map(|unit| unit.spec.needs.iter().cloned())
            .collect();
        for (name, unit) in &mut self.units {
            let group = unit.group();
            let asked = match &mut unit.phase {
                Phase::Waiting | Phase::Pausing { .. } => {
                    unit.phase = Phase::Over;
                    continue;
                }
                Phase::Done | Phase::Over => continue,
                Phase::Leaving { next, patience, .. } => {
                    if matches!(next, Next::Restart(_)) {
                        *next = Next::Over;
                    }
                    if self.hurry {
                        *patience = Patience::Killed(now);
                    }
                    true
                }
                Phase::Starting { asking, .. } => {
                    if let Some(question) = asking.running.take() {
                        process::tell(question.group, Signal::KILL);
                    }
                    false
                }
                Phase::Ready { .. } => false,
            };
            let Some(group) = group else { continue };
            if self.hurry {
                process::tell(group, Signal::KILL);
            }
            if asked || needed.iter().any(|need| need == name) {
                continue;
            }
            process::tell(group, process::signal(unit.spec.stop.signal));
            self.log.say(Level::Info, Some(name), "stopping");
            let patience = Patience::Until(now + Duration::from_millis(unit.spec.stop.timeout));
            unit.phase = Phase::Leaving { group, led: Led::Yes, patience, next: Next::Over };
        }
    }
}

/// A probe of this program: a process like any other, so that nothing in here ever waits for a socket.
fn built_in(helper: &str, kind: &str, what: &str) -> Vec<String> {
    let limit = QUESTION.as_secs().to_string();
    [helper, "probe", kind, what, "--timeout", &limit].map(str::to_owned).to_vec()
}

fn seconds(time: Duration) -> String {
    format!("{}.{} s", time.as_secs(), time.subsec_millis() / 100)
}
