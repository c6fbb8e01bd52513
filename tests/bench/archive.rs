//! Measures archives against the tools that people use today: `tests/bench/archive` makes the data and
//! runs this. Everything is measured in turns in one run, and the ratios are what counts: the seconds
//! belong to the machine.
//!
//! Input: a folder with layers as `NAME.layer`, and `releases`, whose lines are `RELEASE LAYER...`; the
//! first is the one that a machine has, the others are compared with it.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on should stop there and say where")]
#![expect(clippy::print_stdout, reason = "the table is the result")]
#![expect(clippy::print_stderr, reason = "how long patches took, beside the table")]
#![expect(clippy::cast_precision_loss, reason = "ratios of sizes and times")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use imgforge::flow::inspect;
use imgforge::flow::verify::{Log, Question, Trust, verify};
use imgforge::model::archive;
use imgforge::model::archive::Content;
use imgforge::model::archive::patch::Table;
use imgforge::model::channel::Patience;
use imgforge::model::image::Image;
use imgforge::model::release::{Archive, Release};
use imgforge::model::time::Timestamp;
use imgforge::step::content::ContentStore;
use imgforge::step::keyring::{self, SigningKey};
use imgforge::step::pack::{self, Packed};
use imgforge::step::patch::{self, Made, Side};
use imgforge::step::{append, sign};

mod peers;

use peers::{Desync, Zsync, tried};

const ROUNDS: usize = 3;
const THREADS: usize = 2;

struct Bench {
    folder: PathBuf,
    store: ContentStore,
    key: SigningKey,
}

fn main() {
    // `cargo test --all-targets` and the like run this without a folder: there is nothing to measure.
    let Some(folder) = std::env::args().skip(1).find(|argument| !argument.starts_with('-')) else { return };
    let folder = PathBuf::from(folder);
    let keys = tempfile::tempdir().unwrap();
    keyring::generate(keys.path(), "cosign", b"bench").unwrap();
    let key = keyring::open(&keys.path().join("cosign.key"), b"bench").unwrap();
    let store = ContentStore::open(&folder.join("content")).unwrap();
    let bench = Bench { folder, store, key };
    let releases = fs::read_to_string(bench.folder.join("releases")).unwrap();
    let releases: Vec<Vec<&str>> = releases.lines().map(|line| line.split(' ').collect()).collect();
    let (old, tar) = (bench.archive(&releases[0]), bench.tar(&releases[0]));
    bench.packing(&releases[0], &tar);
    bench.verifying(&old, &tar);
    bench.updating(&old, &releases);
}

