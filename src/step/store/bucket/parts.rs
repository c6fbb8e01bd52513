//! How a large object is cut: R2 wants all parts equal but the last, which may be smaller.

/// Bytes of a part. Large enough that requests cost little, small enough that one that is lost
/// does too.
pub(super) const PART: u64 = 16 << 20;

/// Most parts of an object, as S3 and R2 have it.
const MAX_PARTS: u64 = 10_000;

/// Parts that travel at a time. Memory is bounded by one more than these: 80 MiB, for objects of up
/// to 156 GiB.
pub(super) const IN_FLIGHT: usize = 4;

/// Bytes of each part of an object but the last: whole mebibytes.
pub(super) fn part_size(size: u64) -> u64 {
    const MEBIBYTE: u64 = 1 << 20;
    PART.max(size.div_ceil(MAX_PARTS).div_ceil(MEBIBYTE) * MEBIBYTE)
}

/// The parts of an object: number and bytes.
pub(super) fn parts(size: u64, part: u64) -> impl Iterator<Item = (i32, u64)> {
    (1..).zip(
        (0..size).step_by(usize::try_from(part).unwrap_or(usize::MAX)).map(move |at| part.min(size - at)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parts_are_equal_but_the_last(size in PART + 1..=5 << 40) {
            let part = part_size(size);
            let count = size.div_ceil(part);
            prop_assert!(count <= MAX_PARTS);
            prop_assert!((PART..=5 << 30).contains(&part));
            prop_assert!(size - (count - 1) * part <= part);
        }

        #[test]
        fn nothing_is_left_out(size in 1_u64..1 << 30) {
            let all: Vec<_> = parts(size, PART).collect();
            prop_assert_eq!(all.iter().map(|(_, size)| size).sum::<u64>(), size);
            prop_assert!(all[..all.len() - 1].iter().all(|(_, size)| *size == PART));
            prop_assert!((1..).zip(&all).all(|(expected, (number, _))| expected == *number));
        }
    }
}
