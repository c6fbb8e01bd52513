//! What this machine remembers is lost, damaged, ahead of its clock, or written by two at once.

use std::fs;
use std::path::PathBuf;

use imgforge::model::key::TrustedKeys;
use imgforge::model::seen::Pointer;
use imgforge::model::time::Timestamp;
use imgforge::model::trust::Trusted;
use imgforge::step::{remember, sign};

use super::refused;
use crate::harness::tool;
use crate::workbench::{Bench, now};

fn seen(bench: &Bench) -> PathBuf {
    let key = bench.key.public().fingerprint().hex();
    bench.home.path(".local/state/imgforge/seen").join(&bench.project).join(key).join("seen.json")
}

#[test]
fn a_clock_that_ran_back_and_a_memory_that_is_damaged() {
    let bench = Bench::published("t-clock");
    bench.home.must(&["fetch", "tiny"]);
    let good = fs::read_to_string(seen(&bench)).unwrap();
    let mut later: serde_json::Value = serde_json::from_str(&good).unwrap();
    later["time"] = (now() + jiff::SignedDuration::from_hours(49)).to_string().into();
    fs::write(seen(&bench), later.to_string()).unwrap();
    refused("two days back", &bench.fetch(), 13, "and it was");
    // A day is what clocks may differ.
    later["time"] = (now() + jiff::SignedDuration::from_hours(23)).to_string().into();
    fs::write(seen(&bench), later.to_string()).unwrap();
    assert!(bench.fetch().starts_with("exit 0"));
    for damaged in [
        "",
        "{}",
        "null",
        &good[..good.len() - 1],
        &format!("{good}x"),
        &good.replace("\"time\"", "\"time\":\"1970-01-01T00:00:00Z\",\"time\""),
    ] {
        fs::write(seen(&bench), damaged).unwrap();
        refused(damaged, &bench.fetch(), 1, "is damaged");
    }
    let chain = seen(&bench).with_file_name("trust.jsonl");
    fs::write(seen(&bench), good).unwrap();
    fs::write(&chain, "{}").unwrap();
    refused("trust documents", &bench.fetch(), 1, "is damaged");
}

/// A clock that is ahead must be set right and nothing more: whatever it said is not remembered.
#[test]
fn a_clock_that_was_ahead_is_forgotten() {
    let bench = Bench::new("t-ahead");
    let key = bench.home.text("keys/cosign.pub");
    let imgforge = env!("CARGO_BIN_EXE_imgforge");
    let ahead = |days: &str, arguments: &[&str]| {
        let mut command = tool("faketime", &["-f", days, imgforge]);
        command.args(arguments).env("HOME", bench.home.path("")).current_dir(bench.home.path(""));
        bench.home.record(&mut command)
    };
    // Since the beginning.
    let store = bench.home.text("store");
    fs::remove_dir_all(bench.home.path(".config")).unwrap();
    fs::remove_dir_all(bench.home.path(".local")).unwrap();
    let add = ["trust", "add", "t-ahead", "--key", &key, "--from", &store];
    assert!(ahead("+4000d", &add).starts_with("exit 0"));
    let release = bench.release("1.0.0", vec![bench.archive("tiny", "1.0.0", "hello")]);
    let channel = bench.channel(&bench.publish(&release, &bench.key), "1.0.0", 1);
    bench.point(&channel, &bench.key);
    let time = || {
        let seen: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(seen(&bench)).unwrap()).unwrap();
        seen["time"].as_str().unwrap().parse::<Timestamp>().unwrap()
    };
    let fetch = ["fetch", "tiny", "--no-load"];
    refused("it looks expired", &ahead("+40d", &fetch), 13, "expired on");
    assert_eq!(time(), Timestamp::UNIX_EPOCH);
    // Not so far ahead that it looks expired, or believed although it does.
    for (days, more) in [("+20d", &[][..]), ("+40d", &["--max-age", "60d"])] {
        let said = ahead(days, &[&fetch[..], more].concat());
        assert!(said.starts_with("exit 0"), "{said}");
        assert_eq!(time(), channel.issued);
        let said = bench.home.session(&fetch);
        assert!(said.starts_with("exit 0"), "{said}");
        assert_eq!(time(), channel.issued);
    }
}

#[test]
fn two_processes_remember_both() {
    let bench = Bench::published("t-two-processes");
    let release = fs::read(bench.object("releases/1.0.0/release.sigstore.json")).unwrap();
    let mut channel = bench.channel(&imgforge::model::seal::Sealed::from_bytes(release), "1.0.0", 7);
    let stable = bench.object("channels/stable.sigstore.json");
    fs::rename(&stable, bench.home.path("stable")).unwrap();
    channel.channel = "edge".parse().unwrap();
    bench.point(&channel, &bench.key);
    fs::rename(&stable, bench.object("channels/edge.sigstore.json")).unwrap();
    fs::rename(bench.home.path("stable"), &stable).unwrap();
    let both = ["stable", "edge"].map(|name| {
        let fetch = ["fetch", "t-two-processes/tiny", "--channel", name];
        let mut command = bench.home.imgforge(&fetch);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap()
    });
    for mut process in both {
        assert!(process.wait().unwrap().success());
    }
    let seen: serde_json::Value = serde_json::from_str(&fs::read_to_string(seen(&bench)).unwrap()).unwrap();
    let sequence = |name: &str| seen["channels"][name]["sequence"].as_u64();
    assert_eq!((sequence("stable"), sequence("edge")), (Some(1), Some(7)));
}

#[test]
fn two_at_once_lose_nothing_of_each_other() {
    let bench = Bench::published("t-two");
    let keys = TrustedKeys::from(bench.key.public().clone());
    let trusted = Trusted::pin(bench.project.parse().unwrap(), bench.key.public().clone());
    let memory = remember::of(&bench.home.path("state"), &bench.project.parse().unwrap(), &trusted);
    let release = fs::read(bench.object("releases/1.0.0/release.sigstore.json")).unwrap();
    let release = imgforge::model::seal::Sealed::from_bytes(release);
    let pointers: Vec<Pointer> = (1..=16)
        .map(|sequence| {
            let channel = bench.channel(&release, "1.0.0", sequence);
            Pointer::of(&sign::seal(&channel, &bench.key).unwrap().0.verify(&keys).unwrap())
        })
        .collect();
    std::thread::scope(|scope| {
        for (number, pointer) in pointers.iter().enumerate() {
            let (memory, trusted) = (&memory, &trusted);
            let name = if number % 2 == 0 { "stable" } else { "edge" }.parse().unwrap();
            scope.spawn(move || memory.note(&name, pointer.clone(), trusted).unwrap());
        }
    });
    let seen = memory.seen().unwrap().unwrap();
    let sequence = |name: &str| seen.channels[&name.parse().unwrap()].sequence;
    assert_eq!((sequence("stable"), sequence("edge")), (15, 16));
}
