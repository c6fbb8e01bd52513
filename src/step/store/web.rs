//! A store behind a web server: for reading.

use std::time::Duration;

use reqwest::header::{
    CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, IF_RANGE, RANGE, RETRY_AFTER,
};
use reqwest::{Client, RequestBuilder, Response, StatusCode};

use super::Key;
use super::fault::Fault;
use super::reader::{Body, Got};
use super::span::Span;

/// A web server, or the public domain of a bucket.
#[derive(Debug, Clone)]
pub struct Web {
    pub(super) client: Client,
    pub(super) url: String,
    pub(super) kind: Kind,
}

/// What is at a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A folder of objects.
    Folder,
    /// One object. The URL may hold a signature, so only its beginning is ever shown.
    Object,
}

/// Tries for one request.
const TRIES: u32 = 5;

impl Web {
    fn address(&self, key: &Key) -> String {
        match self.kind {
            Kind::Folder => format!("{}/{key}", self.url),
            Kind::Object => self.url.clone(),
        }
    }

    /// Bytes of an object; with its validator, only if it still is the same one.
    pub(super) async fn get(&self, key: &Key, span: Span, same: Option<&str>) -> Result<Got, Fault> {
        let address = self.address(key);
        let ask = || {
            let mut request = self.client.get(&address);
            if let Some(range) = span.header() {
                request = request.header(RANGE, range);
                request = same.into_iter().fold(request, |request, etag| request.header(IF_RANGE, etag));
            }
            request
        };
        let answer = patiently(&ask).await?;
        let etag = etag(&answer);
        if same.is_some() && etag.as_deref() != same {
            return Err(Fault::Changed);
        }
        let text = |name: HeaderName| answer.headers().get(name)?.to_str().ok();
        if text(CONTENT_TYPE).is_some_and(|kind| kind.starts_with("text/html")) {
            let why = "it sends a web page instead, perhaps of a login or of a hotel's network";
            return Err(Fault::Unreachable(why.to_owned()));
        }
        let partial = answer.status() == StatusCode::PARTIAL_CONTENT;
        let range = if partial { Some(text(CONTENT_RANGE).unwrap_or_default()) } else { None };
        let length = text(CONTENT_LENGTH).and_then(|length| length.parse().ok());
        let extent = span.answered(range, length)?;
        Ok(Got { extent, etag, body: Body::Web(answer) })
    }

    /// The size of an object; `None` when there is none.
    pub(super) async fn size(&self, key: &Key) -> Result<Option<u64>, Fault> {
        let address = self.address(key);
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
fn etag(answer: &Response) -> Option<String> {
    let etag = answer.headers().get(ETAG)?.to_str().ok()?;
    etag.starts_with('"').then(|| etag.to_owned())
}

/// Asks until there is an answer that asking again would not change.
async fn patiently(ask: &dyn Fn() -> RequestBuilder) -> Result<Response, Fault> {
    let mut tries = 0;
    loop {
        tries += 1;
        let mut asked = Duration::ZERO;
        let fault = match ask().send().await {
            Ok(answer) if answer.status().is_success() => return Ok(answer),
            Ok(answer) => {
                asked = retry_after(&answer);
                Fault::status(answer.status().as_u16(), String::new())
            }
            Err(error) => error.into(),
        };
        if tries == TRIES || !fault.may_pass() {
            return Err(fault);
        }
        tokio::time::sleep(asked).await;
        pause(tries).await;
    }
}

/// How long a server asks to be left alone, as far as that is reasonable.
fn retry_after(answer: &Response) -> Duration {
    const MOST: u64 = 60;
    let seconds = answer.headers().get(RETRY_AFTER).and_then(|text| text.to_str().ok()?.parse().ok());
    Duration::from_secs(seconds.unwrap_or(0).min(MOST))
}

/// Waits up to twice as long after each try, never all clients at once: full jitter.
pub(in crate::step) async fn pause(tries: u32) {
    let most = 250 << tries.min(5);
    tokio::time::sleep(Duration::from_millis(rand::random_range(0..=most))).await;
}
