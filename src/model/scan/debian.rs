//! Versions as Debian orders them: <https://www.debian.org/doc/debian-policy/ch-controlfields.html#version>.

use std::cmp::Ordering;

/// A version: an epoch, what the program's authors call it, and Debian's revision.
#[derive(Debug, Clone)]
pub(super) struct Version {
    epoch: u32,
    upstream: String,
    revision: String,
}

impl Version {
    /// Reads a version; `None` for a text that dpkg refuses too.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (epoch, rest) = match text.split_once(':') {
            Some((epoch, rest)) if epoch.bytes().all(|b| b.is_ascii_digit()) => (epoch.parse().ok()?, rest),
            Some(_) => return None,
            None => (0, text),
        };
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, "0"));
        let plain = |text: &str, more: &[u8]| {
            !text.is_empty()
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".+~".contains(&b) || more.contains(&b))
        };
        let sound = plain(upstream, b"-:") && plain(revision, b"") && upstream.as_bytes()[0].is_ascii_digit();
        sound.then(|| Self { epoch, upstream: upstream.to_owned(), revision: revision.to_owned() })
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.epoch
            .cmp(&other.epoch)
            .then_with(|| parts(self.upstream.as_bytes(), other.upstream.as_bytes()))
            .then_with(|| parts(self.revision.as_bytes(), other.revision.as_bytes()))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Version {}

/// Compares in turns what is no number, and a number.
fn parts(mut one: &[u8], mut other: &[u8]) -> Ordering {
    while !one.is_empty() || !other.is_empty() {
        let (text, rest) = split(one, |b| !b.is_ascii_digit());
        let (other_text, other_rest) = split(other, |b| !b.is_ascii_digit());
        let (number, rest) = split(rest, u8::is_ascii_digit);
        let (other_number, other_rest) = split(other_rest, u8::is_ascii_digit);
        let order = words(text, other_text).then_with(|| numbers(number, other_number));
        if order.is_ne() {
            return order;
        }
        (one, other) = (rest, other_rest);
    }
    Ordering::Equal
}

fn split(text: &[u8], belongs: impl Fn(&u8) -> bool) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(|byte| !belongs(byte)).unwrap_or(text.len()))
}

/// Letters come before all else but the end, and a tilde comes even before that.
fn words(one: &[u8], other: &[u8]) -> Ordering {
    let weight = |byte: Option<&u8>| match byte {
        Some(b'~') => -1,
        None => 0,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) => i32::from(*byte) + 256,
    };
    let longer = one.len().max(other.len());
    let pairs = (0..longer).map(|at| weight(one.get(at)).cmp(&weight(other.get(at))));
    pairs.fold(Ordering::Equal, Ordering::then)
}

/// Of any length.
fn numbers(one: &[u8], other: &[u8]) -> Ordering {
    let bare = |text| split(text, |b| *b == b'0').1;
    let (one, other) = (bare(one), bare(other));
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version(text: &str) -> Version {
        Version::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn versions_have_debians_order() {
        let order = [
            "0~~",
            "0~~a",
            "0~",
            "0",
            "1~rc1-1",
            "1",
            "1-0.1",
            "1-1",
            "1-1+b1",
            "1-1+deb12u1",
            "1-2~bpo1",
            "1-2",
            "1a",
            "1+",
            "1.0",
            "1.9",
            "1.10",
            "2",
            "1:0",
            "99999999999999999999999:1",
        ];
        let order: Vec<Version> = order.iter().filter_map(|text| Version::parse(text)).collect();
        assert_eq!(order.len(), 19, "an epoch is a 32-bit number");
        assert!(order.windows(2).all(|pair| pair[0] < pair[1]), "{order:?}");
        assert_eq!(version("1.00-1"), version("0:1.0-01"));
        for bad in ["", "-1", "a", "1:", "x:1", "1-", "1_2", "1 ", "ü"] {
            assert!(Version::parse(bad).is_none(), "{bad}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn dpkg_says_the_same(
            one in "([0-2]:)?[0-3][0-2a~+.]{0,4}(-[0-2a~+.]{1,3})?",
            other in "([0-2]:)?[0-3][0-2a~+.]{0,4}(-[0-2a~+.]{1,3})?",
        ) {
            let ours = version(&one).cmp(&version(&other));
            let says = |relation: &str| {
                let run = std::process::Command::new("dpkg").args(["--compare-versions", &one, relation, &other]).status();
                run.unwrap().success()
            };
            let theirs = match () {
                () if says("lt") => Ordering::Less,
                () if says("eq") => Ordering::Equal,
                () => Ordering::Greater,
            };
            prop_assert_eq!(ours, theirs);
        }
    }
}
