//! What lines, servers, disks, clocks and engines do to a fetch, and what an operator then sees. Nothing
//! wrong may reach the engine, nothing may be downloaded twice that need not be, and the same command must
//! succeed as soon as the fault is over.

pub(crate) mod engine;
mod single;

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::fetching::{project, size};
use crate::harness::{must, root, tool};
use crate::nginx::Nginx;
use crate::web::{Request, Whim};
use crate::workbench::Bench;
use single::{asleep, bucket_cuts, clock, cropped, cuts, disk, engine, killed, links, replaced, restarted};

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
        Box::new(engine::killed),
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
