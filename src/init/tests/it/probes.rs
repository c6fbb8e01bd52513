//! Readiness and health.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::{Value, json};

use crate::harness::{run, running, services, shell, start, until};

fn ready(probe: Value, within: u64) -> Value {
    json!({ "ready": { "probe": probe, "within": within, "interval": 20 } })
}

#[test]
fn a_service_that_never_becomes_ready_is_named() {
    let marker = "sleep 31415.3";
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (kind, probe, why) in [
        ("tcp", json!({ "tcp": free }), format!("unhealthy: port {free}: Connection refused")),
        ("command", json!({ "command": ["sh", "-c", "echo not yet >&2; exit 1"] }), "not yet".to_owned()),
        ("silent", json!({ "command": ["false"] }), "the probe ended with code 1".to_owned()),
        ("stuck", json!({ "command": ["sleep", "1000"] }), "the probe did not answer".to_owned()),
        ("absent", json!({ "command": ["nowhere"] }), "the probe cannot be started: nowhere".to_owned()),
    ] {
        let config = services(json!({
            "database": shell(&format!("exec {marker}"), ready(probe, 400)),
            "api": shell("touch $FOLDER/started", json!({ "needs": ["database"] })),
        }));
        let init = start(&format!("not-ready-{kind}"), &config);
        let folder = init.folder.clone();
        let ended = init.wait();
        assert_eq!(ended.code, Some(69), "{}", ended.stderr);
        let log = ended.log();
        assert!(
            log[1].starts_with("error database: not ready within 0.4 s, the container ends; "),
            "{log:?}"
        );
        assert!(log[1].contains(&why), "{kind}: {log:?}");
        assert!(!folder.join("started").exists());
        assert_eq!(running(marker), 0);
    }
}

#[test]
fn http_is_asked_until_it_is_ready() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let status: &'static AtomicU16 = Box::leak(Box::new(AtomicU16::new(503)));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 1024]);
            let _ =
                write!(stream, "HTTP/1.1 {} x\r\nContent-Length: 0\r\n\r\n", status.load(Ordering::SeqCst));
        }
    });
    let probe = json!({ "http": format!("http://127.0.0.1:{port}/ready") });
    let config = services(json!({
        "a": shell("exec sleep 1000", ready(probe.clone(), 20_000)),
        "b": shell("touch $FOLDER/started; exec sleep 1000", json!({ "needs": ["a"] })),
    }));
    let init = start("http", &config);
    until("a is asked", || {
        init.probe() == (Some(1), "unhealthy: a is not ready yet, b waits for what it needs\n".into())
    });
    assert!(!init.folder.join("started").exists());
    status.store(204, Ordering::SeqCst);
    until("b runs", || init.folder.join("started").exists());
    assert_eq!(init.probe(), (Some(0), String::new()));
    init.signal("TERM");
    let ended = init.wait();
    assert_eq!(ended.code, Some(0));
    assert!(ended.log().contains(&"info a: ready after T".to_owned()), "{}", ended.stderr);
    status.store(500, Ordering::SeqCst);
    let ended = run("http-503", &services(json!({ "a": shell("exec sleep 1000", ready(probe, 300)) })));
    assert!(ended.code == Some(69) && ended.stderr.contains("/ready: answered 500"), "{}", ended.stderr);
}

#[test]
fn probes_by_themselves() {
    let ask = |words: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_imgforge-init")).arg("probe").args(words).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    assert_eq!(ask(&["tcp", &port]), (Some(0), String::new()));
    let (code, stderr) = ask(&["http", &format!("http://127.0.0.1:{port}/"), "--timeout", "200ms"]);
    assert_eq!(
        (code, stderr),
        (Some(1), format!("unhealthy: http://127.0.0.1:{port}/: no answer in time\n"))
    );
    let (code, stderr) = ask(&["services", "--config", "/nowhere"]);
    assert_eq!(code, Some(1));
    assert!(stderr.starts_with("unhealthy: imgforge-init does not answer: "), "{stderr}");
    assert_eq!(ask(&["http", "http://example.com/"]).0, Some(64));
}

#[test]
fn a_stuck_question_is_asked_again() {
    // The first question hangs for ever; five seconds later it is dropped.
    let probe =
        json!({ "command": ["sh", "-c", "[ -e $FOLDER/asked ] || { touch $FOLDER/asked; sleep 1000; }"] });
    let init = start("stuck-once", &services(json!({ "a": shell("exec sleep 1000", ready(probe, 60_000)) })));
    until("a is ready", || init.probe().0 == Some(0));
    init.signal("TERM");
    assert_eq!(init.wait().code, Some(0));
}
