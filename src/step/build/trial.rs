//! Tries an image out before it is exported: configuration, health check, the recipe's tests.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::StreamExt as _;
use tonic::Status;

use super::container::{Container, Output};
use super::gateway::{Gateway, Made};
use super::running::Running;
use crate::model::name::{Platform, StageName};
use crate::model::policy::settings::{self, Settings};
use crate::model::policy::trial::{self, Aim, Ended, Outcome, Process, Trial};
use crate::model::policy::{Charter, Finding, Rule, verdict};
use crate::model::recipe::proof::PortTest;

/// Containers that run at once.
const AT_ONCE: usize = 2;

/// How long a container runs before its health check is asked for the first time, if nothing tells when that is
/// worth while; each further time twice as long.
const FIRST: Duration = Duration::from_secs(1);

/// How long nothing new may listen until the health check is asked nonetheless; each further time twice as long.
const QUIET: Duration = Duration::from_secs(8);

/// How long what listens is waited for before a container is asked. Where it cannot be asked, because it ended at
/// that moment, the next one is given more time to end.
const MOMENTS: [Duration; 3] = [Duration::from_millis(250), Duration::from_secs(1), Duration::from_secs(4)];

/// Everything that can be known before the export.
pub(super) async fn findings(
    gateway: &Gateway,
    made: &Made,
    charter: &Charter,
    platform: &Platform,
) -> Result<Vec<Finding>, Status> {
    let unreadable = |_| Status::internal("the image configuration cannot be read");
    let settings = Settings::parse(made.configuration()).map_err(unreadable)?;
    let mut findings = settings::check(charter, &settings);
    let trying = Trying { gateway, made, platform, charter, sockets: trial::sockets(&settings) };
    let (idle, others): (Vec<Trial>, Vec<Trial>) = trial::trials(charter, &settings)
        .into_iter()
        .partition(|trial| matches!(trial, Trial::Command { aim: Aim::Idle, .. }));
    for trial in &idle {
        findings.extend(trying.one(trial).await?);
    }
    // A check that cannot be run or cannot fail need not be waited for.
    let sound = findings.iter().all(|finding| finding.rule != Rule::HealthProbe);
    let others = others.iter().filter(|trial| sound || !matches!(trial, Trial::Health { .. }));
    let mut found = futures_util::stream::iter(others).map(|trial| trying.one(trial)).buffered(AT_ONCE);
    while let Some(more) = found.next().await {
        findings.extend(more?);
    }
    Ok(charter.allow(findings, &[&settings::SEEN[..], &verdict::SEEN[..]].concat()))
}

struct Trying<'a> {
    gateway: &'a Gateway,
    made: &'a Made,
    platform: &'a Platform,
    charter: &'a Charter,
    /// Prints which ports are listened on, and does not fail where `cat` is.
    sockets: Process,
}

impl Trying<'_> {
    async fn container(&self) -> Result<Container, Status> {
        Container::new(self.gateway, self.made, self.platform).await
    }

    async fn one(&self, trial: &Trial) -> Result<Vec<Finding>, Status> {
        Ok(match trial {
            Trial::Command { aim, process, within } => {
                let outcome = self.command(process, seconds(*within)).await?;
                verdict::command(self.charter, aim, &outcome).into_iter().collect()
            }
            Trial::Health { start, probe, ports, within } => {
                let outcome = self.health(start, probe, ports.clone(), seconds(*within)).await?;
                verdict::health(self.charter, *within, &outcome).into_iter().collect()
            }
            Trial::Ports { start, tests } => {
                let (seen, outcome) = self.ports(start.as_ref(), tests).await?;
                let judge = |(name, test)| verdict::port(self.charter, name, test, &seen, &outcome);
                tests.iter().filter_map(judge).collect()
            }
        })
    }

    async fn command(&self, process: &Process, limit: Duration) -> Result<Outcome, Status> {
        let container = self.container().await?;
        let output = Output::default();
        let asking = container.run(process, &output);
        let ended = tokio::time::timeout(limit, asking).await.unwrap_or(Ended::Late);
        container.release().await;
        Ok(Outcome { ended, printed: output.so_far(), beside: None })
    }

    /// Asks the health check when it is likely to succeed. BuildKit ends a container as soon as any of its processes
    /// fails, so that each time is another container's.
    async fn health(
        &self,
        start: &Process,
        probe: &Process,
        mut ports: BTreeSet<u16>,
        limit: Duration,
    ) -> Result<Outcome, Status> {
        let (mut head, mut quiet) = (if ports.is_empty() { FIRST } else { Duration::ZERO }, QUIET);
        loop {
            let container = self.container().await?;
            let mut running = Running::begin(&container, start);
            if !running.watch(&self.sockets, &ports, quiet, limit).await {
                drop(running);
                container.release().await;
                ports.clear();
                head = FIRST;
                continue;
            }
            running.rest(head.min(limit.saturating_sub(running.elapsed()))).await;
            let last = running.is_over() || running.elapsed() >= limit;
            let outcome = running.ask(probe).await;
            drop(running);
            container.release().await;
            if last || outcome.ended == Ended::Exit(0) {
                return Ok(outcome);
            }
            (head, quiet) = ((head * 2).max(FIRST), quiet * 2);
        }
    }

    /// Which tests saw somebody listen in time.
    async fn ports(
        &self,
        start: Option<&Process>,
        tests: &BTreeMap<StageName, PortTest>,
    ) -> Result<(BTreeSet<StageName>, Outcome), Status> {
        let nothing = Outcome { ended: Ended::Late, printed: Default::default(), beside: None };
        let mut last = (BTreeSet::new(), nothing);
        let Some(start) = start else { return Ok(last) };
        for moment in MOMENTS {
            let container = self.container().await?;
            let mut running = Running::begin(&container, start);
            running.rest(moment).await;
            last = running.listeners(&self.sockets, tests).await;
            drop(running);
            container.release().await;
            let over = matches!(last.1.beside, Some((Some(_), _)));
            if over || last.1.ended == Ended::Exit(0) {
                break;
            }
        }
        Ok(last)
    }
}

fn seconds(number: u32) -> Duration {
    Duration::from_secs(number.into())
}
