//! How a package step is written when everything that it installs is pinned: no network, and files
//! of the context instead. They are mounted, so that no layer holds them, and at `/mnt`, which every
//! system has: a directory that the mount had to make would stay in the layer.

use std::fmt::Write as _;

use super::quote;
use super::steps::{copy_binaries, go_build, run};
use crate::model::lock::Pin;
use crate::model::lock::pins::{REQUIREMENTS, completed_lock, folder};
use crate::model::lock::pnpm::SERVER;
use crate::model::recipe::step::{Cargo, Go, Npm, Pip, Step};

/// Traces of an installation that hold its time: logs, caches, and the copies that dpkg and debconf
/// keep of what was before.
const TRACES: &str = "/var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/apt /var/log/dpkg.log \
     /var/log/alternatives.log /var/cache/ldconfig/aux-cache /var/lib/dpkg/*-old /var/cache/debconf/*-old \
     /etc/group- /etc/gshadow- /etc/passwd- /etc/shadow- /var/lib/dbus/machine-id";

/// An identity is a machine's, not an image's.
const NOBODY: &str = "if [ -s /etc/machine-id ]; then : > /etc/machine-id; fi";

pub(super) fn write(out: &mut String, step: &Step, pin: &Pin) {
    let here = format!("--mount=type=bind,source={},target=/mnt ", folder(&pin.of));
    match step {
        // All was there already.
        Step::Apt(_) if pin.files.is_empty() => {}
        Step::Apt(_) => {
            let script = format!(
                "export SOURCE_DATE_EPOCH=0 DEBIAN_FRONTEND=noninteractive; apt-get install -y \
                 --no-install-recommends -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts=/dev/null \
                 -- /mnt/*.deb && rm -rf {TRACES} && {NOBODY}"
            );
            run(out, &here, &script);
        }
        Step::Npm(Npm { lock, directory }) => {
            let name = lock.rsplit('/').next().unwrap_or(lock);
            // npm writes into its cache; what it writes ends with the step.
            let mounts = format!(
                "--mount=type=bind,rw,source={},target=/mnt --mount=type=bind,source={},target={}/{name} ",
                folder(&pin.of),
                completed_lock(&pin.of),
                directory.trim_end_matches('/')
            );
            let script = format!(
                "cd {} && npm ci --offline --cache /mnt --logs-max=0 --omit=dev --ignore-scripts --no-audit \
                 --no-fund --no-update-notifier",
                quote(directory)
            );
            run(out, &mounts, &script);
        }
        Step::Pnpm(Npm { directory, .. }) => run(out, &here, &pnpm_script(directory)),
        Step::Pip(Pip { directory, .. }) => {
            let directory = quote(directory);
            let script = format!(
                "python3 -m venv --without-pip {directory} && python3 -m pip --python {directory}/bin/python \
                 install --no-index --find-links /mnt --no-cache-dir --require-hashes --only-binary :all: \
                 --no-compile --disable-pip-version-check -r /mnt/{REQUIREMENTS}"
            );
            run(out, &here, &script);
        }
        Step::Cargo(cargo) => run(out, &here, &cargo_script(cargo)),
        Step::Go(go) => run(out, &here, &go_script(go)),
        Step::Copy(_) | Step::Run(_) => {}
    }
}

/// pnpm downloads, from a registry that only this step has. Files are copied out of its store, for links
/// would lead to where nothing is left; what it notes for itself holds times and that registry's address.
fn pnpm_script(directory: &str) -> String {
    const HOME: &str = "/tmp/imgforge-pnpm";
    format!(
        "cd {} && export CI=true HOME={HOME} XDG_CACHE_HOME={HOME} XDG_CONFIG_HOME={HOME} \
         XDG_DATA_HOME={HOME} XDG_STATE_HOME={HOME} npm_config_manage_package_manager_versions=false && \
         node /mnt/{SERVER} pnpm install --frozen-lockfile --prod --ignore-scripts --store-dir={HOME}/store \
         --package-import-method=copy && rm -rf {HOME} node_modules/.modules.yaml node_modules/.pnpm/lock.yaml \
         node_modules/.pnpm-workspace-state*.json",
        quote(directory)
    )
}

/// Cargo takes unpacked crates instead of a registry, when each says the checksum of its archive; it
/// compares that with `Cargo.lock`.
fn cargo_script(cargo: &Cargo) -> String {
    const HOME: &str = "/tmp/imgforge-cargo";
    const CONFIG: &str = "[source.crates-io]\\nreplace-with = \"pinned\"\\n[source.pinned]\\ndirectory = \
         \"/tmp/imgforge-cargo/crates\"\\n";
    let mut script = String::new();
    let _ = write!(
        script,
        "mkdir -p {HOME}/crates && printf {} > {HOME}/config.toml && for crate in /mnt/*.crate; do \
         [ -f \"$crate\" ] || continue; tar -xzf \"$crate\" --no-same-owner -C {HOME}/crates && \
         printf '{{\"files\":{{}},\"package\":\"%s\"}}' \"$(sha256sum < \"$crate\" | cut -d ' ' -f 1)\" > \
         \"{HOME}/crates/$(basename \"$crate\" .crate)/.cargo-checksum.json\" || exit 1; done && cd {} && \
         CARGO_HOME={HOME} CARGO_TARGET_DIR={HOME}/target cargo build --release --locked --offline && {} && \
         rm -rf {HOME}",
        quote(CONFIG),
        quote(&cargo.directory),
        copy_binaries(cargo, &format!("{HOME}/target")),
    );
    script
}

/// Go takes a folder in the place of a proxy, and compares what is in it with `go.sum`.
fn go_script(go: &Go) -> String {
    const HOME: &str = "/tmp/imgforge-go";
    format!(
        "cd {} && export GOPROXY=file:///mnt GONOPROXY=none GOSUMDB=off GOTOOLCHAIN=local && {} && rm -rf {HOME}",
        quote(&go.directory),
        go_build(go, &format!("{HOME}/modules"), &format!("{HOME}/cache")),
    )
}
