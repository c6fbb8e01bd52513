//! Reads an image's layers where the builder keeps them.
//!
//! The BuildKit in a Docker Engine with the classic store gives images only to that engine, and `docker save`
//! gives all layers or none. So a program of ours, `src/differ`, runs in a container of the builder that sees
//! the file system after each step. It tells which layers these are, in normal form, and sends those that the
//! content store lacks. Where it cannot tell layers apart, the engine has to save the image after all.

use std::collections::BTreeMap;
use std::sync::Arc;

use bollard_buildkit_proto::pb;
use futures_util::TryStreamExt as _;
use futures_util::stream::{self, StreamExt as _};
use tokio::sync::Mutex;
use tonic::Status;

use super::chain::{self, State};
use super::container::{Container, STDERR, STDIN, STDOUT};
use super::folders;
use super::gateway::{Gateway, Made};
use super::import::ImportError;
use super::reader::Reader;
use super::stock::Stock;
use crate::model::context::{Entry, File, Tree};
use crate::model::digest::Digest;
use crate::model::image::Blob;
use crate::model::name::Platform;
use crate::model::policy::trial::Process;
use crate::model::runtime::HELPER_PLATFORM;
use crate::model::time::{self, Timestamp};

const DIFFER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/imgforge-differ"));

/// Its name, and that of the folder in which the session has it.
const NAME: &str = "imgforge-differ";

/// Where it finds the file systems.
const TREES: &str = "/trees";

/// Definitions that BuildKit is asked for at a time.
const AT_ONCE: usize = 8;

/// It is told the first digits of each blob that is here: a store may have thousands.
const PREFIX: usize = 16;

/// Whether the program runs on a builder of this platform.
pub(super) fn runs_on(platform: &Platform) -> bool {
    !DIFFER.is_empty() && platform.to_string() == HELPER_PLATFORM
}

/// The folder from which a builder takes it.
pub(super) fn folder() -> (String, Arc<Tree>) {
    let mut tree = Tree::default();
    tree.insert(NAME, Entry::File(File::generated(DIFFER.to_vec(), true)));
    (NAME.to_owned(), Arc::new(tree))
}

/// Why the engine has to save the image.
#[derive(Debug)]
pub(super) enum Unable {
    /// The image has no layers that could be told apart there.
    Apart(String),
    /// That should not be.
    Broken(String),
    /// The layers cannot be kept here.
    Kept(ImportError),
}

impl From<ImportError> for Unable {
    fn from(error: ImportError) -> Self {
        Self::Kept(error)
    }
}

impl From<Status> for Unable {
    fn from(status: Status) -> Self {
        Self::Broken(status.message().to_owned())
    }
}

/// A layer that was read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Layer {
    /// In normal form.
    pub(super) blob: Blob,
    /// The builder's name for it, which no other layer has.
    pub(super) name: String,
}

/// Layers that were read in this session, by the states that they lead to. Images that are built together take turns:
/// what they share is read once.
pub(super) type Known = Mutex<BTreeMap<String, Layer>>;

/// Takes the layers of an image into the content store, in normal form.
pub(super) async fn layers(
    gateway: &Gateway,
    made: &Made,
    platform: &Platform,
    (session, epoch): (&str, Timestamp),
    (stock, known): (&Stock, &Known),
) -> Result<Vec<Blob>, Unable> {
    let states = made.definition().and_then(chain::states);
    let states = states.ok_or_else(|| Unable::Apart("it does not come of steps alone".to_owned()))?;
    let mut known = known.lock().await;
    // There is always one to compare.
    let most = states.len().saturating_sub(1);
    let read: Vec<Layer> = states[..most].iter().map_while(|state| known.get(&state.name).cloned()).collect();
    let mut layers = Vec::new();
    if let Some(last) = read.len().checked_sub(1) {
        let trees = Trees { below: Some(&states[last]), new: &states[read.len()..] };
        let (below, new) = trees.read(gateway, platform, (session, epoch), stock).await?;
        // A step that ran again since then has made another layer.
        if read.iter().map(|layer| &layer.name).eq(&below) {
            layers = [read, new].concat();
        }
    }
    if layers.is_empty() {
        let trees = Trees { below: None, new: &states };
        (_, layers) = trees.read(gateway, platform, (session, epoch), stock).await?;
    }
    known.extend(states.into_iter().map(|state| state.name).zip(layers.iter().cloned()));
    Ok(layers.into_iter().map(|layer| layer.blob).collect())
}

/// States whose file systems the program compares: each with the one before it, the first with what is known.
struct Trees<'a> {
    below: Option<&'a State>,
    new: &'a [State],
}

impl Trees<'_> {
    /// The builder's names for the layers below, and the new layers.
    async fn read(
        &self,
        gateway: &Gateway,
        platform: &Platform,
        (session, epoch): (&str, Timestamp),
        stock: &Stock,
    ) -> Result<(Vec<String>, Vec<Layer>), Unable> {
        let make = |definition: pb::Definition| {
            let mut gateway = gateway.clone();
            async move { gateway.defined(definition).await }
        };
        let program = make(folders::input(NAME, session, "[internal] load imgforge-differ")).await?;
        let states = self.below.into_iter().chain(self.new).map(|state| state.definition.clone());
        let trees: Vec<Made> = stream::iter(states).map(make).buffered(AT_ONCE).try_collect().await?;
        let trees = trees.iter().enumerate().map(|(number, tree)| (format!("{TREES}/{number}"), tree));
        let mounts: Vec<(String, &Made)> = [("/".to_owned(), &program)].into_iter().chain(trees).collect();
        let container = Container::mounting(gateway, &mounts, platform).await?;
        let numbers = [
            time::seconds(epoch).to_string(),
            u8::from(self.below.is_some()).to_string(),
            self.new.len().to_string(),
        ];
        let process = Process {
            args: [format!("/{NAME}")].into_iter().chain(numbers).collect(),
            directory: "/".to_owned(),
            ..Process::default()
        };
        let layers = async {
            let talk = container.start(&process, &[STDIN, STDOUT, STDERR]).await?;
            let there = stock.store.blobs().map_err(ImportError::from)?;
            let line = |digest: &Digest| format!("{}\n", &digest.hex()[..PREFIX]);
            talk.say(there.iter().map(line).collect::<String>().into_bytes()).await?;
            Reader::of(talk).layers(self.new.len(), there, stock).await
        };
        let layers = layers.await;
        container.release().await;
        layers
    }
}
