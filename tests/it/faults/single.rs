//! Faults that each take a course of their own.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{Downloaded, Row, Trial, begun, ended, fetch, signal, through};
use crate::bucket::{KEY, Server};
use crate::fetching::{project, size};
use crate::harness::must;
use crate::line::Line;
use crate::nginx::Nginx;
use crate::transport::ENGINE;
use crate::web::Whim;
use crate::workbench::Bench;

pub(super) fn cuts() -> Row {
    let (bench, _) = project("t-fault-cuts");
    let nginx = Nginx::serve(&bench.home.path("store"), "");
    let line = Line::breaking(nginx.address(), 100);
    let command = fetch(&bench, &line.url());
    // What programs are told of the progress goes to a file.
    let script = "exec \"$0\" \"$@\" --progress-fd 3 3>progress";
    let trial = Trial {
        fault: "the line breaks a hundred times",
        bench: &bench,
        sees: "integrity  OK",
        code: "0",
        downloaded: Downloaded::Once,
    };
    let row = trial.run(|| through(&["sh", "-c", script], &command), || (), || line.passed());
    assert!(line.cuts() >= 100, "{} cuts", line.cuts());
    never_falls(&bench.home.path("progress"));
    row
}

/// What is drawn as one bar never falls.
fn never_falls(progress: &Path) {
    let events = fs::read_to_string(progress).unwrap();
    let events = events.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let bytes: Vec<_> = events.filter(|event| event["event"] == "bytes").collect();
    assert!(bytes.len() > 10, "{bytes:?}");
    for pair in bytes.windows(2) {
        let done = |event: &serde_json::Value| event["done"].as_u64().unwrap();
        assert!(pair[0]["total"] != pair[1]["total"] || done(&pair[0]) <= done(&pair[1]), "{pair:?}");
    }
}

pub(super) fn bucket_cuts() -> Row {
    let ((bench, _), server) = (project("t-fault-bucket"), Server::start());
    let line = Line::breaking(server.address(), 100);
    let with = |mut command: Command, endpoint: &str| {
        command.env("AWS_ACCESS_KEY_ID", KEY.0).env("AWS_SECRET_ACCESS_KEY", KEY.1);
        command.env("AWS_ENDPOINT_URL_S3", endpoint);
        command
    };
    let mirror = bench.home.imgforge(&["mirror", "s3://images/team", "--quiet"]);
    must(&mut with(mirror, &server.endpoint()));
    fs::remove_dir_all(bench.home.path(".cache")).unwrap();
    let trial = Trial {
        fault: "the line to a bucket breaks a hundred times",
        bench: &bench,
        sees: "integrity  OK",
        code: "0",
        downloaded: Downloaded::Once,
    };
    let endpoint = line.url();
    let row = trial.run(|| with(fetch(&bench, "s3://images/team"), &endpoint), || (), || line.passed());
    assert!(line.cuts() >= 100, "{} cuts", line.cuts());
    row
}

pub(super) fn killed() -> Row {
    let (bench, _) = project("t-fault-killed");
    let nginx = Nginx::serve(&bench.home.path("store"), "limit_rate 300k;");
    let command = || fetch(&bench, &nginx.url());
    let mut child = begun(&bench, &mut command(), 1 << 20);
    child.kill().unwrap();
    let trial = Trial {
        fault: "`kill -9`, power failure",
        bench: &bench,
        sees: "",
        code: "killed",
        downloaded: Downloaded::AndUnfinished,
    };
    trial.after(&ended(child), command, || (), || nginx.sent())
}

pub(super) fn restarted() -> Row {
    let (bench, _) = project("t-fault-restart");
    let mut nginx = Nginx::serve(&bench.home.path("store"), "limit_rate 300k;");
    // What a killed nginx sent last is in no log of it.
    let line = Line::breaking(nginx.address(), 0);
    let child = begun(&bench, &mut fetch(&bench, &line.url()), 1 << 20);
    nginx.kill();
    std::thread::sleep(Duration::from_secs(1));
    nginx.start();
    let trial = Trial {
        fault: "the server is killed, and comes back a second later",
        bench: &bench,
        sees: "integrity  OK",
        code: "0",
        downloaded: Downloaded::Once,
    };
    trial.after(&ended(child), || unreachable!(), || (), || line.passed())
}

