//! `imgforge doctor`

use std::path::PathBuf;

use imgforge::flow;
use imgforge::flow::doctor::Patient;
use imgforge::model::health::{Finding, Grade};
use imgforge::step::store::{Access, Address};
use serde_json::json;

use super::Context;
use super::report::Failure;
use super::words::Words;
use super::workshop::RecipeArgs;

/// Look at this machine: engine, builders, stores, disks, clock, certificates, keys; says what to type
///
/// Changes nothing. Asks no server but those that other commands would ask. Ends with code 4 when there is
/// a fault; warnings do not count.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where releases are published [default: `address` below `[store]` in imgforge.toml]
    #[arg(long, value_name = "STORE", env = "IMGFORGE_STORE")]
    store: Option<Address>,
    #[command(flatten)]
    recipes: RecipeArgs,
}

impl Args {
    pub(crate) async fn run(self, context: &Context<'_>) -> Result<(), Failure> {
        let mut found = Vec::new();
        let patient = self.patient(context, &mut found);
        let hear = |event: imgforge::step::progress::Event<'_>| context.screen.hear(event);
        found.extend(flow::doctor::doctor(&patient, &hear).await);
        show(context, &found)
    }

    /// What the configuration says. Where it cannot be read, that is the first finding, and the rest is
    /// looked at all the same.
    fn patient(self, context: &Context<'_>, found: &mut Vec<Finding>) -> Patient {
        let config = &context.config;
        let engine = note(config.endpoints.engine(), "engine", found);
        let configured = note(config.endpoints.configuration(), "config", found).is_some();
        let builders = if configured { note(config.endpoints.named(), "buildkit", found) } else { None };
        let access = if configured { note(config.access(), "store", found) } else { None };
        let place = match &access {
            Some(access) if self.store.is_some() || access.settings.address.is_some() => {
                note(context.place(self.store.as_ref()), "store", found)
            }
            _ => None,
        };
        let public = access.as_ref().and_then(|_| note(context.public(), "store", found).flatten());
        Patient {
            engine,
            builders: builders.unwrap_or_default(),
            publishing: place,
            public,
            access: access
                .unwrap_or_else(|| Access { uploads: config.state.join("uploads"), ..Access::default() }),
            recipes: self.recipes.folder().ok().filter(|folder| folder.is_dir()),
            keys: PathBuf::from("keys"),
            folders: [config.pins.clone(), config.cache.clone(), config.state.clone()],
            network: config.network.clone(),
            now: config.now,
        }
    }
}

fn note<T>(result: Result<T, Failure>, about: &'static str, found: &mut Vec<Finding>) -> Option<T> {
    result.map_err(|failure| found.push(failure.finding(about))).ok()
}

fn show(context: &Context<'_>, found: &[Finding]) -> Result<(), Failure> {
    let faults = found.iter().filter(|finding| finding.grade == Grade::Fault).count();
    let object = json!({"checks": found, "faults": faults});
    let mut words = Words::default();
    for Finding { about, grade, text, fix } in found {
        let grade = match grade {
            Grade::Ok => "ok",
            Grade::Warning => "warning",
            Grade::Fault => "FAULT",
        };
        words.row(grade, format!("{about:<9} {text}"));
        if let Some(fix) = fix {
            words.row("", format!("     fix: {fix}"));
        }
    }
    if faults == 0 {
        context.screen.result(words.text(), &object);
        return Ok(());
    }
    context.screen.words(words.text());
    Err(Failure::unwell(faults).with_checks(object["checks"].clone()))
}
