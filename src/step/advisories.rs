//! Reads data about vulnerabilities: files as osv.dev and Debian publish them, folders and zips of such
//! files, or an address where one is. Nothing is unpacked to the disk, and everything has a limit.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek as _};
use std::path::{Path, PathBuf};

use reqwest::Url;
use zip::ZipArchive;
use zip::result::ZipError;

use super::content::{ContentError, ContentStore};
use super::progress::{Event, Hear};
use super::web::{Web, WebError};
use crate::model::scan::database::{BadData, Database, Tally};
use crate::model::scan::gate::Source;
use crate::model::time::Timestamp;

/// Why data cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum AdvisoriesError {
    /// A disk, or no such file.
    #[error("cannot read `{}`", .0.display())]
    Io(PathBuf, #[source] io::Error),
    /// Not what it should be.
    #[error("`{0}` cannot be believed")]
    Data(String, #[source] BadData),
    /// A zip that is none.
    #[error("`{0}` is no zip that can be read")]
    Zip(String, #[source] ZipError),
    /// More than any data about vulnerabilities.
    #[error("`{0}` holds more than {1} bytes")]
    TooLarge(String, u64),
    /// More files than any data about vulnerabilities.
    #[error("`{0}` holds more than {1} files")]
    TooMany(String, usize),
    /// Nothing in it.
    #[error("`{0}` holds no data about vulnerabilities")]
    Empty(String),
    /// An address that anybody on the way could change the answer of.
    #[error("`{0}` is no address that begins with `https://`")]
    Plain(String),
    /// The server.
    #[error(transparent)]
    Web(#[from] WebError),
    /// No place for what is downloaded.
    #[error(transparent)]
    Content(#[from] ContentError),
}

/// One file of JSON: Debian's tracker has 75 MB.
const MAX_JSON: u64 = 512 << 20;
/// One record in a zip: the longest of osv.dev have some megabytes.
const MAX_RECORD: u64 = 32 << 20;
/// All records of a zip: those of npm, the most there are, have some 500 MB.
const MAX_PLAIN: u64 = 8 << 30;
/// What is downloaded, a zip or JSON.
const MAX_DOWNLOAD: u64 = 2 << 30;
/// Records of a zip, files of a folder.
const MAX_FILES: usize = 2_000_000;

/// Reads what is in one place: a file, a folder or an address.
pub async fn read(
    from: &str,
    data: &mut Database,
    web: &Web,
    store: &ContentStore,
    hear: Hear<'_>,
) -> Result<Source, AdvisoriesError> {
    let (tally, written) = if from.contains("://") {
        let url = Url::parse(from).ok().filter(trustworthy);
        let url = url.ok_or_else(|| AdvisoriesError::Plain(from.to_owned()))?;
        hear(Event::Doing(&format!("downloading `{from}`")));
        let mut file = store.draft()?;
        let written = web.save(url.as_str(), MAX_DOWNLOAD, &mut file).await?;
        (one(from, file, data)?, written)
    } else {
        hear(Event::Doing(&format!("reading `{from}`")));
        local(Path::new(from), data)?
    };
    if tally.records == 0 {
        return Err(AdvisoriesError::Empty(from.to_owned()));
    }
    Ok(Source { from: from.to_owned(), records: tally.records, newest: tally.newest.or(written) })
}

/// Whoever can change the data decides what the gate sees; on this machine nobody else listens.
fn trustworthy(url: &Url) -> bool {
    let here = ["localhost", "127.0.0.1", "[::1]"];
    url.scheme() == "https"
        || (url.scheme() == "http" && url.host_str().is_some_and(|host| here.contains(&host)))
}

fn local(path: &Path, data: &mut Database) -> Result<(Tally, Option<Timestamp>), AdvisoriesError> {
    let io = |error| AdvisoriesError::Io(path.to_owned(), error);
    let about = fs::metadata(path).map_err(io)?;
    if !about.is_dir() {
        let written = about.modified().ok().and_then(|time| Timestamp::try_from(time).ok());
        let written = written.and_then(|time| Timestamp::from_second(time.as_second()).ok());
        return Ok((one(&path.to_string_lossy(), File::open(path).map_err(io)?, data)?, written));
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(io)? {
        let file = entry.map_err(io)?.path();
        let kind = file.extension().and_then(|extension| extension.to_str());
        if matches!(kind, Some("json" | "jsonl" | "zip")) {
            files.push(file);
        }
        if files.len() > MAX_FILES {
            return Err(AdvisoriesError::TooMany(path.to_string_lossy().into_owned(), MAX_FILES));
        }
    }
    // So that what is said first does not depend on the disk.
    files.sort();
    let mut all = Tally::default();
    for file in files {
        let open = File::open(&file).map_err(|error| AdvisoriesError::Io(file.clone(), error))?;
        add(&mut all, one(&file.to_string_lossy(), open, data)?);
    }
    Ok((all, None))
}

fn add(all: &mut Tally, more: Tally) {
    all.records += more.records;
    all.newest = all.newest.max(more.newest);
}

/// Reads a file of JSON, or a zip of them.
fn one(name: &str, mut file: File, data: &mut Database) -> Result<Tally, AdvisoriesError> {
    let io = |error| AdvisoriesError::Io(PathBuf::from(name), error);
    let mut start = Vec::new();
    file.rewind().map_err(io)?;
    (&file).take(4).read_to_end(&mut start).map_err(io)?;
    file.rewind().map_err(io)?;
    if start == *b"PK\x03\x04" {
        return zipped(name, file, data);
    }
    let bytes = whole(name, file, MAX_JSON)?;
    data.read(&bytes).map_err(|error| AdvisoriesError::Data(name.to_owned(), error))
}

fn zipped(name: &str, file: File, data: &mut Database) -> Result<Tally, AdvisoriesError> {
    let bad = |error| AdvisoriesError::Zip(name.to_owned(), error);
    let mut zip = ZipArchive::new(BufReader::new(file)).map_err(bad)?;
    if zip.len() > MAX_FILES {
        return Err(AdvisoriesError::TooMany(name.to_owned(), MAX_FILES));
    }
    let (mut all, mut left) = (Tally::default(), MAX_PLAIN);
    for at in 0..zip.len() {
        let entry = zip.by_index(at).map_err(bad)?;
        let inside = format!("{name}/{}", entry.name().map_err(bad)?);
        if !entry.is_file() || Path::new(&inside).extension().is_none_or(|kind| kind != "json") {
            continue;
        }
        // What an entry says about its size is not asked.
        let bytes = whole(&inside, entry, MAX_RECORD.min(left))?;
        left -= bytes.len() as u64;
        add(&mut all, data.read(&bytes).map_err(|error| AdvisoriesError::Data(inside, error))?);
    }
    Ok(all)
}

fn whole(name: &str, from: impl Read, limit: u64) -> Result<Vec<u8>, AdvisoriesError> {
    let mut bytes = Vec::new();
    let read = from.take(limit + 1).read_to_end(&mut bytes);
    read.map_err(|error| AdvisoriesError::Io(PathBuf::from(name), error))?;
    if bytes.len() as u64 > limit {
        Err(AdvisoriesError::TooLarge(name.to_owned(), limit))
    } else {
        Ok(bytes)
    }
}
