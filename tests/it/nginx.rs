//! A web server that people really have: nginx over a folder, with a port and files of its own.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::tools;

/// A running nginx; it ends with this value.
pub(crate) struct Nginx {
    folder: tempfile::TempDir,
    address: SocketAddr,
    process: Option<Child>,
}

impl Nginx {
    /// Serves a folder, with more settings for the server.
    pub(crate) fn serve(root: &Path, settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Free now, and nobody else takes it in the moment between.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let at = folder.path().display();
        // One process: killing it is killing the server. Whoever may read the folder runs it.
        let configuration = format!(
            "daemon off; master_process off; user root; pid {at}/pid; error_log {at}/errors;
            events {{}}
            http {{
                log_format bytes '$status $body_bytes_sent $uri $http_accept_encoding';
                access_log {at}/log bytes;
                client_body_temp_path {at}/1; proxy_temp_path {at}/2; fastcgi_temp_path {at}/3;
                uwsgi_temp_path {at}/4; scgi_temp_path {at}/5;
                server {{ listen {address}; root {}; {settings} }}
            }}",
            root.display()
        );
        fs::write(folder.path().join("nginx.conf"), configuration).unwrap();
        let mut nginx = Self { folder, address, process: None };
        nginx.start();
        nginx
    }

    pub(crate) fn start(&mut self) {
        let installed = tools().join("nginx");
        let program = if installed.exists() { installed } else { PathBuf::from("nginx") };
        let at = |name: &str| self.folder.path().join(name);
        let mut command = Command::new(program);
        command.arg("-e").arg(at("errors")).arg("-c").arg(at("nginx.conf"));
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.process = Some(child.unwrap_or_else(|error| panic!("{command:?}: {error}")));
        let begun = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            let errors = || fs::read_to_string(at("errors")).unwrap_or_default();
            assert!(begun.elapsed() < Duration::from_secs(30), "nginx does not listen:\n{}", errors());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// As the power would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A line for each answer that has ended: status, bytes of its body, path, accepted encodings.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Bytes of archives.
    pub(crate) fn sent(&self) -> u64 {
        let log = self.log();
        let archives = log.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let bytes = archives.filter(|words| words[2].ends_with(".tar.gz")).map(|words| words[1]);
        bytes.map(|bytes| bytes.parse::<u64>().unwrap()).sum()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.kill();
    }
}
