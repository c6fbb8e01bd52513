//! Signals, stop order, timeouts, orphans.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{children, run, running, services, shell, start, until};

/// Writes down its start and its stop.
const ORDERLY: &str = "echo +$NAME >> $FOLDER/order; trap 'echo -$NAME >> $FOLDER/order; exit 0' TERM; \
                       while :; do sleep 1000 & wait $!; done";

#[test]
fn services_start_in_order_and_stop_in_reverse() {
    let service = |name: &str, needs: &[&str]| {
        let ready = json!({ "probe": { "command": ["grep", "-q", format!("+{name}"), "order"] }, "within": 10_000, "interval": 10 });
        shell(ORDERLY, json!({ "needs": needs, "ready": ready, "environment": { "NAME": name } }))
    };
    let config = services(json!({
        "api": service("api", &["cache", "database"]),
        "cache": service("cache", &["database"]),
        "database": service("database", &[]),
        "web": service("web", &["api"]),
    }));
    let init = start("order", &config);
    init.until("order", |text| text.contains("+web"));
    until("all are ready", || init.probe().0 == Some(0));
    init.signal("TERM");
    let folder = init.folder.clone();
    let ended = init.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let order = std::fs::read_to_string(folder.join("order")).unwrap();
    assert_eq!(
        order.lines().collect::<Vec<_>>(),
        ["+database", "+cache", "+api", "+web", "-web", "-api", "-cache", "-database"]
    );
}

#[test]
fn a_stop_under_load_leaves_nothing() {
    // Busy loops, sleepers, children of children, and one that left its group.
    let marker = "31415.2";
    let script = format!(
        "for i in $(seq 40); do sh -c 'sleep {marker} & sleep {marker}' & sh -c 'while :; do :; done' load-{marker} & done; \
         setsid sleep {marker} & touch $FOLDER/up; wait"
    );
    let config = services(json!({ "a": shell(&script, json!({})), "b": shell(&script, json!({})) }));
    let init = start("load", &config);
    init.until("up", |_| running(marker) > 200);
    init.signal("TERM");
    let ended = init.wait();
    assert_eq!((ended.code, running(marker)), (Some(0), 0), "{}", ended.stderr);
    assert!(ended.stderr.contains("was left behind by a service: ending it"), "{}", ended.stderr);
}

#[test]
fn a_service_that_does_not_listen_is_killed_in_time() {
    let deaf = shell(
        "trap '' TERM; touch $FOLDER/up; while :; do sleep 0.1; done",
        json!({ "stop": { "signal": "TERM", "timeout": 300 } }),
    );
    let init = start("deaf", &services(json!({ "a": deaf })));
    init.until("up", |_| init.folder.join("up").exists());
    let asked = Instant::now();
    init.signal("INT");
    let ended = init.wait();
    assert_eq!(ended.code, Some(137));
    assert!((300..5000).contains(&asked.elapsed().as_millis()), "{:?}", asked.elapsed());
    assert_eq!(
        ended.log()[1..],
        [
            "info INT: stopping all services",
            "info a: stopping",
            "warn a: it did not end within 0.3 s: killed",
            "warn a: ended by signal KILL",
            "error exit with code 137",
        ]
    );
}

#[test]
fn a_second_signal_does_not_wait() {
    let deaf = shell(
        "trap '' TERM; touch $FOLDER/$NAME; while :; do sleep 0.1; done",
        json!({
        "stop": { "signal": "TERM", "timeout": 60_000 }, "environment": { "NAME": "a" } }),
    );
    let mut above = deaf.clone();
    above["needs"] = json!(["a"]);
    above["environment"] = json!({ "NAME": "b" });
    let init = start("hurry", &services(json!({ "a": deaf, "b": above })));
    init.until("b", |_| init.folder.join("a").exists() && init.folder.join("b").exists());
    init.signal("TERM");
    std::thread::sleep(Duration::from_millis(100));
    let asked = Instant::now();
    init.signal("TERM");
    let ended = init.wait();
    assert_eq!(ended.code, Some(137));
    assert!(asked.elapsed() < Duration::from_secs(5));
}

#[test]
fn the_recipes_stop_signal_is_used_and_others_reach_the_whole_group() {
    let script = "trap 'echo leader >> $FOLDER/heard' USR1; \
                  sh -c 'trap \"echo child >> $FOLDER/heard\" USR1; trap \"exit 0\" QUIT; touch $FOLDER/up; while :; do sleep 0.05; done' & \
                  trap 'exit 0' QUIT; while :; do sleep 0.05; done";
    let init = start(
        "forward",
        &services(json!({ "a": shell(script, json!({ "stop": { "signal": "QUIT", "timeout": 5000 } })) })),
    );
    init.until("up", |_| init.folder.join("up").exists());
    init.signal("USR1");
    init.until("heard", |text| text.contains("leader") && text.contains("child"));
    init.signal("TERM");
    let ended = init.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("USR1 passed on to all services"), "{}", ended.stderr);
    assert!(ended.stderr.contains("ended with code 0"), "{}", ended.stderr);
}

#[test]
fn orphans_are_reaped() {
    let script = "for i in $(seq 300); do (sleep 0.01 &) ; done; touch $FOLDER/up; exec sleep 1000";
    let init = start("orphans", &services(json!({ "a": shell(script, json!({})) })));
    init.until("up", |_| init.folder.join("up").exists());
    until("one child is left, and nobody waits to be reaped", || {
        children(init.pid(), "Z") == 0 && children(init.pid(), "S") == 1
    });
    init.signal("TERM");
    assert_eq!(init.wait().code, Some(0));
}

#[test]
fn a_service_that_fails_while_stopping_is_the_exit_code() {
    let config = services(
        json!({ "a": shell("trap 'exit 9' TERM; touch $FOLDER/up; while :; do sleep 0.05; done", json!({})) }),
    );
    let init = start("unclean", &config);
    init.until("up", |_| init.folder.join("up").exists());
    init.signal("TERM");
    assert_eq!(init.wait().code, Some(9));
}

#[test]
fn text_is_for_eyes() {
    let folder = crate::harness::folder("text");
    let mut command = crate::harness::command(&folder, &services(json!({ "a": shell("exit 3", json!({})) })));
    let output = command.env("IMGFORGE_LOG", "text").output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.lines().all(|line| line.starts_with("20") && !line.contains('{')), "{text}");
    assert!(text.contains("Z error a: ended with code 3"), "{text}");
    assert!(
        run("json", &services(json!({ "a": shell("exit 3", json!({})) }))).stderr.starts_with("{\"time\":\"")
    );
}
