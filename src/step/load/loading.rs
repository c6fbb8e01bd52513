//! Loads an archive while it is checked: what was checked goes to the engine, and the end of it after all of the archive was.

use std::io;

use tokio::task::JoinHandle;

use super::send::{import, whole, words};
use super::{LoadError, Loaded, Proof, Retag, Wanted, held, prove, wanted};
use crate::model::image::Image;
use crate::step::check::Checked;
use crate::step::engine::{Address, Engine};
use crate::step::feed::{self, Feed, Pieces};
use crate::step::progress::{Event, Hear};

/// Which engine is to have an image, and how.
#[derive(Debug, Clone)]
pub struct Goal {
    /// The engine.
    pub engine: Address,
    /// Whether another image may lose its tag.
    pub retag: Retag,
    /// How far to go.
    pub proof: Proof,
}

/// An image on its way into an engine. It is told as loaded after its archive was checked, and not before.
pub struct Loading {
    goal: Goal,
    state: State,
}

enum State {
    /// Nothing was begun.
    Refused(LoadError),
    /// The engine has the image.
    Here(Engine),
    /// The engine takes what comes; it seemed to have so many layers.
    Begun(Engine, usize, JoinHandle<Result<Arrived, LoadError>>),
}

/// How far it came.
enum Arrived {
    Loaded,
    Proven(Loaded),
    /// The engine lacks what it seemed to have.
    Lacking,
}

/// Begins to load an image into an engine that lacks it: whatever the feed is given goes there. What is wrong is
/// said at the [`end`](Loading::end), and the archive is worth checking nonetheless.
pub async fn begin(goal: &Goal, image: &Image) -> (Option<Feed>, Loading) {
    let loading = |state| Loading { goal: goal.clone(), state };
    let engine = match Engine::connect(&goal.engine).await {
        Ok(engine) => engine,
        Err(error) => return (None, loading(State::Refused(error.into()))),
    };
    let asked = async {
        match wanted(&engine, image, goal.retag).await? {
            Wanted::Here => Ok(None),
            Wanted::Missing => Ok(Some(held(&engine, image).await?)),
        }
    };
    match asked.await {
        Err(error) => (None, loading(State::Refused(error))),
        Ok(None) => (None, loading(State::Here(engine))),
        Ok(Some(without)) => {
            let held = without.len();
            let (feed, pieces) = feed::feed(without);
            let task = tokio::spawn(take(engine.clone(), image.clone(), pieces, held, goal.proof));
            (Some(feed), loading(State::Begun(engine, held, task)))
        }
    }
}

/// Lets an engine take what comes.
async fn take(
    engine: Engine,
    image: Image,
    pieces: Pieces,
    held: usize,
    proof: Proof,
) -> Result<Arrived, LoadError> {
    if held == 0 {
        import(&engine, &image, pieces).await?;
        return match proof {
            Proof::Loaded => Ok(Arrived::Loaded),
            Proof::Proven => Ok(Arrived::Proven(prove(&engine, &image).await?)),
        };
    }
    // Engines take an image without its layers, and some do even if they lack them, so only a container shows
    // whether all of it is there.
    let Ok(()) = import(&engine, &image, pieces).await else { return Ok(Arrived::Lacking) };
    Ok(match (prove(&engine, &image).await, proof) {
        (Err(_), _) => Arrived::Lacking,
        (Ok(_), Proof::Loaded) => Arrived::Loaded,
        (Ok(loaded), Proof::Proven) => Arrived::Proven(loaded),
    })
}

impl Loading {
    /// Waits for the engine, after the check. Tells what the engine has, if that was to be proven.
    pub async fn end(self, checked: &Checked, hear: Hear<'_>) -> Result<Option<Loaded>, LoadError> {
        let image = &checked.archive().image;
        let engine = match self.state {
            State::Refused(error) => return Err(error),
            State::Here(engine) => {
                // It had the image before the check, which takes its time.
                if let Wanted::Missing = wanted(&engine, image, self.goal.retag).await? {
                    whole(&engine, image, checked.open_tar(&[]), hear).await?;
                }
                engine
            }
            State::Begun(engine, held, task) => {
                hear(Event::Doing(&words(&engine, image, held)));
                match task.await.map_err(|error| LoadError::Io(io::Error::other(error)))?? {
                    Arrived::Loaded => return Ok(None),
                    Arrived::Proven(loaded) => return Ok(Some(loaded)),
                    Arrived::Lacking => whole(&engine, image, checked.open_tar(&[]), hear).await?,
                }
                engine
            }
        };
        match self.goal.proof {
            Proof::Loaded => Ok(None),
            Proof::Proven => prove(&engine, image).await.map(Some),
        }
    }

    /// Waits until the engine has let go of what it got, when the check found something wrong: the end did not come.
    pub async fn give_up(self) {
        if let State::Begun(_, _, task) = self.state {
            // It says that its stream broke off, and why is known.
            let _ = task.await;
        }
    }
}

/// Loads an archive that was checked before.
pub async fn load(goal: &Goal, checked: &Checked, hear: Hear<'_>) -> Result<Option<Loaded>, LoadError> {
    let (feed, loading) = begin(goal, &checked.archive().image).await;
    let pouring = feed.map(|feed| {
        let tar = checked.open_tar(feed.without());
        tokio::task::spawn_blocking(move || feed.pour(tar))
    });
    let loaded = loading.end(checked, hear).await;
    // A file that could not be read is why the engine stopped, not the other way round.
    match pouring {
        Some(pouring) => match pouring.await {
            Ok(Err(error)) if loaded.is_err() => Err(LoadError::Io(error)),
            _ => loaded,
        },
        None => loaded,
    }
}
