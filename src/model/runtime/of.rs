//! From a recipe to the helper's configuration.

use super::config::{
    Backoff, Config, Heap, HeapRuntime, Probe, Ready, Restart, Service, Stop, StopSignal, Variable,
};
use crate::model::recipe::service::{self, Signal};
use crate::model::recipe::{self, Recipe, Size};

impl Config {
    /// What the helper is told of a recipe. One without services has no use for it, but can be checked.
    #[must_use]
    pub fn of(tier: &str, recipe: &Recipe) -> Self {
        Self {
            tier: tier.to_owned(),
            env: recipe.env.iter().map(|(name, variable)| (name.to_string(), variable.into())).collect(),
            services: recipe
                .services
                .iter()
                .map(|(name, service)| (name.to_string(), service.into()))
                .collect(),
            heap: recipe.resources.as_ref().and_then(|resources| {
                let memory = resources.memory.map(|Size(bytes)| bytes);
                resources.heap.as_ref().map(|heap| Heap {
                    runtime: match heap.runtime {
                        recipe::Runtime::Node => HeapRuntime::Node,
                        recipe::Runtime::Java => HeapRuntime::Java,
                        recipe::Runtime::Go => HeapRuntime::Go,
                    },
                    percent: heap.percent,
                    memory,
                })
            }),
        }
    }
}

impl From<&recipe::Variable> for Variable {
    fn from(variable: &recipe::Variable) -> Self {
        let recipe::Variable { description, required, secret, default, pattern, example } = variable.clone();
        Self { description, required, secret, default, pattern, example }
    }
}

impl From<&recipe::Service> for Service {
    fn from(service: &recipe::Service) -> Self {
        Self {
            command: service.command.clone(),
            needs: service.needs.iter().map(ToString::to_string).collect(),
            directory: service.directory.clone(),
            environment: service
                .environment
                .iter()
                .map(|(name, value)| (name.to_string(), value.clone()))
                .collect(),
            restart: match service.restart {
                service::Restart::Never => Restart::Never,
                service::Restart::OnFailure => Restart::OnFailure,
                service::Restart::Always => Restart::Always,
            },
            ready: service.ready.as_ref().and_then(|ready| {
                Some(Ready {
                    probe: Probe::of(&ready.probe)?,
                    within: milliseconds(ready.within),
                    interval: milliseconds(ready.interval),
                })
            }),
            backoff: Backoff {
                first: milliseconds(service.backoff.first),
                most: milliseconds(service.backoff.most),
                restarts: service.backoff.restarts,
            },
            stop: Stop {
                signal: match service.stop.signal {
                    Signal::Term => StopSignal::Term,
                    Signal::Int => StopSignal::Int,
                    Signal::Quit => StopSignal::Quit,
                    Signal::Hup => StopSignal::Hup,
                    Signal::Usr1 => StopSignal::Usr1,
                    Signal::Usr2 => StopSignal::Usr2,
                },
                timeout: milliseconds(service.stop.timeout),
            },
        }
    }
}

impl Probe {
    /// A recipe's probe; `None` for the one that asks the helper about all services.
    #[must_use]
    pub fn of(probe: &recipe::Probe) -> Option<Self> {
        match probe {
            recipe::Probe::Http(url) => Some(Self::Http(url.clone())),
            recipe::Probe::Tcp(port) => Some(Self::Tcp(*port)),
            recipe::Probe::Command(words) => Some(Self::Command(words.clone())),
            recipe::Probe::Services => None,
        }
    }
}

/// Recipes are in seconds, because people write them.
fn milliseconds(seconds: u32) -> u64 {
    u64::from(seconds) * 1000
}
