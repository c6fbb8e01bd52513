//! Whether images have vulnerabilities that are known, and too bad to ship.

use std::path::PathBuf;
use std::sync::Arc;

use super::Error;
use super::build::{Workshop, plan};
use crate::model::image::Image;
use crate::model::name::TierName;
use crate::model::plan::Ask;
use crate::model::sbom::Inventory;
use crate::model::scan::database::Database;
use crate::model::scan::find;
use crate::model::scan::gate::{self, Exception, Scan, Terms};
use crate::model::scan::severity::Severity;
use crate::model::time::Timestamp;
use crate::step::content::ContentStore;
use crate::step::progress::{Event, Hear};
use crate::step::web::{Downloads, Web};
use crate::step::{advisories, download, inventory, list, members};

/// What is looked into.
#[derive(Debug, Clone)]
pub enum Subject {
    /// An image that was built.
    Tier(TierName, Box<Ask>),
    /// An archive on this disk.
    Archive(PathBuf),
}

/// What is asked.
pub struct Question<'a> {
    /// Where the images of tiers are; none where only archives are looked into.
    pub workshop: Option<Workshop>,
    /// Folder of the content store, also for what is unpacked on the way.
    pub content: PathBuf,
    /// Images.
    pub subjects: Vec<Subject>,
    /// Files, folders and addresses with data.
    pub data: Vec<String>,
    /// How to download those of them that are addresses.
    pub downloads: Downloads,
    /// By what images are judged.
    pub terms: Terms<'a>,
}

/// The gate that images of a release have to pass.
#[derive(Debug, Clone)]
pub struct Gate {
    /// Files, folders and addresses with data.
    pub data: Vec<String>,
    /// How to download those of them that are addresses.
    pub downloads: Downloads,
    /// From which severity on a vulnerability stops the release.
    pub threshold: Severity,
    /// What the project bears.
    pub exceptions: Vec<Exception>,
}

impl Gate {
    /// `Err` where a vulnerability stops one of the images.
    pub(super) async fn pass(
        &self,
        images: &[Image],
        now: Timestamp,
        store: &ContentStore,
        hear: Hear<'_>,
    ) -> Result<(), Error> {
        let listed = images.iter().map(|image| Ok(inventory::image(image, store)?));
        let inventories = listed.collect::<Result<Vec<_>, Error>>()?;
        let terms = Terms { threshold: self.threshold, exceptions: &self.exceptions, now };
        let scan = judge(&inventories, &self.data, &self.downloads, terms, store, hear).await?;
        if scan.failing().next().is_some() { Err(Error::Vulnerable(Box::new(scan))) } else { Ok(()) }
    }
}

/// Lists the packages of every image, and looks for them in the data.
pub async fn scan(question: &Question<'_>, hear: Hear<'_>) -> Result<Scan, Error> {
    let store = ContentStore::open(&question.content)?;
    let mut inventories = Vec::new();
    for subject in &question.subjects {
        inventories.push(listed(question, subject, &store, hear)?);
    }
    judge(&inventories, &question.data, &question.downloads, question.terms, &store, hear).await
}

/// Looks for the packages of images in the data.
async fn judge(
    inventories: &[Inventory],
    data: &[String],
    downloads: &Downloads,
    terms: Terms<'_>,
    store: &ContentStore,
    hear: Hear<'_>,
) -> Result<Scan, Error> {
    let web = Web::new(downloads)?;
    let mut database = Database::about(inventories);
    let mut sources = Vec::new();
    for from in data {
        sources.push(advisories::read(from, &mut database, &web, store, hear).await?);
    }
    let found = inventories.iter().map(|inventory| (inventory, find::find(inventory, &database)));
    Ok(gate::judge(found.collect(), sources, terms))
}

fn listed(
    question: &Question<'_>,
    subject: &Subject,
    store: &ContentStore,
    hear: Hear<'_>,
) -> Result<Inventory, Error> {
    match (subject, &question.workshop) {
        (Subject::Tier(tier, ask), Some(workshop)) => {
            let plan = plan(workshop, tier, ask)?;
            let (image, _) = store.image(&plan.tag, &plan.platform)?;
            hear(Event::Doing(&format!("listing the packages of `{}`", image.tag)));
            Ok(inventory::image(&image, store)?)
        }
        (Subject::Archive(path), _) => {
            let file = Arc::new(download::local(path)?);
            let index = Arc::new(members::tail(&file)?.index);
            hear(Event::Doing(&format!("listing the packages of `{}`", path.display())));
            Ok(inventory::archive(&file, &index, &list::layers(&index), store)?)
        }
        (Subject::Tier(tier, _), None) => Err(Error::NoRecipes(tier.clone())),
    }
}
