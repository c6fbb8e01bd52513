//! Values with a grammar of their own: owners, modes, sizes.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::model::name::text_form;

/// Owner of a file, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl FromStr for Owner {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once(':').and_then(|(uid, gid)| Some((uid.parse().ok()?, gid.parse().ok()?)));
        match parsed {
            Some((uid, gid)) => Ok(Self { uid, gid }),
            None => Err(format!("`{text}` is not an owner: use two numbers, such as `1001:1001`")),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.uid, self.gid)
    }
}

/// Permission bits of a file: `0644`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode(pub u32);

impl FromStr for Mode {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let octal = text.len() == 4 && text.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
        match u32::from_str_radix(text, 8) {
            Ok(mode) if octal => Ok(Self(mode)),
            _ => Err(format!("`{text}` is not a mode: use four octal digits, such as `0644`")),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

/// A number of bytes: `4 GiB`, `200 MB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

impl FromStr for Size {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bad =
            || format!("`{text}` is not a size: use a whole number and a unit, such as `4 GiB` or `200 MB`");
        let end = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
        let (number, unit) = (text[..end].parse::<u64>(), text[end..].trim_start());
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(bad)?;
        number.ok().and_then(|number| number.checked_mul(*factor)).map(Self).ok_or_else(bad)
    }
}

impl fmt::Display for Size {
    /// In the largest unit that needs no fraction.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, factor): &&(&str, u64)| self.0 >= *factor && self.0.is_multiple_of(*factor);
        match UNITS.iter().filter(fits).max_by_key(|(_, factor)| *factor) {
            Some((unit, factor)) => write!(f, "{} {unit}", self.0 / factor),
            None => f.write_str("0 B"),
        }
    }
}

macro_rules! text_value {
    ($($type:ident $pattern:literal $example:literal),*) => {$(
        text_form!($type);

        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "pattern": $pattern, "examples": [$example]})
            }
        }
    )*};
}
text_value!(
    Owner r"^[0-9]+:[0-9]+$" "1001:1001",
    Mode r"^[0-7]{4}$" "0644",
    Size r"^[0-9]+ ?([TGM]iB|KiB|[TGM]B|kB|B)$" "4 GiB"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_as_they_are_read() {
        for text in ["4 GiB", "200 MB", "1536 MiB", "1 B", "0 B"] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
        assert_eq!("4GiB".parse::<Size>().unwrap().0, 4 << 30);
        for text in ["", "4", "GiB", "4 gib", "1.5 GiB", "-1 B", "99999999999 TiB"] {
            assert!(text.parse::<Size>().is_err(), "{text} was accepted");
        }
    }

    #[test]
    fn modes_are_four_octal_digits() {
        assert_eq!("4755".parse::<Mode>().unwrap().0, 0o4755);
        for text in ["644", "0o644", "0888", "07777", "+644"] {
            assert!(text.parse::<Mode>().is_err(), "{text} was accepted");
        }
    }
}