impl Bench {
    fn image(&self, release: &[&str]) -> Image {
        let take = |name: &&str| {
            let mut file = File::open(self.folder.join(format!("{name}.layer"))).unwrap();
            self.store.take(&mut file).unwrap()
        };
        let layers: Vec<_> = release[1..].iter().map(take).collect();
        let digests: Vec<_> = layers.iter().map(|layer| layer.digest).collect();
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux", "config": {},
            "rootfs": {"type": "layers", "diff_ids": digests},
        });
        let config = config.to_string().into_bytes();
        self.store.take(&mut config.as_slice()).unwrap();
        let tag = "bench/node:1.0.0".parse().unwrap();
        Image::new(tag, "linux/amd64".parse().unwrap(), &config, layers).unwrap()
    }

    fn pack(&self, image: &Image, to: &Path) -> Packed {
        pack::pack(image, &[], &self.store, to, THREADS, &mut pack::Known::default(), &|_| {}).unwrap()
    }

    /// Packs and signs a release.
    fn archive(&self, release: &[&str]) -> PathBuf {
        let image = self.image(release);
        let folder = self.folder.join(release[0]);
        let file = "node-1.0.0-linux-amd64.tar.gz".to_owned();
        let path = folder.join(&file);
        let Packed { body, index } = self.pack(&image, &path);
        let tier = "node".parse().unwrap();
        let archive = Archive { tier, file, size: body.size, digest: body.digest, index, image };
        let (project, version) = ("bench".parse().unwrap(), "1.0.0".parse().unwrap());
        let created = Timestamp::from_second(0).unwrap();
        let release = Release { project, version, created, archives: vec![archive], patches: Vec::new() };
        let (sealed, release) = sign::seal(&release, &self.key).unwrap();
        append::seal(&folder, &release.archives[0], &sealed, &|_| {}).unwrap();
        path
    }

    /// The same image as `docker save` writes it: one tar.
    fn tar(&self, release: &[&str]) -> PathBuf {
        let path = self.folder.join(format!("{}.tar", release[0]));
        let mut tar = File::create(&path).unwrap();
        for entry in archive::entries(&self.image(release)) {
            tar.write_all(&entry.header()).unwrap();
            match &entry.content {
                Content::Bytes(bytes) => tar.write_all(bytes).unwrap(),
                Content::Blob(blob) => {
                    std::io::copy(&mut self.store.open_blob(&blob.digest).unwrap(), &mut tar).unwrap();
                }
            }
            tar.write_all(&vec![0; archive::padding(entry.size())]).unwrap();
        }
        tar.write_all(&[0; archive::END]).unwrap();
        path
    }

    fn packing(&self, release: &[&str], tar: &Path) {
        let image = self.image(release);
        let (packed, gzip, pigz) =
            (self.folder.join("p.tar.gz"), self.folder.join("g.tar.gz"), self.folder.join("z.tar.gz"));
        let input = tar.display();
        let times = turns(&mut [
            ("imgforge export", &mut || {
                self.pack(&image, &packed);
            }),
            ("gzip -6", &mut || shell(&format!("gzip -6 < {input} > {}", gzip.display()))),
            ("pigz -6 -p2", &mut || shell(&format!("pigz -6 -p{THREADS} < {input} > {}", pigz.display()))),
        ]);
        let ours = size(&packed) as f64;
        println!("| packing {} | times | size |\n|---|---|---|", megabytes(size(tar)));
        for ((name, seconds), file) in times.iter().zip([&packed, &gzip, &pigz]) {
            let (time, bytes) = (seconds / times[0].1, size(file));
            println!(
                "| {name} | {time:.2} ({seconds:.1} s) | {:.3} ({}) |",
                bytes as f64 / ours,
                megabytes(bytes)
            );
        }
        let index = inspect::open(&packed).unwrap();
        let share = 100.0 * (index.footer.body - index.footer.index_at) as f64 / ours;
        println!("\n{} members, their index is {share:.3} % of the file\n", index.index.members().len());
    }

    fn verifying(&self, ours: &Path, tar: &Path) {
        let question = Question {
            path: ours.to_owned(),
            trust: Trust::Key(self.key.public().clone()),
            channel: "stable".parse().unwrap(),
            patience: Patience::UntilItExpires,
            state: self.folder.join("state"),
            now: Timestamp::from_second(0).unwrap(),
        };
        let (gzip, archive) = (self.folder.join("g.tar.gz"), ours.display());
        let gzip = gzip.display();
        let times = turns(&mut [
            ("imgforge verify", &mut || {
                assert!(verify(&question, &mut Log::default(), &|_| {}).is_ok());
            }),
            ("gunzip", &mut || shell(&format!("gunzip -c {gzip} > /dev/null"))),
            ("pigz -d", &mut || shell(&format!("pigz -dc {gzip} > /dev/null"))),
            ("sha256sum of the file", &mut || shell(&format!("sha256sum {archive} > /dev/null"))),
            ("gunzip and sha256sum of the tar", &mut || {
                shell(&format!("gunzip -c {gzip} | sha256sum > /dev/null"));
            }),
        ]);
        println!("| verifying and unpacking {} | times |\n|---|---|", megabytes(size(tar)));
        for (name, seconds) in &times {
            println!("| {name} | {:.2} ({seconds:.2} s) |", seconds / times[0].1);
        }
        println!();
    }

    /// Bytes of a patch, after every member that it is for was made with it.
    fn patched(&self, old: &Path, new: &Path) -> u64 {
        let (old, new, target) = (side(old), side(new), self.folder.join("archive.patch"));
        let started = Instant::now();
        let Made { whole, table } = patch::make(&old, &new, &target, u64::MAX, &|_| {}).unwrap().unwrap();
        let made = started.elapsed().as_secs_f64();
        let bytes = fs::read(&target).unwrap();
        let front = &bytes[..usize::try_from(table.size).unwrap()];
        let table = Table::parse(front, &new.index, &old.index).unwrap();
        let started = Instant::now();
        for run in 0..table.runs().len() {
            let place = table.place(run);
            let frame = &bytes[usize::try_from(place.start).unwrap()..usize::try_from(place.end).unwrap()];
            patch::apply(&table, run, frame, &old, &new.index).unwrap();
        }
        eprintln!("patch: made in {made:.1} s, applied in {:.1} s", started.elapsed().as_secs_f64());
        whole.size
    }

    fn updating(&self, old: &Path, releases: &[Vec<&str>]) {
        let have: BTreeSet<&str> = releases[0][1..].iter().copied().collect();
        let first = self.folder.join(format!("{}.tar", releases[0][0]));
        let desync = Desync::new(&self.folder, &first);
        let zsync = Zsync::new(&self.folder, &first);
        println!(
            "| update | whole file | layers that differ | desync | zsync | zstd --patch-from | **imgforge** | share | requests | **with a patch** | share |"
        );
        println!("|---|---|---|---|---|---|---|---|---|---|---|");
        for release in &releases[1..] {
            let (new, tar) = (self.archive(release), self.tar(release));
            let (opened, before) = (inspect::open(&new).unwrap(), inspect::open(old).unwrap());
            let packed: Vec<u64> = opened.layers().iter().map(|layer| layer.packed).collect();
            let layers: u64 = release[1..]
                .iter()
                .zip(packed)
                .filter(|(name, _)| !have.contains(*name))
                .map(|(_, size)| size)
                .sum();
            let plan = inspect::delta(&[before], &opened);
            let fetched = plan.fetched() + opened.tail_size();
            let again = self.folder.join("again.tar.gz");
            inspect::rebuild(&[inspect::open(old).unwrap()], &opened, &plan, &again, &|_| {}).unwrap();
            assert!(fs::read(&again).unwrap() == fs::read(&new).unwrap(), "the rebuilt file differs");
            let patch = self.folder.join("patch.zst");
            let zstd = format!(
                "zstd -q -3 --long=30 -f --patch-from={} {} -o {}",
                first.display(),
                tar.display(),
                patch.display()
            );
            let zstd = tried(&zstd).then(|| size(&patch));
            let patched = self.patched(old, &new) + opened.tail_size();
            println!(
                "| {} | {} | {} | {} | {} | {} | **{}** | {:.2} % | {} | **{}** | {:.2} % |",
                release[0],
                megabytes(opened.size),
                megabytes(layers),
                desync.as_ref().map_or("-".to_owned(), |desync| megabytes(desync.cost(&tar))),
                zsync.as_ref().map_or("-".to_owned(), |zsync| megabytes(zsync.cost(&tar))),
                zstd.map_or("-".to_owned(), megabytes),
                megabytes(fetched),
                100.0 * fetched as f64 / opened.size as f64,
                plan.fetches.len() + 1,
                megabytes(patched),
                100.0 * patched as f64 / opened.size as f64,
            );
            fs::remove_file(tar).unwrap();
        }
    }
}

