//! Looks into an image of the content store, for the policy to judge.
//!
//! It reads the layers in normal form, which are the ones that ship. That is after BuildKit's export,
//! into a store of our own in which nothing is listed yet: reading a whole filesystem through the
//! gateway instead takes BuildKit 0.8 a mount, half a second or more, for every directory, and shows
//! neither file capabilities nor what an upper layer hides.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use object::read::ReadCache;

use super::content::{ContentError, ContentStore};
use super::layers::{self, Window};
use crate::model::digest::Digest;
use crate::model::image::Image;
use crate::model::layer::{self, BadItem, Item, Kind, LayerPath};
use crate::model::policy::elf::{Elf, Malformed};
use crate::model::policy::libraries::is_musl_path;
use crate::model::policy::secrets::{self, OVERLAP, Secret};
use crate::model::policy::settings::Settings;
use crate::model::policy::{Charter, Evidence, elf, look};

/// Why an image cannot be looked into.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The content store.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// A layer that cannot be read.
    #[error("layer {0} cannot be read")]
    Layer(Digest, #[source] io::Error),
    /// Something that cannot stand in a layer.
    #[error(transparent)]
    Item(#[from] BadItem),
    /// The configuration.
    #[error("the image configuration cannot be read")]
    Config(#[source] serde_json::Error),
}

/// Bytes of a file that are searched at once.
const PIECE: usize = 1 << 20;

/// The largest file whose content a test may search.
const MAX_CONTENT: u64 = 16 << 20;

/// Longest first line of a script; Linux reads 256 bytes.
const SHEBANG: usize = 256;

/// What layers hold that were looked into already: tiers share their base.
#[derive(Default)]
pub struct Looked(BTreeMap<Digest, Arc<Layer>>);

/// Everything that a layer shows by itself.
#[derive(Default)]
struct Layer {
    items: BTreeMap<LayerPath, Item>,
    found: Found,
}

/// What files hold, by their path.
#[derive(Default)]
struct Found {
    elves: BTreeMap<String, Elf>,
    malformed: BTreeMap<String, Malformed>,
    scripts: BTreeMap<String, String>,
    secrets: Vec<(String, Secret)>,
}

/// Reads everything that the policy asks for, `threads` files at a time. `base` lowest layers are
/// somebody else's.
pub fn image(
    image: &Image,
    base: usize,
    charter: &Charter,
    store: &ContentStore,
    threads: usize,
    looked: &mut Looked,
) -> Result<Evidence, InspectError> {
    let config = store.document(&image.config.digest)?;
    let settings = Settings::parse(&config).map_err(InspectError::Config)?;
    let mut evidence = Evidence { settings, ..Evidence::default() };
    let mut layers = Vec::new();
    for (index, blob) in image.layers.iter().enumerate() {
        let file = store.open_blob(&blob.digest)?;
        let known = match looked.0.get(&blob.digest) {
            Some(known) => Arc::clone(known),
            None => Arc::new(look_into(blob.digest, &file, threads)?),
        };
        looked.0.insert(blob.digest, Arc::clone(&known));
        evidence.files.lay(index, &known.items);
        if index < base {
            evidence.base.lay(index, &known.items);
        }
        layers.push((blob.digest, file, known));
    }
    for (index, (.., looked)) in layers.iter().enumerate() {
        show(&mut evidence, index, looked);
    }
    contents(&mut evidence, charter, &layers)?;
    Ok(evidence)
}

/// Adds what a layer shows: of programs and scripts only those that no upper layer hides.
fn show(evidence: &mut Evidence, index: usize, Layer { items, found }: &Layer) {
    for (path, item) in items {
        let text = layer::show(path);
        if evidence.files.at(&text).is_none_or(|node| node.layer != index) {
            continue;
        }
        // A second name of a program is a program.
        let holder = if let Kind::HardLink(target) = &item.kind { &layer::show(target) } else { &text };
        evidence.elves.extend(found.elves.get(holder).map(|elf| (text.clone(), elf.clone())));
        evidence.scripts.extend(found.scripts.get(holder).map(|line| (text.clone(), line.clone())));
        evidence.malformed.extend(found.malformed.get(&text).map(|bad| (text.clone(), *bad)));
    }
    evidence.secrets.extend(found.secrets.iter().cloned());
}

/// Looks into every file of a layer.
fn look_into(digest: Digest, file: &File, threads: usize) -> Result<Layer, InspectError> {
    let unreadable = |error| InspectError::Layer(digest, error);
    let items = layers::items(file).map_err(unreadable)??;
    let (next, entries) = (AtomicUsize::new(0), items.iter().collect::<Vec<_>>());
    let work = || {
        let mut look = Look { found: Found::default(), buffer: vec![0; PIECE] };
        loop {
            let from = next.fetch_add(AT_ONCE, Ordering::Relaxed);
            let Some(rest) = entries.get(from..).filter(|rest| !rest.is_empty()) else {
                return Ok(look.found);
            };
            for (path, item) in &rest[..rest.len().min(AT_ONCE)] {
                look.at(file, path, item)?;
            }
        }
    };
    let parts: Vec<io::Result<Found>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into())))
            .collect()
    });
    let mut found = Found::default();
    for part in parts {
        let part = part.map_err(unreadable)?;
        found.elves.extend(part.elves);
        found.malformed.extend(part.malformed);
        found.scripts.extend(part.scripts);
        found.secrets.extend(part.secrets);
    }
    // In the order of the layer again, whichever thread was faster.
    found.secrets.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(Layer { items, found })
}

