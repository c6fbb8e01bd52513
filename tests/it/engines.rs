//! The same recipe on every engine: the same bytes. And what engines share: caches, one context, one
//! base for several tiers.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use sha2::Digest as _;

use crate::assert_session;
use crate::building::{Project, shared_cache};
use crate::current::{Engine, Store};
use crate::harness::{must, run, tool};
use crate::language::Registry;
use crate::transport::{ENGINE, modern_front};

/// One of each kind of thing that engines write in their own way.
const TIER: &str = r#"
[policy]
allow = [{ rule = "setuid", path = "/able", reason = "its capability, in bytes, holds a line feed" }]
[args]
WORD = "a b"
[[steps]]
copy = { paths = ["."], to = "/files/" }
[[steps]]
copy = { paths = ["deep"], to = "/owned/", owner = "1001:1001" }
[[steps]]
run.shell = "mkdir -p /made/by/a/step && cd /made && echo x > one && ln one two && ln -s one three && mkfifo pipe && chmod 2750 by && chown 7:7 by/a && mknod null c 1 3 && touch \"$(printf '/made/n\\303\\266\\nl \\377')\""
[[steps]]
run = { shell = "echo $WORD > /word; test ! -f /run/secrets/none", secrets = [] }
[[steps]]
run.shell = "rm -r /files/gone && rm -r /made/by && mkdir -p /made/by/again && cat /files/a.txt > /etc/imgforge-was-here"
[[steps]]
run.shell = "chown -R 0:0 /usr/share/doc /var/lib && touch /files/a.txt /srv/x && rm /srv/x && ln /files/a.txt /made/name"
[[steps]]
run.shell = "touch /able && perl -e '($f, $n, $v) = (\"/able\", \"security.capability\", pack(\"V5\", 0x2000001, 10, 0, 0, 0)); syscall(188, $f, $n, $v, 20, 0) == 0 or die $!'"
[[steps]]
run.shell = "cp -a /usr/share/doc /doc && rm -r /usr/share/doc && mv /doc /usr/share/doc && cp -a /usr/bin/cat /cat && mv /cat /usr/bin/cat"
"#;

/// Without a base there is nothing of Debian's in it, and so the digests never change.
const GOLDEN: &str = r#"
base = "scratch"
context = "files"
[[steps]]
copy = { paths = ["a.txt", "deep"], to = "/files/" }
[user]
name = "root"
uid = 0
gid = 0
[env.GREETING]
description = "what is said"
default = "hello"
"#;

fn project(name: &str) -> Project {
    let project = Project::new(name, TIER);
    project.write("recipes/golden.toml", GOLDEN);
    for (path, text) in [("a.txt", "a"), ("deep/er/run.sh", "#!/bin/sh\n"), ("gone/x", "x"), ("é", "")] {
        project.write(&format!("recipes/files/{path}"), text);
    }
    std::os::unix::fs::symlink("a.txt", project.home.path("recipes/files/link")).unwrap();
    project
}

/// A cache of its own, so that nothing is found there; the base is the one that all have.
fn cache(folder: &Path) {
    let (from, to) = (shared_cache().join("imgforge/bases"), folder.join("imgforge"));
    fs::create_dir_all(&to).unwrap();
    must(Command::new("cp").arg("-r").arg(from).arg(&to));
}

/// What a build gives: a name for each digest, and the digest.
fn digests(build: &mut Command) -> Vec<(String, String)> {
    let said: serde_json::Value = serde_json::from_str(&must(build)).unwrap();
    let mut rows = Vec::new();
    for image in said["images"].as_array().unwrap() {
        let (tier, image) = (image["tier"].as_str().unwrap(), &image["image"]);
        let short = |blob: &serde_json::Value| blob["digest"].as_str().unwrap()[7..19].to_owned();
        rows.push((format!("{tier} config"), short(&image["config"])));
        rows.push((format!("{tier} manifest"), short(&image["manifest"])));
        for (at, layer) in image["layers"].as_array().unwrap().iter().enumerate() {
            rows.push((format!("{tier} layer {}", at + 1), short(layer)));
        }
    }
    rows
}

