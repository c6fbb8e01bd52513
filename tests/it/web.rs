//! A web server for tests: it serves a folder as nginx does, ranges and validators and all, and misbehaves
//! on request. It counts what it sends.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use imgforge::model::digest::Digest;

/// What a server does with one request.
#[derive(Debug, Clone)]
pub(crate) enum Whim {
    /// What it should.
    Serve,
    /// The connection ends after so many bytes of the body.
    Cut(usize),
    /// Another status, with headers of its own, and a page for people.
    Status(u16, &'static str),
    /// The same without saying that it is a page, as some caches and portals do.
    Page(u16),
    /// All of the object, whatever part was asked for.
    NoRanges,
    /// Another part than the one that was asked for.
    OtherRange,
    /// The bytes, changed.
    OtherBytes,
    /// More bytes than were asked for.
    Longer(usize),
    /// So many bytes more are announced than come, or fewer.
    OtherLength(isize),
    /// The bytes, and then others without end.
    Endless,
    /// Bytes come, but slowly.
    Slow(Duration),
    /// A byte a second, for as long as anybody waits.
    Drip,
}

/// A request, as far as tests care.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) path: String,
    /// What follows the question mark, as the signature of a link does.
    pub(crate) query: String,
    pub(crate) range: Option<String>,
}

impl Request {
    pub(crate) fn is_archive(&self) -> bool {
        self.path.ends_with(".tar.gz")
    }
}

type Mood = Box<dyn FnMut(&Request) -> Whim + Send>;

/// A running server; it ends with the process.
#[derive(Clone)]
pub(crate) struct Web {
    port: u16,
    root: PathBuf,
    mood: Arc<Mutex<Mood>>,
    requests: Arc<Mutex<Vec<Request>>>,
    sent: Arc<AtomicU64>,
}

impl Web {
    /// Serves a folder.
    pub(crate) fn serve(root: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let web = Self {
            port: listener.local_addr().unwrap().port(),
            root: root.to_owned(),
            mood: Arc::new(Mutex::new(Box::new(|_| Whim::Serve))),
            requests: Arc::default(),
            sent: Arc::default(),
        };
        let server = web.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = server.clone();
                std::thread::spawn(move || server.answer(&stream));
            }
        });
        web
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// From now on, asks before every answer.
    pub(crate) fn mood(&self, mood: impl FnMut(&Request) -> Whim + Send + 'static) {
        *self.mood.lock().unwrap() = Box::new(mood);
    }

    /// Requests and bytes of archives since the last time.
    pub(crate) fn took(&self) -> (usize, u64) {
        let requests = std::mem::take(&mut *self.requests.lock().unwrap());
        (requests.iter().filter(|request| request.is_archive()).count(), self.sent.swap(0, Ordering::SeqCst))
    }

    fn answer(&self, mut stream: &TcpStream) {
        let mut lines =
            BufReader::new(stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
        let Some(first) = lines.next() else { return };
        let mut range = None;
        let mut condition = None;
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap_or_default();
            match name.to_ascii_lowercase().as_str() {
                "range" => range = Some(value.to_owned()),
                "if-range" => condition = Some(value.to_owned()),
                _ => {}
            }
        }
        let target = first.split(' ').nth(1).unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let request = Request { path: path.to_owned(), query: query.to_owned(), range };
        self.requests.lock().unwrap().push(request.clone());
        let whim = (self.mood.lock().unwrap())(&request);
        let page = match whim {
            Whim::Status(status, headers) => Some((status, format!("{headers}content-type: text/html\r\n"))),
            Whim::Page(status) => Some((status, String::new())),
            _ => None,
        };
        if let Some((status, headers)) = page {
            let page = "<!DOCTYPE html><html><title>Attention Required!</title></html>";
            let length = page.len();
            let _ = write!(
                stream,
                "HTTP/1.1 {status} X\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{page}"
            );
            return;
        }
        let Ok(mut bytes) = fs::read(self.root.join(path.trim_start_matches('/'))) else {
            return nothing(stream, "404 X");
        };
        let etag = format!("\"{}\"", &Digest::of(&bytes).hex()[..16]);
        let total = bytes.len();
        let same = condition.is_none_or(|condition| condition == etag);
        let part = request.range.as_deref().filter(|_| same && !matches!(whim, Whim::NoRanges));
        let mut head = "HTTP/1.1 200 OK\r\n".to_owned();
        if let Some(text) = part {
            let (start, end) = span(text, total);
            if start >= total {
                return nothing(stream, &format!("416 X\r\ncontent-range: bytes */{total}"));
            }
            head = format!(
                "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes {start}-{}/{total}\r\n",
                end - 1
            );
            let shift = usize::from(matches!(whim, Whim::OtherRange) && start > 0);
            if shift == 1 {
                head = format!(
                    "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes {}-{}/{total}\r\n",
                    start - 1,
                    end - 2
                );
            }
            bytes = bytes[start - shift..end - shift].to_vec();
        }
        if matches!(whim, Whim::OtherBytes) {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        }
        if let Whim::Longer(more) = whim {
            bytes.resize(bytes.len() + more, b'x');
        }
        let length = match whim {
            Whim::OtherLength(more) => {
                format!("content-length: {}\r\n", bytes.len().saturating_add_signed(more))
            }
            Whim::Endless => String::new(),
            _ => format!("content-length: {}\r\n", bytes.len()),
        };
        let head = format!("{head}connection: close\r\netag: {etag}\r\naccept-ranges: bytes\r\n{length}\r\n");
        if stream.write_all(head.as_bytes()).is_err() || first.starts_with("HEAD") {
            return;
        }
        if let Whim::Cut(after) = whim {
            bytes.truncate(after);
        }
        let (size, pause) = match whim {
            Whim::Slow(pause) => (16 << 10, pause),
            Whim::Drip => (1, Duration::from_secs(1)),
            _ => (16 << 10, Duration::ZERO),
        };
        for piece in bytes.chunks(size) {
            std::thread::sleep(pause);
            if stream.write_all(piece).is_err() {
                return;
            }
            if request.is_archive() {
                self.sent.fetch_add(piece.len() as u64, Ordering::SeqCst);
            }
        }
        if matches!(whim, Whim::Endless) {
            let _ = std::io::copy(&mut std::io::repeat(b' '), &mut stream);
        }
        // What was sent arrives before the end does.
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read(&mut [0; 1]);
    }
}

/// An answer without a body.
fn nothing(mut stream: &TcpStream, head: &str) {
    let _ = write!(stream, "HTTP/1.1 {head}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
}

fn span(text: &str, total: usize) -> (usize, usize) {
    let (start, end) = text.trim_start_matches("bytes=").split_once('-').unwrap();
    match (start, end) {
        ("", last) => (total.saturating_sub(last.parse().unwrap()), total),
        (start, "") => (start.parse().unwrap(), total),
        (start, end) => (start.parse().unwrap(), (end.parse::<usize>().unwrap() + 1).min(total)),
    }
}
