//! What `imgforge-differ` says: a list of layers, and those that are not here.

use std::collections::BTreeSet;

use tokio::task;
use tonic::Status;

use super::container::{Heard, STDERR, Talk};
use super::differ::{Layer, Unable};
use super::import::ImportError;
use super::stock::Stock;
use crate::model::digest::Digest;
use crate::model::image::Blob;
use crate::step::content::ContentStore;

/// What it ends with where it cannot tell layers apart.
const UNABLE: u32 = 69;

/// No engine accepts more layers, and what is said of one is shorter.
const MOST_LIST: usize = 127 * 500;

/// Of what it complains about, so much is kept.
const MOST_COMPLAINT: usize = 4096;

/// Where it is heard.
pub(super) trait Hears {
    /// What comes next; nothing after the end.
    async fn next(&mut self) -> Result<Option<Heard>, Status>;
}

impl Hears for Talk {
    async fn next(&mut self) -> Result<Option<Heard>, Status> {
        self.listen().await
    }
}

/// What the program says.
pub(super) struct Reader<H> {
    heard: H,
    /// Of its standard output, what was not looked at yet.
    read: Vec<u8>,
    complaint: Vec<u8>,
}

impl<H: Hears> Reader<H> {
    pub(super) fn of(heard: H) -> Self {
        Self { heard, read: Vec::new(), complaint: Vec::new() }
    }

    /// Which layers it tells of, those that are not `there` taken into the store; before them the names of the layers
    /// below.
    pub(super) async fn layers(
        mut self,
        count: usize,
        mut there: BTreeSet<Digest>,
        stock: &Stock,
    ) -> Result<(Vec<String>, Vec<Layer>), Unable> {
        let list = self.list().await?;
        let (below, layers) =
            parse(&list, count).ok_or_else(|| self.broken("its list is no list of layers"))?;
        for layer in &layers {
            if there.insert(layer.blob.digest) {
                self.take(&layer.blob, &stock.store).await?;
                stock.came(&layer.blob);
                continue;
            }
            // One with other bytes is removed by that.
            let size = task::block_in_place(|| stock.size(&layer.blob.digest)).map_err(ImportError::from)?;
            if size != Some(layer.blob.size) {
                return Err(self.broken("a layer that is here is damaged"));
            }
        }
        // It ends by itself; an error at the end would be one of what it sent.
        while self.hear().await? {
            if !self.read.is_empty() {
                return Err(self.broken("it sends more than layers"));
            }
        }
        Ok((below, layers))
    }

    /// Lines that say which layers these are, up to an empty one.
    async fn list(&mut self) -> Result<String, Unable> {
        loop {
            if let Some(end) = self.read.windows(2).position(|bytes| bytes == b"\n\n") {
                let text = String::from_utf8_lossy(&self.read[..end]).into_owned();
                self.read.drain(..end + 2);
                return Ok(text);
            }
            if self.read.len() > MOST_LIST || !self.hear().await? {
                return Err(self.broken("it lists no layers"));
            }
        }
    }

    async fn take(&mut self, layer: &Blob, store: &ContentStore) -> Result<(), Unable> {
        let mut incoming = store.incoming().map_err(ImportError::from)?;
        loop {
            let left = usize::try_from(layer.size - incoming.size()).unwrap_or(usize::MAX);
            let piece = left.min(self.read.len());
            task::block_in_place(|| incoming.write(&self.read[..piece])).map_err(ImportError::from)?;
            self.read.drain(..piece);
            if piece == left {
                break;
            }
            if !self.hear().await? {
                return Err(self.broken("a layer ends too early"));
            }
        }
        if incoming.digest() != layer.digest {
            return Err(self.broken("a layer is another one than it said"));
        }
        task::block_in_place(|| incoming.keep(Some(&layer.digest))).map_err(ImportError::from)?;
        Ok(())
    }

    /// Waits for more. False: that was all.
    async fn hear(&mut self) -> Result<bool, Unable> {
        match self.heard.next().await? {
            Some(Heard::Piece(STDERR, data)) => {
                let room = MOST_COMPLAINT.saturating_sub(self.complaint.len());
                self.complaint.extend(data.into_iter().take(room));
            }
            Some(Heard::Piece(_, data)) => self.read.extend(data),
            Some(Heard::Exit(UNABLE, _)) => {
                return Err(Unable::Apart(String::from_utf8_lossy(&self.complaint).trim().to_owned()));
            }
            Some(Heard::Exit(0, _)) => {}
            Some(Heard::Exit(code, why)) => return Err(self.broken(&format!("it ended with {code} {why}"))),
            None => return Ok(false),
        }
        Ok(true)
    }

