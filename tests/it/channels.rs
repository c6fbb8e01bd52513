//! Channels by hand: promoted, renewed, with a floor, and with versions that are withdrawn.

use std::fs;

use crate::assert_session;
use crate::workbench::Bench;

/// Two published versions; the channel points to the second.
fn two_versions(name: &str) -> Bench {
    let bench = Bench::published(name);
    let release = bench.release("1.1.0", vec![bench.archive("tiny", "1.1.0", "newer")]);
    bench.publish(&release, &bench.key);
    bench.home.must(&["channel", "set", "stable", "1.1.0", "--project", name]);
    bench
}

#[test]
fn a_channel_goes_forward_and_back_and_never_below_its_floor() {
    let bench = two_versions("t-floor");
    assert!(bench.fetch().starts_with("exit 0"));
    assert_session!(bench.home.session(&["channel", "set", "stable", "1.0.0"]), @"
    exit 0
    --- stdout
    channel    stable points to 1.0.0 (sequence 3, expires [TIME])
    ");
    assert!(bench.fetch().contains("t-floor 1.0.0"));
    assert_session!(bench.home.session(&["channel", "set", "stable", "1.1.0", "--floor", "1.1.0"]), @"
    exit 0
    --- stdout
    channel    stable points to 1.1.0 (sequence 4, expires [TIME])
    floor      1.1.0: nothing older may be loaded
    ");
    assert!(bench.fetch().starts_with("exit 0"));
    assert_session!(bench.home.session(&["fetch", "tiny@1.0.0"]), @"
    exit 14
    --- stderr
    error: version 1.0.0 is older than 1.1.0, the oldest that channel `stable` allows

    hint: the project wants nobody to go back that far, nothing was loaded; fetch a newer version
    ");
    assert_session!(bench.home.session(&["channel", "set", "stable", "1.0.0"]), @"
    exit 14
    --- stderr
    error: version 1.0.0 is older than 1.1.0, the oldest that channel `stable` allows

    hint: the project wants nobody to go back that far, nothing was loaded; fetch a newer version
    ");
    assert_session!(bench.home.session(&["channel", "set", "stable", "1.1.0", "--floor", "1.0.0"]), @"
    exit 1
    --- stderr
    error: the floor is 1.1.0, and 1.0.0 is lower

    hint: a floor only rises: operators remember it
    ");
    // The floor is remembered where the channel is not there any more.
    fs::remove_file(bench.object("channels/stable.sigstore.json")).unwrap();
    assert_session!(bench.home.session(&["fetch", "tiny@1.0.0"]), @"
    exit 14
    --- stderr
    error: version 1.0.0 is older than 1.1.0, the oldest that channel `stable` allows

    hint: the project wants nobody to go back that far, nothing was loaded; fetch a newer version
    ");
    assert_session!(bench.home.session(&["verify", bench.object("releases/1.0.0").to_str().unwrap(), "-q"]), @"
    exit 14
    --- stderr
    error: version 1.0.0 is older than 1.1.0, the oldest that channel `stable` allows

    hint: the project wants nobody to go back that far, nothing was loaded; fetch a newer version
    ");
}

#[test]
fn a_withdrawn_version_is_refused_everywhere() {
    let bench = two_versions("t-yank");
    let verify = |version: &str| {
        bench.home.session(&["verify", bench.object("releases").join(version).to_str().unwrap(), "-q"])
    };
    assert_session!(bench.home.session(&["yank", "1.1.0", "--reason", "it leaks keys"]), @"
    exit 2
    --- stderr
    error: channel `stable` points to version 1.1.0

    hint: say what to run instead with `--to VERSION`
    ");
    assert_session!(bench.home.session(&["yank", "1.1.0", "--to", "1.0.0", "--reason", "it leaks keys"]), @"
    exit 0
    --- stdout
    channel    stable points to 1.0.0 (sequence 3, expires [TIME])
    withdrawn  1.1.0: it leaks keys; run 1.0.0 instead
    ");
    assert_session!(bench.home.session(&["fetch", "tiny@1.1.0"]), @"
    exit 15
    --- stderr
    error: version 1.1.0 was withdrawn by its project: it leaks keys

    hint: nothing was loaded; the project says to use 1.0.0 instead
    ");
    assert_session!(verify("1.1.0"), @"
    exit 15
    --- stderr
    error: version 1.1.0 was withdrawn by its project: it leaks keys

    hint: nothing was loaded; the project says to use 1.0.0 instead
    ");
    assert_session!(bench.home.session(&["fetch", "tiny"]), @"
    exit 0
    --- stdout
    channel    stable points to 1.0.0 (sequence 3, expires [TIME])
    release    t-yank 1.0.0, sealed by key sha256:[DIGEST]
    archive    [HOME]/.cache/imgforge/archives/t-yank/tiny-1.0.0-linux-amd64.tar.gz  every byte matches
    verified   1 member, 1 layer, 7.6 kB unpacked
    transfer   2.3 kB downloaded
    image      t-yank/tiny:1.0.0
    proof      not asked for: `--verify` also asks Docker what it has
    integrity  OK
    freshness  OK
    disk       5.9 kB in the cache, at most 2.0 kB in Docker, [FREE] free
    next       imgforge fetch --verify t-yank/tiny  # asks Docker what it has
    --- stderr
    downloading `tiny-1.0.0-linux-amd64.tar.gz`: 5.9 kB
    verifying `tiny-1.0.0-linux-amd64.tar.gz`
    loading `t-yank/tiny:1.0.0` into Docker [VERSION]
    ");
    // Remembered, though the store does not say so any more.
    fs::remove_file(bench.object("channels/stable.sigstore.json")).unwrap();
    assert!(bench.home.session(&["fetch", "tiny@1.1.0"]).starts_with("exit 15\n"));
    assert!(verify("1.1.0").starts_with("exit 15\n"));
    assert_session!(bench.home.session(&["yank", "9.9.9", "--reason", "x"]), @"
    exit 1
    --- stderr
    error: version 9.9.9 is not in the store

    hint: check the store, the project and the version
    ");
    assert_session!(bench.home.session(&["channel", "set", "stable", "1.1.0"]), @"
    exit 15
    --- stderr
    error: version 1.1.0 was withdrawn by its project: it leaks keys

    hint: nothing was loaded; the project says to use 1.0.0 instead
    ");
}

#[test]
fn channels_are_shown_and_renewed() {
    let bench = two_versions("t-renew");
    assert_session!(bench.home.session(&["channel", "show"]), @"
    exit 0
    --- stdout
    channel    stable points to 1.1.0 (sequence 2, expires [TIME])
               fresh for [DAYS] days
    ");
    assert_session!(bench.home.session(&["channel", "renew"]), @"
    exit 0
    --- stdout
    channel    stable points to 1.1.0 (sequence 3, expires [TIME])
    ");
    assert!(bench.fetch().contains("sequence 3"));
    assert_session!(bench.home.session(&["channel", "renew", "edge"]), @"
    exit 1
    --- stderr
    error: there is no channel `edge`

    hint: make one with `imgforge channel set NAME VERSION`
    ");
    assert_session!(bench.home.session(&["channel", "show", "edge"]), @"
    exit 1
    --- stderr
    error: there is no channel `edge`

    hint: make one with `imgforge channel set NAME VERSION`
    ");
}

#[test]
fn an_expired_channel_is_believed_by_those_who_say_how_long() {
    let bench = Bench::published("t-max-age");
    let sealed = fs::read(bench.object("releases/1.0.0/release.sigstore.json")).unwrap();
    let mut channel = bench.channel(&imgforge::model::seal::Sealed::from_bytes(sealed), "1.0.0", 2);
    channel.issued -= jiff::SignedDuration::from_hours(24 * 40);
    channel.expires -= jiff::SignedDuration::from_hours(24 * 40);
    bench.point(&channel, &bench.key);
    assert_session!(bench.home.session(&["fetch", "tiny"]), @"
    exit 13
    --- stderr
    error: channel `stable` expired on [TIME], 10 days ago

    hint: ask the project to renew its channel; `--max-age 41d` believes it all the same, and a version that you name, TIER@VERSION, does not expire
    ");
    assert_session!(bench.home.session(&["fetch", "tiny", "--max-age", "41d", "-q"]), @"
    exit 0
    --- stdout
    channel    stable points to 1.0.0 (sequence 2, expires [TIME])
    release    t-max-age 1.0.0, sealed by key sha256:[DIGEST]
    archive    [HOME]/.cache/imgforge/archives/t-max-age/tiny-1.0.0-linux-amd64.tar.gz  every byte matches
    verified   1 member, 1 layer, 7.6 kB unpacked
    transfer   2.3 kB downloaded
    image      t-max-age/tiny:1.0.0
    proof      not asked for: `--verify` also asks Docker what it has
    integrity  OK
    freshness  stale since [TIME], accepted with `--max-age`
    disk       5.9 kB in the cache, at most 2.0 kB in Docker, [FREE] free
    next       imgforge fetch --verify t-max-age/tiny  # asks Docker what it has
    ");
    assert_session!(bench.home.session(&["fetch", "tiny", "--max-age", "12h", "-q"]), @"
    exit 13
    --- stderr
    error: channel `stable` was signed 40 days ago, and no more than 12 hours is accepted

    hint: nothing was loaded; choose a longer `--max-age`
    ");
    assert_session!(bench.home.session(&["fetch", "tiny", "--max-age", "soon", "-q"]), @"
    exit 2
    --- stderr
    error: invalid value 'soon' for '--max-age <DURATION>': `soon` is not a duration: use a number and one of s, m, h, d, w, such as `36h` or `45d`

    For more information, try '--help'.
    ");
    let folder = bench.object("releases/1.0.0");
    assert_session!(bench.home.session(&["verify", folder.to_str().unwrap(), "-q"]), @"
    exit 0
    --- stdout
    release    t-max-age 1.0.0, sealed by key sha256:[DIGEST]
    archive    tiny-1.0.0-linux-amd64.tar.gz  every byte matches
    image      t-max-age/tiny:1.0.0  sha256:[DIGEST]
    verified   1 member, 1 layer, 7.6 kB unpacked
    integrity  OK
    freshness  stale: the channel beside it expired on [TIME]
    ");
    // Renewing makes it fresh again, and the sequence rises.
    bench.home.must(&["channel", "renew"]);
    assert_session!(bench.home.session(&["verify", folder.to_str().unwrap(), "-q"]), @"
    exit 0
    --- stdout
    release    t-max-age 1.0.0, sealed by key sha256:[DIGEST]
    archive    tiny-1.0.0-linux-amd64.tar.gz  every byte matches
    image      t-max-age/tiny:1.0.0  sha256:[DIGEST]
    verified   1 member, 1 layer, 7.6 kB unpacked
    integrity  OK
    freshness  OK: the channel beside it says so until [TIME]
    ");
}

#[test]
fn a_memory_that_was_lost_is_missed() {
    let bench = Bench::published("t-lost");
    bench.home.must(&["fetch", "tiny"]);
    fs::remove_dir_all(bench.home.path(".local/state/imgforge/seen")).unwrap();
    assert_session!(bench.home.session(&["fetch", "tiny"]), @"
    exit 0
    --- stdout
    channel    stable points to 1.0.0 (sequence 1, expires [TIME])
    release    t-lost 1.0.0, sealed by key sha256:[DIGEST]
    archive    [HOME]/.cache/imgforge/archives/t-lost/tiny-1.0.0-linux-amd64.tar.gz  every byte matches
    verified   1 member, 1 layer, 7.6 kB unpacked
    image      t-lost/tiny:1.0.0
    proof      not asked for: `--verify` also asks Docker what it has
    integrity  OK
    freshness  OK
    disk       2.3 kB in the cache, at most 2.0 kB in Docker, [FREE] free
    next       imgforge fetch --verify t-lost/tiny  # asks Docker what it has
    --- stderr
    warning: nothing is remembered of this project any more, so an older release cannot be told from the current one this time
    verifying `tiny-1.0.0-linux-amd64.tar.gz`, which is here already
    ");
    assert!(!bench.fetch().contains("warning"));
}