pub(super) fn asleep() -> Row {
    let (bench, _) = project("t-fault-asleep");
    let nginx = Nginx::serve(&bench.home.path("store"), "limit_rate 300k; send_timeout 1s;");
    let child = begun(&bench, &mut fetch(&bench, &nginx.url()), 1 << 20);
    signal("STOP", &child);
    std::thread::sleep(Duration::from_secs(4));
    signal("CONT", &child);
    let trial = Trial {
        fault: "the laptop sleeps, and the server hangs up",
        bench: &bench,
        sees: "integrity  OK",
        code: "0",
        downloaded: Downloaded::AndUnfinished,
    };
    trial.after(&ended(child), || unreachable!(), || (), || nginx.sent())
}

/// The file of an archive in the store.
fn published(bench: &Bench) -> PathBuf {
    bench.object("releases/1.0.0/tiny-1.0.0-linux-amd64.tar.gz")
}

pub(super) fn replaced() -> Row {
    let (bench, _) = project("t-fault-replaced");
    let mut nginx = Nginx::serve(&bench.home.path("store"), "limit_rate 300k;");
    let line = Line::breaking(nginx.address(), 0);
    let (path, right) = (published(&bench), fs::read(published(&bench)).unwrap());
    let child = begun(&bench, &mut fetch(&bench, &line.url()), 1 << 20);
    nginx.kill();
    fs::write(&path, right.iter().map(|byte| byte ^ 1).collect::<Vec<u8>>()).unwrap();
    nginx.start();
    let said = ended(child);
    let trial = Trial {
        fault: "the server comes back with another file of that name",
        bench: &bench,
        sees: "has another",
        code: "12",
        downloaded: Downloaded::UpToTwice,
    };
    let mend = || fs::write(&path, &right).unwrap();
    trial.after(&said, || fetch(&bench, &line.url()), mend, || line.passed())
}

/// The archive in the store becomes another one, before anything is fetched.
pub(super) fn cropped(
    (fault, name): (&'static str, &str),
    change: impl Fn(&mut Vec<u8>),
    (code, sees, downloaded): (&'static str, &'static str, Downloaded),
) -> Row {
    let (bench, _) = project(name);
    let nginx = Nginx::serve(&bench.home.path("store"), "");
    let right = fs::read(published(&bench)).unwrap();
    let mut wrong = right.clone();
    change(&mut wrong);
    fs::write(published(&bench), wrong).unwrap();
    let mend = || fs::write(published(&bench), &right).unwrap();
    let trial = Trial { fault, bench: &bench, sees, code, downloaded };
    let row = trial.run(|| fetch(&bench, &nginx.url()), mend, || nginx.sent());
    fs::write(published(&bench), &right).unwrap();
    row
}

pub(super) fn links() -> Row {
    let (bench, web) = project("t-fault-links");
    // Each link lets a megabyte through; without one, there is no archive at all.
    let mut left = std::collections::BTreeMap::new();
    web.mood(move |request| {
        if !request.is_archive() {
            return Whim::Serve;
        }
        let left = left.entry(request.query.clone()).or_insert(1_200_000i64);
        let range = request.range.as_deref().unwrap_or_default().trim_start_matches("bytes=");
        let (start, end) = range.split_once('-').unwrap_or(("0", "0"));
        *left -= end.parse::<i64>().unwrap_or_default() - start.parse::<i64>().unwrap_or_default();
        let is_good = request.query == "n=4" || (*left > 0 && !request.query.is_empty());
        if is_good { Whim::Serve } else { Whim::Status(403, "") }
    });
    let with_link = |number: u32| {
        let link = format!(
            "{}/{}/releases/1.0.0/tiny-1.0.0-linux-amd64.tar.gz?n={number}",
            web.url(),
            bench.project
        );
        let mut command = fetch(&bench, &web.url());
        command.args(["--connections", "1", "--url", &link]);
        command
    };
    for number in 1..3 {
        let said = bench.home.record(&mut with_link(number));
        assert!(said.starts_with("exit 21\n") && said.contains("denies access to `the link`"), "{said}");
    }
    let number = std::cell::Cell::new(3);
    let trial = Trial {
        fault: "a link expires, three times; `--url NEW` each time",
        bench: &bench,
        sees: "denies access to",
        code: "21",
        downloaded: Downloaded::Once,
    };
    trial.run(|| with_link(number.replace(4)), || (), || web.took().1)
}

/// A clock that is wrong by so much; `before` is a fetch with the right one.
pub(super) fn clock(
    (fault, name): (&'static str, &str),
    offset: &str,
    before: &[&str],
    (sees, downloaded): (&'static str, Downloaded),
) -> Row {
    let (bench, web) = project(name);
    if !before.is_empty() {
        bench.home.must(&[before, &["--from", &web.url()]].concat());
        web.took();
    }
    let is_wrong = AtomicBool::new(true);
    let command = || {
        let command = fetch(&bench, &web.url());
        if is_wrong.load(Ordering::SeqCst) { through(&["faketime", "-f", offset], &command) } else { command }
    };
    let trial = Trial { fault, bench: &bench, sees, code: "13", downloaded };
    trial.run(command, || is_wrong.store(false, Ordering::SeqCst), || web.took().1)
}

/// A socket that leads to the engine, and breaks after a megabyte of a request while it is told to.
fn breaking_engine(folder: &Path) -> (PathBuf, Arc<AtomicBool>) {
    let (socket, breaks) = (folder.join("engine.sock"), Arc::new(AtomicBool::new(true)));
    let (listener, told) = (UnixListener::bind(&socket).unwrap(), Arc::clone(&breaks));
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let told = Arc::clone(&told);
            std::thread::spawn(move || {
                let Ok(mut engine) = UnixStream::connect(ENGINE) else { return };
                let (mut answers, mut to) = (engine.try_clone().unwrap(), client.try_clone().unwrap());
                std::thread::spawn(move || std::io::copy(&mut answers, &mut to));
                let (mut piece, mut passed) = ([0; 8 << 10], 0);
                while let Ok(read @ 1..) = client.read(&mut piece) {
                    passed += read;
                    if told.load(Ordering::SeqCst) && passed > 1 << 20 {
                        break;
                    }
                    if engine.write_all(&piece[..read]).is_err() {
                        break;
                    }
                }
                let _ = (engine.shutdown(Shutdown::Both), client.shutdown(Shutdown::Both));
            });
        }
    });
    (socket, breaks)
}

