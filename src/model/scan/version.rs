//! Versions of any ecosystem, and which of them a range holds.

use std::cmp::Ordering;

use super::debian;
use crate::model::sbom::Ecosystem;

/// A version that has an order among those of its ecosystem.
#[derive(Debug, Clone)]
enum Version {
    /// Before all others: what advisories write as `0`.
    First,
    Semantic(semver::Version),
    Python(pep440_rs::Version),
    Debian(debian::Version),
}

impl Version {
    fn parse(ecosystem: Ecosystem, text: &str) -> Option<Self> {
        match ecosystem {
            Ecosystem::Cargo | Ecosystem::Npm | Ecosystem::Golang => semantic(text).map(Self::Semantic),
            Ecosystem::Pypi => text.parse().ok().map(Self::Python),
            Ecosystem::Deb => debian::Version::parse(text).map(Self::Debian),
            Ecosystem::Apk => None,
        }
    }

    fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            // What stands behind a `+` says who built it, and not what it is.
            (Self::Semantic(one), Self::Semantic(other)) => one.cmp_precedence(other),
            (Self::Python(one), Self::Python(other)) => one.cmp(other),
            (Self::Debian(one), Self::Debian(other)) => one.cmp(other),
            (Self::First, Self::First) => Ordering::Equal,
            (Self::First, _) => Ordering::Less,
            // Both are of one ecosystem.
            _ => Ordering::Greater,
        }
    }
}

/// Go writes a `v` before versions of modules, and `1.26rc1` for its own; advisories leave out zeros.
fn semantic(text: &str) -> Option<semver::Version> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (numbers, rest) = text.split_at(end);
    let missing = 3_usize.checked_sub(numbers.split('.').count())?;
    let own = ["rc", "beta", "alpha"].iter().find_map(|word| Some((word, rest.strip_prefix(word)?)));
    let rest = own.map_or_else(|| rest.to_owned(), |(word, number)| format!("-{word}.{number}"));
    semver::Version::parse(&format!("{numbers}{}{rest}", ".0".repeat(missing))).ok()
}

/// Where a range begins or ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// This version has it, and those after it.
    Introduced(String),
    /// This version does not have it any more, nor those after it.
    Fixed(String),
    /// Those after this version do not have it.
    LastAffected(String),
    /// Nothing is said about this version and those after it.
    Limit(String),
}

impl Event {
    fn version(&self) -> &str {
        match self {
            Self::Introduced(text) | Self::Fixed(text) | Self::LastAffected(text) | Self::Limit(text) => text,
        }
    }
}

/// Whether a version is affected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is not.
    No,
    /// It is; the version that mends it, where there is one.
    Yes(Option<String>),
    /// Somebody wrote a version that has no order.
    Unclear(Option<String>),
}

/// Looks for a version in a range, which need not be sorted.
#[must_use]
pub fn within(ecosystem: Ecosystem, version: &str, range: &[Event]) -> Answer {
    let fixed = || {
        let fix = range.iter().find(|event| matches!(event, Event::Fixed(_)));
        fix.map(|event| event.version().to_owned())
    };
    let everything = |event: &Event| matches!(event, Event::Introduced(first) if first == "0");
    if range.iter().all(everything) && !range.is_empty() {
        return Answer::Yes(None);
    }
    let bounded = range.iter().filter(|event| **event != Event::Limit("*".to_owned()));
    let events: Option<Vec<(Version, &Event)>> = bounded.map(|event| placed(ecosystem, event)).collect();
    let (Some(version), Some(mut events)) = (Version::parse(ecosystem, version), events) else {
        return Answer::Unclear(fixed());
    };
    // At one version, what ends before it comes first, and what ends after it last.
    let rank = |event: &Event| match event {
        Event::Fixed(_) | Event::Limit(_) => 0,
        Event::Introduced(_) => 1,
        Event::LastAffected(_) => 2,
    };
    events.sort_by(|one, other| one.0.compare(&other.0).then(rank(one.1).cmp(&rank(other.1))));
    let mut affected = false;
    for (at, event) in &events {
        let order = version.compare(at);
        match event {
            Event::Introduced(_) if order.is_ge() => affected = true,
            Event::Fixed(_) | Event::Limit(_) if order.is_ge() => affected = false,
            Event::LastAffected(_) if order.is_gt() => affected = false,
            _ => {}
        }
    }
    if !affected {
        return Answer::No;
    }
    let next =
        events.iter().find(|(at, event)| matches!(event, Event::Fixed(_)) && version.compare(at).is_lt());
    Answer::Yes(next.map(|(_, event)| event.version().to_owned()))
}

/// An event, and where it stands among versions.
fn placed(ecosystem: Ecosystem, event: &Event) -> Option<(Version, &Event)> {
    let first = matches!(event, Event::Introduced(first) if first == "0");
    let at = if first { Version::First } else { Version::parse(ecosystem, event.version())? };
    Some((at, event))
}

