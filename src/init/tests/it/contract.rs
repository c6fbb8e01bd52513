//! The environment contract, and what is wrong before anything starts.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{command, folder, shell};

fn oracle() -> Value {
    json!({
        "tier": "oracle",
        "env": {
            "NODE_ID": { "description": "name of this node", "required": true, "pattern": "[a-z0-9-]+", "example": "oracle-1" },
            "LOG_LEVEL": { "description": "how much is logged", "default": "info", "pattern": "debug|info" },
            "KEY": { "description": "key that signs prices", "secret": true, "required": true, "pattern": "[0-9a-f]{4}" },
        },
        "services": { "a": shell("env | sort > $FOLDER/env; touch $FOLDER/started", json!(null)) },
    })
}

fn with(test: &str, arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let folder = folder(test);
    fs::write(folder.join("key"), "cafe\n").unwrap();
    let mut command = command(&folder, &oracle());
    command.args(arguments).envs(variables.iter().copied());
    let output = command.output().unwrap();
    let environment = fs::read_to_string(folder.join("env")).unwrap_or_default();
    (output.status.code(), String::from_utf8(output.stderr).unwrap(), environment)
}

#[test]
fn what_is_missing_is_said_at_once_and_nothing_starts() {
    let (code, stderr, environment) = with("missing", &[], &[]);
    assert_eq!(
        stderr,
        "error: oracle cannot start: 2 variables are wrong in its environment
  KEY is missing, and so is KEY_FILE
      key that signs prices
  NODE_ID is missing
      name of this node
      for example NODE_ID=oracle-1

hint: give them with `docker run -e NAME=value`, `--env-file FILE` or `environment:` in compose
"
    );
    assert_eq!((code, environment.as_str()), (Some(64), ""));
}

#[test]
fn a_malformed_secret_is_not_shown() {
    let given = [("KEY", "hunter2"), ("NODE_ID", "Not Valid"), ("LOG_LEVEL", "loud")];
    for log in ["", "json"] {
        let (code, stderr, environment) =
            with("malformed", &[], &[&given[..], &[("IMGFORGE_LOG", log)]].concat());
        assert_eq!((code, environment.as_str()), (Some(64), ""));
        for said in
            ["KEY does not match", "not shown", "NODE_ID is", "Not Valid", "LOG_LEVEL is", "debug|info"]
        {
            assert!(stderr.contains(said), "{said}: {stderr}");
        }
        assert!(!stderr.contains("hunter2"), "{stderr}");
        assert_eq!(serde_json::from_str::<Value>(&stderr).is_ok(), log == "json", "{stderr}");
    }
}

#[test]
fn a_secret_from_a_file_reaches_the_service() {
    let (code, stderr, environment) = with("secret-file", &[], &[("KEY_FILE", "key"), ("NODE_ID", "n")]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(environment.contains("KEY=cafe\n") && environment.contains("LOG_LEVEL=info\n"), "{environment}");
    assert!(!environment.contains("KEY_FILE"), "{environment}");
    assert!(!stderr.contains("cafe"), "{stderr}");
}

#[test]
fn a_secret_given_twice_or_unreadable() {
    let (code, stderr, _) = with("twice", &[], &[("KEY_FILE", "key"), ("KEY", "cafe"), ("NODE_ID", "n")]);
    assert_eq!(code, Some(64));
    assert!(stderr.contains("  KEY is given twice, as KEY and as KEY_FILE: keep one\n"), "{stderr}");
    let (code, stderr, _) = with("unreadable", &[], &[("KEY_FILE", "nowhere"), ("NODE_ID", "n")]);
    assert_eq!(code, Some(64));
    assert!(
        stderr.contains("  KEY is given as KEY_FILE: \"nowhere\" cannot be read: No such file"),
        "{stderr}"
    );
}

#[test]
fn check_starts_nothing() {
    let (code, stderr, environment) = with("check-bad", &["check"], &[("KEY", "cafe")]);
    assert_eq!((code, environment.as_str()), (Some(64), ""));
    assert!(stderr.starts_with("error: oracle cannot start: 1 variable is wrong"), "{stderr}");
    let (code, stderr, environment) = with("check-good", &["check"], &[("KEY", "cafe"), ("NODE_ID", "n")]);
    assert_eq!((code, stderr.as_str(), environment.as_str()), (Some(0), "", ""));
}

#[test]
fn a_broken_image_is_not_the_operators_fault() {
    let try_config = |test: &str, config: &Value| {
        let output = command(&folder(test), config).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, stderr) = try_config("unknown-key", &json!({ "tier": "x", "services": {}, "extra": 1 }));
    assert_eq!(code, Some(78));
    assert!(stderr.contains("unknown field `extra`"), "{stderr}");
    let circle = json!({ "tier": "x", "services": {
        "a": shell("", json!({ "needs": ["b"] })), "b": shell("", json!({ "needs": ["a"] })) } });
    let (code, stderr) = try_config("circle", &circle);
    assert_eq!(code, Some(78));
    assert!(stderr.contains("`a`, `b` need each other in a circle"), "{stderr}");
    let (code, stderr, _) = with("arguments", &["sh"], &[]);
    assert_eq!(code, Some(64));
    assert!(stderr.contains("takes no command") && stderr.contains("--entrypoint sh"), "{stderr}");
    let (code, stderr, _) = with("log-form", &[], &[("IMGFORGE_LOG", "xml")]);
    assert_eq!((code, stderr.as_str()), (Some(64), "error: IMGFORGE_LOG is `json` or `text`\n"));
}
