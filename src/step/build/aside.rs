//! What a build gives to others only when its images were judged, and are good.

use bollard::query_parameters::TagImageOptions;

use super::BuildError;
use super::cache::CacheTo;
use super::names;
use super::site::Site;
use super::solve::solve;
use crate::model::plan::Plan;
use crate::step::engine::Engine;
use crate::step::progress::Hear;

/// Caches of images that nobody judged yet: where they were built, and the engine that has them under names of its
/// own.
pub struct Aside<'a> {
    pub(super) site: Site<'a>,
    pub(super) plans: &'a [Plan],
    pub(super) engine: Option<Engine>,
}

impl Aside<'_> {
    /// Writes the caches.
    pub async fn keep(self, hear: Hear<'_>) -> Result<(), BuildError> {
        let kept = self.write(hear).await;
        self.forget(hear).await;
        kept
    }

    async fn write(&self, hear: Hear<'_>) -> Result<(), BuildError> {
        match (&self.site.inputs.cache_to, &self.engine) {
            (Some(CacheTo::Inline(name)), Some(engine)) => self.name(name, engine).await,
            _ => self.solve(hear).await,
        }
    }

    /// A cache inside an image is there when the image has its name.
    async fn name(&self, name: &str, engine: &Engine) -> Result<(), BuildError> {
        for (at, plan) in self.plans.iter().enumerate() {
            let name = CacheTo::for_tier(name, &plan.tier);
            // A colon before a slash is that of a port.
            let split = name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/'));
            let (repo, tag) = split.map_or((name.as_str(), None), |(repo, tag)| (repo, Some(tag.to_owned())));
            let options = TagImageOptions { repo: Some(repo.to_owned()), tag };
            let tagged = engine.docker.tag_image(&self.site.name(at), Some(options)).await;
            tagged.map_err(Engine::refused(format!("name an image `{name}`")))?;
        }
        Ok(())
    }

    /// Any other is written by BuildKit, in a session of its own: in the one in which the steps ran, it writes
    /// an empty one.
    async fn solve(&self, hear: Hear<'_>) -> Result<(), BuildError> {
        let Site { line, charters, trees, inputs, stock, .. } = &self.site;
        let again = Site::open(line.clone(), self.plans, charters, trees, inputs, &stock.store).await?;
        for (at, plan) in self.plans.iter().enumerate() {
            let asked = again.caching(plan, at)?;
            let solved = Box::pin(solve(&again.line, asked, &again.told, hear)).await?;
            again.keep_cache(plan, &solved.answer)?;
        }
        Ok(())
    }

    /// Leaves no names behind.
    pub async fn forget(self, hear: Hear<'_>) {
        if let Some(engine) = &self.engine {
            let own: Vec<String> = (0..self.plans.len()).map(|at| self.site.name(at)).collect();
            names::forget(engine, &own, hear).await;
        }
    }
}
