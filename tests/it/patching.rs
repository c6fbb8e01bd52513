//! Patches: published with a release, used where they cost less, and never believed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use imgforge::model::archive::patch::{Run, Table};
use imgforge::step::members;
use imgforge::step::patch::{self, Made, Side};

use crate::assert_session;
use crate::building::Project;
use crate::web::{Web, Whim};
use crate::workbench::{Bench, noise};

/// A program of 3 MB that nobody can compress, of which each version differs in a few places.
fn program(version: u8) -> Vec<u8> {
    let mut program = noise(3_000_000, 5);
    for at in (1000..program.len()).step_by(200_000) {
        program[at] = version;
    }
    program
}

/// A project with two versions, whose second has a patch from the first.
struct Published(Project);

impl Published {
    fn new(name: &str) -> Self {
        let project = Project::new(name, "[[steps]]\ncopy = { paths = [\"program\"], to = \"/\" }\n");
        project.home.must(&["keys", "generate"]);
        let published = Self(project);
        published.change(1);
        let first = published.release(&["t", "--version", "1.0.0"]);
        assert!(first.starts_with("exit 0"), "{first}");
        published.change(2);
        published
    }

    fn change(&self, version: u8) {
        self.0.write("recipes/files/program", "");
        fs::write(self.0.home.path("recipes/files/program"), program(version)).unwrap();
    }

    fn release(&self, arguments: &[&str]) -> String {
        let command = [&["release", "--allow-unlocked", "--quiet"], arguments].concat();
        self.0.home.record(&mut self.0.imgforge(&command))
    }

    /// Publishes the second version with its patch.
    fn patched(&self) -> String {
        self.release(&["t", "--version", "1.1.0", "--patch-from", "1.0.0"])
    }

    fn object(&self, version: &str, file: &str) -> PathBuf {
        self.0.home.path("dist/store").join(self.0.name()).join("releases").join(version).join(file)
    }

    /// What an operator sees who has the first version, and then fetches the newest one.
    fn fetch(&self, web: &Web) -> String {
        let url = web.url();
        let store = format!("{url}/{}", self.0.name());
        let fetch = |what| ["fetch", what, "--no-load", "--key", "keys/cosign.pub", "--from", &store];
        self.0.home.must(&fetch("t@1.0.0"));
        web.took();
        self.0.home.session(&fetch("t"))
    }
}

const PATCH: &str = "t-1.1.0-linux-amd64.from-1.0.0.patch";

