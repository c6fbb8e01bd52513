//! Turns BuildKit's status messages into events, and remembers what a failed step printed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use bollard_buildkit_proto::google::protobuf::Timestamp;
use bollard_buildkit_proto::moby::buildkit::v1::{StatusResponse, Vertex};

use super::solve::Failure;
use crate::model::plan::Plan;
use crate::step::progress::{Event, Hear};

/// Lines of a failed step that its error shows.
const LAST_LINES: usize = 20;

/// What was told already, by all solves of a session: they share steps.
#[derive(Default)]
pub(super) struct Told {
    started: Mutex<BTreeSet<String>>,
    done: Mutex<BTreeSet<String>>,
    /// Whether several solves print at a time, so that a line must say whose it is.
    several: bool,
}

impl Told {
    /// Nothing yet, for these plans.
    pub(super) fn of(plans: &[Plan]) -> Self {
        Self { several: plans.len() > 1, ..Self::default() }
    }

    fn first(set: &Mutex<BTreeSet<String>>, digest: &str) -> bool {
        set.lock().unwrap_or_else(PoisonError::into_inner).insert(digest.to_owned())
    }
}

/// What is known of the steps so far. BuildKit repeats itself; each step is told once.
pub(super) struct Board<'a> {
    told: &'a Told,
    names: BTreeMap<String, String>,
    logs: BTreeMap<String, VecDeque<String>>,
    partial: BTreeMap<String, String>,
    /// Steps of which the result was there already.
    cached: BTreeSet<String>,
    /// Steps that ran, or of which the result could not be loaded.
    ran: BTreeSet<String>,
    failed: Option<(String, String)>,
}

impl<'a> Board<'a> {
    pub(super) fn new(told: &'a Told) -> Self {
        let (names, logs, partial) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { told, names, logs, partial, cached: BTreeSet::new(), ran: BTreeSet::new(), failed: None }
    }

    /// Takes the next message.
    pub(super) fn hear(&mut self, message: StatusResponse, hear: Hear<'_>) {
        for vertex in message.vertexes {
            self.vertex(vertex, hear);
        }
        for log in message.logs {
            let text =
                self.partial.remove(&log.vertex).unwrap_or_default() + &String::from_utf8_lossy(&log.msg);
            let mut lines: Vec<&str> = text.split('\n').collect();
            let rest = lines.pop().unwrap_or_default();
            let kept = self.logs.entry(log.vertex.clone()).or_default();
            for line in lines {
                // A carriage return rewrites the line: what a person would see is after the last.
                let line = line.trim_end_matches('\r').rsplit('\r').next().unwrap_or_default();
                match self.names.get(&log.vertex).filter(|_| self.told.several) {
                    Some(name) => hear(Event::StepLog(&format!("{} {line}", place(name)))),
                    None => hear(Event::StepLog(line)),
                }
                kept.push_back(line.to_owned());
            }
            kept.drain(..kept.len().saturating_sub(LAST_LINES));
            if !rest.is_empty() {
                self.partial.insert(log.vertex, rest.to_owned());
            }
        }
        for warning in message.warnings {
            hear(Event::Warning(&String::from_utf8_lossy(&warning.short)));
        }
    }

    fn vertex(&mut self, vertex: Vertex, hear: Hear<'_>) {
        self.names.insert(vertex.digest.clone(), vertex.name.clone());
        if vertex.completed.is_some() {
            // What was in the cache and could not be loaded runs after all, and completes again.
            let is_cached = vertex.cached && vertex.error.is_empty();
            if is_cached { &mut self.cached } else { &mut self.ran }.insert(vertex.digest.clone());
        }
        // Steps such as `[internal] load build context` are how, not what.
        let told = !vertex.name.starts_with("[internal]");
        if vertex.started.is_some()
            && Told::first(&self.told.started, &vertex.digest)
            && told
            && !vertex.cached
        {
            hear(Event::StepStarted(&vertex.name));
        }
        if !vertex.error.is_empty() {
            // Steps that were only stopped because another one failed say so.
            if self.failed.is_none() && !vertex.error.contains("context canceled") {
                self.failed = Some((vertex.digest, vertex.error));
            }
        } else if let (Some(started), Some(completed)) = (&vertex.started, &vertex.completed)
            && Told::first(&self.told.done, &vertex.digest)
            && told
        {
            let seconds = seconds(completed) - seconds(started);
            hear(Event::StepDone { name: &vertex.name, cached: vertex.cached, seconds });
        }
    }

