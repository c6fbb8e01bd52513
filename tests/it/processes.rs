//! Publisher and server as processes of their own, both killed with SIGKILL: what the server had on disk is
//! all that is left, and the next run of the same command ends with the same objects.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use imgforge::model::digest::Digest;
use imgforge::model::image::Blob;
use imgforge::step::keyring;
use imgforge::step::store::{Address, Key, Put, Source, Store};

use crate::bucket::{BUCKET, Break, KEY, access, serve_alone};
use crate::building::Project;
use crate::killed::objects;
use crate::stores::bytes;
use crate::watching::Watch;
use crate::workbench::wait;

/// What the server is told: folder, port, and perhaps the write after which it freezes.
const ORDERS: &str = "IMGFORGE_TEST_SERVER";

#[test]
#[ignore = "the server of the test below, which starts it as a process"]
fn server() {
    let Ok(orders) = std::env::var(ORDERS) else { return };
    let mut words = orders.split(';');
    let mut next = || words.next().unwrap_or_default();
    let (folder, port) = (PathBuf::from(next()), next().parse().unwrap());
    let freeze = next().parse().ok();
    serve_alone(&folder, port, freeze.map(|write| (write, Break::FreezeAfter)));
}

/// A server whose objects outlive it.
struct Process {
    folder: PathBuf,
    child: Child,
    port: u16,
}

impl Process {
    fn start(folder: &Path, port: u16, freeze: &str) -> Self {
        fs::create_dir_all(folder).unwrap();
        for note in ["port", "frozen"] {
            let _ = fs::remove_file(folder.join(note));
        }
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "processes::server", "--ignored", "--nocapture"])
            .env(ORDERS, format!("{};{port};{freeze}", folder.display()))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        until("the server starts", || folder.join("port").exists());
        let port = fs::read_to_string(folder.join("port")).unwrap().parse().unwrap();
        Self { folder: folder.to_owned(), child, port }
    }

    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn is_frozen(&self) -> bool {
        self.folder.join("frozen").exists()
    }
}

