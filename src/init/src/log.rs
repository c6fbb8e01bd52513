//! What the helper itself says, one line per event, on stderr. Services write to the same stderr and
//! stdout untouched.

use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// For eyes.
    Text,
}

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Info,
    /// Unasked, and dealt with.
    Warn,
    /// The container ends because of it.
    Error,
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    level: Level,
    source: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'a str>,
    message: &'a str,
}

/// Where lines go.
#[derive(Debug, Clone, Copy)]
pub struct Log {
    /// How they look.
    pub format: Format,
}

impl Log {
    /// One event, of a service or of all of them.
    pub fn say(self, level: Level, service: Option<&str>, message: &str) {
        print(&self.line(level, service, message));
    }

    /// The line of an event.
    #[must_use]
    pub fn line(self, level: Level, service: Option<&str>, message: &str) -> String {
        let line = Line { time: now(), level, source: "imgforge-init", service, message };
        match self.format {
            Format::Json => serde_json::to_string(&line).unwrap_or_default(),
            Format::Text => {
                let level = match level {
                    Level::Info => "info ",
                    Level::Warn => "warn ",
                    Level::Error => "error",
                };
                let service = service.map(|name| format!("{name}: ")).unwrap_or_default();
                format!("{} {level} {service}{message}", line.time)
            }
        }
    }
}

/// A line on stderr, in one write, so that lines of services do not get between. A reader that is gone
/// is no reason to end.
pub fn print(text: &str) {
    let _ = std::io::stderr().lock().write_all(format!("{text}\n").as_bytes());
}

#[expect(clippy::disallowed_methods, reason = "log lines carry the time of day, and nothing else does")]
fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    rfc3339(since.as_secs(), since.subsec_millis())
}

/// Seconds since 1970 as text. The calendar is that of Howard Hinnant's `civil_from_days`: years that
/// begin in March, in eras of 400 years.
fn rfc3339(seconds: u64, milliseconds: u32) -> String {
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, early) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + early;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milliseconds:03}Z")
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn dates_are_those_of_date() {
        // date -u -d @N
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.007Z"),
            (951_782_399, "2000-02-28T23:59:59.007Z"),
            (951_782_400, "2000-02-29T00:00:00.007Z"),
            (1_735_689_599, "2024-12-31T23:59:59.007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.007Z"),
        ] {
            assert_eq!(rfc3339(seconds, 7), text);
        }
    }
}
