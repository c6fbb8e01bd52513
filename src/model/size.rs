//! Numbers of bytes as people read them.

use std::fmt;

/// So many bytes, in the decimal units that disks and lines are sold by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

const UNITS: [(u64, &str); 4] =
    [(1_000_000_000_000, "TB"), (1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().find(|(unit, _)| self.0 >= *unit) {
            // Whole numbers only: what is shown does not depend on how a machine rounds.
            Some((unit, name)) => {
                let tenths = self.0 / (unit / 10);
                write!(f, "{}.{} {name}", tenths / 10, tenths % 10)
            }
            None => write!(f, "{} bytes", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        let text = |bytes| Size(bytes).to_string();
        assert_eq!(
            [text(0), text(999), text(1000), text(160_149_999), text(7_000_000_000)],
            ["0 bytes", "999 bytes", "1.0 kB", "160.1 MB", "7.0 GB"]
        );
    }
}