/// Whether two texts mean one version.
#[must_use]
pub fn same(ecosystem: Ecosystem, one: &str, other: &str) -> bool {
    let parse = |text| Version::parse(ecosystem, text);
    one == other || parse(one).zip(parse(other)).is_some_and(|(one, other)| one.compare(&other).is_eq())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn events(text: &str) -> Vec<Event> {
        let event = |word: &str| match word.split_at(1) {
            (">", version) => Event::Introduced(version.to_owned()),
            ("<", version) => Event::Fixed(version.to_owned()),
            ("=", version) => Event::LastAffected(version.to_owned()),
            (_, version) => Event::Limit(version.to_owned()),
        };
        text.split_whitespace().map(event).collect()
    }

    fn yes(fixed: &str) -> Answer {
        Answer::Yes(Some(fixed.to_owned()).filter(|text| !text.is_empty()))
    }

    #[test]
    fn ranges_are_those_of_osv() {
        use Ecosystem::{Apk, Cargo, Deb, Golang, Npm, Pypi};
        for (ecosystem, version, range, expected) in [
            (Npm, "1.2.3", ">0 <1.2.4", yes("1.2.4")),
            (Npm, "1.2.4", ">0 <1.2.4", Answer::No),
            (Npm, "1.2.4-beta.1", ">0 <1.2.4", yes("1.2.4")),
            (Npm, "2.1.0", "<2.2 >2 <1.2.4 >0", yes("2.2")),
            (Npm, "1.9.0", ">0 <1.2.4 >2.0.0 <2.2.0", Answer::No),
            (Cargo, "1.0.0+2", ">1.0.0 =1.0.0", yes("")),
            (Cargo, "1.0.1", ">1.0.0 =1.0.0", Answer::No),
            (Cargo, "0.0.1", ">0.0.0-0 |*", yes("")),
            (Cargo, "3.0.0", ">0 |2.0.0", Answer::No),
            (Golang, "v0.0.0-20200101000000-abcdefabcdef", ">0 <0.1.0", yes("0.1.0")),
            (Golang, "v2.0.0+incompatible", ">0 <2.0.0", Answer::No),
            (Golang, "1.22rc1", ">1.22.0-0 <1.22.1", yes("1.22.1")),
            (Golang, "(devel)", ">0 <1.0.0", Answer::Unclear(Some("1.0.0".to_owned()))),
            (Golang, "(devel)", ">0", yes("")),
            (Pypi, "2.0.post1", ">0 <2.0", Answer::No),
            (Pypi, "2.0rc1", ">0 <2.0", yes("2.0")),
            (Pypi, "1!1.0", ">0 <2.0", Answer::No),
            (Deb, "1.2-1~deb12u1", ">0 <1.2-1", yes("1.2-1")),
            (Deb, "1.2-1+b1", ">0 <1.2-1", Answer::No),
            (Deb, "1.2-1", ">0 <nonsense", Answer::Unclear(Some("nonsense".to_owned()))),
            (Apk, "1.2-r1", ">0 <1.3-r0", Answer::Unclear(Some("1.3-r0".to_owned()))),
            (Npm, "1.0.0", "", Answer::No),
        ] {
            assert_eq!(within(ecosystem, version, &events(range)), expected, "{version} in {range}");
        }
        assert!(same(Pypi, "1.0", "1.0.0") && same(Golang, "v1.0.0", "1.0.0") && !same(Apk, "1", "2"));
    }

    proptest! {
        #[test]
        fn the_order_of_events_does_not_matter(
            version in "[0-3]\\.[0-3]\\.[0-3]",
            bounds in proptest::collection::btree_set(0..64_u8, 1..6),
            swap: prop::sample::Index,
            turn: prop::sample::Index,
        ) {
            // Introduced and fixed in turns.
            let text = |bound: u8| format!("{}.{}.{}", bound / 16, bound / 4 % 4, bound % 4);
            let event = |(at, bound): (usize, u8)| {
                if at % 2 == 0 { Event::Introduced(text(bound)) } else { Event::Fixed(text(bound)) }
            };
            let sorted: Vec<Event> = bounds.into_iter().enumerate().map(event).collect();
            let mut mixed = sorted.clone();
            mixed.swap(0, swap.index(sorted.len()));
            mixed.rotate_left(turn.index(sorted.len()));
            let answer = within(Ecosystem::Npm, &version, &sorted);
            prop_assert_eq!(&answer, &within(Ecosystem::Npm, &version, &mixed));
            let number = |text: &str| text.bytes().filter(u8::is_ascii_digit).fold(0, |sum, digit| sum * 4 + u32::from(digit - b'0'));
            let passed = sorted.iter().filter(|event| number(event.version()) <= number(&version)).count();
            prop_assert_eq!(answer != Answer::No, passed % 2 == 1);
        }

        #[test]
        fn any_text_is_compared_or_unclear(version: String, one: String, other: String, ecosystem in 0..6_usize) {
            use Ecosystem::{Apk, Cargo, Deb, Golang, Npm, Pypi};
            let ecosystem = [Apk, Cargo, Deb, Golang, Npm, Pypi][ecosystem];
            let _ = within(ecosystem, &version, &[Event::Introduced(one.clone()), Event::Fixed(other.clone())]);
            let _ = same(ecosystem, &one, &other);
        }
    }
}
