//! `imgforge-differ`: tells the layers of an image where a builder keeps them.
//!
//! BuildKit inside a Docker Engine with the classic image store gives images only to that engine, which
//! saves all layers of an image or none. So imgforge runs this program in a container of the builder, in
//! which the file system after each step is mounted: `/trees/0` after the lowest layer, `/trees/1` after the
//! next. It compares each with the one below, says which layers these are in normal form, and sends those
//! that imgforge lacks. Where the lowest layers are known, the first tree is the one after all of these, and only
//! what the others stand on.
//!
//! Standard input has a line with the first digits of the SHA-256 of each layer that is there already. To standard
//! output goes a line with the names that the builder gives to the layers that the others stand on, a line
//! `<sha256> <size> <name>` for each of the others, an empty line, and then, one after the other, those that are not
//! there. Nothing waits for an answer: BuildKit 0.8 does not tell that a process ended while its
//! standard input is open.
//!
//! One thread, no `unsafe`, and nothing is written into the trees.

mod chain;
mod model;
mod trees;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead as _, BufWriter, Read as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use model::layer::{self, Below, Bytes, Item, LayerPath, Piece};
use sha2::{Digest as _, Sha256};
use trees::Changes;

/// Wrong arguments (`EX_USAGE`).
const USAGE: u8 = 64;
/// These are no trees whose layers can be told apart here (`EX_UNAVAILABLE`).
const UNABLE: u8 = 69;
/// Something could not be read or written (`EX_IOERR`).
const FAILED: u8 = 74;

/// No engine accepts more layers.
const MOST: u64 = 127;

/// Digits by which a layer is known to be there.
const PREFIX: usize = 16;

/// Where the trees are.
const TREES: &str = "/trees";

/// Copied at once.
const PIECE: usize = 1 << 18;

/// Why there are no layers.
#[derive(Debug)]
enum Failure {
    /// The file systems are not what this program understands.
    Unable(String),
    /// Reading or writing failed at a path.
    Io(PathBuf, io::Error),
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let numbers: Result<Vec<u64>, _> = arguments.iter().map(|number| number.parse()).collect();
    let Ok(&[epoch, below @ (0 | 1), new @ 1..=MOST]) = numbers.as_deref() else {
        return fail(USAGE, "give it three numbers: epoch, trees below, trees with a new layer each");
    };
    match run(epoch, below == 1, index(below + new)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Unable(why)) => fail(UNABLE, &why),
        Err(Failure::Io(path, error)) => fail(FAILED, &format!("{}: {error}", path.display())),
    }
}

fn fail(code: u8, why: &str) -> ExitCode {
    eprintln!("imgforge-differ: {why}");
    ExitCode::from(code)
}

fn run(epoch: u64, stand: bool, count: usize) -> Result<(), Failure> {
    let there = io::stdin().lock().lines().collect::<io::Result<BTreeSet<String>>>();
    let mut there = there.map_err(at("standard input"))?;
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").map_err(at("/proc/self/mountinfo"))?;
    let names = chain::names(&mounts, TREES, stand, count).map_err(Failure::Unable)?;
    let roots: Vec<PathBuf> = (0..count).map(|tree| Path::new(TREES).join(tree.to_string())).collect();
    let layers = layers(&roots, stand, epoch)?;
    let mut out = BufWriter::with_capacity(PIECE, io::stdout().lock());
    let stdout = at("standard output");
    let (below, names) = names.split_at(names.len() - layers.len());
    writeln!(out, "below {}", below.join(" ")).map_err(&stdout)?;
    let mut digests = Vec::new();
    for (layer, name) in layers.iter().zip(names) {
        let mut hashing = Hashing::default();
        layer.write(&mut hashing)?;
        digests.push(hex::encode(hashing.hasher.finalize()));
        writeln!(out, "{} {} {name}", digests[digests.len() - 1], hashing.size).map_err(&stdout)?;
    }
    writeln!(out).map_err(&stdout)?;
    for (digest, layer) in digests.iter().zip(&layers) {
        if there.insert(digest[..PREFIX].to_owned()) {
            layer.write(&mut out)?;
        }
    }
    out.flush().map_err(&stdout)
}

