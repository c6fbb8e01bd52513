//! Points in time, as documents write them (RFC 3339, UTC). What time it is arrives as an argument.

pub use jiff::Timestamp;
