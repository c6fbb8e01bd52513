//! What others need for the same update: desync's chunks, and the blocks of zsync.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::{THREADS, shell, size};

/// A chunk store of desync, with what the first release has.
pub(crate) struct Desync(PathBuf);

impl Desync {
    pub(crate) fn new(folder: &Path, tar: &Path) -> Option<Self> {
        let desync = Self(folder.join("desync"));
        let _ = fs::remove_dir_all(&desync.0);
        fs::create_dir(&desync.0).unwrap();
        desync.make("old", tar).then_some(desync)
    }

    fn make(&self, store: &str, tar: &Path) -> bool {
        fs::create_dir_all(self.0.join(store)).unwrap();
        let folder = self.0.display();
        tried(&format!(
            "desync make -n {THREADS} -s {folder}/{store} {folder}/{store}.caibx {}",
            tar.display()
        ))
    }

    /// Chunks that the first release lacks, and the index.
    pub(crate) fn cost(&self, tar: &Path) -> u64 {
        let _ = fs::remove_dir_all(self.0.join("new"));
        assert!(self.make("new", tar));
        let mut cost = size(&self.0.join("new.caibx"));
        for folder in fs::read_dir(self.0.join("new")).unwrap() {
            let folder = folder.unwrap();
            for chunk in fs::read_dir(folder.path()).unwrap() {
                let chunk = chunk.unwrap();
                if !self.0.join("old").join(folder.file_name()).join(chunk.file_name()).exists() {
                    cost += chunk.metadata().unwrap().len();
                }
            }
        }
        cost
    }
}

/// What zsync takes from a web server, to make the new file from the old one.
pub(crate) struct Zsync {
    folder: PathBuf,
    url: String,
    nginx: Child,
}

impl Zsync {
    pub(crate) fn new(folder: &Path, tar: &Path) -> Option<Self> {
        if !tried("command -v zsync zsyncmake nginx") {
            return None;
        }
        let folder = folder.join("zsync");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        // Free now, and nobody else takes it in the moment between.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let at = folder.display();
        let settings = format!(
            "daemon off; master_process off; user root; pid {at}/pid; error_log {at}/errors;
            events {{}}
            http {{
                access_log off; client_body_temp_path {at}/1; proxy_temp_path {at}/2;
                fastcgi_temp_path {at}/3; uwsgi_temp_path {at}/4; scgi_temp_path {at}/5;
                server {{ listen {address}; root {at}; }}
            }}"
        );
        let path = folder.join("nginx.conf");
        fs::write(&path, settings).unwrap();
        let mut nginx = Command::new("nginx");
        nginx.arg("-e").arg(folder.join("errors")).arg("-c").arg(path);
        let nginx = nginx.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let zsync = Self { url: format!("http://{address}"), folder, nginx };
        zsync.pack(tar, "old");
        Some(zsync)
    }

    /// As its manual advises: so that equal content is equal in the compressed file, too.
    fn pack(&self, tar: &Path, name: &str) {
        shell(&format!("gzip -6 --rsyncable < {} > {}/{name}.gz", tar.display(), self.folder.display()));
    }

    /// Blocks that the old file lacks, and the list of all blocks.
    pub(crate) fn cost(&self, tar: &Path) -> u64 {
        self.pack(tar, "new");
        let (folder, url) = (self.folder.display(), &self.url);
        shell(&format!("cd {folder} && rm -f out.gz* && zsyncmake -Z -u new.gz -o new.zsync new.gz"));
        let fetch =
            format!("cd {folder} && zsync -i old.gz -o out.gz {url}/new.zsync && cmp out.gz new.gz >&2");
        let said = Command::new("sh").args(["-c", &fetch]).output().unwrap();
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let fetched = said.rsplit("fetched ").next().and_then(|rest| rest.split_whitespace().next());
        let fetched: u64 = fetched.and_then(|bytes| bytes.parse().ok()).unwrap_or_else(|| panic!("{said}"));
        size(&self.folder.join("new.zsync")) + fetched
    }
}

impl Drop for Zsync {
    fn drop(&mut self) {
        let _ = self.nginx.kill();
        let _ = self.nginx.wait();
    }
}

/// Runs a tool that may not be there.
pub(crate) fn tried(script: &str) -> bool {
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().unwrap().success()
}
