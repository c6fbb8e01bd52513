//! Which requests are broken, and how.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use hyper::{Method, Request};

/// What a request wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Wants {
    Put,
    Begin,
    Part,
    Complete,
    Parts,
    Get,
    Head,
    List,
    Delete,
    Abort,
}

impl Wants {
    pub(super) fn of<T>(request: &Request<T>) -> Option<Self> {
        let query = request.uri().query().unwrap_or_default();
        let has = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
        let key = request.uri().path().trim_matches('/').contains('/');
        Some(match *request.method() {
            Method::GET if has("list-type") => Self::List,
            // Keys for objects may not ask for buckets.
            _ if !key => return None,
            Method::PUT if has("partNumber") => Self::Part,
            Method::PUT => Self::Put,
            Method::POST if has("uploads") => Self::Begin,
            Method::POST if has("uploadId") => Self::Complete,
            Method::GET if has("uploadId") => Self::Parts,
            Method::GET => Self::Get,
            Method::HEAD => Self::Head,
            Method::DELETE if has("uploadId") => Self::Abort,
            Method::DELETE => Self::Delete,
            _ => return None,
        })
    }

    pub(crate) fn writes(self) -> bool {
        !matches!(self, Self::Parts | Self::Get | Self::Head | Self::List)
    }
}

/// How a request is broken.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Break {
    /// The server is in trouble.
    Status(u16),
    /// Half an answer.
    Half,
    /// Nothing is done and nothing answered, ever.
    FreezeBefore,
    /// It is done, and nothing answered, ever.
    FreezeAfter,
}

/// What a server remembers, and what it is told.
#[derive(Default)]
pub(super) struct State {
    pub(super) log: Vec<Wants>,
    /// Requests to break: which, from the how-manieth on (1 is the next), how often.
    pub(super) breaks: Vec<(Option<Wants>, usize, usize, Break)>,
    pub(super) frost: Frost,
    pub(super) written: HashMap<String, Instant>,
    pub(super) parts: HashMap<String, BTreeMap<u32, u64>>,
}

/// Whether a server freezes; for the fault matrix.
#[derive(Default)]
pub(super) enum Frost {
    #[default]
    Never,
    /// After so many more writes.
    After(usize, Break),
    Now,
}

impl State {
    /// Decides whether this request is broken.
    pub(super) fn plan(&mut self, wants: Wants) -> Option<Break> {
        self.log.push(wants);
        match &mut self.frost {
            Frost::Now => return Some(Break::FreezeBefore),
            Frost::After(0, how) if wants.writes() => return Some(*how),
            Frost::After(left, _) if wants.writes() => *left -= 1,
            _ => {}
        }
        for (which, skip, times, how) in &mut self.breaks {
            if which.is_none_or(|which| which == wants) {
                if *skip > 0 {
                    *skip -= 1;
                } else if *times > 0 {
                    *times -= 1;
                    return Some(*how);
                }
            }
        }
        None
    }
}
