//! Points in time, as documents write them (RFC 3339, UTC). What time it is arrives as an argument.

pub use jiff::{SignedDuration, Timestamp};

/// How far two clocks may be apart: those of operators at home run wrong.
pub const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_hours(24);

/// Seconds since 1970, as tars have them.
#[must_use]
pub fn seconds(moment: Timestamp) -> u64 {
    u64::try_from(moment.as_second()).unwrap_or(0)
}

/// Later by a duration; at most the last moment that can be written.
#[must_use]
pub fn after(moment: Timestamp, duration: SignedDuration) -> Timestamp {
    moment.saturating_add(duration).unwrap_or(Timestamp::MAX)
}

/// A duration in the words of a person: `3 days`, `26 hours`, `5 minutes`.
#[must_use]
pub fn words(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    let units = [(86_400, "days"), (3_600, "hours"), (60, "minutes"), (1, "seconds")];
    let (size, unit) = units.into_iter().find(|(size, _)| seconds >= 2 * size).unwrap_or((1, "seconds"));
    format!("{} {unit}", seconds / size)
}

/// Reads `90m`, `36h`, `45d` or `6w`.
pub fn parse_duration(text: &str) -> Result<SignedDuration, NotADuration> {
    let bad = || NotADuration(text.to_owned());
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(bad)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        _ => return Err(bad()),
    };
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let number: i64 = number.parse().ok().filter(|_| digits).ok_or_else(bad)?;
    number.checked_mul(seconds).map(SignedDuration::from_secs).ok_or_else(bad)
}

/// A text that is no duration.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a duration: use a number and one of s, m, h, d, w, such as `36h` or `45d`")]
pub struct NotADuration(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_said() {
        let say = |text: &str| words(parse_duration(text).unwrap());
        assert_eq!(say("45d"), "45 days");
        assert_eq!(say("36h"), "36 hours");
        assert_eq!(say("2w"), "14 days");
        assert_eq!(say("90s"), "90 seconds");
        assert_eq!(say("0s"), "0 seconds");
        for text in
            ["", "d", "5", "-5d", "5 d", "+5d", "5D", "9999999999999999999d", "9223372036854775807w", "5é"]
        {
            assert!(parse_duration(text).is_err(), "{text} was accepted");
        }
    }
}
