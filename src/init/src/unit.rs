//! One service in time: the phases it goes through, and what its end means.

use std::process::ChildStderr;
use std::time::{Duration, Instant};

use rustix::process::Pid;

use crate::config::{Backoff, Restart, Service};
use crate::contract::Environment;
use crate::process::Ending;
use crate::status::Activity;

/// A service and where it stands.
pub struct Unit<'a> {
    /// What it is.
    pub spec: &'a Service,
    /// What it is started with.
    pub environment: Environment,
    /// Where it stands.
    pub phase: Phase,
    /// Failures in a row.
    pub failures: u32,
}

/// Where a service stands. Every phase that names a group owns it until the group is empty: nothing is
/// started again while something of the last run is left.
pub enum Phase {
    /// Not started yet.
    Waiting,
    /// Runs, and has not answered its probe.
    Starting { group: Pid, since: Instant, asking: Asking },
    /// Runs and is ready.
    Ready { group: Pid, since: Instant },
    /// Told to end, or its main process ended and others of its group are left.
    Leaving { group: Pid, led: Led, patience: Patience, next: Next },
    /// Failed; starts again then.
    Pausing { until: Instant },
    /// Ended with 0 and is not wanted again; those who need it may start.
    Done,
    /// Ended.
    Over,
}

/// Whether the main process of a group is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Led {
    /// It runs.
    Yes,
    /// It was reaped.
    No,
}

/// How long a group is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Killed then.
    Until(Instant),
    /// It was killed then.
    Killed(Instant),
}

/// After a kill nothing of a group runs. What is still there is dead and not reaped by its parent, which
/// has left the group: that is not waited for.
const GONE: Duration = Duration::from_secs(1);

impl Patience {
    /// It is time to kill.
    pub fn ends(self, now: Instant) -> bool {
        matches!(self, Self::Until(at) if at <= now)
    }

    /// What was killed and is still there never goes.
    pub fn is_spent(self, now: Instant) -> bool {
        matches!(self, Self::Killed(at) if at + GONE <= now)
    }
}

/// What follows when a group is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// A pause, and another start.
    Restart(Duration),
    /// Its work is done.
    Done,
    /// Nothing.
    Over,
}

/// The probe of a service that is starting.
pub struct Asking {
    /// When to ask next.
    pub due: Instant,
    /// The question that is being asked.
    pub running: Option<Question>,
    /// What the last one complained about.
    pub complaint: Option<String>,
}

impl Asking {
    /// Asks again soon after the start, and ever more rarely, up to every `interval` milliseconds: services wait for each
    /// other, and most are ready within two seconds.
    pub fn later(&mut self, now: Instant, since: Instant, interval: u64) {
        const SOON: Duration = Duration::from_millis(100);
        let most = Duration::from_millis(interval);
        self.due = now + ((now - since) / 4).max(SOON).min(most);
    }
}

/// A probe that runs.
pub struct Question {
    /// Its process and group.
    pub group: Pid,
    /// When it has taken too long.
    pub end: Instant,
    /// Where it complains.
    pub stderr: Option<ChildStderr>,
}

/// What the unasked end of a service means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It starts again after this time.
    Restart(Duration),
    /// Its work is done.
    Done,
    /// The container ends with this code.
    Fail(u8),
}

impl<'a> Unit<'a> {
    /// A service that waits.
    pub fn new(spec: &'a Service, environment: Environment) -> Self {
        Self { spec, environment, phase: Phase::Waiting, failures: 0 }
    }

    /// The group that it owns.
    pub fn group(&self) -> Option<Pid> {
        match &self.phase {
            Phase::Starting { group, .. } | Phase::Ready { group, .. } | Phase::Leaving { group, .. } => {
                Some(*group)
            }
            Phase::Waiting | Phase::Pausing { .. } | Phase::Done | Phase::Over => None,
        }
    }