#[test]
fn the_same_bytes_everywhere() {
    let classic = Engine::start(Store::Classic);
    let current = Engine::start(Store::Containerd);
    let project = project("t-bytes");
    let (front, _) = modern_front(&project.home.path(""), &current.socket());
    let here = |column: &str, variable: &str, host: &str| {
        let folder = project.home.path(&format!("cache-{column}"));
        cache(&folder);
        let mut build = project.imgforge(&["build", "t", "golden", "--json", "--quiet"]);
        digests(build.env("XDG_CACHE_HOME", folder).env(variable, host))
    };
    let mut columns = vec![
        ("20.10", here("a", "DOCKER_HOST", &format!("unix://{ENGINE}"))),
        ("28 classic", here("b", "DOCKER_HOST", &classic.host())),
        ("28 containerd", here("c", "DOCKER_HOST", &current.host())),
        ("BuildKit", here("d", "BUILDKIT_HOST", &format!("unix://{}", front.display()))),
    ];
    columns.push(("other folder", elsewhere(&project, &[], &current.host())));
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", &format!("--groups={}", docker_group())];
    columns.push(("other user", elsewhere(&project, &nobody, &format!("unix://{ENGINE}"))));
    let later = ["faketime", "-f", "@2031-05-06 07:08:09"];
    columns.push(("other date", elsewhere(&project, &later, &classic.host())));

    let mut table = String::new();
    let header: Vec<String> = columns.iter().map(|(name, _)| format!("{name:>13}")).collect();
    let _ = writeln!(table, "{:16}{}", "", header.join(" "));
    let mut same = true;
    for (at, (row, digest)) in columns[0].1.iter().enumerate() {
        let cells: Vec<&str> = columns.iter().map(|(_, rows)| rows[at].1.as_str()).collect();
        let _ = writeln!(
            table,
            "{row:16}{}",
            cells.iter().map(|cell| format!("{cell:>13}")).collect::<Vec<_>>().join(" ")
        );
        same &= cells.iter().all(|cell| cell == digest);
    }
    assert!(same, "\n{table}");
    // Kept for whoever writes documentation; `target/tmp` is no part of the project.
    fs::write(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("bytes.txt"), &table).unwrap();
    // Golden: a change of these changes every image that is built from now on.
    let golden: Vec<String> = columns[0]
        .1
        .iter()
        .filter(|(row, _)| row.starts_with("golden"))
        .map(|(row, digest)| format!("{row} {digest}"))
        .collect();
    insta::assert_snapshot!(golden.join("\n"), @"
    golden config bdf3f16a75dc
    golden manifest 0f8ee6ad8822
    golden layer 1 6f2ec41aa8e8
    golden layer 2 b9338a910f62
    ");
    golden_without_overlays(&project, &golden);
    crate::policing::holds_on("DOCKER_HOST", &classic.host());
    caches(&project, &current, &classic);
    layers_of_others_stay(&[&classic, &current]);
    crate::policing::what_was_refused_stays_refused(&classic.host(), true);
    crate::policing::what_was_refused_stays_refused(&current.host(), false);
}

/// Where file systems are no overlays, layers cannot be told apart from inside, and the engine saves the image.
fn golden_without_overlays(project: &Project, golden: &[String]) {
    let copies = Engine::start(Store::Copies);
    let build = |arguments: &[&str]| {
        let mut build = project.imgforge(&[&["build", "golden"], arguments].concat());
        build.env("XDG_CACHE_HOME", project.home.path("cache-copies")).env("DOCKER_HOST", copies.host());
        build
    };
    let said = project.home.record(&mut build(&[]));
    assert!(
        said.contains(
            "having `t-bytes/golden:1.0.0` saved by the engine: imgforge-differ: /trees/0 is no overlay"
        ),
        "{said}"
    );
    let rows: Vec<String> = digests(&mut build(&["--json", "--quiet"]))
        .iter()
        .map(|(row, digest)| format!("{row} {digest}"))
        .collect();
    assert_eq!(rows, golden);
}

/// A base with everything that normal form would change: dates, names of owners, the order of entries, a
/// mark that hides a directory.
fn layers_of_others_stay(engines: &[&Engine]) {
    let project = Project::new("t-others", "");
    let make = "mkdir -p one/etc one/srv two/srv && echo a > one/etc/b && ln one/etc/b one/etc/a && echo x > one/srv/x \
                && touch two/srv/.wh..wh..opq && echo y > two/srv/y && chmod 750 one/srv two/srv \
                && tar --format=pax --sort=none -C one -cf one.tar --no-recursion etc/b etc/a srv/x etc srv && tar -C two -cf two.tar srv";
    must(Command::new("sh").args(["-c", make]).current_dir(project.home.path("")));
    project.write("recipes/files/y", "mine\n");
    project.write("recipes/files/c", "c\n");
    let digest = |name: &str| hex::encode(sha2::Sha256::digest(fs::read(project.home.path(name)).unwrap()));
    let others = [digest("one.tar"), digest("two.tar")].map(|digest| format!("sha256:{digest}"));
    let mut images = Vec::new();
    for (at, engine) in engines.iter().enumerate() {
        let address = format!("localhost:{}", 5000 + at);
        let crane = crate::harness::tools().join("crane").display().to_string();
        must(&mut engine.beside(&["ip", "link", "set", "lo", "up"]));
        let serve = [&crane, "registry", "serve", "--address", &address];
        let registry = Registry::serve(&mut engine.beside(&serve), address);
        let tag = format!("{}/base:1", registry.1);
        let push = ["append", "--insecure", "-f", "one.tar", "-f", "two.tar", "-t", &tag];
        let push = || run(engine.beside(&[&crane]).args(push).current_dir(project.home.path("")));
        let end = Instant::now() + Duration::from_secs(20);
        let pushed = loop {
            match push() {
                pushed if pushed.status.success() => break String::from_utf8(pushed.stdout).unwrap(),
                pushed => assert!(Instant::now() < end, "{pushed:?}"),
            }
        };
        let tier = format!(
            "context = \"files\"\n[base.image]\nreference = \"{}\"\n[user]\nname = \"root\"\nuid = 0\ngid = 0\n\
             [[steps]]\ncopy = {{ paths = [\"y\"], to = \"/srv/y\" }}\n[[steps]]\ncopy = {{ paths = [\"c\"], to = \"/etc/c\" }}\n",
            pushed.trim()
        );
        project.write("recipes/t.toml", &tier);
        let mut command = project.imgforge(&["build", "t", "--json", "--quiet"]);
        let said = must(
            command
                .env("DOCKER_HOST", engine.host())
                .env("XDG_CACHE_HOME", project.home.path(&format!("cache-{at}"))),
        );
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        let image = said["images"][0]["image"].clone();
        let layers = image["layers"].as_array().unwrap();
        assert_eq!([&layers[0]["digest"], &layers[1]["digest"]], [&others[0], &others[1]], "{image}");
        images.push(image);
    }
    assert_eq!(images[0], images[1]);
}

/// The same project in another folder, its files dated otherwise, built by another hand.
fn elsewhere(project: &Project, by: &[&str], host: &str) -> Vec<(String, String)> {
    let home = tempfile::tempdir().unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    must(Command::new("cp").arg("-r").arg(project.home.path("recipes")).arg(home.path()));
    must(Command::new("cp").arg(env!("CARGO_BIN_EXE_imgforge")).arg(home.path().join("imgforge")));
    cache(&home.path().join("cache"));
    let touch =
        "find recipes -exec touch -h -d 2001-02-03 {} + && chmod -R go-w recipes && chown -R 65534:65534 .";
    must(Command::new("sh").args(["-c", touch]).current_dir(home.path()));
    let program = home.path().join("imgforge");
    let words: Vec<&str> = by.iter().copied().chain([program.to_str().unwrap()]).collect();
    let mut build = Command::new(words[0]);
    build.args(&words[1..]).args(["build", "t", "golden", "--json", "--quiet"]).current_dir(home.path());
    build.env_remove("BUILDKIT_HOST").env("DOCKER_HOST", host).env("HOME", home.path());
    build.env("XDG_CACHE_HOME", home.path().join("cache"));
    digests(&mut build)
}

fn docker_group() -> String {
    must(Command::new("stat").args(["-c", "%g", ENGINE])).trim().to_owned()
}

/// Caches between engines; it shares the engines of the test above, which take time to start.
fn caches(project: &Project, current: &Engine, classic: &Engine) {
    let build = |engine: &str, name: &str, arguments: &[&str]| {
        let mut build = project.imgforge(&[&["build", "t"], arguments].concat());
        build.env("XDG_CACHE_HOME", project.home.path(name)).env("DOCKER_HOST", engine);
        project.home.record(&mut build)
    };
    let forget = |engine: &Engine| {
        must(tool("docker", &["builder", "prune", "-af"]).env("DOCKER_HOST", engine.host()));
    };
    let runs = |said: &str| {
        assert!(said.starts_with("exit 0"), "{said}");
        said.lines().filter(|line| line.contains("RUN") && line.ends_with(" s")).count()
    };
    // A folder of ours, through the session: `--mode=max` would keep other stages too.
    let said = build(&current.host(), "cache-c", &["--cache-to", "type=local,dest=steps"]);
    assert!(said.starts_with("exit 0"), "{said}");
    forget(current);
    assert_eq!(runs(&build(&current.host(), "cache-c", &["--cache-from", "type=local,src=steps"])), 0);
    forget(current);
    assert_ne!(runs(&build(&current.host(), "cache-c", &[])), 0);

    // Inside an image that the engine keeps. Ours is the same with it or without.
    let machine = format!("unix://{ENGINE}");
    let plain = build(&machine, "cache-a", &["--quiet"]);
    let inline = ["--quiet", "--cache-to", "type=inline,ref=t-bytes/cache:{tier}"];
    assert_eq!(build(&machine, "cache-a", &inline), plain);
    let tar = project.home.text("cache.tar");
    must(&mut tool("docker", &["save", "-o", &tar, "t-bytes/cache:t"]));
    run(&mut tool("docker", &["image", "rm", "-f", "t-bytes/cache:t"]));
    let written = must(
        Command::new("sh")
            .args(["-c", "tar xOf cache.tar --wildcards '*.json'"])
            .current_dir(project.home.path("")),
    );
    assert!(written.contains("moby.buildkit.cache.v0"), "{written}");

    let refused = |engine: &str, arguments: &[&str], reason: &str| {
        let said = build(engine, "cache-a", &[&["--quiet"], arguments].concat());
        assert!(said.starts_with("exit 31") && said.contains(reason), "{said}");
    };
    let only_inside = "exports its cache only inside an image";
    refused(&machine, &["--cache-to", "type=local,dest=steps"], only_inside);
    refused(&classic.host(), &["--cache-to", "type=registry,ref=host/x:1"], only_inside);
    refused(&machine, &["--cache-from", "type=local,src=steps"], "reads caches only from images");
    refused(&current.host(), &["--cache-to", "type=inline,ref=x"], "keeps none that could carry a cache");
}

#[test]
fn tiers_side_by_side_share_what_they_share() {
    let step = "[[steps]]\nrun.shell = \"cat /big | wc -c > /size\"\n";
    let project = Project::new("t-tiers", "");
    // A base of its own: where two builds unpack one at a time, the steps of one may be found to stand on the layer
    // of the other, which cannot be told apart.
    project.write("recipes/base.toml", &format!(
        "context = \"files\"\n[base.debian]\nsuite = \"trixie\"\npackages = [\"netbase\"]\n[user]\nname = \"tiers\"\nuid = 1717\ngid = 1717\n[[steps]]\ncopy = {{ paths = [\"big\"], to = \"/\" }}\n{step}"
    ));
    for tier in ["a", "b", "c"] {
        let own = format!("[[steps]]\nrun.shell = \"echo {tier} > /tier\"\n");
        project.write(&format!("recipes/{tier}.toml"), &format!("extends = \"base\"\n{own}"));
    }
    let big: usize = 24 << 20;
    must(
        Command::new("sh")
            .args(["-c", "openssl rand 25165824 > recipes/files/big"])
            .current_dir(project.home.path("")),
    );
    let (front, sent) = crate::transport::counting_front(&project.home.path(""), Path::new(ENGINE));
    let mut build = project.imgforge(&["build", "a", "c", "b"]);
    let said = project.home.record(build.env("DOCKER_HOST", format!("unix://{}", front.display())));
    assert!(said.starts_with("exit 0"), "{said}");
    let base = fs::read_dir(shared_cache().join("imgforge/bases")).unwrap().flatten();
    let base = base.map(|entry| fs::read(entry.path()).unwrap().len()).max().unwrap();
    let bytes = sent.load(Ordering::SeqCst);
    assert!(bytes < 2 * big + base + (base / 2), "{bytes} bytes went to the builder, {base} are the base's");
    let times = |what: &str| said.lines().filter(|line| line.contains(what) && line.ends_with(" s")).count();
    assert_eq!(times("wc -c > /size"), 1, "{said}");
    assert!(!said.contains("saved by the engine"), "{said}");
    let order: Vec<&str> = said.lines().filter(|line| line.starts_with("image")).collect();
    assert!(order[0].contains("/a:") && order[1].contains("/c:") && order[2].contains("/b:"), "{said}");

    // The engine has the files of another version already.
    let mut build = project.imgforge(&["build", "a", "c", "b", "--version", "2.0.0", "--quiet"]);
    must(build.env("DOCKER_HOST", format!("unix://{}", front.display())));
    let more = sent.load(Ordering::SeqCst) - bytes;
    assert!(more < base / 20, "{more} bytes went to the builder for another version");

    project.write("recipes/c.toml", "extends = \"base\"\n[[steps]]\nrun.shell = \"sleep 2; exit 7\"\n");
    project.write("recipes/a.toml", "extends = \"base\"\n[[steps]]\nrun.shell = \"sleep 300\"\n");
    let started = Instant::now();
    assert_session!(project.home.record(&mut project.imgforge(&["build", "a", "b", "c", "--quiet"])), @r#"
    exit 30
    --- stderr
    error: the build of `c` failed at `[c 1/2] RUN ["/bin/sh", "-c", "sleep 2; exit 7"]`
      cause: executor failed running [/bin/sh -c sleep 2; exit 7]: exit code: 7

    hint: `imgforge recipe render TIER` shows what was built
    "#);
    assert!(started.elapsed() < Duration::from_mins(2), "the other tiers were waited for");
}

#[test]
fn what_differs_from_build_to_build_is_named() {
    let project = Project::new("t-check", "[[steps]]\nrun.shell = \"mkdir /d && echo same > /d/same\"\n");
    let offset = regex::Regex::new("from byte [0-9]+").unwrap();
    let check = || {
        let said = project.home.record(&mut project.imgforge(&["build", "t", "--check", "--quiet"]));
        offset.replace(&said, "from byte [N]").into_owned()
    };
    assert_session!(check(), @"
    exit 0
    --- stdout
    image      t-check/t:1.0.0  sha256:[DIGEST]  4 layers, 80.98 MB
    check      built twice, every step anew: the same bytes
    ");
    let steps = "extends = \"base\"\n[[steps]]\nrun.shell = \"mkdir /d && echo same > /d/same\"\n\
                 [[steps]]\nrun.shell = \"cd /d && echo same > a && date +at-%s.%N > when\"\n";
    project.write("recipes/t.toml", steps);
    assert_session!(check(), @"
    exit 32
    --- stderr
    error: `t` came out differently the second time
      cause: `/d/when` in layer 4 of 5: its content from byte [N] on, 24 bytes both times
      cause: the step is `RUN /bin/sh -c cd /d && echo same > a && date +at-%s.%N > when # buildkit`

    hint: leave out what differs by itself: dates, random numbers, logs, caches, the order of a listing
    ");
    project.write("recipes/t.toml", "extends = \"base\"\n[[steps]]\nrun.shell = \"touch /$(cat /proc/sys/kernel/random/uuid | tr -d -)\"\n");
    let said = check();
    assert!(said.starts_with("exit 32") && said.contains("build has it"), "{said}");
}
