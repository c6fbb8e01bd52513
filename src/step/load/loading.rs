//! Loads an archive while it is checked: what was checked goes to the engine, and the end of it after all of the archive was.

use std::io;

use tokio::task::JoinHandle;

use super::send::{import, shown, whole, without, words};
use super::{LoadError, Loaded, Proof, Retag, Wanted, held, wanted};
use crate::model::image::Image;
use crate::step::check::Checked;
use crate::step::engine::{Address, Engine};
use crate::step::feed::{self, Feed};
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
    Here,
    /// The engine takes what comes; it seemed to have so many layers.
    Begun(Engine, usize, JoinHandle<Result<(), LoadError>>),
}

/// Begins to load an image into an engine that lacks it: whatever the feed is given goes there. What is wrong is
/// said at the [`end`](Loading::end), and the archive is worth checking nonetheless.
pub async fn begin(goal: &Goal, image: &Image) -> (Option<Feed>, Loading) {
    let asked = async {
        let engine = Engine::connect(&goal.engine).await?;
        Ok(match wanted(&engine, image, goal.retag).await? {
            Wanted::Here => None,
            Wanted::Missing => Some((held(&engine, image).await?, engine)),
        })
    };
    let (feed, state) = match asked.await {
        Err(error) => (None, State::Refused(error)),
        Ok(None) => (None, State::Here),
        Ok(Some((without, engine))) => {
            let held = without.len();
            let (feed, pieces) = feed::feed(without);
            let (to, image) = (engine.clone(), image.clone());
            let importing = tokio::spawn(async move { import(&to, &image, pieces).await });
            (Some(feed), State::Begun(engine, held, importing))
        }
    };
    (feed, Loading { goal: goal.clone(), state })
}

impl Loading {
    /// Waits for the engine, after the check. Tells what the engine has, if that was to be proven.
    pub async fn end(self, checked: &Checked, hear: Hear<'_>) -> Result<Option<Loaded>, LoadError> {
        let image = &checked.archive().image;
        let (engine, held, importing) = match self.state {
            State::Refused(error) => return Err(error),
            // That was before the check, which takes its time.
            State::Here => return load(&self.goal, checked, hear).await,
            State::Begun(engine, held, importing) => (engine, held, importing),
        };
        hear(Event::Doing(&words(&engine, image, held)));
        let imported = importing.await.unwrap_or_else(|error| Err(LoadError::Io(io::Error::other(error))));
        let known = if held == 0 { imported.map(|()| None)? } else { shown(&engine, image, imported).await };
        if held > 0 && known.is_none() {
            whole(&engine, image, checked.open_tar(&[]), hear).await?;
        }
        self.goal.proof.of(&engine, image, known).await
    }

    /// Waits until the engine has let go of what it got, when the check found something wrong: the end did not come.
    pub async fn give_up(self) {
        if let State::Begun(_, _, importing) = self.state {
            // It says that its stream broke off, and why is known.
            let _ = importing.await;
        }
    }
}

/// Loads an archive that was checked before.
pub async fn load(goal: &Goal, checked: &Checked, hear: Hear<'_>) -> Result<Option<Loaded>, LoadError> {
    let engine = Engine::connect(&goal.engine).await?;
    let image = &checked.archive().image;
    let mut known = None;
    if let Wanted::Missing = wanted(&engine, image, goal.retag).await? {
        let held = held(&engine, image).await?;
        if !held.is_empty() {
            known = without(&engine, image, held.len(), checked.open_tar(&held), hear).await;
        }
        if known.is_none() {
            whole(&engine, image, checked.open_tar(&[]), hear).await?;
        }
    }
    goal.proof.of(&engine, image, known).await
}