/// An archive, as what patches lie between.
fn side(path: &Path) -> Side {
    let file = File::open(path).unwrap();
    let index = patch::index(&file).unwrap();
    Side { file: Arc::new(file), index: Arc::new(index) }
}

/// Runs each in turn, several times, and gives the median seconds of each.
fn turns<'a>(work: &mut [(&'a str, &mut dyn FnMut())]) -> Vec<(&'a str, f64)> {
    let mut seconds = vec![Vec::new(); work.len()];
    for _ in 0..ROUNDS {
        for ((_, work), seconds) in work.iter_mut().zip(&mut seconds) {
            // imgforge waits until its file is on the disk: not for what the others left in memory.
            shell("sync");
            let started = Instant::now();
            work();
            seconds.push(started.elapsed().as_secs_f64());
        }
    }
    let median = |seconds: &mut Vec<f64>| {
        seconds.sort_by(f64::total_cmp);
        seconds[seconds.len() / 2]
    };
    work.iter().zip(&mut seconds).map(|((name, _), seconds)| (*name, median(seconds))).collect()
}

pub(crate) fn shell(script: &str) {
    assert!(Command::new("sh").args(["-c", script]).status().unwrap().success(), "{script}");
}

pub(crate) fn size(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

fn megabytes(bytes: u64) -> String {
    format!("{:.2} MB", bytes as f64 / 1e6)
}
