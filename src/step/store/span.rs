//! Which bytes of an object are asked for, and whether an answer has just these.

use std::ops::Range;

use super::fault::{Answer, Fault};

/// Bytes of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Span {
    /// From here to the end of the object.
    From(u64),
    /// These.
    Part {
        /// The first.
        start: u64,
        /// The one after the last.
        end: u64,
    },
    /// So many at the end, or all when there are fewer.
    Last(u64),
}

impl Span {
    /// `Range`, as it is asked for; nothing when it is all of the object.
    pub(super) fn header(self) -> Option<String> {
        match self {
            Self::From(0) => None,
            Self::From(start) => Some(format!("bytes={start}-")),
            Self::Part { start, end } => Some(format!("bytes={start}-{}", end.saturating_sub(1))),
            Self::Last(count) => Some(format!("bytes=-{count}")),
        }
    }

    /// What an answer has: where it begins and ends, and the size of the object. `range` is its
    /// `Content-Range`, `length` its `Content-Length`. Whatever was not asked for is refused: bytes that
    /// are taken for others cost a download.
    pub(super) fn answered(self, range: Option<&str>, length: Option<u64>) -> Result<Extent, Fault> {
        let extent = match (range, length) {
            (Some(range), _) => Extent::parse(range),
            (None, Some(total)) => Some(Extent { bytes: 0..total, total }),
            // A server that makes its answer while it sends does not know how long it will be.
            (None, None) if self == Self::From(0) => Some(Extent { bytes: 0..u64::MAX, total: u64::MAX }),
            (None, None) => None,
        };
        extent.filter(|extent| self.is(extent)).ok_or_else(|| {
            let asked = self.header().unwrap_or_else(|| "all".to_owned());
            let text = format!("asked for {asked}, it sends {}", range.unwrap_or("something else"));
            Fault::Refused(Answer { status: 206, text })
        })
    }

    fn is(self, extent: &Extent) -> bool {
        let Extent { bytes, total } = extent;
        match self {
            Self::From(start) => bytes.start == start && bytes.end == *total,
            Self::Part { start, end } => *bytes == (start..end),
            Self::Last(count) => bytes.start == total.saturating_sub(count) && bytes.end == *total,
        }
    }
}

/// The bytes of an answer, and how many the object has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) bytes: Range<u64>,
    pub(super) total: u64,
}

impl Extent {
    /// Reads `bytes 0-99/1000`.
    fn parse(text: &str) -> Option<Self> {
        let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (first, last, total): (u64, u64, u64) =
            (first.parse().ok()?, last.parse().ok()?, total.parse().ok()?);
        (first <= last && last < total).then(|| Self { bytes: first..last + 1, total })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_the_bytes_that_were_asked_for_or_is_none() {
        let part = Span::Part { start: 10, end: 20 };
        assert_eq!(part.header().unwrap(), "bytes=10-19");
        assert!(part.answered(Some("bytes 10-19/100"), Some(10)).is_ok());
        for wrong in ["bytes 10-18/100", "bytes 0-19/100", "bytes 10-19/*", "bytes 10-19/15", "10-19/100", ""]
        {
            assert!(part.answered(Some(wrong), Some(10)).is_err(), "{wrong}");
        }
        assert!(part.answered(None, Some(10)).is_err(), "a server that ignores ranges");

        assert!(Span::From(5).answered(Some("bytes 5-99/100"), None).is_ok());
        assert!(Span::From(5).answered(Some("bytes 5-98/100"), None).is_err());
        assert!(Span::From(0).answered(None, None).is_ok());

        assert!(Span::Last(30).answered(Some("bytes 70-99/100"), None).is_ok());
        assert_eq!(Span::Last(300).answered(None, Some(100)).unwrap().bytes, 0..100);
        assert!(Span::Last(30).answered(None, Some(100)).is_err());
    }
}