    /// Those who need it may start.
    pub fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready { .. } | Phase::Done)
    }

    /// What the status says.
    pub fn activity(&self) -> Activity {
        match &self.phase {
            Phase::Waiting => Activity::Waiting,
            Phase::Starting { .. } => Activity::Starting,
            Phase::Ready { .. } => Activity::Ready,
            Phase::Leaving { next: Next::Restart(_), .. } | Phase::Pausing { .. } => Activity::Restarting,
            Phase::Leaving { next: Next::Done, .. } | Phase::Done => Activity::Done,
            Phase::Leaving { next: Next::Over, .. } => Activity::Stopping,
            Phase::Over => Activity::Ended,
        }
    }

    /// When something is to be done about it, without an event.
    pub fn wake(&self, now: Instant) -> Option<Instant> {
        match &self.phase {
            Phase::Starting { since, asking, .. } => {
                let question = asking.running.as_ref().map_or(asking.due, |question| question.end);
                let within =
                    self.spec.ready.as_ref().map(|ready| *since + Duration::from_millis(ready.within));
                within.map_or(Some(question), |within| Some(within.min(question)))
            }
            // The end of somebody else's child is not told to the helper: look again soon.
            Phase::Leaving { led: Led::No, .. } => Some(now + Duration::from_millis(20)),
            Phase::Leaving { patience: Patience::Until(at), .. } => Some(*at),
            Phase::Pausing { until } => Some(*until),
            Phase::Leaving { patience: Patience::Killed(_), .. }
            | Phase::Waiting
            | Phase::Ready { .. }
            | Phase::Done
            | Phase::Over => None,
        }
    }

    /// Decides what an unasked end means, after a run of this length.
    pub fn judge(&mut self, ending: Ending, ran: Duration) -> Verdict {
        match (self.spec.restart, ending) {
            (Restart::Never | Restart::OnFailure, Ending::Code(0)) => return Verdict::Done,
            (Restart::Never, _) => return Verdict::Fail(ending.failure()),
            (Restart::OnFailure | Restart::Always, _) => {}
        }
        let Backoff { first, most, restarts } = self.spec.backoff;
        if ran >= Duration::from_millis(most) {
            self.failures = 0;
        }
        if self.failures >= restarts {
            return Verdict::Fail(ending.failure());
        }
        let pause = first.saturating_mul(1 << self.failures.min(32)).min(most);
        self.failures += 1;
        Verdict::Restart(Duration::from_millis(pause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Stop;

    fn service(restart: Restart) -> Service {
        Service {
            command: vec!["x".into()],
            needs: Vec::new(),
            directory: None,
            environment: std::collections::BTreeMap::new(),
            restart,
            ready: None,
            backoff: Backoff { first: 100, most: 350, restarts: 4 },
            stop: Stop::default(),
        }
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_end() {
        let spec = service(Restart::OnFailure);
        let mut unit = Unit::new(&spec, Environment::new());
        let mut fail = |ran: u64| unit.judge(Ending::Signal(9), Duration::from_millis(ran));
        let again = |ms| Verdict::Restart(Duration::from_millis(ms));
        assert_eq!([fail(0), fail(0), fail(349), fail(0)], [100, 200, 350, 350].map(again));
        assert_eq!(fail(0), Verdict::Fail(137));
        // A calm run forgives.
        assert_eq!([fail(350), fail(0)], [100, 200].map(again));
    }

    #[test]
    fn each_policy_reads_the_same_end_in_its_own_way() {
        let judge = |restart, ending| {
            let spec = service(restart);
            Unit::new(&spec, Environment::new()).judge(ending, Duration::ZERO)
        };
        let again = Verdict::Restart(Duration::from_millis(100));
        assert_eq!(judge(Restart::Never, Ending::Code(0)), Verdict::Done);
        assert_eq!(judge(Restart::Never, Ending::Code(3)), Verdict::Fail(3));
        assert_eq!(judge(Restart::OnFailure, Ending::Code(0)), Verdict::Done);
        assert_eq!(judge(Restart::OnFailure, Ending::Code(3)), again);
        assert_eq!(judge(Restart::Always, Ending::Code(0)), again);
        assert_eq!(judge(Restart::Always, Ending::Signal(11)), again);
    }
}