/// A layer in normal form, whose contents are files of a tree.
struct Layer {
    items: Vec<(LayerPath, Item)>,
    files: Rc<Files>,
}

/// Files of a tree, to which items refer by number.
struct Files {
    root: PathBuf,
    paths: Vec<PathBuf>,
}

impl Files {
    fn path(&self, at: u64) -> PathBuf {
        self.root.join(&self.paths[index(at)])
    }
}

/// What each tree has that the one below has not. With `stand`, the lowest tree is only what the others stand on.
fn layers(roots: &[PathBuf], stand: bool, epoch: u64) -> Result<Vec<Layer>, Failure> {
    let mut below = Below::default();
    let mut layers = Vec::new();
    // Also of the layer that is being made.
    let mut known: Vec<Rc<Files>> = Vec::new();
    for (number, root) in roots.iter().enumerate() {
        let under = number.checked_sub(1).map(|number| roots[number].as_path());
        let Changes { items, files: paths, .. } = trees::compare(under, root)?;
        let files = Rc::new(Files { root: root.clone(), paths });
        known.push(Rc::clone(&files));
        if stand && number == 0 {
            below.stand_on(items, epoch);
            continue;
        }
        let items = below.normalise(items, epoch, |one, other| {
            is_same((&known[one.layer].path(one.at), one), (&known[other.layer].path(other.at), other))
        })?;
        layers.push(Layer { items, files });
    }
    Ok(layers)
}

impl Layer {
    fn write(&self, out: &mut dyn Write) -> Result<(), Failure> {
        for piece in layer::pieces(&self.items) {
            match piece {
                Piece::Bytes(bytes) => out.write_all(&bytes).map_err(at("standard output"))?,
                Piece::Content { at: number, size } => {
                    let path = self.files.path(number);
                    let copied = File::open(&path).and_then(|file| io::copy(&mut file.take(size), out));
                    let whole = copied.map_err(at(&path))? == size;
                    whole.then_some(()).ok_or_else(|| at(&path)(io::ErrorKind::UnexpectedEof.into()))?;
                }
            }
        }
        Ok(())
    }
}

/// Whether two files of one size have the same content.
fn is_same((path, one): (&Path, Bytes), (beside, other): (&Path, Bytes)) -> Result<bool, Failure> {
    let open =
        |path: &Path, bytes: Bytes| File::open(path).map(|file| file.take(bytes.size)).map_err(at(path));
    let (mut one, mut other) = (open(path, one)?, open(beside, other)?);
    let (mut left, mut right) = (vec![0; PIECE], vec![0; PIECE]);
    loop {
        let read = fill(&mut one, &mut left).map_err(at(path))?;
        if read != fill(&mut other, &mut right).map_err(at(beside))? || left[..read] != right[..read] {
            return Ok(false);
        }
        if read == 0 {
            return Ok(true);
        }
    }
}

