//! Compiles the programs that run inside containers, and hands their bytes on: `imgforge-init`, which goes into
//! images, to `model::runtime`, and `imgforge-differ`, which reads images where a builder keeps them, to
//! `step::build`.
//!
//! Builds of their own instead of dependencies, because they are for another target and by other rules: each one
//! static file, and the same bytes from every folder. Everything that could make it differ from
//! machine to machine is set here: flags of the outer build do not reach it, and paths are replaced.

#![expect(clippy::disallowed_methods, reason = "cargo speaks to build scripts through the environment")]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for path in ["src/init", "src/differ"] {
        for part in ["Cargo.toml", "Cargo.lock", "src"] {
            println!("cargo::rerun-if-changed={path}/{part}");
        }
    }
    for shared in ["runtime/address.rs", "runtime/config.rs", "runtime/sound.rs", "blocks.rs", "layer"] {
        println!("cargo::rerun-if-changed=src/model/{shared}");
    }
    let platform = platform();
    println!("cargo::rustc-env=IMGFORGE_HELPER_PLATFORM={}", platform.unwrap_or_default());
    for name in ["init", "differ"] {
        let helper = out().join(format!("imgforge-{name}"));
        match platform {
            Some(_) => compile(name, &helper),
            // imgforge itself may well run there; only what needs the helper cannot be done.
            None => fs::write(helper, []).expect("cannot write into OUT_DIR"),
        }
    }
}

fn out() -> PathBuf {
    PathBuf::from(variable("OUT_DIR"))
}

fn compile(name: &str, helper: &Path) {
    let target = target();
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR")).join("src").join(name);
    let folder = out().join("helper-target");
    let mut cargo = Command::new(variable("CARGO"));
    cargo.args(["build", "--release", "--locked", "--quiet", "--target", &target]).current_dir(&root);
    cargo.arg("--manifest-path").arg(root.join("Cargo.toml")).arg("--target-dir").arg(&folder);
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(leaks) {
            cargo.env_remove(name);
        }
    }
    let status = cargo.env("CARGO_ENCODED_RUSTFLAGS", flags(&out()).join("\u{1f}")).status();
    assert!(
        status.as_ref().is_ok_and(std::process::ExitStatus::success),
        "imgforge-{name} was not built: {status:?}"
    );
    let program = folder.join(&target).join("release").join(format!("imgforge-{name}"));
    fs::copy(program, helper).expect("cannot copy a helper");
    // Only the program is wanted; its build is a tenth of a gigabyte.
    fs::remove_dir_all(folder).expect("cannot remove the build of a helper");
}

/// Settings of the outer build and of whoever started it, such as `cargo clippy`.
fn leaks(name: &str) -> bool {
    let prefixes =
        ["CARGO_PROFILE_", "CARGO_BUILD_", "CARGO_TARGET_", "CARGO_FEATURE_", "CARGO_CFG_", "CARGO_PKG_"];
    let names = [
        "CARGO_INCREMENTAL",
        "CARGO_MANIFEST_LINKS",
        "RUSTFLAGS",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "CLIPPY_ARGS",
        "TARGET",
        "PROFILE",
        "OPT_LEVEL",
        "DEBUG",
    ];
    names.contains(&name) || prefixes.iter().any(|prefix| name.starts_with(prefix))
}

/// The platform of images that the helpers are for: that which imgforge is built for.
fn platform() -> Option<&'static str> {
    match (variable("CARGO_CFG_TARGET_OS").as_str(), variable("CARGO_CFG_TARGET_ARCH").as_str()) {
        ("linux", "x86_64") => Some("linux/amd64"),
        ("linux", "aarch64") => Some("linux/arm64"),
        _ => None,
    }
}

/// musl where it is installed: smaller, and its licence asks for nothing. Else glibc, linked statically.
fn target() -> String {
    let architecture = variable("CARGO_CFG_TARGET_ARCH");
    let musl = format!("{architecture}-unknown-linux-musl");
    if sysroot().join("lib/rustlib").join(&musl).join("lib").is_dir() {
        return musl;
    }
    format!("{architecture}-unknown-linux-gnu")
}

/// Static, and without the paths of this machine.
fn flags(out: &Path) -> Vec<String> {
    let mut flags =
        vec!["-Ctarget-feature=+crt-static".to_owned(), "-Clink-arg=-Wl,--build-id=none".to_owned()];
    let mut remap =
        |from: &Path, to: &str| flags.push(format!("--remap-path-prefix={}={to}", from.display()));
    remap(Path::new(&variable("CARGO_MANIFEST_DIR")), "/imgforge");
    remap(out, "/out");
    // With the component `rust-src`, the compiler writes where that is instead of its own name for it.
    remap(&sysroot().join("lib/rustlib/src/rust"), "/rustc/std");
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    // The folder of a registry is named after its address, which a mirror changes.
    let registries = home.and_then(|home| fs::read_dir(home.join("registry/src")).ok());
    for registry in registries.into_iter().flatten().flatten() {
        remap(&registry.path(), "/registry");
    }
    flags
}

fn sysroot() -> PathBuf {
    let output =
        Command::new(variable("RUSTC")).args(["--print", "sysroot"]).output().expect("rustc does not run");
    PathBuf::from(String::from_utf8(output.stdout).expect("the sysroot is not UTF-8").trim())
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo does not set {name}"))
}
