//! Archives are for everybody: what loads images, copies them or only unpacks files takes one as it is.
//! `docs/formats.md` has the table of what was run here.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use imgforge::model::digest::Digest;
use imgforge::model::release::Archive;

use crate::current::{Engine, Store};
use crate::harness::{must, run, tool};
use crate::workbench::{Bench, layered};

/// A signed archive of an image that runs: one program, which needs nothing.
struct Runs {
    bench: Bench,
    archive: Archive,
    /// The file, and its tar.
    file: String,
    plain: String,
}

impl Runs {
    fn new(name: &str) -> Self {
        let bench = Bench::new(name);
        fs::write(bench.home.path("hello.c"), "#include <stdio.h>\nint main() { puts(\"it runs\"); }")
            .unwrap();
        let cc = ["-static", "-s", "-o", &bench.home.text("hello"), &bench.home.text("hello.c")];
        must(&mut tool("cc", &cc));
        let program = fs::read(bench.home.path("hello")).unwrap();
        let layers =
            [("hello", program), ("data", vec![7; 300_000])].map(|file| layered(&bench.project, &[file]));
        let archive = bench.stated("tiny", "1.0.0", bench.layered("tiny", "1.0.0", &layers));
        bench.publish(&bench.release("1.0.0", vec![archive.clone()]), &bench.key);
        let file = bench.home.path("dist").join(&archive.file).to_str().unwrap().to_owned();
        let plain = bench.home.text("plain.tar");
        must(Command::new("sh").args(["-c", "gunzip -c \"$0\" > \"$1\"", &file, &plain]));
        Self { bench, archive, file, plain }
    }
}

#[test]
fn programs_that_unpack_files() {
    let Runs { bench, archive, file, plain } = &Runs::new("t-unpack");
    must(&mut tool("gunzip", &["-t", file]));
    must(&mut tool("pigz", &["-t", file]));
    let pigz = tool("pigz", &[]).get_program().to_str().unwrap().to_owned();
    must(Command::new("sh").args(["-c", "\"$2\" -dc \"$0\" | cmp - \"$1\"", file, plain, &pigz]));
    let blob = format!("blobs/sha256/{}", archive.image.layers[1].digest.hex());
    for reader in [vec!["tar"], vec!["busybox", "tar"]] {
        let to = bench.home.path(reader[0]);
        fs::create_dir(&to).unwrap();
        must(tool(reader[0], &reader[1..]).args(["xzf", file, "-C", to.to_str().unwrap()]));
        assert_eq!(Digest::of(&fs::read(to.join(&blob)).unwrap()), archive.image.layers[1].digest);
        let beside = ["release.sigstore.json", "cyclonedx.json", "provenance.json", "spdx.json"];
        assert!(beside.iter().all(|file| to.join("imgforge").join(file).exists()));
    }
    let script = "import sys, tarfile, hashlib
t = tarfile.open(sys.argv[1], 'r:gz'); m = t.getmember(sys.argv[2])
print(len(t.getnames()), hashlib.sha256(t.extractfile(m).read()).hexdigest())";
    let said = must(&mut tool("python3", &["-c", script, file, &blob]));
    assert_eq!(said.trim(), format!("12 {}", archive.image.layers[1].digest.hex()));
}

#[test]
fn programs_that_copy_images() {
    let Runs { bench, archive, file, plain } = &Runs::new("t-copy");
    // skopeo unzips an `oci-archive`, and no `docker-archive`.
    let sources = [format!("oci-archive:{file}"), format!("docker-archive:{plain}")];
    for from in sources {
        let said = must(&mut tool("skopeo", &["inspect", "--config", &from]));
        assert!(said.contains(&archive.image.layers[1].digest.to_string()), "{from}: {said}");
        let to = format!("dir:{}", bench.home.text("copied"));
        must(&mut tool("skopeo", &["--insecure-policy", "copy", &from, &to]));
    }
    must(&mut tool("crane", &["validate", "--tarball", plain]));
    // A tool that cannot read it would be noticed.
    fs::write(plain, b"no tar").unwrap();
    assert!(!run(&mut tool("crane", &["validate", "--tarball", plain])).status.success());
}

#[test]
fn engines_that_run_images() {
    let Runs { bench, archive, file, plain } = &Runs::new("t-engines");
    let tag = archive.image.tag.to_string();
    // This machine's engine.
    must(Command::new("sh").args(["-c", "docker load < \"$0\"", file]));
    assert_eq!(must(&mut tool("docker", &["run", "--rm", &tag])), "it runs\n");

    let folders = ["--root", "--runroot"].map(|option| [option.to_owned(), bench.home.text(&option[2..])]);
    let podman = |arguments: &[&str]| {
        // Docker's runc: crun, which Debian's podman prefers, takes no machine whose control groups are of both
        // versions.
        let options =
            ["--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=none", "--runtime=runc"];
        let mut command = tool("podman", &options);
        command.args(folders.iter().flatten()).args(arguments);
        must(&mut command)
    };
    let said = podman(&["load", "--input", file]);
    assert!(said.contains(&tag), "{said}");
    // Its own limits are above what some machines allow.
    let limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"];
    let run = [&["run", "--rm", "--network=none"], &limits[..], &[&tag]].concat();
    assert_eq!(podman(&run), "it runs\n");

    for store in [Store::Classic, Store::Containerd] {
        let engine = Engine::start(store);
        must(&mut engine.docker(&["load", "--input", file]));
        assert_eq!(must(&mut engine.docker(&["run", "--rm", "--network=none", &tag])), "it runs\n");
        if store == Store::Classic {
            continue;
        }
        // containerd alone. Only its newer client unzips.
        let ctr = |program: &str, arguments: &[&str]| {
            let address = engine.containerd();
            crate::harness::run(
                tool(program, &["--address", &address, "--namespace", "imgforge"]).args(arguments),
            )
        };
        let current = program_beside("current-containerd", "ctr").display().to_string();
        for (program, works) in [(current.as_str(), true), ("ctr", false)] {
            assert_eq!(ctr(program, &["image", "import", file]).status.success(), works, "{program}");
        }
        for program in ["ctr", &current] {
            let said = ctr(program, &["image", "import", plain]);
            assert!(said.status.success(), "{program}: {said:?}");
        }
        let name = format!("docker.io/{tag}");
        let said = ctr(&current, &["run", "--rm", &name, "test"]);
        assert_eq!(String::from_utf8_lossy(&said.stdout), "it runs\n", "{said:?}");
    }
}

/// A program that lies beside one of the tools.
fn program_beside(tool: &str, name: &str) -> PathBuf {
    fs::canonicalize(crate::harness::tools().join(tool)).unwrap().with_file_name(name)
}