pub(super) fn engine() -> Row {
    let (bench, web) = project("t-fault-engine");
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let (socket, breaks) = breaking_engine(folder.path());
    let command = || {
        let mut command = fetch(&bench, &web.url());
        command.env("DOCKER_HOST", format!("unix://{}", socket.display()));
        command
    };
    let trial = Trial {
        fault: "the engine stops in the middle of a load",
        bench: &bench,
        sees: "the connection to the Docker Engine broke",
        code: "31",
        downloaded: Downloaded::Once,
    };
    trial.run(command, || breaks.store(false, Ordering::SeqCst), || web.took().1)
}

pub(super) fn disk() -> Row {
    let (bench, web) = project("t-fault-full");
    web.mood(
        |request| {
            if request.is_archive() { Whim::Slow(Duration::from_millis(20)) } else { Whim::Serve }
        },
    );
    let cache = bench.home.path("small");
    fs::create_dir_all(&cache).unwrap();
    // Somebody else fills the disk when a part of the archive is there.
    let script = "mount -t tmpfs -o size=80m none \"$XDG_CACHE_HOME\"
        (until [ -s $XDG_CACHE_HOME/imgforge/archives/*/.*.part ]; do sleep 0.1; done; sleep 0.3
         head -c 100000000 /dev/zero >\"$XDG_CACHE_HOME/other\" 2>/dev/null) &
        \"$0\" \"$@\" >first 2>&1; code=$?; wait
        echo \"exit $code\" >code; rm \"$XDG_CACHE_HOME/other\"; exec \"$0\" \"$@\"";
    let mut command = fetch(&bench, &web.url());
    command.env("XDG_CACHE_HOME", &cache);
    let again = bench.home.record(&mut through(&["unshare", "-m", "sh", "-c", script], &command));
    let read = |name: &str| fs::read_to_string(bench.home.path(name)).unwrap();
    let first = read("code") + &read("first");
    assert!(first.starts_with("exit 22\n") && first.contains("No space left"), "{first}");
    assert!(again.starts_with("exit 0\n") && again.contains("Docker has this image"), "{again}");
    let (sent, size, downloaded) = (web.took().1, size(&bench, "1.0.0"), Downloaded::AndUnfinished);
    assert!(sent <= downloaded.most(size), "{sent} bytes for {size}");
    Row {
        fault: "somebody else fills the disk in mid-download",
        sees: "No space left on device",
        code: "22".to_owned(),
        again: Some(0),
        downloaded,
        sent,
        size,
    }
}
