//! The ways to reach `BuildKit`.
//!
//! Docker 29 and later speak HTTP/2 on the API socket itself. A front here does the same for the
//! `BuildKit` of the machine's older engine: it looks at the first bytes and bridges HTTP/2 to
//! `POST /grpc`, so the client's newest path meets a real `BuildKit`.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::assert_session;
use crate::building::Project;

const ENGINE: &str = "/var/run/docker.sock";

fn pipe(mut from: UnixStream, mut to: UnixStream) {
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
}

fn bridge(mut client: UnixStream, engine: &Path, http2: &AtomicUsize) -> std::io::Result<()> {
    let mut start = [0; 3];
    client.read_exact(&mut start)?;
    let mut engine = UnixStream::connect(engine)?;
    if &start == b"PRI" {
        http2.fetch_add(1, Ordering::SeqCst);
        engine.write_all(b"POST /grpc HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            engine.read_exact(&mut byte)?;
            answer.push(byte[0]);
        }
    }
    engine.write_all(&start)?;
    pipe(client.try_clone()?, engine.try_clone()?);
    pipe(engine, client);
    Ok(())
}

/// An engine front that speaks HTTP/2, and how often it was spoken to so.
pub(crate) fn modern_front(folder: &Path, engine: &Path) -> (PathBuf, Arc<AtomicUsize>) {
    let socket = folder.join("modern.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let (seen, engine) = (Arc::clone(&count), engine.to_owned());
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let (seen, engine) = (Arc::clone(&seen), engine.clone());
            std::thread::spawn(move || bridge(client, &engine, &seen));
        }
    });
    (socket, count)
}

#[test]
fn http2_on_the_api_socket() {
    let project = Project::new("t-http2", "[[steps]]\nrun.shell = \"echo modern > /how\"\n");
    let (socket, count) = modern_front(&project.home.path(""), Path::new(ENGINE));
    let mut build = project.imgforge(&["build", "t", "--load", "--quiet"]);
    let said = project.home.record(build.env("DOCKER_HOST", format!("unix://{}", socket.display())));
    assert!(said.starts_with("exit 0"), "{said}");
    assert_eq!(count.load(Ordering::SeqCst), 2, "a probe, and the connection");
    assert_eq!(project.inside("cat /how"), "modern\n");
}

#[test]
fn nobody_answers() {
    let project = Project::new("t-nobody", "");
    let mut engine = project.imgforge(&["build", "t", "--quiet"]);
    assert_session!(project.home.record(engine.env("DOCKER_HOST", "unix:///nowhere.sock")), @"
    exit 31
    --- stderr
    error: no BuildKit answers at `unix:///nowhere.sock`
      cause: No such file or directory (os error 2)

    hint: start Docker, or name a builder with `DOCKER_HOST` or `BUILDKIT_HOST`
    ");
    let mut daemon = project.imgforge(&["build", "t", "--quiet"]);
    assert_session!(project.home.record(daemon.env("BUILDKIT_HOST", "tcp://127.0.0.1:1")), @"
    exit 31
    --- stderr
    error: no BuildKit answers at `tcp://127.0.0.1:1`
      cause: transport error
      cause: Connection refused (os error 111)

    hint: start Docker, or name a builder with `DOCKER_HOST` or `BUILDKIT_HOST`
    ");
    let mut wrong = project.imgforge(&["build", "t", "--quiet"]);
    assert_session!(project.home.record(wrong.env("BUILDKIT_HOST", "docker-container://x")), @"
    exit 2
    --- stderr
    error: `BUILDKIT_HOST`: `docker-container://x` is not an address: use `unix:///path/to/socket` or `tcp://host:port`

    hint: change or unset `BUILDKIT_HOST`
    ");
}
