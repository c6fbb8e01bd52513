//! What this machine remembers is lost, damaged, ahead of its clock, or written by two at once.

use std::fs;
use std::path::PathBuf;

use imgforge::model::key::TrustedKeys;
use imgforge::model::seen::Pointer;
use imgforge::model::trust::Trusted;
use imgforge::step::{remember, sign};

use super::refused;
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
            scope.spawn(move || memory.note(&name, pointer.clone(), trusted, now()).unwrap());
        }
    });
    let seen = memory.seen().unwrap().unwrap();
    let sequence = |name: &str| seen.channels[&name.parse().unwrap()].sequence;
    assert_eq!((sequence("stable"), sequence("edge")), (15, 16));
}
