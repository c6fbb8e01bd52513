//! Names under which a Docker Engine has images for a while: its exporter cannot export without one.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use bollard::errors::Error as DockerError;
use bollard::query_parameters::{ListImagesOptions, RemoveImageOptions};
use futures_util::future;

use crate::step::engine::Engine;
use crate::step::progress::{Event, Hear};

const BUILD_NAME: &str = "imgforge/build";

/// A name that nobody else has. It says which process of which boot made it, and in which namespace that has its
/// number: containers of one machine may share an engine.
pub(super) fn own(random: &str) -> String {
    format!("{BUILD_NAME}:{}-{}-{random}", this_machine(), std::process::id())
}

fn this_machine() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = std::fs::metadata("/proc/self/ns/pid").map(|data| data.ino()).unwrap_or_default();
    format!("{}.{namespace}", boot.split('-').next().unwrap_or_default())
}

/// Takes names away from an engine, and those of builds which were killed on this machine.
pub(super) async fn forget(engine: &Engine, names: &[String], hear: Hear<'_>) {
    let own = future::join_all(names.iter().map(|name| remove(engine, name, hear)));
    future::join(own, sweep(engine, hear)).await;
}

/// Takes a name away; the image goes with it unless it has another name.
async fn remove(engine: &Engine, name: &str, hear: Hear<'_>) {
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
            remove(engine, &name, hear).await;
        }
    }
}
