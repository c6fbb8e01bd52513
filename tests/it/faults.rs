//! What lines, servers, disks, clocks and engines do to a fetch, and what an operator then sees. Nothing
//! wrong may reach the engine, nothing may be downloaded twice that need not be, and the same command must
//! succeed as soon as the fault is over.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::bucket::{KEY, Server};
use crate::fetching::{project, size};
use crate::harness::{must, root, tool};
use crate::line::Line;
use crate::nginx::Nginx;
use crate::transport::ENGINE;
use crate::web::{Request, Whim};
use crate::workbench::Bench;

/// One fault.
struct Row {
    fault: &'static str,
    /// A part of what is on the screen.
    sees: &'static str,
    code: String,
    /// How the same command ends afterwards; nothing when it need not be typed again.
    again: Option<i32>,
    downloaded: Downloaded,
    /// Bytes of archives that servers sent, of so many that were needed.
    sent: u64,
    size: u64,
}

/// How much is downloaded, of what is needed, all commands together.
#[derive(Clone, Copy)]
enum Downloaded {
    Nothing,
    Once,
    /// Once, and what four connections had not yet received of a member.
    AndUnfinished,
    /// The server had to be asked for all of it after it gave something else.
    UpToTwice,
}

impl Downloaded {
    fn most(self, size: u64) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Once => size * 103 / 100,
            Self::AndUnfinished => size * 15 / 10,
            Self::UpToTwice => size * 203 / 100,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Once => "once",
            Self::AndUnfinished => "once, and what was on its way",
            Self::UpToTwice => "up to twice",
        }
    }
}

/// An operator with a fault, who then types the same again.
struct Trial<'a> {
    fault: &'static str,
    bench: &'a Bench,
    sees: &'static str,
    code: &'static str,
    downloaded: Downloaded,
}

impl Trial<'_> {
    fn run(self, command: impl Fn() -> Command, mend: impl FnOnce(), sent: impl FnOnce() -> u64) -> Row {
        let said = self.bench.home.record(&mut command());
        self.after(&said, command, mend, sent)
    }

    fn after(
        self,
        said: &str,
        command: impl Fn() -> Command,
        mend: impl FnOnce(),
        sent: impl FnOnce() -> u64,
    ) -> Row {
        let Self { fault, bench, sees, code, downloaded } = self;
        assert!(said.starts_with(&format!("exit {code}\n")) && said.contains(sees), "{fault}: {said}");
        let again = if code == "0" {
            assert!(said.contains("Docker has this image"), "{fault}: {said}");
            None
        } else {
            assert!(!bench.in_engine(), "{fault}: something is in the engine");
            mend();
            let said = bench.home.record(&mut command());
            assert!(
                said.starts_with("exit 0\n") && said.contains("Docker has this image"),
                "{fault}: {said}"
            );
            Some(0)
        };
        let (sent, size) = (sent(), size(bench, "1.0.0"));
        assert!(sent <= downloaded.most(size), "{fault}: {sent} bytes for {size}");
        Row { fault, sees, code: code.to_owned(), again, downloaded, sent, size }
    }
}

/// `imgforge fetch --verify tiny` from a server.
fn fetch(bench: &Bench, from: &str) -> Command {
    bench.home.imgforge(&["fetch", "--verify", "tiny", "--from", from])
}

/// The same command, run by another program.
fn through(words: &[&str], command: &Command) -> Command {
    let mut outer = tool(words[0], &words[1..]);
    outer.arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    outer.current_dir(command.get_current_dir().unwrap());
    outer
}

