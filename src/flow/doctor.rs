//! What commands will need, looked at before they need it.

use std::path::PathBuf;

use crate::model::health::{self, Clock, Finding};
use crate::model::name::ProjectName;
use crate::model::time::Timestamp;
use crate::model::trust::Trusted;
use crate::step::build::{self, Builder};
use crate::step::engine::Address;
use crate::step::examine::{self, Use};
use crate::step::progress::{Event, Hear};
use crate::step::{pin, read, remember, store};

/// The machine, as its configuration says that it is.
pub struct Patient {
    /// The Docker Engine.
    pub engine: Option<Address>,
    /// What the configuration names besides the BuildKit inside that engine.
    pub builders: Vec<Builder>,
    /// Where releases are published, if there is a configuration that says how.
    pub publishing: Option<store::Address>,
    /// Where operators read them.
    pub public: Option<store::Address>,
    /// What is known about reaching stores.
    pub access: store::Access,
    /// Recipes, if this folder has any.
    pub recipes: Option<PathBuf>,
    /// Folder of the keys.
    pub keys: PathBuf,
    /// Folders of the configuration, the cache and the state.
    pub folders: [PathBuf; 3],
    /// Variables that name authorities and proxies, and what they say.
    pub network: Vec<(&'static str, String)>,
    /// This machine's time.
    pub now: Timestamp,
}

/// Looks at everything, in the order in which a person would repair it.
pub async fn doctor(patient: &Patient, hear: Hear<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    hear(Event::Doing("looking at the Docker Engine and the builders"));
    let root = engines(patient, &mut found).await;
    folders(patient, root, &mut found);
    network(patient, &mut found).await;
    hear(Event::Doing("looking at the stores"));
    stores(patient, &mut found).await;
    found.extend(examine::keys(&patient.keys));
    found.extend(patient.recipes.as_ref().map(|_| examine::mmdebstrap()));
    found.push(examine::cosign());
    found
}

/// The engine's own BuildKit is asked only when the engine answers: one fault is one finding.
async fn engines(patient: &Patient, found: &mut Vec<Finding>) -> Option<PathBuf> {
    let mut root = None;
    let mut builders = patient.builders.clone();
    if let Some(address) = &patient.engine {
        let (finding, folder) = examine::engine(address).await;
        if finding.grade != health::Grade::Fault {
            builders.push(Builder::at(address.clone()));
        }
        found.push(finding);
        root = folder;
    }
    for builder in &builders {
        let said = build::survey(builder).await;
        found.push(examine::builder(
            &builder.shown(),
            said.as_ref().map(Clone::clone).map_err(|error| error as _),
        ));
    }
    root
}

fn folders(patient: &Patient, root: Option<PathBuf>, found: &mut Vec<Finding>) {
    let [config, cache, state] = &patient.folders;
    found.push(examine::folder("config", config, "XDG_CONFIG_HOME"));
    found.push(examine::folder("cache", cache, "XDG_CACHE_HOME"));
    found.push(examine::folder("state", state, "XDG_STATE_HOME"));
    found.extend(examine::disk("cache", cache, None));
    let images = root
        .and_then(|root| examine::disk("engine", &root, Some("docker image prune  # images without a name")));
    found.extend(images);
}

async fn network(patient: &Patient, found: &mut Vec<Finding>) {
    let proxy = |name: &str| name.to_ascii_lowercase().ends_with("_proxy");
    let authorities: Vec<_> = patient.network.iter().filter(|(name, _)| !proxy(name)).collect();
    for (name, file) in &authorities {
        found.push(examine::authorities(Some((name, file.as_ref()))));
    }
    if authorities.is_empty() {
        found.push(examine::authorities(None));
    }
    for (name, text) in patient.network.iter().filter(|(name, _)| proxy(name)) {
        found.push(examine::proxy(name, text).await);
    }
}

/// Where releases go, where they come from, and what time it is there.
async fn stores(patient: &Patient, found: &mut Vec<Finding>) {
    let mut clocks = Vec::new();
    let mut seen = Vec::new();
    let project = patient
        .recipes
        .as_ref()
        .and_then(|folder| read::recipes(folder).ok()?.project().ok().map(|project| project.name));
    let own = [(&patient.publishing, Use::Publishing), (&patient.public, Use::Reading)];
    let mut wanted: Vec<(store::Address, Use)> =
        own.into_iter().filter_map(|(address, purpose)| Some((address.clone()?, purpose))).collect();
    let mut pins = Vec::new();
    match pin::names(&patient.folders[0]) {
        Ok(names) => {
            for name in names {
                pins.push(pinned(patient, &name, &mut wanted, &mut clocks));
            }
        }
        Err(error) => pins.push(Finding::fault(
            "trust",
            error.to_string(),
            "sudo chown -R \"$(id -un)\" ~/.config/imgforge",
        )),
    }
    for (address, purpose) in wanted {
        if seen.contains(&address) {
            continue;
        }
        let (finding, clock) = examine::store(&address, &patient.access, purpose, project.as_ref()).await;
        found.push(finding);
        clocks.extend(clock);
        seen.push(address);
    }
    found.append(&mut pins);
    found.push(health::clock(patient.now, &clocks));
}

/// A project whose images may be loaded here: its pin, and what is remembered of it.
fn pinned(
    patient: &Patient,
    name: &ProjectName,
    wanted: &mut Vec<(store::Address, Use)>,
    clocks: &mut Vec<Clock>,
) -> Finding {
    let [config, _, state] = &patient.folders;
    let pin = match pin::get(config, name) {
        Ok(pin) => pin,
        Err(error) => {
            let file = pin::path(config, name);
            let fix =
                format!("rm '{}' && imgforge trust add {name} --key cosign.pub --from STORE", file.display());
            return Finding::fault("trust", format!("{name}: {error}"), fix);
        }
    };
    wanted.push((pin.store.clone(), Use::Reading));
    let memory = remember::of(state, name, &Trusted::pin(pin.project.clone(), pin.key.clone()));
    match memory.seen().and_then(|seen| memory.chain().map(|_| seen)) {
        Ok(seen) => {
            clocks.extend(seen.map(|seen| Clock::Remembered(seen.time)));
            Finding::ok("trust", format!("{name}, by key {}, from {}", pin.key.fingerprint(), pin.store))
        }
        Err(error) => {
            let fix = "# it protects against rollback: put back a copy, or ask the project for its channel's sequence before you remove it";
            Finding::fault("trust", format!("{name}: {error}"), fix)
        }
    }
}
