//! Looks into an image of the content store, for the policy to judge.
//!
//! It reads the layers in normal form, which are the ones that ship. That is after BuildKit's export,
//! into a store of our own in which nothing is listed yet: reading a whole filesystem through the
//! gateway instead takes BuildKit 0.8 a mount, half a second or more, for every directory, and shows
//! neither file capabilities nor what an upper layer hides.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt as _;

use object::read::ReadCache;

use super::content::{ContentError, ContentStore};
use super::layers;
use crate::model::image::Image;
use crate::model::layer::{self, BadItem, Item, Kind, LayerPath};
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
    Layer(crate::model::digest::Digest, #[source] io::Error),
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

/// Reads everything that the policy asks for. `base` lowest layers are somebody else's.
pub fn image(
    image: &Image,
    base: usize,
    charter: &Charter,
    store: &ContentStore,
) -> Result<Evidence, InspectError> {
    let config = store.document(&image.config.digest)?;
    let settings = Settings::parse(&config).map_err(InspectError::Config)?;
    let mut evidence = Evidence { settings, ..Evidence::default() };
    let mut layers = Vec::new();
    for (index, blob) in image.layers.iter().enumerate() {
        let unreadable = |error| InspectError::Layer(blob.digest, error);
        let file = store.open_blob(&blob.digest)?;
        let items = layers::items(&file).map_err(unreadable)??;
        evidence.files.lay(index, &items);
        if index < base {
            evidence.base.lay(index, &items);
        }
        layers.push((blob.digest, file, items));
    }
    let mut look = Look { evidence: &mut evidence, buffer: vec![0; PIECE] };
    for (index, (digest, file, items)) in layers.iter().enumerate() {
        for (path, item) in items {
            look.at(index, file, path, item).map_err(|error| InspectError::Layer(*digest, error))?;
        }
    }
    contents(&mut evidence, charter, &layers)?;
    Ok(evidence)
}

/// Looks at files one by one.
struct Look<'a> {
    evidence: &'a mut Evidence,
    buffer: Vec<u8>,
}

impl Look<'_> {
    fn at(&mut self, layer: usize, file: &File, path: &LayerPath, item: &Item) -> io::Result<()> {
        let text = layer::show(path);
        let seen = self.evidence.files.at(&text).is_some_and(|node| node.layer == layer);
        let (at, size) = match &item.kind {
            Kind::File { at, size } => (*at, *size),
            // A second name of a program is a program.
            Kind::HardLink(target) if seen => {
                let target = layer::show(target);
                let known = self.evidence.elves.get(&target).cloned();
                self.evidence.elves.extend(known.map(|elf| (text.clone(), elf)));
                let known = self.evidence.scripts.get(&target).cloned();
                self.evidence.scripts.extend(known.map(|line| (text, line)));
                return Ok(());
            }
            _ => return Ok(()),
        };
        let first = usize::try_from(size).unwrap_or(PIECE).min(PIECE);
        file.read_exact_at(&mut self.buffer[..first], at)?;
        let start = &self.buffer[..first];
        if seen && start.starts_with(b"\x7fELF") {
            self.program(file, &text, item, at, size);
        }
        if seen && item.mode & 0o111 != 0 && self.buffer.starts_with(b"#!") && first > 2 {
            let line = self.buffer[2..first.min(SHEBANG)].split(|byte| *byte == b'\n').next();
            let line = String::from_utf8_lossy(line.unwrap_or_default()).into_owned();
            self.evidence.scripts.insert(text.clone(), line);
        }
        let found = secrets::by_name(&text, &self.buffer[..first]).into_iter().collect();
        let found = self.scan(file, at, size, first, found)?;
        self.evidence.secrets.extend(found.into_iter().map(|secret| (text.clone(), secret)));
        Ok(())
    }

    fn program(&mut self, file: &File, text: &str, item: &Item, at: u64, size: u64) {
        let Ok(file) = file.try_clone() else { return };
        let cache = ReadCache::new(Window { file, at, size, position: 0 });
        match elf::read(&cache) {
            Ok(Some(elf)) => drop(self.evidence.elves.insert(text.to_owned(), elf)),
            // Broken files lie about in test data; one that would be executed matters.
            Err(malformed) if item.mode & 0o111 != 0 => {
                self.evidence.malformed.push((text.to_owned(), malformed));
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
    layers: &[(crate::model::digest::Digest, File, BTreeMap<LayerPath, Item>)],
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
        let (digest, file, items) = &layers[node.layer];
        let Ok(Some(key)) = layer::path(target.as_bytes()) else { continue };
        let mut item = items.get(&key);
        if let Some(Item { kind: Kind::HardLink(target), .. }) = item {
            item = items.get(target);
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

/// One file inside a layer.
struct Window {
    file: File,
    at: u64,
    size: u64,
    position: u64,
}

impl Read for Window {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.size.saturating_sub(self.position)).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let read = self.file.read_at(&mut buffer[..wanted], self.at + self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl Seek for Window {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.size.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
