//! Names under which a Docker Engine has images for a while: its exporter cannot export without one.

use std::collections::HashMap;
use std::path::Path;

use bollard::errors::Error as DockerError;
use bollard::query_parameters::{ListImagesOptions, RemoveImageOptions, TagImageOptions};
use futures_util::future;

use crate::step::engine::{Engine, EngineError};
use crate::step::progress::{Event, Hear};

const BUILD_NAME: &str = "imgforge/build";

/// A name that nobody else has. It says which process of which boot made it.
pub(super) fn own(random: &str) -> String {
    format!("{BUILD_NAME}:{}-{}-{random}", this_machine(), std::process::id())
}

fn this_machine() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    boot.split('-').next().unwrap_or_default().to_owned()
}

/// Images that an engine has under such names.
pub struct Aside {
    pub(super) engine: Engine,
    pub(super) names: Vec<String>,
    /// Those of them that are to be there under another name.
    pub(super) wanted: Vec<(String, String)>,
}

impl Aside {
    /// Gives images the names under which they were wanted, now that they were judged and are good.
    pub async fn keep(self, hear: Hear<'_>) -> Result<(), EngineError> {
        let mut kept = Ok(());
        for (name, wanted) in &self.wanted {
            // A colon before a slash is that of a port.
            let split = wanted.rsplit_once(':').filter(|(_, tag)| !tag.contains('/'));
            let (repo, tag) =
                split.map_or((wanted.as_str(), None), |(repo, tag)| (repo, Some(tag.to_owned())));
            let options = TagImageOptions { repo: Some(repo.to_owned()), tag };
            let tagged = self.engine.docker.tag_image(name, Some(options)).await;
            kept = kept.and(tagged.map_err(Engine::refused(format!("name an image `{wanted}`"))));
        }
        self.forget(hear).await;
        kept
    }

    /// Takes the names away, and those of builds which were killed on this machine.
    pub async fn forget(self, hear: Hear<'_>) {
        let own = future::join_all(self.names.iter().map(|name| forget(&self.engine, name, hear)));
        future::join(own, sweep(&self.engine, hear)).await;
    }
}

/// Takes a name away from the engine; the image goes with it unless it has another name.
async fn forget(engine: &Engine, name: &str, hear: Hear<'_>) {
    let gone = |error: &DockerError| {
        matches!(error, DockerError::DockerResponseServerError { status_code: 404, .. })
    };
    // By force, because a container may use the same image: it only loses this name then.
    let options = RemoveImageOptions { force: true, ..RemoveImageOptions::default() };
    if let Err(error) = engine.docker.remove_image(name, Some(options), None).await
        && !gone(&error)
    {
        hear(Event::Warning(&format!("the engine keeps `{name}`: {error}")));
    }
}

async fn sweep(engine: &Engine, hear: Hear<'_>) {
    let filters = HashMap::from([("reference".to_owned(), vec![format!("{BUILD_NAME}:*")])]);
    let options = ListImagesOptions { filters: Some(filters), ..ListImagesOptions::default() };
    for name in
        engine.docker.list_images(Some(options)).await.into_iter().flatten().flat_map(|found| found.repo_tags)
    {
        let tag = name.strip_prefix(BUILD_NAME).and_then(|rest| rest.strip_prefix(':'));
        let mut parts = tag.unwrap_or_default().split('-');
        let (machine, process) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if machine == this_machine() && !Path::new("/proc").join(process).exists() {
            forget(engine, &name, hear).await;
        }
    }
}
