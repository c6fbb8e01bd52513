//! Sends tars to an engine.

use std::io::{self, Read};

use bollard::body_try_stream;
use bollard::query_parameters::ImportImageOptions;
use futures_util::StreamExt as _;

use super::{LoadError, Loaded, prove};
use crate::model::image::Image;
use crate::step::engine::Engine;
use crate::step::feed::{self, Pieces};
use crate::step::progress::{Event, Hear};

/// Loads all of an image.
pub(super) async fn whole(
    engine: &Engine,
    image: &Image,
    tar: impl Read + Send + 'static,
    hear: Hear<'_>,
) -> Result<(), LoadError> {
    hear(Event::Doing(&words(engine, image, 0)));
    send(engine, image, tar).await
}

/// Loads an image without so many of its layers. `None` when the engine lacks them after all.
pub(super) async fn without(
    engine: &Engine,
    image: &Image,
    held: usize,
    tar: impl Read + Send + 'static,
    hear: Hear<'_>,
) -> Option<Loaded> {
    hear(Event::Doing(&words(engine, image, held)));
    let sent = send(engine, image, tar).await;
    shown(engine, image, sent).await
}

/// What an engine has after it was sent an image without some layers: engines take that, and some do even if
/// they lack them, so only a container shows whether all of it is there.
pub(super) async fn shown(engine: &Engine, image: &Image, sent: Result<(), LoadError>) -> Option<Loaded> {
    sent.ok()?;
    prove(engine, image).await.ok()
}

/// What is being done, for a person.
pub(super) fn words(engine: &Engine, image: &Image, held: usize) -> String {
    let (tag, version, all) = (&image.tag, &engine.version, image.unique_layers().len());
    match held {
        0 => format!("loading `{tag}` into Docker {version}"),
        held => format!("loading `{tag}` into Docker {version}, which has {held} of its {all} layers"),
    }
}

async fn send(engine: &Engine, image: &Image, tar: impl Read + Send + 'static) -> Result<(), LoadError> {
    let (feed, pieces) = feed::feed(Vec::new());
    let pouring = tokio::task::spawn_blocking(move || feed.pour(tar));
    let imported = import(engine, image, pieces).await;
    // A file that could not be read is why the engine stopped, not the other way round.
    match pouring.await {
        Ok(Ok(())) => imported,
        Ok(Err(error)) => Err(LoadError::Io(error)),
        Err(error) => imported.and(Err(LoadError::Io(io::Error::other(error)))),
    }
}

/// Gives an engine a tar as it comes. When it breaks off before its end, where engines look for the image, it never becomes
/// a complete one.
pub(super) async fn import(engine: &Engine, image: &Image, pieces: Pieces) -> Result<(), LoadError> {
    let receipt = pieces.receipt();
    let body = body_try_stream(pieces);
    let mut answers = Box::pin(engine.docker.import_image(ImportImageOptions::default(), body, None));
    while let Some(answer) = answers.next().await {
        answer.map_err(Engine::refused(format!("load `{}`", image.tag)))?;
    }
    if receipt.is_complete() {
        Ok(())
    } else {
        Err(LoadError::Io(io::Error::other("the engine stopped reading")))
    }
}
