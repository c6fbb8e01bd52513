//! What is wanted of an image inside its solve, before it is exported: only an image that is returned is.

use std::collections::BTreeSet;

use tonic::Status;
use tonic::transport::Channel;

use super::container::Container;
use super::differ::{self, Known, Unable};
use super::gateway::{Gateway, Made, Making};
use super::import::ImportError;
use super::stock::Stock;
use super::{chain, trial};
use crate::model::configuration;
use crate::model::digest::Digest;
use crate::model::image::Image;
use crate::model::name::{ImageTag, Platform};
use crate::model::policy::{Charter, Finding, Weight};
use crate::model::time::Timestamp;
use crate::step::progress::{Event, Hear};

/// What is wanted of an image.
pub(super) struct Wanted<'a> {
    /// Its name.
    pub(super) tag: &'a ImageTag,
    /// What it is built for.
    pub(super) platform: &'a Platform,
    /// The image that it starts from, where it does.
    pub(super) base: Option<&'a str>,
    /// By what it is tried out; absent: its steps only run.
    pub(super) charter: Option<&'a Charter>,
    /// How its layers are read, where they are.
    pub(super) reading: Option<Reading<'a>>,
}

/// How layers are read where the builder keeps them.
pub(super) struct Reading<'a> {
    /// The session that has the program for it.
    pub(super) session: &'a str,
    /// The latest time in what was built.
    pub(super) epoch: Timestamp,
    /// Where the layers go.
    pub(super) stock: &'a Stock,
    /// What was read in this session.
    pub(super) read: &'a Known,
    /// An image of the same inputs that was judged by the same charter: the same again need not be tried out.
    pub(super) known: Option<&'a Image>,
}

/// What came to light.
#[derive(Default)]
pub(super) struct Found {
    /// What was noticed while the image was tried out.
    pub(super) findings: Vec<Finding>,
    /// The layers of the image that it starts from.
    pub(super) base: Vec<Digest>,
    /// Its steps, where BuildKit tells which.
    pub(super) steps: Option<BTreeSet<String>>,
    /// The image in normal form, if its layers were read; or why they were not.
    pub(super) read: Option<Result<Image, Unable>>,
}

impl Wanted<'_> {
    /// Has the image made, and returns it if it is as wanted.
    pub(super) async fn make(
        self,
        channel: &Channel,
        build: &str,
        making: Making,
        found: &mut Found,
        hear: Hear<'_>,
    ) -> Result<(), Status> {
        let mut gateway = Gateway::meet(channel, build).await?;
        let made = match gateway.dockerfile(making).await {
            Ok(made) => made,
            Err(status) => return gateway.refuse(status).await,
        };
        match self.find(&mut gateway, &made, found, hear).await {
            Ok(()) => gateway.give(made).await,
            Err(status) => gateway.refuse(status).await,
        }
    }

    async fn find(
        &self,
        gateway: &mut Gateway,
        made: &Made,
        found: &mut Found,
        hear: Hear<'_>,
    ) -> Result<(), Status> {
        let Self { tag, platform, base, charter, reading } = self;
        // BuildKit before 0.9 runs steps only when somebody needs what comes of them.
        Container::new(gateway, made, platform).await?.release().await;
        found.steps = made.definition().and_then(chain::operations);
        let Some(charter) = charter else { return Ok(()) };
        if let Some(base) = base {
            found.base = gateway.layers_of(base, platform).await?;
        }
        if let Some(reading) = reading {
            hear(Event::Doing(&format!("taking `{tag}` into the content store")));
            if reading.take(gateway, made, (tag, platform), found).await? {
                return Ok(());
            }
        }
        hear(Event::Doing(&format!("trying `{tag}` out")));
        found.findings = trial::findings(gateway, made, charter, platform).await?;
        if found.findings.iter().any(|finding| finding.weight == Weight::Error) {
            return Err(Status::failed_precondition("the policy refuses the image"));
        }
        Ok(())
    }
}

impl Reading<'_> {
    /// Reads the layers; where that fails, the solve has to end. True: it is the image that is known.
    async fn take(
        &self,
        gateway: &Gateway,
        made: &Made,
        (tag, platform): (&ImageTag, &Platform),
        found: &mut Found,
    ) -> Result<bool, Status> {
        match found.read.insert(self.image(gateway, made, tag, platform).await) {
            Ok(image) => Ok(self.known == Some(image)),
            Err(_) => Err(Status::aborted("the layers cannot be read")),
        }
    }

    /// The image in normal form, in the store and not yet listed.
    async fn image(
        &self,
        gateway: &Gateway,
        made: &Made,
        tag: &ImageTag,
        platform: &Platform,
    ) -> Result<Image, Unable> {
        let &Self { session, epoch, stock, read, .. } = self;
        let layers = differ::layers(gateway, made, platform, (session, epoch), (stock, read)).await?;
        let config = configuration::normal(made.configuration(), &layers, epoch);
        let config = config.map_err(ImportError::Configuration)?;
        stock.store.take(&mut config.as_slice()).map_err(ImportError::from)?;
        Ok(Image::new(tag.clone(), platform.clone(), &config, layers).map_err(ImportError::from)?)
    }
}
