//! What to do when nobody builds or loads.

use imgforge::step::build::BuildError;
use imgforge::step::engine::EngineError;

use super::{Code, POLICY};

pub(super) fn build(error: &BuildError) -> (Code, &'static str) {
    match error {
        BuildError::Policy(_) => POLICY,
        BuildError::Unreachable { .. } | BuildError::Engine(_) => (
            Code::Engine,
            "start Docker, or name a builder with `--builder`, `BUILDKIT_HOST` or `DOCKER_HOST`",
        ),
        BuildError::NoBuilder { .. } => (
            Code::Engine,
            "add one that does under `[builders]` in `imgforge.toml`, or name it with `--builder`",
        ),
        BuildError::Lacks { remedy, .. } => (Code::Engine, remedy),
        BuildError::OnePlatform => {
            (Code::Usage, "fill the caches before, with `imgforge build --platform` for each platform")
        }
        BuildError::OneCache => (Code::Usage, "put `{tier}` into the name: `ref=host/cache:{tier}`"),
        BuildError::NoSecret(_) => (Code::Usage, "give it with `--secret id=ID,src=FILE`"),
        _ => (Code::BuildFailed, "`imgforge recipe render TIER` shows what was built"),
    }
}

pub(super) fn engine(error: &EngineError) -> (Code, &'static str) {
    match error {
        EngineError::Unreachable { .. } => {
            (Code::Engine, "start Docker, or set `DOCKER_HOST`; then run the same command again")
        }
        EngineError::Broken { .. } => (
            Code::Engine,
            "look why with `imgforge doctor`, then run the same command again: nothing is downloaded twice",
        ),
        EngineError::Refused { .. } => (Code::Engine, "the engine's own log says more"),
    }
}