/// Reads until the buffer is full or there is no more.
fn fill(from: &mut impl io::Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn index(at: u64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

fn at(path: impl AsRef<Path>) -> impl Fn(io::Error) -> Failure {
    move |error| Failure::Io(path.as_ref().to_owned(), error)
}

/// Only the digest and the size of what is written.
#[derive(Default)]
struct Hashing {
    hasher: Sha256,
    size: u64,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::model::layer::{Kind, show};

    /// Trees as overlays show them: what a layer does not touch is the same inode in both.
    fn trees(scripts: &[&str]) -> (tempfile::TempDir, Vec<PathBuf>) {
        let folder = tempfile::tempdir().unwrap();
        let roots: Vec<PathBuf> =
            (0..scripts.len()).map(|tree| folder.path().join(tree.to_string())).collect();
        for (number, (root, script)) in roots.iter().zip(scripts).enumerate() {
            match number.checked_sub(1) {
                Some(below) => must(Command::new("cp").arg("-al").args([&roots[below], root])),
                None => std::fs::create_dir(root).unwrap(),
            }
            must(Command::new("sh").args(["-euc", script]).current_dir(root));
        }
        (folder, roots)
    }

    fn must(command: &mut Command) {
        assert!(command.status().unwrap().success(), "{command:?}");
    }

    fn tar(layer: &Layer) -> Vec<u8> {
        let mut tar = Vec::new();
        layer.write(&mut tar).unwrap();
        tar
    }

    fn names(layer: &Layer) -> Vec<String> {
        layer.items.iter().map(|(path, item)| format!("{} {:o}", show(path), item.mode)).collect()
    }

    #[test]
    fn each_layer_is_what_its_tree_has_more() {
        let (_folder, roots) = trees(&[
            "mkdir -p -m 755 etc/deep usr && echo a > etc/a && echo b > usr/b && chmod 644 etc/a usr/b && ln -s a etc/l",
            "cp etc/a new && mv new etc/a && chmod 700 etc && chmod 755 etc && touch x && rm x",
            "echo more > etc/new && mv etc/new etc/a && chmod 600 etc/a && mkfifo -m 640 etc/deep/pipe",
            "rm -r etc/deep && rm usr/b && mkdir -m 700 usr/b && ln etc/a usr/other",
            "",
        ]);
        let layers = layers(&roots, false, 0).unwrap();
        assert_eq!(
            names(&layers[0]),
            ["etc 755", "etc/a 644", "etc/deep 755", "etc/l 777", "usr 755", "usr/b 644"]
        );
        assert_eq!(names(&layers[1]), [""; 0]);
        assert_eq!(names(&layers[2]), ["etc 755", "etc/a 600", "etc/deep 755", "etc/deep/pipe 640"]);
        let expected = ["etc 755", "etc/.wh.deep 0", "usr 755", "usr/b 700", "usr/other 600"];
        assert_eq!(names(&layers[3]), expected);
        assert_eq!(names(&layers[4]), [""; 0]);
        // The upper ones are the same when only the tree below them is known.
        for known in 1..5 {
            let upper = super::layers(&roots[known - 1..], true, 0).unwrap();
            let tars = |layers: &[Layer]| layers.iter().map(tar).collect::<Vec<_>>();
            assert_eq!(tars(&upper), tars(&layers[known..]));
        }

        // It reads as a tar with the contents in it.
        let tar = tar(&layers[2]);
        let mut archive = tar::Archive::new(tar.as_slice());
        let mut entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            (entry.path().unwrap().display().to_string(), text)
        });
        assert_eq!(entries.find(|(path, _)| path == "etc/a").unwrap().1, "more\n");
    }

    #[test]
    fn names_of_one_file_stay_together() {
        let (_folder, roots) = trees(&["echo a > one && ln one two && ln one three", "ln one four"]);
        let layers = layers(&roots, false, 0).unwrap();
        let links = layers[0].items.iter().filter(|(_, item)| matches!(item.kind, Kind::HardLink(_))).count();
        assert_eq!((layers[0].items.len(), links), (3, 2));
        // A new name makes all of them change, and three of them are the same.
        assert_eq!(names(&layers[1]), ["four 644"]);
        assert!(matches!(layers[1].items[0].1.kind, Kind::File { .. }));
    }

    #[test]
    fn a_name_that_means_removal_is_refused() {
        let (_folder, roots) = trees(&["echo > .wh.file"]);
        let Err(Failure::Unable(why)) = layers(&roots, false, 0) else { panic!() };
        assert!(why.contains(".wh.file: no layer can hold"), "{why}");
    }
}