/// Begins, and returns as soon as so many bytes of the archive are on the disk.
fn begun(bench: &Bench, command: &mut Command, bytes: u64) -> Child {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let part = format!(".cache/imgforge/archives/{}/.tiny-1.0.0-linux-amd64.tar.gz.part", bench.project);
    let part = bench.home.path(&part);
    let start = Instant::now();
    while fs::metadata(&part).map_or(0, |file| file.blocks() * 512) < bytes {
        assert!(start.elapsed() < Duration::from_mins(1), "it does not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

fn ended(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    let code = output.status.code().map_or("killed".to_owned(), |code| code.to_string());
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    format!("exit {code}\n{out}{err}")
}

fn signal(name: &str, child: &Child) {
    must(Command::new("kill").args(["-s", name, &child.id().to_string()]));
}

/// A web server that treats requests for archives in its own way until it is mended.
fn served(
    (fault, name): (&'static str, &str),
    mood: impl Fn(&Request) -> Whim + Send + 'static,
    (code, sees, downloaded): (&'static str, &'static str, Downloaded),
) -> Row {
    let (bench, web) = project(name);
    web.mood(move |request| if request.is_archive() { mood(request) } else { Whim::Serve });
    let trial = Trial { fault, bench: &bench, sees, code, downloaded };
    trial.run(|| fetch(&bench, &web.url()), || web.mood(|_| Whim::Serve), || web.took().1)
}

/// nginx with settings of its own.
fn configured(
    (fault, name): (&'static str, &str),
    settings: &str,
    (sees, downloaded): (&'static str, Downloaded),
) -> Row {
    let (bench, _) = project(name);
    let nginx = Nginx::serve(&bench.home.path("store"), settings);
    let trial = Trial { fault, bench: &bench, sees, code: "0", downloaded };
    let row = trial.run(|| fetch(&bench, &nginx.url()), || (), || nginx.sent());
    assert!(nginx.log().lines().all(|line| line.ends_with(" -")), "encodings: {}", nginx.log());
    row
}

fn cuts() -> Row {
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

fn bucket_cuts() -> Row {
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

fn killed() -> Row {
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

fn restarted() -> Row {
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

fn asleep() -> Row {
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

fn replaced() -> Row {
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
fn cropped(
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

fn links() -> Row {
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
fn clock(
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

fn engine() -> Row {
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

fn disk() -> Row {
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

type Fault = Box<dyn FnOnce() -> Row + Send>;

fn of_lines() -> Vec<Fault> {
    vec![
        Box::new(cuts),
        Box::new(bucket_cuts),
        Box::new(killed),
        Box::new(restarted),
        Box::new(asleep),
        Box::new(links),
    ]
}

/// Servers that behave in one way for all archives.
fn of_servers() -> Vec<Fault> {
    use Downloaded::{Once, UpToTwice};
    let row = |fault, name, whim: Whim, code, sees, downloaded| -> Fault {
        Box::new(move || served((fault, name), move |_| whim.clone(), (code, sees, downloaded)))
    };
    let slow = "it sends less than a kilobyte a second";
    let mut storm = 4;
    let storm = Mutex::new(move || {
        storm -= i32::from(storm > 0);
        if storm > 0 { Whim::Status(429, "retry-after: 0\r\n") } else { Whim::Serve }
    });
    vec![
        row("the server sends a byte a second", "t-fault-drip", Whim::Drip, "20", slow, Once),
        Box::new(move || {
            let what = ("the server answers 429 for a while", "t-fault-storm");
            served(what, move |_| storm.lock().unwrap()(), ("0", "integrity  OK", Once))
        }),
        row(
            "the server answers 500 for longer",
            "t-fault-500",
            Whim::Status(500, ""),
            "20",
            "cannot be reached",
            Once,
        ),
        row(
            "a page for people comes instead",
            "t-fault-page",
            Whim::Status(200, ""),
            "20",
            "it sends a web page instead",
            Once,
        ),
        row("the archive is not there", "t-fault-404", Whim::Status(404, ""), "1", "has no", Once),
        row(
            "other ranges come than were asked for",
            "t-fault-other",
            Whim::OtherRange,
            "0",
            "trying another way",
            UpToTwice,
        ),
        row(
            "more bytes come than were asked for",
            "t-fault-longer",
            Whim::Longer(1000),
            "20",
            "it sends more bytes than it announced",
            UpToTwice,
        ),
        row(
            "a bit is wrong",
            "t-fault-bit",
            Whim::OtherBytes,
            "12",
            "does not hold the image that it should",
            UpToTwice,
        ),
    ]
}

fn of_files() -> Vec<Fault> {
    use Downloaded::{Once, UpToTwice};
    vec![
        Box::new(|| {
            let settings = "max_ranges 0;";
            let what = ("the server gives no ranges", "t-fault-ranges");
            configured(what, settings, ("trying another way", UpToTwice))
        }),
        Box::new(|| {
            let settings = "gzip on; gzip_types *; gzip_min_length 0;";
            let what = ("the server compresses what it can", "t-fault-gzip");
            configured(what, settings, ("integrity  OK", Once))
        }),
        Box::new(replaced),
        Box::new(|| {
            let what = ("the archive in the store is cut off", "t-fault-short");
            cropped(what, |bytes| bytes.truncate(bytes.len() / 2), ("12", "bytes, and", UpToTwice))
        }),
        Box::new(|| {
            let what = ("the archive in the store has something behind it", "t-fault-long");
            cropped(what, |bytes| bytes.extend([b'x'; 1000]), ("0", "integrity  OK", Once))
        }),
    ]
}

fn of_machines() -> Vec<Fault> {
    use Downloaded::{Nothing, Once};
    vec![
        Box::new(disk),
        Box::new(engine),
        Box::new(|| {
            clock(("the clock is 40 days ahead", "t-fault-ahead"), "+40d", &[], ("expired on", Once))
        }),
        Box::new(|| {
            let before = ["fetch", "tiny", "--no-load"];
            clock(("the clock runs back three days", "t-fault-back"), "-3d", &before, ("clock says", Nothing))
        }),
    ]
}

fn table(rows: &[Row]) -> String {
    let mut table = "| what happens | on the screen | code | the same command again | downloaded |\n|---|---|---|---|---|\n".to_owned();
    for Row { fault, sees, code, again, downloaded, .. } in rows {
        let sees = if sees.is_empty() { "nothing more".to_owned() } else { format!("`{sees}`") };
        let again = again.map_or("need not be typed".to_owned(), |code| code.to_string());
        writeln!(table, "| {fault} | {sees} | {code} | {again} | {} |", downloaded.words()).unwrap();
    }
    table
}

#[test]
#[expect(clippy::print_stdout, reason = "the table is what it is for")]
fn faults_and_what_the_operator_sees() {
    let all = [of_lines(), of_servers(), of_files(), of_machines()];
    let faults: VecDeque<_> = all.into_iter().flatten().enumerate().collect();
    let (queue, rows) = (Mutex::new(faults), Mutex::new(Vec::new()));
    let next = || queue.lock().unwrap().pop_front();
    // Most of them wait for something.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some((number, fault)) = next() {
                    // The others are of interest even when one is not as it should be.
                    let row = std::panic::catch_unwind(std::panic::AssertUnwindSafe(fault));
                    rows.lock().unwrap().push((number, row));
                }
            });
        }
    });
    let mut rows = rows.into_inner().unwrap();
    rows.sort_by_key(|(number, _)| *number);
    let rows: Vec<Row> = rows.into_iter().map(|(_, row)| row.expect("it says above why not")).collect();
    for Row { fault, sent, size, .. } in &rows {
        println!("{fault}: {sent} bytes came of {size}");
    }
    let table = table(&rows);
    println!("{table}");
    let docs = fs::read_to_string(root().join("docs/troubleshooting.md")).unwrap();
    assert!(docs.contains(&table), "docs/troubleshooting.md should have this:\n{table}");
}
