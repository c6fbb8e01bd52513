//! Small images that take the real road: content store, packing, sealing, publishing. Tests then
//! break exactly one thing.

use std::fs;
use std::path::PathBuf;

use imgforge::flow;
use imgforge::model::archive::file_name;
use imgforge::model::channel::Channel;
use imgforge::model::image::Image;
use imgforge::model::release::{Archive, Release};
use imgforge::model::seal::Sealed;
use imgforge::model::time::Timestamp;
use imgforge::step::content::ContentStore;
use imgforge::step::keyring::{self, SigningKey};
use imgforge::step::pack::{self, Packed};
use imgforge::step::store::Store;
use imgforge::step::upload::Papers;
use imgforge::step::{append, sign, upload};

use crate::harness::{Home, PASSWORD};

/// A project with one tiny image, published to a folder, and an operator who trusts its key.
pub(crate) struct Bench {
    pub(crate) home: Home,
    pub(crate) key: SigningKey,
    pub(crate) project: String,
}

impl Bench {
    /// A project of its own for each test, so that tests do not share image tags in the engine.
    pub(crate) fn new(project: &str) -> Self {
        let home = Home::new();
        keyring::generate(&home.path("keys"), "cosign", PASSWORD.as_bytes()).unwrap();
        let key = keyring::open(&home.path("keys/cosign.key"), PASSWORD.as_bytes()).unwrap();
        let bench = Self { home, key, project: project.to_owned() };
        bench.trust();
        bench
    }

    fn trust(&self) {
        let (key, store) = (self.home.text("keys/cosign.pub"), self.home.text("store"));
        self.home.must(&["trust", "add", &self.project, "--key", &key, "--from", &store]);
    }

    pub(crate) fn store(&self) -> Store {
        Store::Directory(self.home.path("store"))
    }

    /// Where an object of the store is on disk.
    pub(crate) fn object(&self, below: &str) -> PathBuf {
        self.home.path("store").join(&self.project).join(below)
    }

    /// An image with one layer that holds one file.
    pub(crate) fn image(&self, tier: &str, version: &str, text: &str) -> (ContentStore, Image) {
        self.layered(tier, version, &[self.layer(text)])
    }

    /// A layer with one file.
    pub(crate) fn layer(&self, text: &str) -> Vec<u8> {
        layer(&self.project, text)
    }

