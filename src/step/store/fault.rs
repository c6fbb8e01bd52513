//! What goes wrong in a store, without saying in which: [`super::StoreError`] adds that.

use std::error::Error;
use std::fmt;
use std::io;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use crate::step::http::root;

/// Why an object could not be read or written.
#[derive(Debug)]
pub enum Fault {
    /// It is not there.
    Missing,
    /// It is there with other bytes.
    Conflict,
    /// Another object came under its name while it was read.
    Changed,
    /// The server knows who asks, and refuses.
    Denied(Answer),
    /// No answer, or none that says more than "later".
    Unreachable(String),
    /// An answer that asking again will not change.
    Refused(Answer),
    /// This machine's disk.
    Io(io::Error),
    /// A store that is only read.
    ReadOnly,
}

/// What a server answered.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// What it said.
    pub text: String,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text.as_str() {
            "" => write!(f, "the server answered {}", self.status),
            text => write!(f, "the server answered {}: {text}", self.status),
        }
    }
}

impl Error for Answer {}

impl Fault {
    /// The fault that a status tells.
    pub(super) fn status(status: u16, text: String) -> Self {
        let answer = Answer { status, text };
        match status {
            404 => Self::Missing,
            // 409: two conditional writes met; one of them won.
            409 | 412 => Self::Conflict,
            401 | 403 => Self::Denied(answer),
            408 | 429 | 500.. => Self::Unreachable(answer.to_string()),
            _ => Self::Refused(answer),
        }
    }

    /// Whether the same request may work later.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable(_))
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            _ => Self::Io(error),
        }
    }
}

impl From<reqwest::Error> for Fault {
    fn from(error: reqwest::Error) -> Self {
        // Without its URL, which may be a secret link; the message names the object anyway.
        Self::Unreachable(root(&error.without_url()))
    }
}

impl<E> From<SdkError<E, HttpResponse>> for Fault
where
    E: Error + ProvideErrorMetadata + 'static,
{
    fn from(error: SdkError<E, HttpResponse>) -> Self {
        match &error {
            SdkError::ServiceError(service) => {
                let status = service.raw().status().as_u16();
                let words = [service.err().code(), service.err().message()];
                let mut text = words.into_iter().flatten().collect::<Vec<_>>().join(": ");
                if text.is_empty() && status < 400 {
                    // Done, it says, in words that the client does not understand.
                    text = root(&error);
                }
                match service.err().code() {
                    // A missing bucket is a mistake, not a missing object.
                    Some("NoSuchBucket") => Self::Refused(Answer { status, text }),
                    _ => Self::status(status, text),
                }
            }
            SdkError::ConstructionFailure(_) => Self::Io(io::Error::other(root(&error))),
            _ => Self::Unreachable(root(&error)),
        }
    }
}
