//! Secrets: none is sent to a builder, and none leaves in a layer.

use crate::assert_session;
use crate::harness::must;
use crate::policy::Tiers;

#[test]
fn only_what_steps_name_is_sent_and_never_a_secret() {
    let tiers = Tiers::new("t-policy-context");
    tiers.0.write("recipes/files/app/main.txt", "hello");
    tiers.0.write("recipes/files/unused/.env", "TOKEN=1");
    // Never opened: nobody may, and nothing names it.
    std::os::unix::fs::symlink("/proc/kmsg", tiers.0.home.path("recipes/files/unused/link")).unwrap();
    must(std::process::Command::new("mkfifo").arg(tiers.0.home.path("recipes/files/pipe")));
    let copy = |path: &str| {
        format!("context = \"files\"\n[[steps]]\ncopy = {{ paths = [\"{path}\"], to = \"/app/\" }}\n")
    };
    let sent = tiers.build("good", &copy("app"));
    assert!(sent.starts_with("exit 0"), "{sent}");
    tiers.write("bad", &copy("ap"));
    assert_session!(tiers.session(&["build", "bad", "--quiet"]), @"
    exit 2
    --- stderr
    error: recipes/bad.toml:3:1: `ap` names nothing in `recipes/files`
        fix: there is `app`

    hint: only what steps name is sent to the builder: change the recipe or the files, then run `imgforge recipe check`
    ");
    tiers.write("bad", &copy("app/mian.txt"));
    assert_session!(tiers.session(&["build", "bad", "--quiet"]), @"
    exit 2
    --- stderr
    error: recipes/bad.toml:3:1: `app/mian.txt` names nothing in `recipes/files`
        fix: there is `app/main.txt`

    hint: only what steps name is sent to the builder: change the recipe or the files, then run `imgforge recipe check`
    ");

    for path in ["app/.env", "app/.git/config", "app/tls/server.key"] {
        tiers.0.write(&format!("recipes/files/{path}"), "");
    }
    let key =
        "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg7V9rZ3T4y5oYd0aX\n";
    tiers.0.write("recipes/files/app/settings.json", &format!("{}{key}", "\n".repeat(3 << 20)));
    assert_session!(tiers.refused("bad", &copy("app")), @"
    exit 3
    --- stderr
    error: the policy refuses `t-policy-context/bad:1.0.0`; nothing was sent to the builder
      recipes/bad.toml:3: context: `files/app/.env`, which would be sent to the builder, is an environment file
        fix: move it out of the folder, leave it out with a line in `.dockerignore`, or give it to a step with `secrets`
      recipes/bad.toml:3: context: `files/app/.git/config`, which would be sent to the builder, is part of a Git repository with its whole history
        fix: move it out of the folder, leave it out with a line in `.dockerignore`, or give it to a step with `secrets`
      recipes/bad.toml:3: context: `files/app/settings.json`, which would be sent to the builder, holds a private key (line 3145729)
        fix: move it out of the folder, leave it out with a line in `.dockerignore`, or give it to a step with `secrets`
      recipes/bad.toml:3: context: `files/app/tls/server.key`, which would be sent to the builder, is named like a private key
        fix: move it out of the folder, leave it out with a line in `.dockerignore`, or give it to a step with `secrets`

    hint: docs/policy.md explains each rule and its exceptions
    ");
    tiers.0.write("recipes/files/.dockerignore", "**/.env\n**/.git\n");
    let allow = "[policy]\nallow = [{ rule = \"context\", path = \"files/app/tls\", reason = \"empty\" }, { rule = \"context\", path = \"**/settings.json\", reason = \"of this test\" }, { rule = \"secret\", path = \"/app/settings.json\", reason = \"of this test\" }]\n";
    let built = tiers.build("allowed", &format!("{}{allow}", copy("app")));
    assert!(built.starts_with("exit 0"), "{built}");
}

#[test]
fn secrets_are_found_in_every_layer() {
    let tiers = Tiers::new("t-policy-secret");
    let key =
        "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg7V9rZ3T4y5oYd0aX\n";
    let encoded: Vec<String> = key.bytes().map(|byte| format!("\\\\{byte:03o}")).collect();
    let encoded = encoded.concat();
    let steps = format!(
        "[[steps]]\nrun.shell = \"printf '{encoded}' > /app.pem\"\n[[steps]]\nrun.shell = \"rm /app.pem; echo WALLET=x > /.env; mkdir -p /app/.git; echo x > /app/.git/HEAD\"\n"
    );
    assert_session!(tiers.refused("secret", &steps), @"
    exit 3
    --- stderr
    error: the policy refuses `t-policy-secret/secret:1.0.0`; the image is neither listed nor loaded
      recipes/secret.toml:2: secret: `/.env` is an environment file with values
        fix: give it to a step with `secrets`, or to the container when it starts; change it if the image was ever shared
      recipes/secret.toml:2: secret: `/app.pem` holds a private key (line 1); a later step removes it, but every layer is shipped
        fix: give it to a step with `secrets`, or to the container when it starts; change it if the image was ever shared
      recipes/secret.toml:2: secret: `/app/.git/HEAD` is part of a Git repository with its whole history
        fix: give it to a step with `secrets`, or to the container when it starts; change it if the image was ever shared

    hint: docs/policy.md explains each rule and its exceptions
    ");
    let allow = "[policy]\nallow = [{ rule = \"secret\", path = \"app.pem\", reason = \"a key of this test\" }, { rule = \"secret\", path = \"**/.env\", reason = \"the same\" }, { rule = \"secret\", path = \"app/.git\", reason = \"the same\" }]\n";
    let built = tiers.build("allowed", &format!("{steps}{allow}"));
    assert!(built.starts_with("exit 0"), "{built}");
}