    /// An image with these layers.
    pub(crate) fn layered(&self, tier: &str, version: &str, layers: &[Vec<u8>]) -> (ContentStore, Image) {
        let store = ContentStore::open(&self.home.path("content")).unwrap();
        let layers: Vec<_> = layers.iter().map(|layer| store.take(&mut layer.as_slice()).unwrap()).collect();
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux", "config": {"Cmd": ["/hello"]},
            "rootfs": {"type": "layers", "diff_ids": layers.iter().map(|layer| layer.digest).collect::<Vec<_>>()},
        });
        let config = config.to_string().into_bytes();
        store.take(&mut config.as_slice()).unwrap();
        let tag = format!("{}/{tier}:{version}", self.project).parse().unwrap();
        let image = Image::new(tag, "linux/amd64".parse().unwrap(), &config, layers).unwrap();
        (store, image)
    }

    /// Packs an image.
    pub(crate) fn archive(&self, tier: &str, version: &str, text: &str) -> Archive {
        self.pack(tier, version, self.image(tier, version, text))
    }

    /// Packs an image, with all threads that a machine may have.
    pub(crate) fn pack(&self, tier: &str, version: &str, (store, image): (ContentStore, Image)) -> Archive {
        let tier = tier.parse().unwrap();
        let file = file_name(&tier, &version.parse().unwrap(), &image.platform);
        let target = self.home.path("dist").join(&file);
        let Packed { body, index } =
            pack::pack(&image, &[], &store, &target, 2, &mut pack::Known::default(), &|_| {}).unwrap();
        Archive { tier, file, size: body.size, digest: body.digest, index, image }
    }

    /// Packs an image as `imgforge export` does: with what is stated of it.
    pub(crate) fn stated(&self, tier: &str, version: &str, (store, image): (ContentStore, Image)) -> Archive {
        store.remember_provenance(&image, b"{\"buildDefinition\":{}}").unwrap();
        let (tier, version) = (tier.parse().unwrap(), version.parse().unwrap());
        let folder = self.home.path("dist");
        let mut packing = flow::export::Packing::into(&folder, 2);
        flow::export::pack(image, &tier, &version, &store, &mut packing, &|_| {}).unwrap().archive
    }

    /// A release of these archives.
    pub(crate) fn release(&self, version: &str, archives: Vec<Archive>) -> Release {
        let (project, version) = (self.project.parse().unwrap(), version.parse().unwrap());
        Release { project, version, created: now(), archives, patches: Vec::new() }
    }

    /// Publishes a release with a key, without asking whether that is right.
    pub(crate) fn publish(&self, release: &Release, key: &SigningKey) -> Sealed<Release> {
        let (sealed, verified) = sign::seal(release, key).unwrap();
        let folder = self.home.path("dist");
        let seal = |archive| append::seal(&folder, archive, &sealed, &|_| {}).unwrap();
        let archives: Vec<_> = verified.archives.iter().map(seal).collect();
        let stated = verified.archives.iter().zip(&archives);
        let statements = stated
            .flat_map(|(archive, whole)| flow::statements::sign(&folder, &archive.image, whole, key).unwrap())
            .collect();
        let sums = imgforge::model::sums::render(&archives);
        let signature = sign::detached(sums.as_bytes(), key).unwrap();
        let papers =
            Papers { release: sealed.clone(), archives, statements, sums, signature, trust: Vec::new() };
        let store = self.store();
        wait(async {
            upload::release(&store, &verified, &papers).await?;
            upload::archives(&store, &verified, &papers, &folder, &|_| {}).await?;
            upload::statements(&store, &verified, &papers, std::slice::from_ref(key.public())).await?;
            upload::sums(&store, &verified, &papers, std::slice::from_ref(key.public())).await
        })
        .unwrap();
        sealed
    }

    /// The channel that would follow this release now.
    pub(crate) fn channel(&self, release: &Sealed<Release>, version: &str, sequence: u64) -> Channel {
        Channel {
            project: self.project.parse().unwrap(),
            channel: "stable".parse().unwrap(),
            sequence,
            issued: now(),
            expires: now() + imgforge::model::channel::LIFETIME,
            version: version.parse().unwrap(),
            release: imgforge::model::digest::Digest::of(release.bytes()),
            floor: None,
            yanked: Vec::new(),
        }
    }

    /// Puts a channel in place, whatever it says.
    pub(crate) fn point(&self, channel: &Channel, key: &SigningKey) -> Vec<u8> {
        let (sealed, _) = sign::seal(channel, key).unwrap();
        let path = self.object("channels/stable.sigstore.json");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, sealed.bytes()).unwrap();
        sealed.bytes().to_vec()
    }

    /// Publishes one tiny tier and points the channel to it: the state from which tests break things.
    pub(crate) fn published(project: &str) -> Self {
        let bench = Self::new(project);
        let release = bench.release("1.0.0", vec![bench.archive("tiny", "1.0.0", "hello")]);
        let sealed = bench.publish(&release, &bench.key);
        bench.point(&bench.channel(&sealed, "1.0.0", 1), &bench.key);
        bench
    }

    /// `imgforge fetch --verify tiny`, written down.
    pub(crate) fn fetch(&self) -> String {
        self.home.session(&["fetch", "--verify", "tiny"])
    }

    /// Whether the engine has any image of this project.
    pub(crate) fn in_engine(&self) -> bool {
        in_engine(&format!("{}/*", self.project))
    }
}

/// Whether the engine has an image of such a name.
pub(crate) fn in_engine(name: &str) -> bool {
    let filter = format!("reference={name}");
    let mut docker = crate::harness::tool("docker", &["image", "ls", "-q", "--filter", &filter]);
    !crate::harness::must(&mut docker).trim().is_empty()
}

impl Drop for Bench {
    fn drop(&mut self) {
        let tags = crate::harness::run(&mut crate::harness::tool(
            "docker",
            &[
                "image",
                "ls",
                "--format",
                "{{.Repository}}:{{.Tag}}",
                "--filter",
                &format!("reference={}/*", self.project),
            ],
        ));
        for tag in String::from_utf8_lossy(&tags.stdout).lines() {
            crate::harness::run(&mut crate::harness::tool("docker", &["image", "rm", "-f", tag]));
        }
    }
}

/// Waits for what is asynchronous.
pub(crate) fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(work)
}

pub(crate) fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap()
}

/// A layer with one file.
pub(crate) fn layer(owner: &str, text: &str) -> Vec<u8> {
    layered(owner, &[("hello", text.into())])
}

/// A layer with these files. They belong to the test's project, so that no two tests share a layer: what
/// the engine lacks would depend on what else runs.
pub(crate) fn layered(owner: &str, files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_username(owner).unwrap();
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(bytes.len() as u64);
        header.set_mode(0o755);
        tar.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    tar.into_inner().unwrap()
}

/// Bytes that nobody can compress; another seed gives others.
pub(crate) fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)).to_le_bytes()
    };
    let mut bytes: Vec<u8> = std::iter::repeat_with(&mut next).take(size / 8 + 1).flatten().collect();
    bytes.truncate(size);
    bytes
}
