//! What follows when a service ends unasked.

use serde_json::{Value, json};

use crate::harness::{kill, run, services, shell, start, until};

/// Serves until told otherwise, and appends its number to a file.
const SERVE: &str = "echo $$ >> $FOLDER/$NAME; exec sleep 1000";

fn named(name: &str, script: &str, mut extra: Value) -> Value {
    extra["environment"] = json!({ "NAME": name });
    shell(script, extra)
}

#[test]
fn never_ends_the_container_with_the_services_code() {
    let config =
        services(json!({ "a": shell("exit 3", json!({})), "b": shell("exec sleep 1000", json!({})) }));
    let ended = run("never-code", &config);
    assert_eq!(ended.code, Some(3));
    assert_eq!(
        ended.log(),
        [
            "info a: started",
            "info b: started",
            "error a: ended with code 3 after T, the container ends",
            "info b: stopping",
            "info b: ended by signal TERM",
            "error exit with code 3",
        ]
    );
    let init = start("never-killed", &services(json!({ "a": named("a", SERVE, json!({})) })));
    init.until("a", |text| text.lines().count() == 1);
    kill("KILL", init.read("a").trim());
    assert_eq!(init.wait().code, Some(137));
}

#[test]
fn a_service_that_leaves_is_half_a_node_but_work_may_be_done() {
    let server = shell("exec sleep 1000", json!({}));
    let config = services(json!({ "a": shell("exit 0", json!({})), "b": server }));
    assert_eq!(run("half", &config).code, Some(1));
    assert_eq!(run("alone", &services(json!({ "a": shell("exit 0", json!({})) }))).code, Some(0));
    let job = shell("exit 0", json!({ "restart": "on-failure" }));
    let ended = run(
        "jobs",
        &services(json!({ "a": job, "b": shell("sleep 0.1", json!({ "restart": "on-failure" })) })),
    );
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[test]
fn a_killed_service_starts_again_and_the_others_do_not_notice() {
    let config = services(json!({
        "a": named("a", SERVE, json!({ "restart": "on-failure" })),
        "b": named("b", SERVE, json!({ "restart": "always", "needs": ["a"] })),
    }));
    let init = start("restarts", &config);
    // That `b` began says that `a` was started, not that it came to writing.
    init.until("a", |text| text.lines().count() == 1);
    init.until("b", |text| text.lines().count() == 1);
    kill("KILL", init.read("a").trim());
    init.until("a", |text| text.lines().count() == 2);
    assert_eq!(init.read("b").lines().count(), 1);
    until("all are ready again", || init.probe().0 == Some(0));
    init.signal("TERM");
    let ended = init.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        ended.log().contains(&"warn a: ended by signal KILL after T, restart 1 of 3 in 0.0 s".to_owned()),
        "{}",
        ended.stderr
    );
}

#[test]
fn restarts_end_and_the_last_code_counts() {
    for (policy, script, code) in [("on-failure", "exit 7", 7), ("always", "exit 0", 1)] {
        let script = format!("echo x >> $FOLDER/starts; {script}");
        let init = start(
            &format!("limit-{policy}"),
            &services(json!({ "a": shell(&script, json!({ "restart": policy })) })),
        );
        let folder = init.folder.clone();
        let ended = init.wait();
        assert_eq!(ended.code, Some(code));
        assert_eq!(std::fs::read_to_string(folder.join("starts")).unwrap().lines().count(), 4);
        let last = ended.log().into_iter().rev().nth(1).unwrap();
        assert!(last.ends_with("it keeps failing, the container ends"), "{last}");
    }
}

#[test]
fn what_a_service_left_in_its_group_is_gone_before_it_starts_again() {
    // The child ignores TERM and holds what the next run needs: only the kill after the timeout helps.
    let script = "if [ -e $FOLDER/child ]; then \
                      kill -0 $(cat $FOLDER/child) 2> /dev/null; echo $? > $FOLDER/left; exec sleep 1000; \
                  fi; \
                  sh -c 'trap \"\" TERM; touch $FOLDER/deaf; while :; do sleep 0.1; done' & echo $! > $FOLDER/child; \
                  until [ -e $FOLDER/deaf ]; do sleep 0.01; done; exit 1";
    let extra = json!({ "restart": "on-failure", "stop": { "signal": "TERM", "timeout": 100 } });
    let init = start("leftovers", &services(json!({ "a": shell(script, extra) })));
    init.until("left", |text| text.ends_with('\n'));
    assert_eq!(init.read("left"), "1\n", "the child of the first run is there");
    init.signal("TERM");
    let ended = init.wait();
    assert!(
        ended.stderr.contains("what it left behind did not end within 0.1 s: killed"),
        "{}",
        ended.stderr
    );
}

#[test]
fn what_cannot_be_started_ends_like_in_a_shell() {
    for (command, code, why) in [
        (json!(["nowhere"]), 127, "nowhere: No such file"),
        (json!(["/etc/passwd"]), 126, "/etc/passwd: Permission denied"),
    ] {
        let extra = json!({ "command": command, "restart": "always" });
        let ended = run("cannot-start", &services(json!({ "a": shell("", extra) })));
        assert_eq!(ended.code, Some(code), "{}", ended.stderr);
        assert!(ended.stderr.contains(&format!("cannot be started: {why}")), "{}", ended.stderr);
    }
    let extra = json!({ "directory": "/nowhere" });
    let ended = run("no-directory", &services(json!({ "a": shell("exec sleep 1", extra) })));
    assert!(
        ended.code == Some(127) && ended.stderr.contains("there is no directory /nowhere"),
        "{}",
        ended.stderr
    );
}
