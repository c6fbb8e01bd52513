//! The policy on the engines of others; `engines` starts them.

use crate::harness::{run, tool};
use crate::policy::{GOOD, HEALTH, SERVICE, Tiers};

/// Nothing of the inputs tells the image that was refused from one that was good before: a secret made the
/// difference. `build` is of an engine whose cache nobody else needs.
pub(crate) fn what_was_refused_stays_refused(host: &str, inside: bool) {
    let tiers = Tiers::new("t-policy-again");
    let step = "[[steps]]\nrun = { shell = \"cp /run/secrets/mode /etc/mode\", secrets = [\"mode\"] }\n";
    let test = "[tests.mode]\nfile = { path = \"/etc/mode\", contains = \"good\" }\n";
    tiers.write("t", &format!("{step}{test}"));
    let build = |secret: &str, arguments: &[&str]| {
        tiers.0.write("mode", secret);
        let all = [&["build", "t", "--secret", "id=mode,src=mode"], arguments].concat();
        tiers.0.home.record(tiers.0.imgforge(&all).env("DOCKER_HOST", host))
    };
    let docker = |arguments: &[&str]| run(tool("docker", arguments).env("DOCKER_HOST", host));
    let tried = |said: &str| said.contains("trying `t-policy-again/t:1.0.");
    let refused = |said: &str| {
        assert!(said.starts_with("exit 3") && said.contains("test `mode` failed"), "{said}");
        assert!(tried(said), "{said}");
    };
    let to = if inside { "type=inline,ref=t-policy-again/cache" } else { "type=local,dest=steps" };
    let is_cached = || {
        let image = || docker(&["image", "inspect", "t-policy-again/cache"]).status.success();
        if inside { image() } else { tiers.0.home.path("steps/index.json").exists() }
    };
    let prune = || assert!(docker(&["builder", "prune", "-af"]).status.success());
    let first = build("good", &[]);
    assert!(first.starts_with("exit 0") && tried(&first), "{first}");
    let idle = build("bad, and no step reads it", &[]);
    assert!(idle.starts_with("exit 0") && !tried(&idle), "{idle}");
    prune();
    refused(&build("bad", &[]));
    refused(&build("bad", &[]));
    refused(&build("bad", &["--version", "1.0.1"]));
    refused(&build("bad", &["--cache-to", to]));
    assert!(!is_cached(), "it was exported");
    // Although the one before was good, or one of another version.
    prune();
    assert!(build("good", &["--cache-to", to]).starts_with("exit 0"));
    assert!(is_cached());
    prune();
    refused(&build("bad", &["--version", "1.0.1"]));
    refused(&build("bad", &[]));
}

/// The gateway of another engine: what must pass passes, and what runs inside the image is refused.
pub(crate) fn holds_on(variable: &str, host: &str) {
    let tiers = Tiers::new("t-policy-other");
    tiers.write("good", &format!("{GOOD}{SERVICE}{HEALTH}"));
    tiers.write("bad", "[tests.code]\ncommand = { run = [\"sh\", \"-c\", \"exit 3\"] }\n[tests.missing]\ncommand = { run = [\"no-such-program\"] }\n");
    let build = |tier: &str| {
        let mut build = tiers.0.imgforge(&["build", tier, "--quiet"]);
        tiers.0.home.record(build.env(variable, host))
    };
    let good = build("good");
    assert!(good.starts_with("exit 0"), "{good}");
    let bad = build("bad");
    assert!(bad.starts_with("exit 3"), "{bad}");
    assert!(bad.contains("test `code` failed: `sh -c exit 3` ended with code 3 instead of 0"), "{bad}");
    assert!(bad.contains("test `missing` failed: `no-such-program` cannot be run: "), "{bad}");
}
