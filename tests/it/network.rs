//! What stands between a machine and a store: authorities, proxies, web servers in a bad mood, and servers
//! that do not keep what they promise.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::assert_session;
use crate::bucket::{Conditions, KEY, Server};
use crate::building::Project;
use crate::line::{join, listen};
use crate::transport::certificates;
use crate::watching::Watch;
use crate::web::{Web, Whim};
use crate::workbench::{Bench, wait};

/// TLS with a certificate of the test's own authority, in front of a server.
fn tls_front(folder: &Path, to: SocketAddr) -> u16 {
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::pki_types::pem::PemObject as _;
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

    let chain =
        CertificateDer::pem_file_iter(folder.join("server.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(folder.join("server-key.pem")).unwrap();
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let address = listen(move |client| {
        client.set_nonblocking(true).unwrap();
        let acceptor = acceptor.clone();
        wait(async move {
            let client = tokio::net::TcpStream::from_std(client).unwrap();
            let Ok(mut client) = acceptor.accept(client).await else { return };
            let mut server = tokio::net::TcpStream::connect(to).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        });
    });
    address.port()
}

/// The head of a request.
fn head(client: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte).is_ok_and(|read| read == 1) {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// A proxy that leads every name to this machine, and how often it was asked.
fn proxy() -> (SocketAddr, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let address = listen(move |mut client| {
        let head = head(&mut client);
        let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).unwrap();
        let port = target.rsplit_once(':').unwrap().1.parse().unwrap();
        counted.fetch_add(1, Ordering::SeqCst);
        let server = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        join(client, server);
    });
    (address, asked)
}

/// `imgforge mirror` of a published project into a bucket behind an address.
fn mirror(bench: &Bench, endpoint: &str) -> Command {
    let mut command = bench.home.imgforge(&["mirror", "s3://images/team", "--quiet"]);
    for name in
        ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE"]
    {
        command.env_remove(name);
    }
    command.env("AWS_ACCESS_KEY_ID", KEY.0).env("AWS_SECRET_ACCESS_KEY", KEY.1);
    command.env("AWS_ENDPOINT_URL_S3", endpoint);
    command
}

#[test]
fn a_private_authority_counts_when_it_is_named() {
    let (bench, server) = (Bench::published("t-authority"), Server::start());
    let folder = bench.home.path("certs");
    certificates(&folder);
    let endpoint = format!("https://localhost:{}", tls_front(&folder, server.address()));
    let run = |variable: &str, file: &str| {
        let mut command = mirror(&bench, &endpoint);
        bench.home.record(command.env(variable, bench.home.path(file)))
    };
    assert_session!(run("UNUSED", ""), @"
    exit 20
    --- stderr
    error: store `s3://images/team` cannot be reached for `t-authority/releases/1.0.0/tiny-1.0.0-linux-amd64.tar.gz`
      cause: invalid peer certificate: UnknownIssuer

    hint: where a proxy looks into TLS, name its CA with `IMGFORGE_CA_BUNDLE`
    ");
    assert_eq!(server.writes(), 0);
    let said = run("SSL_CERT_FILE", "certs/ca.pem");
    assert!(said.starts_with("exit 0") && said.contains("new objects"), "{said}");
    let said = run("IMGFORGE_CA_BUNDLE", "certs/ca.pem");
    assert!(said.starts_with("exit 0") && said.contains("nothing new"), "{said}");
    assert_session!(run("IMGFORGE_CA_BUNDLE", "certs/none.pem"), @"
    exit 2
    --- stderr
    error: cannot read the CA bundle `[HOME]/certs/none.pem`
      cause: No such file or directory (os error 2)

    hint: change or unset `IMGFORGE_CA_BUNDLE` or `SSL_CERT_FILE`
    ");
    assert_session!(run("IMGFORGE_CA_BUNDLE", "keys/cosign.pub"), @"
    exit 2
    --- stderr
    error: cannot read the CA bundle `[HOME]/keys/cosign.pub`
      cause: there is no certificate in it

    hint: change or unset `IMGFORGE_CA_BUNDLE` or `SSL_CERT_FILE`
    ");
}

#[test]
fn a_proxy_is_used_when_it_is_named() {
    let (bench, server) = (Bench::published("t-proxy"), Server::start());
    let folder = bench.home.path("certs");
    certificates(&folder);
    // A name that only the proxy knows.
    let endpoint = format!("https://builder.test:{}", tls_front(&folder, server.address()));
    let (address, asked) = proxy();
    let mut command = mirror(&bench, &endpoint);
    command.env("IMGFORGE_CA_BUNDLE", folder.join("ca.pem")).env("HTTPS_PROXY", format!("http://{address}"));
    let said = bench.home.record(&mut command);
    assert!(said.starts_with("exit 0") && said.contains("new objects"), "{said}");
    let before = asked.load(Ordering::SeqCst);
    assert!(before > 0);
    let said = bench.home.record(command.env("NO_PROXY", "builder.test"));
    assert!(said.starts_with("exit 20"), "{said}");
    assert_eq!(asked.load(Ordering::SeqCst), before);
}

/// A web server that answers with a page of its own instead of files whose path ends so; how often it did.
fn page(web: &Web, path: &'static str, status: u16) -> Arc<AtomicUsize> {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    web.mood(move |request| {
        if !request.path.ends_with(path) {
            return Whim::Serve;
        }
        counted.fetch_add(1, Ordering::SeqCst);
        Whim::Page(status)
    });
    asked
}

#[test]
fn a_web_server_in_a_bad_mood() {
    let bench = Bench::published("t-mood");
    let web = Web::serve(&bench.home.path("store"));
    let (key, url) = (bench.home.text("keys/cosign.pub"), web.url());
    fs::create_dir(bench.home.path("reader")).unwrap();
    let session = |arguments: &[&str]| {
        let mut command = bench.home.imgforge(arguments);
        let said = bench.home.record(command.env("HOME", bench.home.path("reader")));
        said.replace(&url, "http://[WEB]")
    };
    let said = session(&["trust", "add", "t-mood", "--key", &key, "--from", &url]);
    assert!(said.starts_with("exit 0"), "{said}");
    let fetch = || session(&["fetch", "tiny", "--quiet"]);
    let channel = "channels/stable.sigstore.json";
    let archive = ".tar.gz";

    // A captive portal, or an error page of a cache that says 200.
    page(&web, channel, 200);
    assert_session!(fetch(), @"
    exit 10
    --- stderr
    error: the channel is not sealed: it is no Sigstore bundle v0.3 with one signature (expected value at line 1 column 1)

    hint: only releases sealed by imgforge are accepted, nothing was loaded
    ");
    page(&web, channel, 404);
    assert_session!(fetch(), @"
    exit 1
    --- stderr
    error: store `http://[WEB]` has no `t-mood/channels/stable.sigstore.json`

    hint: check the store, the project, the channel and the version
    ");
    page(&web, channel, 403);
    assert_session!(fetch(), @"
    exit 21
    --- stderr
    error: store `http://[WEB]` denies access to `t-mood/channels/stable.sigstore.json`
      cause: the server answered 403

    hint: the link or the key expired, or may not do this; run the command again with another one: it goes on where it stopped
    ");
    let asked = page(&web, channel, 429);
    assert_session!(fetch(), @"
    exit 20
    --- stderr
    error: store `http://[WEB]` cannot be reached for `t-mood/channels/stable.sigstore.json`
      cause: the server answered 429

    hint: run the same command again: it goes on where it stopped
    ");
    assert_eq!(asked.load(Ordering::SeqCst), 5, "tries");
    for (status, code) in [(200, 12), (403, 21), (404, 1), (503, 20)] {
        page(&web, archive, status);
        let said = fetch();
        assert!(said.starts_with(&format!("exit {code}\n")), "{status}: {said}");
    }
    assert!(!bench.in_engine());
    web.mood(|_| Whim::Serve);
    let said = session(&["fetch", "--verify", "tiny", "--quiet"]);
    assert!(said.starts_with("exit 0") && bench.in_engine(), "{said}");
}

/// A project whose releases go to one place and are read from another.
fn with_public(name: &str, store: &str) -> Project {
    let project = Project::new(name, "[[steps]]\ncopy = { paths = [\"a\"], to = \"/\" }\n");
    project.write("recipes/files/a", "one");
    project.home.must(&["keys", "generate"]);
    project.write("imgforge.toml", &format!("[store]\n{store}"));
    project
}

fn release(project: &Project, version: &str) -> String {
    let mut command = project.imgforge(&["release", "t", "--allow-unlocked", "--version", version]);
    command.env("AWS_ACCESS_KEY_ID", KEY.0).env("AWS_SECRET_ACCESS_KEY", KEY.1);
    project.home.record(&mut command)
}

#[test]
fn what_the_public_address_shows_decides() {
    let elsewhere = tempfile::tempdir().unwrap();
    let web = Web::serve(elsewhere.path());
    let project = with_public("t-public", &format!("address = \"store\"\npublic_url = \"{}\"\n", web.url()));
    let pointer = project.home.path("store/t-public/channels/stable.sigstore.json");
    // The address leads to another folder.
    let said = release(&project, "1.0.0");
    assert!(
        said.starts_with("exit 1\n")
            && said.contains("has no `t-public/releases/1.0.0/release.sigstore.json`"),
        "{said}"
    );
    assert!(!pointer.exists(), "the pointer moved");
    // It leads to the right one, as soon as somebody mends it; the same command goes on.
    fs::remove_dir(elsewhere.path()).unwrap();
    std::os::unix::fs::symlink(project.home.path("store"), elsewhere.path()).unwrap();
    // A cache still has something else.
    page(&web, ".tar.gz", 200);
    let said = release(&project, "1.0.0");
    assert!(said.starts_with("exit 12\n"), "{said}");
    assert!(!pointer.exists(), "the pointer moved");
    web.mood(|_| Whim::Serve);
    let said = release(&project, "1.0.0");
    assert!(said.starts_with("exit 0") && pointer.exists(), "{said}");

    // Keys hand over, and whoever begins with the first one is not shown that.
    project.home.must(&["keys", "generate", "--name", "next"]);
    let place = ["--project", project.name(), "--store", "store"];
    let keys = ["--key", "keys/cosign.key", "--to", "keys/next.key"];
    project.home.must(&[&["trust", "rotate"], &keys[..], &place].concat());
    let before = fs::read(&pointer).unwrap();
    let next = |version: &str| {
        let keys = ["--key", "keys/next.key", "--pinned", "keys/cosign.pub"];
        let release = ["release", "t", "--allow-unlocked", "--version", version];
        project.home.record(&mut project.imgforge(&[&release[..], &keys].concat()))
    };
    page(&web, "/trust/1.jsonl", 404);
    let said = next("1.1.0");
    assert!(said.starts_with("exit 11\n") && said.contains("sealed by no trusted key"), "{said}");
    assert!(fs::read(&pointer).unwrap() == before, "the pointer moved");
    web.mood(|_| Whim::Serve);
    let said = next("1.1.0");
    assert!(said.starts_with("exit 0"), "{said}");
    let _ = fs::remove_file(elsewhere.path());
}

#[test]
fn a_server_that_overwrites_is_named() {
    for (conditions, warns) in [(Conditions::Keep, false), (Conditions::Ignore, true)] {
        let server = Server::with(conditions);
        let store = format!("address = \"s3://images/team\"\nendpoint = \"{}\"\n", server.endpoint());
        let project = with_public("t-overwrites", &store);
        let said = release(&project, "1.0.0");
        assert!(said.starts_with("exit 0"), "{said}");
        let warning = "warning: this store overwrites although it is asked not to: let only one machine publish at a time";
        assert_eq!(said.contains(warning), warns, "{said}");
    }
}

#[test]
fn a_folder_is_read_while_it_is_written() {
    let bench = Bench::new("t-folder");
    let watch = Watch::begin(bench.store(), &bench.project, bench.key.public());
    let versions = (0..6).map(|patch| format!("1.0.{patch}"));
    for (version, sequence) in versions.zip(1..) {
        let text = hex::encode(crate::stores::bytes(64 << 10)) + &version;
        let sealed =
            bench.publish(&bench.release(&version, vec![bench.archive("tiny", &version, &text)]), &bench.key);
        let channel = bench.channel(&sealed, &version, sequence);
        let (sealed, _) = imgforge::step::sign::seal(&channel, &bench.key).unwrap();
        let key = imgforge::step::store::Key::channel(&channel.project, &channel.channel);
        let before = fs::read(bench.object("channels/stable.sigstore.json")).ok();
        wait(bench.store().replace(&key, before.as_deref(), sealed.bytes())).unwrap();
    }
    while !watch.sees("1.0.5") {
        std::thread::yield_now();
    }
    assert!(watch.end() > 6);
}
