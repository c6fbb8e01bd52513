//! Publishing: what is refused is refused before anything moves, and what was interrupted goes on.

use std::fs;
use std::path::PathBuf;

use crate::assert_session;
use crate::bucket::{KEY, Server, Wants};
use crate::building::Project;
use crate::harness::{must, tool};
use crate::workbench::wait;

/// A project with a key and a first release, 1.2.0.
struct Publisher(Project);

impl Publisher {
    fn new(name: &str) -> Self {
        let project = Project::new(name, "[[steps]]\ncopy = { paths = [\"a\"], to = \"/\" }\n");
        project.write("recipes/files/a", "one");
        project.home.must(&["keys", "generate"]);
        let publisher = Self(project);
        let first = publisher.release(&["t", "--version", "1.2.0"]);
        assert!(first.starts_with("exit 0"), "{first}");
        publisher
    }

    fn release(&self, arguments: &[&str]) -> String {
        self.0
            .home
            .record(&mut self.0.imgforge(&[&["release", "--allow-unlocked", "--quiet"], arguments].concat()))
    }

    fn object(&self, below: &str) -> PathBuf {
        self.0.home.path("dist/store").join(self.0.name()).join(below)
    }
}

#[test]
fn an_older_version_is_refused_before_anything_moves() {
    let publisher = Publisher::new("t-backwards");
    assert_session!(publisher.release(&["t", "--version", "1.1.0"]), @"
    exit 1
    --- stderr
    error: channel `stable` is at version 1.2.0, and 1.1.0 is older

    hint: publish older lines on a channel of their own with `--channel NAME`
    ");
    assert!(!publisher.object("releases/1.1.0").exists());
    publisher.0.home.must(&["keys", "generate", "--name", "other"]);
    assert_session!(publisher.release(&["t", "--version", "1.3.0", "--key", "keys/other.key"]), @"
    exit 11
    --- stderr
    error: the channel is sealed by no trusted key
      cause: it says that key sha256:[DIGEST] sealed it

    hint: nothing was loaded; compare your key with the project's: `imgforge trust show`
    ");
    assert!(!publisher.object("releases/1.3.0").exists());
}

#[test]
fn a_version_never_changes_its_content_and_tiers_have_no_order() {
    let publisher = Publisher::new("t-content");
    let again = publisher.release(&["t", "t", "--version", "1.2.0"]);
    assert!(again.starts_with("exit 0"), "{again}");
    publisher.0.write("recipes/files/a", "two");
    assert_session!(publisher.release(&["t", "--version", "1.2.0"]), @"
    exit 1
    --- stderr
    error: version 1.2.0 was published before, with other content

    hint: a published version never changes: choose the next one
    ");
}

#[test]
fn a_killed_publication_goes_on() {
    let publisher = Publisher::new("t-killed");
    let files = [
        "t-1.2.0-linux-amd64.tar.gz",
        "t-1.2.0-linux-amd64.cyclonedx.sigstore.json",
        "t-1.2.0-linux-amd64.provenance.sigstore.json",
        "t-1.2.0-linux-amd64.spdx.sigstore.json",
        "SHA256SUMS",
        "SHA256SUMS.sig",
        "release.sigstore.json",
    ];
    let bytes = |file: &str| fs::read(publisher.object("releases/1.2.0").join(file)).unwrap();
    let channel = publisher.object("channels/stable.sigstore.json");
    // Killed after each object: what comes after it is not there.
    for done in 0..=files.len() {
        let before = files.map(bytes);
        fs::remove_file(&channel).unwrap();
        for file in &files[done..] {
            fs::remove_file(publisher.object("releases/1.2.0").join(file)).unwrap();
        }
        let again = publisher.release(&["t", "--version", "1.2.0"]);
        assert!(again.starts_with("exit 0"), "after {done}: {again}");
        // Nobody signs twice the same way, so what was there stays; and an archive carries the seal that the
        // others get.
        for (number, file) in files.iter().enumerate() {
            let follows_from_the_archive = [0, 4, 6].contains(&number);
            let stays = if follows_from_the_archive { done > 0 } else { done > number };
            assert_eq!(bytes(file) == before[number], stays, "after {done}: {file}");
        }
        must(&mut publisher.0.imgforge(&[
            "verify",
            publisher.object("releases/1.2.0").to_str().unwrap(),
            "--key",
            "keys/cosign.pub",
        ]));
    }
}

#[test]
fn the_channel_of_somebody_else_is_not_taken_for_this_one() {
    let publisher = Publisher::new("t-channels");
    let first = publisher.release(&["t", "--version", "1.2.0", "--channel", "edge"]);
    assert!(first.starts_with("exit 0"), "{first}");
    fs::copy(
        publisher.object("channels/stable.sigstore.json"),
        publisher.object("channels/edge.sigstore.json"),
    )
    .unwrap();
    assert_session!(publisher.release(&["t", "--version", "1.3.0", "--channel", "edge"]), @"
    exit 12
    --- stderr
    error: the channel is `t-channels/stable`, not `t-channels/edge`

    hint: the store was damaged or replaced, nothing was loaded; tell the project
    ");
}

#[test]
fn the_publisher_never_signs_two_channels_with_one_sequence() {
    let publisher = Publisher::new("t-sequence");
    let channel = publisher.object("channels/stable.sigstore.json");
    let old = fs::read(&channel).unwrap();
    assert!(publisher.release(&["t", "--version", "1.3.0"]).starts_with("exit 0"));
    fs::write(&channel, old).unwrap();
    assert_session!(publisher.release(&["t", "--version", "1.4.0"]), @"
    exit 14
    --- stderr
    error: channel `stable` has sequence 1, and this machine has seen 2

    hint: somebody shows you an old state of the store, nothing was loaded; tell the project
    ");
    fs::remove_file(&channel).unwrap();
    let said = publisher.release(&["t", "--version", "1.4.0"]);
    assert!(said.contains("sequence 3"), "{said}");
}

#[test]
fn platforms_go_together_or_not_at_all() {
    let project = Project::new("t-platforms", "");
    let write = |head: &str| {
        let head = format!("name = \"{}\"\nversion = \"1.0.0\"\n{head}", project.name());
        project.write("recipes/project.toml", &head);
        // Files alone: these any builder puts together, whatever platform they are for.
        let root = "base = \"scratch\"\ncontext = \"files\"\n[user]\nname = \"root\"\nuid = 0\ngid = 0\n";
        for tier in ["t", "u"] {
            let copy = format!("[[steps]]\ncopy = {{ paths = [\"{tier}\"], to = \"/\" }}\n");
            project.write(&format!("recipes/files/{tier}"), tier);
            project.write(&format!("recipes/{tier}.toml"), &format!("{root}{copy}"));
        }
    };
    write("platforms = [\"linux/amd64\", \"linux/arm64\"]\n");
    project.home.must(&["keys", "generate"]);
    let release = |arguments: &[&str]| {
        let known = ["release", "t", "u", "--version", "1.0.0", "--allow-unlocked", "--quiet"];
        project.imgforge(&[&known[..], arguments].concat())
    };
    let record: serde_json::Value = serde_json::from_str(&must(&mut release(&["--json"]))).unwrap();
    let published = record["archives"].as_array().unwrap().iter().map(|archive| {
        let seconds = archive["seconds"].as_object().unwrap();
        let work: Vec<_> = seconds.keys().map(String::as_str).collect();
        assert!(seconds.values().all(|seconds| seconds.as_f64().unwrap() > 0.0), "{seconds:?}");
        assert_eq!(work, ["build", "pack", "read_back", "upload"]);
        format!("{} for {}", archive["tier"].as_str().unwrap(), archive["platform"].as_str().unwrap())
    });
    let all = ["t for linux/amd64", "t for linux/arm64", "u for linux/amd64", "u for linux/arm64"];
    assert_eq!(published.collect::<Vec<_>>(), all);
    assert!(must(&mut release(&[])).contains("nothing to do"));
    let listed = project.home.must(&["releases"]);
    assert!(listed.contains("  t u  linux/amd64 linux/arm64  <- stable"), "{listed}");

    for architecture in ["amd64", "arm64"] {
        let platform = format!("linux/{architecture}");
        let (image, tag) = (format!("{}/u", project.name()), format!("{}/u:1.0.0", project.name()));
        let place = ["--from", "dist/store", "--key", "keys/cosign.pub"];
        let fetch = ["fetch", &image, "--platform", &platform, "--replace", "--verify", "--quiet"];
        project.home.must(&[&fetch[..], &place].concat());
        let found = must(&mut tool("docker", &["image", "inspect", &tag, "--format", "{{.Architecture}}"]));
        assert_eq!(found.trim(), architecture);
        must(&mut tool("docker", &["image", "rm", "-f", &tag]));
    }

    // One platform less is another release.
    assert_session!(project.home.record(&mut release(&["--platform", "linux/arm64"])), @"
    exit 1
    --- stderr
    error: version 1.0.0 was published before, with other content

    hint: a published version never changes: choose the next one
    ");
}

#[test]
fn from_a_bucket_to_a_usb_stick() {
    let server = Server::start();
    let project = Project::new("t-bucket", "[[steps]]\ncopy = { paths = [\"a\"], to = \"/\" }\n");
    project.write("recipes/files/a", "one");
    project.home.must(&["keys", "generate"]);
    fs::write(
        project.home.path("imgforge.toml"),
        format!("[store]\naddress = \"s3://images/team\"\nendpoint = \"{}\"\n", server.endpoint()),
    )
    .unwrap();
    let secret = |secret: &str, arguments: &[&str]| {
        let unlocked: &[&str] = if arguments[0] == "release" { &["--allow-unlocked"] } else { &[] };
        let mut command = project.imgforge(&[arguments, unlocked, &["--quiet"]].concat());
        command.env("AWS_ACCESS_KEY_ID", KEY.0).env("AWS_SECRET_ACCESS_KEY", secret);
        project.home.record(&mut command)
    };
    let run = |arguments: &[&str]| secret(KEY.1, arguments);
    let says = |arguments: &[&str], what: &str| {
        let said = run(arguments);
        assert!(said.starts_with("exit 0") && said.contains(what), "{arguments:?}: {said}");
        said
    };
    says(&["release", "t", "--version", "1.0.0", "--dry-run"], "nothing was published");
    assert_eq!(server.writes(), 0);
    says(&["release", "t", "--version", "1.0.0"], "(sequence 1, ");
    server.forget();
    says(&["release", "t", "--version", "1.0.0"], "to do: all of this was published before");
    // The one write asks whether the server keeps conditions.
    assert_eq!((server.writes(), server.count(Wants::Put)), (1, 1));
    says(&["releases"], "<- stable");

    let link = says(&["link", "t", "--expires", "1h"], "X-Amz-Expires=3600");
    let link = link.lines().find_map(|line| line.strip_prefix("link       ")).unwrap();
    let found = wait(async { reqwest::get(link).await.unwrap().bytes().await.unwrap() });
    let file = "t-bucket/releases/1.0.0/t-1.0.0-linux-amd64.tar.gz";
    assert!(fs::read(server.object(&format!("team/{file}"))).unwrap() == found);

    says(&["mirror", "usb"], "new objects");
    says(&["mirror", "usb"], "nothing new, all of it was there");
    assert!(fs::read(project.home.path("usb").join(file)).unwrap() == found);
    says(&["verify", "usb/t-bucket/releases/1.0.0", "--key", "keys/cosign.pub"], "");

    for version in ["1.1.0", "1.2.0"] {
        says(&["release", "t", "--version", version], version);
    }
    server.forget();
    says(&["prune", "--keep", "1"], "would go   1.0.0  7 files, no channel needs it");
    assert_eq!(server.writes(), 0);
    says(&["prune", "--keep", "1", "--delete"], "removed    1.0.0");
    assert!(!run(&["releases"]).contains("1.0.0"));

    assert_session!(secret("wrong", &["releases"]), @"
    exit 21
    --- stderr
    error: store `s3://images/team` denies access to `t-bucket/trust/1.jsonl`
      cause: the server answered 403: SignatureDoesNotMatch

    hint: the link or the key expired, or may not do this; run the command again with another one: it goes on where it stopped
    ");
    assert_session!(project.home.record(&mut project.imgforge(&["releases"])), @"
    exit 2
    --- stderr
    error: store `s3://images/team` needs a key, and there is none

    hint: set `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, or read from its public `https://` address
    ");
}
