//! The Docker Engine, and what a builder said of itself.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use bollard::errors::Error as ApiError;

use super::quoted;
use crate::model::health::Finding;
use crate::step::engine::{Address, Engine};

const START: &str = "sudo systemctl start docker";

/// The Docker Engine, and where it keeps its images when that is on this machine.
pub async fn engine(address: &Address) -> (Finding, Option<PathBuf>) {
    if let Some(missing) = missing_certificate(address) {
        let text = format!("`{address}` is to be reached over TLS, and there is no `{}`", missing.display());
        return (
            Finding::fault(
                "engine",
                text,
                "unset DOCKER_TLS_VERIFY  # or name the folder: export DOCKER_CERT_PATH=DIR",
            ),
            None,
        );
    }
    let engine = match Engine::connect(address).await {
        Ok(engine) => engine,
        Err(error) => return (unreachable(address, &error), None),
    };
    let version = &engine.version;
    let info = match engine.docker.info().await {
        Ok(info) => info,
        Err(error) => {
            let text = format!("Docker {version} at {address} does not tell about itself: {error}");
            return (Finding::fault("engine", text, "sudo systemctl restart docker"), None);
        }
    };
    // Only the containerd image store says what its snapshotter is.
    let status = info.driver_status.unwrap_or_default();
    let containerd = status.iter().flatten().any(|word| word.contains("io.containerd.snapshotter"));
    let store = if containerd { "containerd" } else { "classic" };
    let text = format!("Docker {version} at {address}, {store} image store");
    let here = matches!(address, Address::Unix(_));
    let root = info.docker_root_dir.map(PathBuf::from).filter(|root| here && root.is_dir());
    if below_floor(version) {
        let fix = "sudo apt-get install --only-upgrade docker.io  # or docker-ce";
        return (Finding::warning("engine", format!("{text}; imgforge is tested from 20.10 on"), fix), root);
    }
    (Finding::ok("engine", text), root)
}

/// What a builder said: its version and platforms, or why not.
#[must_use]
pub fn builder(name: &str, said: Result<String, &(dyn Error + 'static)>) -> Finding {
    match said {
        Ok(text) => Finding::ok("buildkit", format!("{name}: {text}")),
        Err(error) => {
            let why = crate::step::http::root(error);
            let fix = "# correct `BUILDKIT_HOST`, or the builder's `endpoint` in imgforge.toml; `imgforge build --help` shows the forms";
            Finding::fault("buildkit", format!("{name}: {why}"), fix)
        }
    }
}

fn missing_certificate(address: &Address) -> Option<&Path> {
    let Address::Tcp { tls: Some(tls), .. } = address else { return None };
    let client = tls.client.iter().flat_map(|(certificate, key)| [certificate, key]);
    client.chain([&tls.ca]).map(PathBuf::as_path).find(|path| !path.is_file())
}

fn unreachable(address: &Address, error: &(dyn Error + 'static)) -> Finding {
    let why = crate::step::http::root(error);
    let fault = |text: String, fix: String| Finding::fault("engine", text, fix);
    match (address, kind(error)) {
        (Address::Unix(socket), Some(ErrorKind::PermissionDenied)) => fault(
            format!("you may not open `{}`", socket.display()),
            "sudo usermod -aG docker \"$(id -un)\"  # then log out and in again".to_owned(),
        ),
        (Address::Unix(socket), Some(ErrorKind::NotFound)) => fault(
            format!("there is no `{}`: Docker does not run, or listens elsewhere", socket.display()),
            format!(
                "{START}  # elsewhere: export DOCKER_HOST=$(docker context inspect -f '{{{{.Endpoints.docker.Host}}}}')"
            ),
        ),
        (Address::Unix(socket), Some(ErrorKind::ConnectionRefused)) => {
            fault(format!("nobody listens at `{}`", socket.display()), START.to_owned())
        }
        (Address::Unix(_), _) => fault(format!("{address}: {why}"), START.to_owned()),
        (Address::Tcp { .. }, _) => fault(
            format!("{address}: {why}"),
            "unset DOCKER_HOST  # or start Docker on that machine".to_owned(),
        ),
        (Address::Program(program), _) => {
            let words: Vec<_> = program.words.iter().map(|word| quoted(Path::new(word))).collect();
            fault(format!("{address}: {why}"), format!("{} </dev/null  # until it connects", words.join(" ")))
        }
    }
}

/// What the system said, below what libraries made of it.
fn kind(error: &(dyn Error + 'static)) -> Option<ErrorKind> {
    let mut cause = Some(error);
    while let Some(next) = cause {
        if let Some(io) = next.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        // The library shows the error in its own place, and not as its cause.
        if let Some(ApiError::IOError { err }) = next.downcast_ref::<ApiError>() {
            return Some(err.kind());
        }
        cause = next.source();
    }
    None
}

/// Whether a version is below 20.10; one that says nothing readable is not.
fn below_floor(version: &str) -> bool {
    let mut numbers = version.split(['.', '-', '+']).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) < (20, 10),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::below_floor;

    #[test]
    fn versions_are_told_apart() {
        for (version, below) in
            [("20.10.24+dfsg1", false), ("19.03.15", true), ("28.5.2", false), ("", false), ("dev", false)]
        {
            assert_eq!(below_floor(version), below, "{version}");
        }
    }
}