    /// Whether there are steps, and BuildKit said of each that its result was there already.
    pub(super) fn were_cached(&self, steps: &BTreeSet<String>) -> bool {
        !steps.is_empty() && self.cached.is_superset(steps) && self.ran.is_disjoint(steps)
    }

    /// The step that failed, if one did.
    pub(super) fn failure(mut self) -> Option<Failure> {
        let (digest, message) = self.failed?;
        let mut log: Vec<String> = self.logs.remove(&digest).unwrap_or_default().into();
        log.extend(self.partial.remove(&digest));
        Some(Failure {
            step: self.names.remove(&digest).unwrap_or_default(),
            message,
            log,
            tier: None,
            line: None,
        })
    }
}

/// `[oracle 2/5]` of `[oracle 2/5] RUN make`.
fn place(name: &str) -> &str {
    name.find(']').map_or(name, |end| &name[..=end])
}

#[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit 52 bits")]
fn seconds(at: &Timestamp) -> f64 {
    at.seconds as f64 + f64::from(at.nanos) / 1e9
}

#[cfg(test)]
mod tests {
    use bollard_buildkit_proto::moby::buildkit::v1::VertexLog;

    use super::*;

    #[test]
    fn lines_are_joined_and_the_failing_step_keeps_its_last() {
        let told = Told::default();
        let mut board = Board::new(&told);
        let heard = Mutex::new(Vec::new());
        let hear = |event: Event<'_>| heard.lock().unwrap().push(format!("{event:?}"));
        let vertex = |digest: &str, error: &str| Vertex {
            digest: digest.to_owned(),
            name: format!("[t 1/2] RUN {digest}"),
            error: error.to_owned(),
            started: Some(Timestamp { seconds: 1, nanos: 0 }),
            completed: Some(Timestamp { seconds: 3, nanos: 0 }),
            ..Vertex::default()
        };
        let log =
            |msg: &[u8]| VertexLog { vertex: "b".to_owned(), msg: msg.to_vec(), ..VertexLog::default() };
        let message = StatusResponse {
            vertexes: vec![
                vertex("a", "context canceled"),
                vertex("b", "exit code: 1"),
                Vertex { cached: true, ..vertex("c", "") },
            ],
            logs: vec![log(b"one\ntw"), log(b"o\n10%\r20%\nlast")],
            ..StatusResponse::default()
        };
        board.hear(message, &hear);
        let cached = |steps: &[&str]| board.were_cached(&steps.iter().map(ToString::to_string).collect());
        assert!(cached(&["c"]) && !cached(&["b", "c"]) && !cached(&["never heard of"]) && !cached(&[]));
        let failure = board.failure().unwrap();
        assert_eq!(failure.step, "[t 1/2] RUN b");
        assert_eq!(failure.log, ["one", "two", "20%", "last"]);
        assert!(heard.lock().unwrap().contains(&"StepLog(\"two\")".to_owned()));
    }

    #[test]
    fn a_step_whose_result_could_not_be_loaded_was_not_cached() {
        let told = Told::default();
        let mut board = Board::new(&told);
        let completed = |cached: bool, error: &str| StatusResponse {
            vertexes: vec![Vertex {
                digest: "a".to_owned(),
                cached,
                error: error.to_owned(),
                completed: Some(Timestamp::default()),
                ..Vertex::default()
            }],
            ..StatusResponse::default()
        };
        let steps = BTreeSet::from(["a".to_owned()]);
        for (cached, error, idle) in [(true, "", true), (false, "", false), (true, "", false)] {
            board.hear(completed(cached, error), &|_| ());
            assert_eq!(board.were_cached(&steps), idle);
        }
    }
}
