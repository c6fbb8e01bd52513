//! A container in which what the image starts runs, and that is asked things meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::FusedFuture;
use tokio::time::Instant;

use super::container::{Container, Output};
use crate::model::name::StageName;
use crate::model::policy::trial::{self, Ended, Outcome, Process};
use crate::model::recipe::proof::PortTest;

/// How long a question may take.
const ANSWER: Duration = Duration::from_mins(1);

/// How late after its time a test may still see somebody listen: the question takes a moment.
const SLACK: Duration = Duration::from_secs(1);

/// What a container started.
pub(super) struct Running<'a> {
    container: &'a Container,
    process: Pin<Box<dyn FusedFuture<Output = Ended> + Send + 'a>>,
    printed: Output,
    began: Instant,
    over: Option<Ended>,
}

impl<'a> Running<'a> {
    /// Starts it.
    pub(super) fn begin(container: &'a Container, start: &'a Process) -> Self {
        let printed = Output::default();
        let output = printed.clone();
        let process = Box::pin(async move { container.run(start, &output).await }.fuse());
        Self { container, process, printed, began: Instant::now(), over: None }
    }

    /// How long it runs.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Whether it ended.
    pub(super) fn is_over(&self) -> bool {
        self.over.is_some()
    }

    /// Lets it run, at most until it ends.
    pub(super) async fn rest(&mut self, time: Duration) {
        if self.over.is_none() {
            self.over = tokio::time::timeout(time, &mut self.process).await.ok();
        }
    }

    /// Runs a process beside it, unless it has ended.
    pub(super) async fn ask(&mut self, process: &Process) -> Outcome {
        let beside = |over: Option<Ended>, printed: &Output| Some((over, printed.so_far().concat()));
        if self.over.is_some() {
            let beside = beside(self.over.clone(), &self.printed);
            return Outcome { ended: Ended::Late, printed: Default::default(), beside };
        }
        let output = Output::default();
        let mut asking = std::pin::pin!(tokio::time::timeout(ANSWER, self.container.run(process, &output)));
        let ended = loop {
            tokio::select! {
                biased;
                ended = &mut asking => break ended.unwrap_or(Ended::Late),
                ended = &mut self.process, if !self.process.is_terminated() => self.over = Some(ended),
            }
        };
        // That it ended meanwhile may well be the question's doing.
        Outcome { ended, printed: output.so_far(), beside: beside(None, &self.printed) }
    }

    /// Waits until something listens on all of these ports, or nothing new has for a while. False: that cannot be
    /// told, and the container may have ended for that reason.
    pub(super) async fn watch(
        &mut self,
        sockets: &Process,
        ports: &BTreeSet<u16>,
        quiet: Duration,
        limit: Duration,
    ) -> bool {
        let (mut open, mut changed) = (0, Duration::ZERO);
        while open < ports.len() && self.elapsed() < limit.min(quiet.max(changed * 2)) {
            self.rest(self.pause()).await;
            if self.is_over() {
                break;
            }
            let Outcome { ended: Ended::Exit(0), printed: [table, _], .. } = self.ask(sockets).await else {
                return false;
            };
            let now = trial::listening(&table).intersection(ports).count();
            if now != open {
                (open, changed) = (now, self.elapsed());
            }
        }
        true
    }

    /// Which of the tests see somebody listen in time; and what was heard last.
    pub(super) async fn listeners(
        &mut self,
        sockets: &Process,
        tests: &BTreeMap<StageName, PortTest>,
    ) -> (BTreeSet<StageName>, Outcome) {
        let within = |test: &PortTest| Duration::from_secs(test.within.into());
        let limit = tests.values().map(within).max().unwrap_or_default();
        let mut seen = BTreeSet::new();
        loop {
            let asked = self.elapsed();
            let outcome = self.ask(sockets).await;
            let open = trial::listening(&outcome.printed[0]);
            let hits = tests.iter().filter(|(_, test)| asked <= within(test) + SLACK);
            seen.extend(hits.filter(|(_, test)| open.contains(&test.number)).map(|(name, _)| name.clone()));
            if seen.len() == tests.len() || asked >= limit || outcome.ended != Ended::Exit(0) {
                return (seen, outcome);
            }
            self.rest(self.pause().min(limit.saturating_sub(self.elapsed()))).await;
        }
    }

    /// How long to wait before the next question: the longer it takes already, the longer.
    fn pause(&self) -> Duration {
        (self.elapsed() / 8).clamp(Duration::from_millis(250), Duration::from_secs(2))
    }
}
