//! The ways to reach `BuildKit`.
//!
//! Docker 29 and later speak HTTP/2 on the API socket itself. A front here does the same for the
//! `BuildKit` of the machine's older engine: it looks at the first bytes and bridges HTTP/2 to
//! `POST /grpc`, so the client's newest path meets a real `BuildKit`.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::assert_session;
use crate::building::Project;
use crate::harness::must;

pub(crate) const ENGINE: &str = "/var/run/docker.sock";

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

/// A front that counts the bytes that go to the engine.
pub(crate) fn counting_front(folder: &Path, engine: &Path) -> (PathBuf, Arc<AtomicUsize>) {
    let socket = folder.join("counting.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let (sent, engine) = (Arc::clone(&count), engine.to_owned());
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let (sent, engine) = (Arc::clone(&sent), UnixStream::connect(&engine).unwrap());
            pipe(engine.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || {
                let (mut from, mut to, mut buffer) = (client, engine, vec![0; 1 << 16]);
                while let Ok(read @ 1..) = from.read(&mut buffer) {
                    sent.fetch_add(read, Ordering::SeqCst);
                    if to.write_all(&buffer[..read]).is_err() {
                        break;
                    }
                }
                let _ = to.shutdown(Shutdown::Write);
            });
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

/// A front that speaks TLS and lets in only who shows a certificate of the test's own authority.
fn secure_front(folder: &Path, to: PathBuf) -> u16 {
    use tokio_rustls::rustls::pki_types::pem::PemObject as _;
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use tokio_rustls::rustls::server::WebPkiClientVerifier;
    use tokio_rustls::rustls::{RootCertStore, ServerConfig};

    let file = |name: &str| folder.join(name);
    let read = |name: &str| CertificateDer::pem_file_iter(file(name)).unwrap().map(Result::unwrap).collect();
    let authority: Vec<_> = read("ca.pem");
    let mut roots = RootCertStore::empty();
    roots.add(authority[0].clone()).unwrap();
    let only_ours = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
    let key = PrivateKeyDer::from_pem_file(file("server-key.pem")).unwrap();
    let mut config = ServerConfig::builder()
        .with_client_cert_verifier(only_ours)
        .with_single_cert(read("server.pem"), key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        tokio::runtime::Runtime::new().unwrap().block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((client, _)) = listener.accept().await {
                let (acceptor, to) = (acceptor.clone(), to.clone());
                tokio::spawn(async move {
                    let Ok(mut client) = acceptor.accept(client).await else { return };
                    let mut server = tokio::net::UnixStream::connect(to).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
    });
    port
}

/// An authority, a server called `builder.test` and `localhost`, a client, and a stranger who signed
/// a certificate for himself.
pub(crate) fn certificates(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let script = "set -e
        make() { n=$1; shift; openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=$n -keyout $n-key.pem \"$@\"; }
        make ca -x509 -days 2 -out ca.pem
        make stranger -x509 -days 2 -out stranger.pem
        for who in server client; do
            make $who -out $who.csr
            printf 'subjectAltName=DNS:builder.test,DNS:localhost,IP:127.0.0.1' >ext
            openssl x509 -req -in $who.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 2 -extfile ext -out $who.pem
        done
        cp client.pem cert.pem; cp client-key.pem key.pem";
    must(Command::new("sh").args(["-c", script]).current_dir(folder));
}

#[test]
fn certificates_of_both_sides() {
    let project = Project::new("t-mtls", "[[steps]]\nrun.shell = \"echo sealed > /how\"\n");
    let folder = project.home.path("certs");
    certificates(&folder);
    let (socket, count) = modern_front(&project.home.path(""), Path::new(ENGINE));
    let port = secure_front(&folder, socket);
    let configure = |name: &str, more: &str| {
        let text = format!("[builders.{name}]\nendpoint = \"tcp://localhost:{port}\"\n{more}");
        project.write("imgforge.toml", &text);
    };
    let build = |arguments: &[&str]| {
        let all = [&["build", "t", "--quiet"], arguments].concat();
        project.home.record(&mut project.imgforge(&all)).replace(&port.to_string(), "[PORT]")
    };
    let whole = "ca = \"certs/ca.pem\"\ncert = \"certs/client.pem\"\nkey = \"certs/client-key.pem\"\n";
    configure("far", whole);
    let said = build(&["--builder", "far"]);
    assert!(said.starts_with("exit 0"), "{said}");
    assert!(count.load(Ordering::SeqCst) > 0);
    // The same for a Docker Engine, in the way of the `docker` command.
    let mut engine = project.imgforge(&["build", "t", "--quiet", "--load"]);
    engine.env("DOCKER_HOST", format!("tcp://localhost:{port}"));
    must(engine.env("DOCKER_TLS_VERIFY", "1").env("DOCKER_CERT_PATH", &folder));
    assert_eq!(project.inside("cat /how"), "sealed\n");

    configure("nameless", &whole.replace("client", "stranger"));
    assert_session!(build(&["--builder", "nameless"]), @"
    exit 31
    --- stderr
    error: no BuildKit answers at `tcp://localhost:[PORT]`
      cause: received fatal alert: CertificateUnknown

    hint: start Docker, or name a builder with `--builder`, `BUILDKIT_HOST` or `DOCKER_HOST`
    ");
    configure("false", &whole.replace("certs/ca.pem", "certs/stranger.pem"));
    assert_session!(build(&["--builder", "false"]), @"
    exit 31
    --- stderr
    error: no BuildKit answers at `tcp://localhost:[PORT]`
      cause: invalid peer certificate: UnknownIssuer

    hint: start Docker, or name a builder with `--builder`, `BUILDKIT_HOST` or `DOCKER_HOST`
    ");
    configure("elsewhere", &format!("{whole}server_name = \"other.test\"\n"));
    assert_session!(build(&["--builder", "elsewhere"]), @r#"
    exit 31
    --- stderr
    error: no BuildKit answers at `tcp://localhost:[PORT]`
      cause: invalid peer certificate: certificate not valid for name "other.test"; certificate is only valid for DnsName("builder.test"), DnsName("localhost") or IpAddress(127.0.0.1)

    hint: start Docker, or name a builder with `--builder`, `BUILDKIT_HOST` or `DOCKER_HOST`
    "#);
    configure("nothing", "");
    assert_session!(build(&["--builder", "nothing"]), @"
    exit 31
    --- stderr
    error: no BuildKit answers at `tcp://localhost:[PORT]`
      cause: transport error
      cause: unexpected end of file

    hint: start Docker, or name a builder with `--builder`, `BUILDKIT_HOST` or `DOCKER_HOST`
    ");
    configure("half", "ca = \"certs/ca.pem\"\ncert = \"certs/client.pem\"\n");
    assert_session!(build(&["--builder", "half"]), @"
    exit 2
    --- stderr
    error: imgforge.toml: builder `half`: `cert` and `key` belong together

    hint: change the file, and run the same command again
    ");
    configure("lost", &whole.replace("client-key", "gone"));
    assert_session!(build(&["--builder", "lost"]), @"
    exit 31
    --- stderr
    error: no BuildKit answers at `tcp://localhost:[PORT]`
      cause: `certs/gone.pem`: I/O error: No such file or directory (os error 2)

    hint: start Docker, or name a builder with `--builder`, `BUILDKIT_HOST` or `DOCKER_HOST`
    ");
    assert_session!(build(&["--builder", "other"]), @"
    exit 2
    --- stderr
    error: there is no builder `other`; `imgforge.toml` names `lost`

    hint: choose one of them, or give an address
    ");
}

/// Writes a program and returns a `PATH` on which it comes first.
fn program(folder: &Path, name: &str, script: &str) -> std::ffi::OsString {
    use std::os::unix::fs::PermissionsExt as _;
    let file = folder.join(name);
    fs::create_dir_all(folder).unwrap();
    fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var_os("PATH").unwrap();
    std::env::join_paths([folder.to_owned()].into_iter().chain(std::env::split_paths(&path))).unwrap()
}

#[test]
fn programs_that_pass_bytes() {
    let project = Project::new("t-stdio", "[[steps]]\nrun.shell = \"echo piped > /how\"\n");
    let bin = project.home.path("bin");
    // An `ssh` that goes nowhere: after `--` come the host and what is run there.
    let far = "while [ \"$1\" != -- ]; do shift; done; shift 2; unset DOCKER_HOST; exec \"$@\"";
    let path = program(&bin, "ssh", far);
    let mut engine = project.imgforge(&["build", "t", "--quiet", "--load"]);
    must(engine.env("DOCKER_HOST", "ssh://me@far:2222").env("PATH", &path).env_remove("DOCKER_CONTEXT"));
    assert_eq!(project.inside("cat /how"), "piped\n");

    let (socket, count) = modern_front(&project.home.path(""), Path::new(ENGINE));
    let pass = "use IO::Socket::UNIX; my $s = IO::Socket::UNIX->new($ARGV[0]) or die $!;\
        sub pass { my ($f, $t) = @_; while (sysread($f, my $b, 65536)) { syswrite($t, $b) } }\
        if (fork) { pass(*STDIN, $s); shutdown($s, 1) } else { pass($s, *STDOUT) }";
    let script = format!("echo \"$*\" >>{}/said\nexec perl -e '{pass}' {}", bin.display(), socket.display());
    let path = program(&bin, "buildctl", &script);
    let mut daemon = project.imgforge(&["build", "t", "--quiet"]);
    let said = project.home.record(daemon.env("BUILDKIT_HOST", "ssh://far").env("PATH", &path));
    // The front leads to an engine with the classic store, and nothing else leads to its API.
    assert_session!(said, @"
    exit 31
    --- stderr
    error: BuildKit (older than 0.11) at `ssh://far` hands images only to the Docker Engine around it, which has the classic image store

    hint: name that engine itself: leave `--builder` out and set `DOCKER_HOST`
    ");
    assert_eq!(fs::read_to_string(bin.join("said")).unwrap(), "dial-stdio\n");
    assert!(count.load(Ordering::SeqCst) > 0);

    let path = program(&bin, "ssh", "echo 'Host key verification failed.' >&2; exit 255");
    let mut refused = project.imgforge(&["build", "t", "--quiet"]);
    let said = project.home.record(refused.env("DOCKER_HOST", "ssh://far").env("PATH", &path));
    assert_session!(said, @"
    exit 31
    --- stderr
    error: no BuildKit answers at `ssh://far`
      cause: `ssh -T -o ConnectTimeout=30 -- far docker system dial-stdio` ended: Host key verification failed.

    hint: start Docker, or name a builder with `--builder`, `BUILDKIT_HOST` or `DOCKER_HOST`
    ");
    let mut missing = project.imgforge(&["build", "t", "--quiet", "--builder", "kube-pod://bk"]);
    assert_session!(project.home.record(missing.env("PATH", &bin)), @"
    exit 31
    --- stderr
    error: no BuildKit answers at `kube-pod://bk`
      cause: transport error
      cause: cannot run `kubectl`: No such file or directory (os error 2)

    hint: start Docker, or name a builder with `--builder`, `BUILDKIT_HOST` or `DOCKER_HOST`
    ");
}

#[test]
fn the_platform_picks_the_builder() {
    let project = Project::new("t-platform", "");
    let configuration = format!(
        "[builders.arm]\nendpoint = \"unix://{ENGINE}\"\nplatforms = [\"linux/arm64\"]\n\
         [builders.gone]\nendpoint = \"unix:///nowhere.sock\"\n\
         [builders.here]\nendpoint = \"unix://{ENGINE}\"\n"
    );
    project.write("imgforge.toml", &configuration);
    let said = project.home.record(&mut project.imgforge(&["build", "t"]));
    assert!(said.starts_with("exit 0"), "{said}");
    assert!(said.contains("warning: builder `gone` is passed over: no BuildKit answers"), "{said}");

    let only = "[builders.arm]\nendpoint = \"unix:///var/run/docker.sock\"\nplatforms = [\"linux/arm64\"]\n";
    project.write("imgforge.toml", only);
    assert_session!(project.home.record(&mut project.imgforge(&["build", "t", "--quiet", "--builder", "arm"])), @"
    exit 31
    --- stderr
    error: no builder builds for linux/amd64: `arm` has linux/arm64

    hint: add one that does under `[builders]` in `imgforge.toml`, or name it with `--builder`
    ");
    project.write("imgforge.toml", "[builders.x]\nendpoint = \"http://x\"\n[builder]\n");
    assert_session!(project.home.record(&mut project.imgforge(&["build", "t", "--quiet"])), @"
    exit 2
    --- stderr
    error: imgforge.toml:3:2: unknown key `builder`

    hint: write `builders`
    ");
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

    hint: start Docker, or name a builder with `--builder`, `BUILDKIT_HOST` or `DOCKER_HOST`
    ");
    let mut daemon = project.imgforge(&["build", "t", "--quiet"]);
    assert_session!(project.home.record(daemon.env("BUILDKIT_HOST", "tcp://127.0.0.1:1")), @"
    exit 31
    --- stderr
    error: no BuildKit answers at `tcp://127.0.0.1:1`
      cause: Connection refused (os error 111)

    hint: start Docker, or name a builder with `--builder`, `BUILDKIT_HOST` or `DOCKER_HOST`
    ");
    let mut wrong = project.imgforge(&["build", "t", "--quiet"]);
    assert_session!(project.home.record(wrong.env("BUILDKIT_HOST", "docker-container://x")), @"
    exit 31
    --- stderr
    error: no BuildKit answers at `docker-container://x`
      cause: `docker exec -i x buildctl dial-stdio` ended: Error response from daemon: No such container: x

    hint: start Docker, or name a builder with `--builder`, `BUILDKIT_HOST` or `DOCKER_HOST`
    ");
}
