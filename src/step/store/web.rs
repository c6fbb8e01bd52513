//! A store behind a web server: for reading.

use std::time::Duration;

use reqwest::header::{ETAG, IF_RANGE, RANGE};
use reqwest::{Client, RequestBuilder, Response, StatusCode};

use super::Key;
use super::fault::Fault;

/// A web server, or the public domain of a bucket.
#[derive(Debug, Clone)]
pub struct Web {
    pub(super) client: Client,
    pub(super) url: String,
}

/// Tries for one request.
const TRIES: u32 = 5;

impl Web {
    /// An object from `start`; with its validator, only if it still is the same one.
    pub(super) async fn get(&self, key: &Key, start: u64, same: Option<&str>) -> Result<Response, Fault> {
        let address = format!("{}/{key}", self.url);
        let ask = || {
            let request = self.client.get(&address);
            match same {
                Some(etag) if start > 0 => {
                    request.header(RANGE, format!("bytes={start}-")).header(IF_RANGE, etag)
                }
                _ => request,
            }
        };
        let answer = patiently(&ask).await?;
        let wanted = if start == 0 { StatusCode::OK } else { StatusCode::PARTIAL_CONTENT };
        let begins = format!("bytes {start}-");
        let range = answer.headers().get("content-range").and_then(|range| range.to_str().ok());
        if answer.status() != wanted || (start > 0 && !range.is_some_and(|r| r.starts_with(&begins))) {
            return Err(Fault::Unreachable("the server cannot go on where the connection broke".to_owned()));
        }
        Ok(answer)
    }

    /// The size of an object; `None` when there is none.
    pub(super) async fn size(&self, key: &Key) -> Result<Option<u64>, Fault> {
        let address = format!("{}/{key}", self.url);
        match patiently(&|| self.client.head(&address)).await {
            Ok(answer) => {
                let length = answer.headers().get("content-length");
                Ok(length.and_then(|length| length.to_str().ok()?.parse().ok()))
            }
            Err(Fault::Missing) => Ok(None),
            Err(fault) => Err(fault),
        }
    }
}

/// The validator of an answer, if it is a strong one.
pub(super) fn etag(answer: &Response) -> Option<String> {
    let etag = answer.headers().get(ETAG)?.to_str().ok()?;
    etag.starts_with('"').then(|| etag.to_owned())
}

/// Asks until there is an answer that asking again would not change.
async fn patiently(ask: &dyn Fn() -> RequestBuilder) -> Result<Response, Fault> {
    let mut tries = 0;
    loop {
        tries += 1;
        let fault = match ask().send().await {
            Ok(answer) if answer.status().is_success() => return Ok(answer),
            Ok(answer) => Fault::status(answer.status().as_u16(), String::new()),
            Err(error) => error.into(),
        };
        if tries == TRIES || !fault.may_pass() {
            return Err(fault);
        }
        pause(tries).await;
    }
}

/// Waits up to twice as long after each try, never all clients at once: full jitter.
pub(super) async fn pause(tries: u32) {
    let most = 250 << tries.min(5);
    tokio::time::sleep(Duration::from_millis(rand::random_range(0..=most))).await;
}