/// Files that a thread takes at once.
const AT_ONCE: usize = 32;

/// Looks at files one by one.
struct Look {
    found: Found,
    buffer: Vec<u8>,
}

impl Look {
    fn at(&mut self, file: &File, path: &LayerPath, item: &Item) -> io::Result<()> {
        let Kind::File { at, size } = item.kind else { return Ok(()) };
        let text = layer::show(path);
        let first = usize::try_from(size).unwrap_or(PIECE).min(PIECE);
        file.read_exact_at(&mut self.buffer[..first], at)?;
        let start = &self.buffer[..first];
        if start.starts_with(b"\x7fELF") {
            self.program(file, &text, item, at, size);
        }
        if item.mode & 0o111 != 0 && self.buffer.starts_with(b"#!") && first > 2 {
            let line = self.buffer[2..first.min(SHEBANG)].split(|byte| *byte == b'\n').next();
            let line = String::from_utf8_lossy(line.unwrap_or_default()).into_owned();
            self.found.scripts.insert(text.clone(), line);
        }
        let found = secrets::by_name(&text, &self.buffer[..first]).into_iter().collect();
        let found = self.scan(file, at, size, first, found)?;
        self.found.secrets.extend(found.into_iter().map(|secret| (text.clone(), secret)));
        Ok(())
    }

    fn program(&mut self, file: &File, text: &str, item: &Item, at: u64, size: u64) {
        let Ok(window) = Window::new(file, at, size) else { return };
        match elf::read(&ReadCache::new(window)) {
            Ok(Some(elf)) => drop(self.found.elves.insert(text.to_owned(), elf)),
            // Broken files lie about in test data; one that would be executed matters.
            Err(malformed) if item.mode & 0o111 != 0 => {
                self.found.malformed.insert(text.to_owned(), malformed);
            }
            Ok(None) | Err(_) => {}
        }
    }

    /// Searches a file piece by piece; pieces overlap, so that nothing hides between two.
    fn scan(
        &mut self,
        file: &File,
        at: u64,
        size: u64,
        first: usize,
        mut found: Vec<Secret>,
    ) -> io::Result<Vec<Secret>> {
        let (mut from, mut filled, mut lines) = (0, first, 0);
        loop {
            let piece = &self.buffer[..filled];
            for secret in secrets::scan(piece) {
                let line = secret.line.map(|line| line + lines);
                if found.iter().all(|known: &Secret| known.what != secret.what) {
                    found.push(Secret { line, ..secret });
                }
            }
            let end = from + filled as u64;
            if end >= size {
                return Ok(found);
            }
            lines += piece[..filled - OVERLAP].split(|byte| *byte == b'\n').count() - 1;
            from = end - OVERLAP as u64;
            filled = usize::try_from(size - from).unwrap_or(PIECE).min(PIECE);
            file.read_exact_at(&mut self.buffer[..filled], at + from)?;
        }
    }
}

/// Reads the files that tests and loaders ask for.
fn contents(
    evidence: &mut Evidence,
    charter: &Charter,
    layers: &[(Digest, File, Arc<Layer>)],
) -> Result<(), InspectError> {
    let musl: Vec<String> = evidence
        .files
        .iter()
        .map(|(path, _)| path)
        .filter(|path| is_musl_path(path))
        .map(str::to_owned)
        .collect();
    for path in look::wanted(charter).into_iter().chain(musl) {
        let Some((target, node)) = evidence.files.follow(&path) else { continue };
        let (digest, file, looked) = &layers[node.layer];
        let Ok(Some(key)) = layer::path(target.as_bytes()) else { continue };
        let mut item = looked.items.get(&key);
        if let Some(Item { kind: Kind::HardLink(target), .. }) = item {
            item = looked.items.get(target);
        }
        let Some(Item { kind: Kind::File { at, size }, .. }) = item else { continue };
        if *size <= MAX_CONTENT {
            let mut bytes = vec![0; usize::try_from(*size).unwrap_or(0)];
            file.read_exact_at(&mut bytes, *at).map_err(|error| InspectError::Layer(*digest, error))?;
            evidence.contents.insert(path, bytes);
        }
    }
    Ok(())
}
