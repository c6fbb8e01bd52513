//! Channels that must not be followed: replayed, contradicting, stale, dated wrongly, or of somebody else.

use std::fs;

use super::stranger;
use crate::assert_session;
use crate::workbench::{Bench, now};

#[test]
fn a_release_in_the_place_of_a_channel() {
    let bench = Bench::published("t-type-confusion");
    let release = fs::read(bench.object("releases/1.0.0/release.sigstore.json")).unwrap();
    fs::write(bench.object("channels/stable.sigstore.json"), release).unwrap();
    assert_session!(bench.fetch(), @"
    exit 12
    --- stderr
    error: the sealed channel is not valid
      cause: it is of type `https://imgforge.dev/release/v1`, not `https://imgforge.dev/channel/v1`

    hint: the document was damaged or replaced, nothing was loaded; fetch it again
    ");
    assert!(!bench.in_engine());
}

#[test]
fn an_older_channel_and_another_of_the_same_sequence() {
    let bench = Bench::published("t-replay");
    let first = fs::read(bench.object("channels/stable.sigstore.json")).unwrap();
    let release = bench.release("1.1.0", vec![bench.archive("tiny", "1.1.0", "newer")]);
    let sealed = bench.publish(&release, &bench.key);
    bench.point(&bench.channel(&sealed, "1.1.0", 2), &bench.key);
    bench.home.must(&["fetch", "--verify", "tiny"]);
    fs::write(bench.object("channels/stable.sigstore.json"), first).unwrap();
    assert_session!(bench.fetch(), @"
    exit 14
    --- stderr
    error: channel `stable` has sequence 1, and this machine has seen 2

    hint: somebody shows you an old state of the store, nothing was loaded; tell the project
    ");
    let mut other = bench.channel(&sealed, "1.1.0", 2);
    other.expires += jiff::SignedDuration::from_secs(1);
    bench.point(&other, &bench.key);
    assert_session!(bench.fetch(), @"
    exit 14
    --- stderr
    error: channel `stable` shows different documents under the same sequence 2

    hint: somebody shows you an old state of the store, nothing was loaded; tell the project
    ");
}

#[test]
fn an_expired_channel_and_one_from_the_future() {
    let bench = Bench::published("t-expired");
    let sealed = fs::read(bench.object("releases/1.0.0/release.sigstore.json")).unwrap();
    let mut channel = bench.channel(&imgforge::model::seal::Sealed::from_bytes(sealed), "1.0.0", 2);
    channel.issued = now() - jiff::SignedDuration::from_hours(100 * 24);
    channel.expires = now() - jiff::SignedDuration::from_hours(70 * 24);
    bench.point(&channel, &bench.key);
    assert_session!(bench.fetch(), @"
    exit 13
    --- stderr
    error: channel `stable` expired on [TIME], 70 days ago

    hint: ask the project to renew its channel; `--max-age 101d` believes it all the same, and a version that you name, TIER@VERSION, does not expire
    ");
    // A version that is named needs no channel.
    bench.home.must(&["fetch", "tiny@1.0.0"]);
    channel.sequence = 3;
    channel.issued = now() + jiff::SignedDuration::from_hours(48);
    channel.expires = now() + jiff::SignedDuration::from_hours(96);
    bench.point(&channel, &bench.key);
    assert_session!(bench.fetch(), @"
    exit 13
    --- stderr
    error: channel `stable` was issued on [TIME], and this machine's clock says [TIME]

    hint: set this machine's clock
    ");
}

#[test]
fn the_documents_of_another_project_with_the_same_key() {
    let bench = Bench::published("t-other-project");
    let other = "t-other-victim";
    let (key, store) = (bench.home.text("keys/cosign.pub"), bench.home.text("store"));
    bench.home.must(&["trust", "add", other, "--key", &key, "--from", &store]);
    fs::rename(bench.object(""), bench.home.path("store").join(other)).unwrap();
    assert_session!(bench.home.session(&["fetch", "--verify", "t-other-victim/tiny"]), @"
    exit 12
    --- stderr
    error: the channel is `t-other-project/stable`, not `t-other-victim/stable`

    hint: the store was damaged or replaced, nothing was loaded; tell the project
    ");
    assert_session!(bench.home.session(&["fetch", "--verify", "t-other-victim/tiny@1.0.0"]), @"
    exit 12
    --- stderr
    warning: channel `stable` is not asked whether 1.0.0 was withdrawn: the channel is `t-other-project/stable`, not `t-other-victim/stable`
    error: the store shows release t-other-project 1.0.0 as t-other-victim 1.0.0

    hint: the store was damaged or replaced, nothing was loaded; tell the project
    ");
    assert!(!bench.in_engine());
}

#[test]
fn another_channel_of_the_same_project() {
    let bench = Bench::published("t-other-channel");
    let sealed = fs::read(bench.object("releases/1.0.0/release.sigstore.json")).unwrap();
    let mut beta = bench.channel(&imgforge::model::seal::Sealed::from_bytes(sealed), "1.0.0", 9);
    beta.channel = "beta".parse().unwrap();
    bench.point(&beta, &bench.key);
    assert_session!(bench.fetch(), @"
    exit 12
    --- stderr
    error: the channel is `t-other-channel/beta`, not `t-other-channel/stable`

    hint: the store was damaged or replaced, nothing was loaded; tell the project
    ");
    assert!(!bench.in_engine());
}

#[test]
fn a_fetch_with_another_key_does_not_lock_the_pinned_project() {
    let bench = Bench::published("t-two-keys");
    let evil = stranger(&bench);
    let release = bench.release("1.0.0", vec![bench.archive("tiny", "1.0.0", "other")]);
    let good = bench.home.path("store");
    fs::rename(&good, bench.home.path("kept")).unwrap();
    let sealed = bench.publish(&release, &evil);
    bench.point(&bench.channel(&sealed, "1.0.0", 9), &evil);
    fs::rename(&good, bench.home.path("staging")).unwrap();
    fs::rename(bench.home.path("kept"), &good).unwrap();
    bench.home.must(&["fetch", "t-two-keys/tiny", "--key", "evil/cosign.pub", "--from", "staging"]);
    bench.home.must(&["fetch", "tiny", "--replace"]);
}

#[test]
fn a_channel_in_another_envelope_is_the_same_channel() {
    let bench = Bench::published("t-envelope");
    let path = bench.object("channels/stable.sigstore.json");
    let good = fs::read(&path).unwrap();
    fs::write(&path, [&good[..], b"\n"].concat()).unwrap();
    bench.home.must(&["fetch", "tiny"]);
    fs::write(&path, good).unwrap();
    bench.home.must(&["fetch", "tiny"]);
}