    fn broken(&self, why: &str) -> Unable {
        Unable::Broken(format!("{why} {}", String::from_utf8_lossy(&self.complaint)).trim().to_owned())
    }
}

fn parse(list: &str, count: usize) -> Option<(Vec<String>, Vec<Layer>)> {
    let mut lines = list.lines();
    let below = lines.next()?.strip_prefix("below")?;
    let layer = |line: &str| match line.split(' ').collect::<Vec<_>>()[..] {
        [digest, size, name] => Some(Layer {
            blob: Blob { digest: format!("sha256:{digest}").parse().ok()?, size: size.parse().ok()? },
            name: name.to_owned(),
        }),
        _ => None,
    };
    let layers: Vec<Layer> = lines.map(layer).collect::<Option<_>>()?;
    (layers.len() == count).then(|| (below.split_whitespace().map(str::to_owned).collect(), layers))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::super::container::STDOUT;
    use super::*;

    impl Hears for VecDeque<Heard> {
        async fn next(&mut self) -> Result<Option<Heard>, Status> {
            Ok(self.pop_front())
        }
    }

    fn out(text: &str) -> Heard {
        Heard::Piece(STDOUT, text.as_bytes().to_vec())
    }

    /// What is read of a program that says this; the layers are `one` and `two`, and the second is here.
    fn read(says: Vec<Heard>) -> Result<Vec<String>, Unable> {
        let folder = tempfile::tempdir().unwrap();
        let store = ContentStore::open(folder.path()).unwrap();
        let two = store.take(&mut &b"two"[..]).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
        let there = BTreeSet::from([two.digest]);
        let stock = Stock::of(&store);
        let (below, layers) = runtime.block_on(Reader::of(VecDeque::from(says)).layers(2, there, &stock))?;
        assert_eq!(below, ["A"]);
        assert!(layers.iter().all(|layer| store.checked(&layer.blob.digest).unwrap().is_some()));
        Ok(layers.into_iter().map(|layer| layer.name).collect())
    }

    fn list() -> String {
        let line =
            |text: &str, name: &str| format!("{} {} {name}\n", Digest::of(text.as_bytes()).hex(), text.len());
        format!("below A\n{}{}\n", line("one", "B"), line("two", "C"))
    }

    #[test]
    fn what_is_not_here_comes_in_pieces() {
        let list = list();
        let (start, end) = list.split_at(70);
        let says = vec![out(start), out(&format!("{end}o")), out("ne"), Heard::Exit(0, String::new())];
        assert_eq!(read(says).unwrap(), ["B", "C"]);
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_reason() {
        let list = list();
        let exit = |code| Heard::Exit(code, String::new());
        let complaint = || Heard::Piece(STDERR, b"imgforge-differ: it is btrfs\n".to_vec());
        let broken = |says: Vec<Heard>, reason: &str| {
            let Err(Unable::Broken(why)) = read(says) else { panic!("{reason}") };
            assert!(why.starts_with(reason), "{why}");
        };
        broken(vec![out(&list), out("on"), exit(0)], "a layer ends too early");
        broken(vec![out(&list), out("One"), exit(0)], "a layer is another one than it said");
        broken(vec![out(&list), out("one"), out("x"), exit(0)], "it sends more than layers");
        broken(vec![out("below"), exit(0)], "it lists no layers");
        broken(vec![out(&"x".repeat(MOST_LIST + 1)), exit(0)], "it lists no layers");
        broken(vec![out(&list.replace(" 3 ", " -3 ")), exit(0)], "its list is no list of layers");
        broken(
            vec![out(&list.replace(" 3 C", " 4 C")), out("one"), exit(0)],
            "a layer that is here is damaged",
        );
        broken(vec![complaint(), exit(1)], "it ended with 1  imgforge-differ: it is btrfs");
        let Err(Unable::Apart(why)) = read(vec![complaint(), exit(UNABLE)]) else { panic!() };
        assert_eq!(why, "imgforge-differ: it is btrfs");
    }

    #[test]
    fn a_list_is_read_whole_or_not_at_all() {
        let digest = "ab".repeat(32);
        let line = format!("{digest} 1024 NAME");
        let (below, layers) = parse(&format!("below A B\n{line}\n{line}"), 2).unwrap();
        assert_eq!((below, layers.len()), (vec!["A".to_owned(), "B".to_owned()], 2));
        assert_eq!((layers[1].blob.size, layers[1].name.as_str()), (1024, "NAME"));
        assert_eq!(parse(&format!("below \n{line}"), 1).unwrap().0, [""; 0]);
        let more = format!("below\n{line} more");
        for wrong in ["", "below A", &line, "below\n0 1 NAME", &more] {
            assert!(parse(wrong, 1).is_none(), "{wrong}");
        }
    }
}
