//! How each step is written.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{CA_SECRET, pinned, quote, words};
use crate::model::lock::Pin;
use crate::model::name::{DebianName, StageName};
use crate::model::plan::Plan;
use crate::model::recipe::family::Part;
use crate::model::recipe::step::{Cargo, Copy, Go, Npm, Pip, Run, Step};

/// Where a step stands.
pub(super) struct Where<'a> {
    pub(super) part: &'a Part,
    pub(super) plan: &'a Plan,
    /// Names of the part's stages in the Dockerfile.
    pub(super) stages: &'a BTreeMap<&'a StageName, String>,
    /// What the step installs, where that is locked.
    pub(super) pin: Option<&'a Pin>,
}

impl Where<'_> {
    /// A path of the part's context, as the build sees it.
    fn in_context(&self, path: &str) -> String {
        let folder = self.part.recipe.context.as_deref().unwrap_or_default();
        self.plan.in_context(folder, path)
    }
}

pub(super) fn write(out: &mut String, step: &Step, place: &Where<'_>) {
    if let Some(pin) = place.pin {
        return pinned::write(out, step, pin);
    }
    match step {
        Step::Copy(copy) => write_copy(out, copy, place),
        Step::Run(Run { shell, secrets }) => {
            let mounts = secrets.iter().map(|id| format!("--mount=type=secret,id={id},required=true "));
            run(out, &mounts.collect::<Vec<_>>().concat(), shell);
        }
        Step::Apt(apt) => {
            let packages = apt.packages.iter().map(DebianName::as_str).collect::<Vec<_>>().join(" ");
            // apt's caches of lists are as large as all that most images hold.
            let install = format!(
                "apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y \
                 --no-install-recommends -- {packages} && apt-get clean && rm -rf /var/lib/apt/lists/*"
            );
            run(out, "", &install);
        }
        Step::Npm(Npm { directory, .. }) => {
            let install = "npm ci --omit=dev --ignore-scripts --no-audit --no-fund";
            run(
                out,
                &mounts("/root/.npm"),
                &format!("{}; cd {} && {install}", ca("NODE_EXTRA_CA_CERTS"), quote(directory)),
            );
        }
        Step::Pnpm(Npm { directory, .. }) => {
            let install = "pnpm install --frozen-lockfile --prod --ignore-scripts --store-dir /root/.pnpm";
            run(
                out,
                &mounts("/root/.pnpm"),
                &format!("{}; cd {} && {install}", ca("NODE_EXTRA_CA_CERTS"), quote(directory)),
            );
        }
        Step::Pip(pip) => write_pip(out, pip, place),
        Step::Cargo(cargo) => write_cargo(out, cargo),
        Step::Go(go) => write_go(out, go),
    }
}

pub(super) fn run(out: &mut String, mounts: &str, script: &str) {
    let _ = writeln!(out, "RUN {mounts}{}", words(&["/bin/sh", "-c", script]));
}

/// The CA bundle, and a cache that outlives the step and never reaches the image.
fn mounts(cache: &str) -> String {
    format!("--mount=type=secret,id={CA_SECRET} --mount=type=cache,target={cache} ")
}

/// Tells a package manager of the CA bundle, where there is one.
fn ca(variable: &str) -> String {
    format!("if [ -f /run/secrets/{CA_SECRET} ]; then export {variable}=/run/secrets/{CA_SECRET}; fi")
}

/// The environment has no pip of its own and nothing compiled in it: neither belongs into an image,
/// and compiled files carry times.
fn write_pip(out: &mut String, pip: &Pip, place: &Where<'_>) {
    const LOCK: &str = "/run/imgforge/requirements.txt";
    let source = place.in_context(pip.lock.trim_start_matches("./"));
    let mounts = format!("{}--mount=type=bind,source={source},target={LOCK} ", mounts("/root/.cache/pip"));
    let directory = quote(&pip.directory);
    let script = format!(
        "{}; python3 -m venv --without-pip {directory} && python3 -m pip --python {directory}/bin/python \
         install --require-hashes --only-binary :all: --no-compile --disable-pip-version-check -r {LOCK}",
        ca("PIP_CERT")
    );
    run(out, &mounts, &script);
}

fn write_cargo(out: &mut String, cargo: &Cargo) {
    const TARGET: &str = "/tmp/imgforge-cargo";
    let script = format!(
        "{}; cd {} && CARGO_TARGET_DIR={TARGET} cargo build --release --locked && {} && rm -rf {TARGET}",
        ca("CARGO_HTTP_CAINFO"),
        quote(&cargo.directory),
        copy_binaries(cargo, TARGET)
    );
    run(out, &mounts("/root/.cargo/registry"), &script);
}

/// Takes the programs out of cargo's target directory.
pub(super) fn copy_binaries(cargo: &Cargo, target: &str) -> String {
    let to = quote(cargo.to.trim_end_matches('/'));
    let binaries = cargo.binaries.iter().map(|name| quote(&format!("{target}/release/{name}")));
    format!("mkdir -p {to} && cp -- {} {to}/", binaries.collect::<Vec<_>>().join(" "))
}

fn write_go(out: &mut String, go: &Go) {
    let script = format!(
        "{}; cd {} && {}",
        ca("SSL_CERT_FILE"),
        quote(&go.directory),
        go_build(go, "/root/.go", "/root/.go/build")
    );
    run(out, &mounts("/root/.go"), &script);
}

/// Compiles a program of Go, with places for what is downloaded and what is compiled.
pub(super) fn go_build(go: &Go, modules: &str, cache: &str) -> String {
    format!(
        "CGO_ENABLED=0 GOMODCACHE={modules} GOCACHE={cache} go build -trimpath -buildvcs=false -mod=readonly \
         -modcacherw -o {} -- {}",
        quote(&go.to),
        quote(&go.package)
    )
}

fn write_copy(out: &mut String, copy: &Copy, place: &Where<'_>) {
    out.push_str("COPY ");
    if let Some(name) = copy.from.as_ref().and_then(|stage| place.stages.get(stage)) {
        let _ = write!(out, "--from={name} ");
    }
    if let Some(owner) = &copy.owner {
        let _ = write!(out, "--chown={owner} ");
    }
    if let Some(mode) = &copy.mode {
        let _ = write!(out, "--chmod={mode} ");
    }
    let paths = copy.paths.iter().map(|path| match copy.from {
        Some(_) => path.clone(),
        None => place.in_context(path),
    });
    let all: Vec<String> = paths.chain([copy.to.clone()]).collect();
    let _ = writeln!(out, "{}", words(&all));
}