#[test]
fn who_has_the_older_version_fetches_a_patch() {
    let published = Published::new("t-patch");
    assert_session!(published.patched(), @"
    exit 0
    --- stdout
    archive    t-1.1.0-linux-amd64.tar.gz  32.72 MB  sha256:[DIGEST]
    stated     what is in them and what they were built of, each signed beside its archive
    patch      t-1.1.0-linux-amd64.from-1.0.0.patch  1.2 kB
    release    t-patch 1.1.0, sealed by key sha256:[DIGEST]
    channel    stable points to 1.1.0 (sequence 2, expires [TIME])
    store      dist/store
    ");
    let web = Web::serve(&published.0.home.path("dist/store"));
    assert_session!(published.fetch(&web), @"
    exit 0
    --- stdout
    channel    stable points to 1.1.0 (sequence 2, expires [TIME])
    release    t-patch 1.1.0, sealed by key sha256:[DIGEST]
    archive    [HOME]/.cache/imgforge/archives/t-patch/t-1.1.0-linux-amd64.tar.gz  every byte matches
    verified   [MANY] members, 4 layers, [SIZE] unpacked
    transfer   25.3 kB downloaded of 32.7 MB, 30.3 MB were here, 2.3 MB made with a patch
    image      t-patch/t:1.1.0  not loaded
    integrity  OK
    freshness  OK
    disk       32.7 MB in the cache, [FREE] free
    next       imgforge fetch --verify [HOME]/.cache/imgforge/archives/t-patch/t-1.1.0-linux-amd64.tar.gz --key keys/cosign.pub  # gives it to Docker, and asks Docker what it has
    --- stderr
    taking what is the same from archives that are here
    downloading `t-1.1.0-linux-amd64.from-1.0.0.patch`: 1.2 kB instead of 2.3 MB
    verifying `t-1.1.0-linux-amd64.tar.gz`
    ");
    let (_, bytes) = web.took();
    assert!(bytes < 60_000, "{bytes}");
    let (fetched, there) =
        (".cache/imgforge/archives/t-patch/t-1.1.0-linux-amd64.tar.gz", "t-1.1.0-linux-amd64.tar.gz");
    assert!(
        fs::read(published.0.home.path(fetched)).unwrap()
            == fs::read(published.object("1.1.0", there)).unwrap()
    );

    // A copy has it too, and nothing of it is a stray.
    published.0.home.must(&["mirror", "usb"]);
    let copy = published.0.home.path("usb/t-patch/releases/1.1.0").join(PATCH);
    assert_eq!(fs::read(copy).unwrap(), fs::read(published.object("1.1.0", PATCH)).unwrap());
    assert!(!published.0.home.must(&["prune"]).contains("patch"));

    // What was published is found again, and patches are a part of it.
    assert_session!(published.patched(), @"
    exit 0
    --- stdout
    archive    t-1.1.0-linux-amd64.tar.gz  32.72 MB  sha256:[DIGEST]
    stated     what is in them and what they were built of, each signed beside its archive
    patch      t-1.1.0-linux-amd64.from-1.0.0.patch  1.2 kB
    release    t-patch 1.1.0, sealed by key sha256:[DIGEST]
    channel    stable points to 1.1.0 (sequence 2, expires [TIME])
    store      dist/store
    done       nothing to do: all of this was published before
    ");
    assert_session!(published.release(&["t", "--version", "1.1.0"]), @"
    exit 1
    --- stderr
    error: version 1.1.0 was sealed with patches from 1.0.0 alone

    hint: patches are sealed with the archives: name the same versions with `--patch-from`
    ");
    assert_session!(published.release(&["t", "--version", "1.2.0", "--patch-from", "0.9.0"]), @"
    exit 1
    --- stderr
    error: version 0.9.0 is not in the store

    hint: check the store, the project and the version
    ");
}

#[test]
fn a_patch_that_is_gone_or_wrong_costs_a_warning() {
    let published = Published::new("t-patch-wrong");
    let made = published.patched();
    assert!(made.starts_with("exit 0"), "{made}");
    let web = Web::serve(&published.0.home.path("dist/store"));
    let newest = published.0.home.path(".cache/imgforge/archives/t-patch-wrong/t-1.1.0-linux-amd64.tar.gz");
    let path = published.object("1.1.0", PATCH);
    let right = fs::read(&path).unwrap();

    let mut table = right.clone();
    table[20] ^= 1;
    fs::write(&path, &table).unwrap();
    let said = published.fetch(&web);
    assert!(
        said.starts_with("exit 0") && said.contains("sent other bytes than were signed, as the table"),
        "{said}"
    );
    assert!(said.contains("2.3 MB downloaded of 32.7 MB, 30.3 MB were here\n"), "{said}");
    fs::remove_file(&newest).unwrap();

    let mut frame = right.clone();
    *frame.last_mut().unwrap() ^= 1;
    fs::write(&path, &frame).unwrap();
    let said = published.fetch(&web);
    assert!(
        said.starts_with("exit 0") && said.contains("sent other bytes than were signed, as frame"),
        "{said}"
    );
    fs::remove_file(&newest).unwrap();

    fs::remove_file(&path).unwrap();
    let said = published.fetch(&web);
    assert!(said.starts_with("exit 0") && said.contains("has no `t-patch-wrong/releases/1.1.0/"), "{said}");
    fs::remove_file(&newest).unwrap();

    fs::write(&path, &right).unwrap();
    web.mood(|request| if request.path.ends_with(PATCH) { Whim::Cut(100) } else { Whim::Serve });
    let said = published.fetch(&web);
    assert!(said.starts_with("exit 0"), "{said}");
}

fn side(path: &Path) -> Side {
    let file = fs::File::open(path).unwrap();
    let index = members::tail(&file).unwrap().index;
    Side { file: Arc::new(file), index: Arc::new(index) }
}

#[test]
fn frames_make_what_they_should_or_nothing() {
    let bench = Bench::new("t-frames");
    let archive = |version: &str, bytes: Vec<u8>| {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, "program", bytes.as_slice()).unwrap();
        let image = bench.layered("tiny", version, &[tar.into_inner().unwrap()]);
        let archive = bench.pack("tiny", version, image);
        let sealed = bench.publish(&bench.release(version, vec![archive.clone()]), &bench.key);
        drop(sealed);
        side(&bench.home.path("dist").join(archive.file))
    };
    let (old, new) = (archive("1.0.0", program(1)), archive("1.1.0", program(2)));
    let target = bench.home.path("patch");
    let Made { whole, table } = patch::make(&old, &new, &target, u64::MAX, &|_| {}).unwrap().unwrap();
    let bytes = fs::read(&target).unwrap();
    assert_eq!(bytes.len() as u64, whole.size);
    assert!(whole.size < 40_000, "{}", whole.size);
    let same = bench.home.path("same");
    assert_eq!(patch::make(&old, &new, &same, u64::MAX, &|_| {}).unwrap().unwrap().whole, whole);
    assert!(patch::make(&old, &new, &bench.home.path("no"), whole.size, &|_| {}).unwrap().is_none());
    assert!(!bench.home.path("no").exists());

    let front = &bytes[..usize::try_from(table.size).unwrap()];
    let table = Table::parse(front, &new.index, &old.index).unwrap();
    let frame = |run: usize| {
        let place = table.place(run);
        &bytes[usize::try_from(place.start).unwrap()..usize::try_from(place.end).unwrap()]
    };
    for run in 0..table.runs().len() {
        let made = patch::apply(&table, run, frame(run), &old, &new.index).unwrap();
        assert_eq!(made.len(), table.runs()[run].0.members.len());
        for (member, bytes) in made {
            assert_eq!(imgforge::model::digest::Digest::of(&bytes), new.index.members()[member].digest);
        }
    }
    let mut other = frame(0).to_vec();
    other[9] ^= 1;
    let refused = patch::apply(&table, 0, &other, &old, &new.index).unwrap_err();
    assert_eq!(refused.to_string(), "frame 0 has other bytes than were signed");

    // Signed, and yet not what makes these members: the wrong base, a frame that unpacks to more.
    let (run, _) = table.runs()[0].clone();
    let lying = |bytes: &[u8], base: std::ops::Range<u64>| {
        let run = Run { members: run.members.clone(), base };
        let frame = imgforge::model::image::Blob::of(bytes);
        let table = Table::new(vec![(run, frame)], &new.index, &old.index).unwrap();
        patch::apply(&table, 0, bytes, &old, &new.index).unwrap_err().to_string()
    };
    assert_eq!(lying(frame(0), 0..512), "run 0 does not make the members that it should");
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 1).unwrap();
    assert_eq!(lying(&bomb, 0..0), "run 0 does not make the members that it should");
    assert_eq!(lying(b"not zstandard", 0..0), "run 0 does not make the members that it should");
}
