//! The blocks that a tar is made of.

/// Tar's unit.
pub const BLOCK: usize = 512;

/// Zero bytes after the last entry: two empty blocks end a tar.
pub const END: usize = 2 * BLOCK;

/// Zero bytes that fill the last block of an entry.
#[must_use]
pub fn padding(size: u64) -> usize {
    let used = usize::try_from(size % BLOCK as u64).unwrap_or(0);
    (BLOCK - used) % BLOCK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_fills_the_block() {
        assert_eq!([padding(0), padding(1), padding(511), padding(512), padding(513)], [0, 511, 1, 0, 511]);
    }
}