impl Drop for Process {
    /// SIGKILL: nothing of it goes on, nothing is tidied up.
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn until(what: &str, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_mins(3), "{what}: not within three minutes");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The objects of a publication: those of the store below are not the same before and after a kill, as its
/// own notes lie beside them.
fn published(folder: &Path) -> Vec<String> {
    objects(&folder.join("objects").join(BUCKET)).into_iter().collect()
}

#[test]
fn publisher_and_server_killed_at_every_write() {
    // With its base, large enough to travel in parts.
    let project = Project::new("t-processes", "[[steps]]\ncopy = { paths = [\"a\"], to = \"/\" }\n");
    fs::write(project.home.path("recipes/files/a"), "one").unwrap();
    project.home.must(&["keys", "generate"]);
    let key = keyring::public_file(&project.home.path("keys/cosign.pub")).unwrap();
    let release = |server: &Process, state: &Path| {
        let arguments = ["release", "t", "--version", "1.0.0", "--allow-unlocked", "--json", "--quiet"];
        let mut command = project.imgforge(&[&arguments[..], &["--store", "s3://images/team"]].concat());
        command.env("AWS_ACCESS_KEY_ID", KEY.0).env("AWS_SECRET_ACCESS_KEY", KEY.1);
        command.env("AWS_ENDPOINT_URL_S3", server.endpoint()).env("XDG_STATE_HOME", state);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let finish = |child: Child| {
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        let record: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        record["new"].as_u64().unwrap()
    };

    let folder = project.home.path("whole");
    let server = Process::start(&folder, 0, "");
    assert_eq!(finish(release(&server, &folder.join("state"))), 8);
    let expected = published(&folder);
    drop(server);

    let mut table = String::from("killed after  a reader saw  the next run put\n");
    let mut looks = 0;
    for (write, name) in WRITES.into_iter().enumerate() {
        let folder = project.home.path(&format!("server-{write}"));
        let state = folder.join("state");
        let server = Process::start(&folder, 0, &write.to_string());
        let port = server.port;
        let address: Address = format!("s3://{BUCKET}/team").parse().unwrap();
        let store = Store::open(&address, &access(server.endpoint(), folder.join("reader"))).unwrap();
        let watch = Watch::begin(store, project.name(), &key);
        let mut child = release(&server, &state);
        until("the server freezes", || server.is_frozen());
        child.kill().unwrap();
        child.wait().unwrap();
        drop(server);
        let left = published(&folder);
        let server = Process::start(&folder, port, "");
        let new = finish(release(&server, &state));
        until("the reader sees it", || watch.sees("1.0.0"));
        looks += watch.end();
        assert_eq!(published(&folder), expected, "{name}");
        let visible = left.iter().any(|object| object.ends_with("stable.sigstore.json"));
        let view = if visible { "all of it" } else { "nothing" };
        writeln!(table, "{name:<12}  {view:<12}  {new}").unwrap();
        fs::remove_dir_all(&folder).unwrap();
    }
    assert!(looks > WRITES.len(), "the reader looked {looks} times");
    insta::assert_snapshot!(table, @"
    killed after  a reader saw  the next run put
    a probe       nothing       8
    its repeat    nothing       8
    the upload    nothing       8
    a part        nothing       8
    all parts     nothing       8
    an archive    nothing       7
    CycloneDX     nothing       6
    provenance    nothing       5
    SPDX          nothing       4
    SHA256SUMS    nothing       3
    its sig       nothing       2
    the release   nothing       1
    the pointer   all of it     0
    ");
    assert!(
        fs::read_to_string(crate::harness::root().join("docs/publishing.md"))
            .unwrap()
            .contains(&documented(&table)),
        "docs/publishing.md has another table:\n{}",
        documented(&table)
    );
}

/// What the publisher below is told: server, file, and its digest.
const UPLOAD: &str = "IMGFORGE_TEST_UPLOAD";

#[test]
#[ignore = "the publisher of the test below, which starts it as a process"]
fn uploader() {
    let Ok(orders) = std::env::var(UPLOAD) else { return };
    let [endpoint, path, digest] = orders.split(';').collect::<Vec<_>>().try_into().unwrap();
    let path = Path::new(path);
    let blob = Blob { digest: digest.parse().unwrap(), size: fs::metadata(path).unwrap().len() };
    let address: Address = format!("s3://{BUCKET}/team").parse().unwrap();
    let store = Store::open(&address, &access(endpoint.to_owned(), path.with_extension("uploads"))).unwrap();
    let key = Key::file(&"p".parse().unwrap(), &"1.0.0".parse().unwrap(), "t-1.0.0-linux-amd64.tar.gz");
    let put = wait(store.put(&key, &blob, Source::File(path), &|_| {})).unwrap();
    assert_eq!(put, Put::New);
    fs::copy("/proc/self/status", path.with_extension("status")).unwrap();
}

/// `tests/bench/publish` measures the program with 2 GiB. What memory depends on is the same here: the size of
/// a part, how many travel at a time, and that there are many more of them.
#[test]
fn memory_does_not_grow_with_what_is_uploaded() {
    const BOUND: usize = 200 << 20;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("archive");
    let bytes = bytes(BOUND + (40 << 20));
    fs::write(&path, &bytes).unwrap();
    let server = Process::start(&folder.path().join("server"), 0, "");
    let digest = Digest::of(&bytes);
    let uploaded = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "processes::uploader", "--ignored", "--nocapture"])
        .env(UPLOAD, format!("{};{};{digest}", server.endpoint(), path.display()))
        .output()
        .unwrap();
    assert!(uploaded.status.success(), "{uploaded:?}");
    let status = fs::read_to_string(path.with_extension("status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB")).unwrap();
    let peak = peak.trim().parse::<usize>().unwrap() << 10;
    assert!(peak < BOUND, "{} MiB", peak >> 20);
}

/// The writes of a publication, in order.
const WRITES: [&str; 13] = [
    "a probe",
    "its repeat",
    "the upload",
    "a part",
    "all parts",
    "an archive",
    "CycloneDX",
    "provenance",
    "SPDX",
    "SHA256SUMS",
    "its sig",
    "the release",
    "the pointer",
];

/// The table as the documentation has it.
fn documented(table: &str) -> String {
    table.lines().map(|line| format!("    {line}").trim_end().to_owned() + "\n").collect()
}
