//! Tries an image out before it is exported: configuration, health check, the recipe's tests.

use std::time::Duration;

use futures_util::future::FusedFuture as _;
use futures_util::{FutureExt as _, StreamExt as _};
use tonic::Status;

use super::container::{Container, Output};
use super::gateway::{Gateway, Made};
use crate::model::name::Platform;
use crate::model::policy::settings::{self, Settings};
use crate::model::policy::trial::{self, Aim, Ended, Outcome, Process, Trial};
use crate::model::policy::{Charter, Finding, Rule};

/// Containers that run at once.
const AT_ONCE: usize = 2;

/// How long a container runs before it is asked for the first time; each further time twice as long.
const FIRST: Duration = Duration::from_secs(1);

/// How long a question may take while something runs.
const ANSWER: Duration = Duration::from_mins(1);

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
    let (idle, others): (Vec<Trial>, Vec<Trial>) =
        trial::trials(charter, &settings).into_iter().partition(|trial| trial.aim == Aim::Idle);
    for trial in &idle {
        let outcome = outcome(gateway, made, platform, trial).await?;
        findings.extend(trial::judge(charter, trial, &outcome));
    }
    // A check that cannot be run or cannot fail need not be waited for.
    let sound = findings.iter().all(|finding| finding.rule != Rule::HealthProbe);
    let others = others.iter().filter(|trial| sound || trial.aim != Aim::Working);
    let mut outcomes = futures_util::stream::iter(others)
        .map(|trial| async move { (trial, outcome(gateway, made, platform, trial).await) })
        .buffered(AT_ONCE);
    while let Some((trial, outcome)) = outcomes.next().await {
        findings.extend(trial::judge(charter, trial, &outcome?));
    }
    Ok(charter.allow(findings, &[&settings::SEEN[..], &trial::SEEN[..]].concat()))
}

async fn outcome(
    gateway: &Gateway,
    made: &Made,
    platform: &Platform,
    trial: &Trial,
) -> Result<Outcome, Status> {
    let limit = Duration::from_secs(trial.within.into());
    let Some(beside) = &trial.beside else {
        let container = Container::new(gateway, made, platform).await?;
        let output = Output::default();
        let asking = container.run(trial.ask.process(), &output);
        let ended = tokio::time::timeout(limit, asking).await.unwrap_or(Ended::Late);
        container.release().await;
        return Ok(Outcome { ended, printed: output.so_far(), beside: None });
    };
    let mut head_start = FIRST.min(limit);
    loop {
        let container = Container::new(gateway, made, platform).await?;
        let outcome = attempt(&container, beside, trial, head_start).await;
        container.release().await;
        let over = matches!(outcome.beside, Some((Some(_), _))) || head_start == limit;
        if over || trial.ask.is_answered(&outcome) {
            return Ok(outcome);
        }
        head_start = (head_start * 2).min(limit);
    }
}

/// Starts what runs beside, and asks once. BuildKit ends a container as soon as any of its processes
/// fails, so that a question with the wrong answer cannot be repeated in it.
async fn attempt(container: &Container, beside: &Process, trial: &Trial, head_start: Duration) -> Outcome {
    let (printed, output) = (Output::default(), Output::default());
    let mut running = std::pin::pin!(container.run(beside, &printed).fuse());
    if let Ok(ended) = tokio::time::timeout(head_start, &mut running).await {
        let beside = Some((Some(ended), printed.so_far().concat()));
        return Outcome { ended: Ended::Late, printed: output.so_far(), beside };
    }
    let ended = {
        let mut asking =
            std::pin::pin!(tokio::time::timeout(ANSWER, container.run(trial.ask.process(), &output)));
        loop {
            tokio::select! {
                biased;
                ended = &mut asking => break ended.unwrap_or(Ended::Late),
                // It goes on printing; that it ends may well be the question's doing.
                _ = &mut running, if !running.is_terminated() => {}
            }
        }
    };
    Outcome { ended, printed: output.so_far(), beside: Some((None, printed.so_far().concat())) }
}
