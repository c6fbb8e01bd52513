//! The helper as a process: real children, real signals, real sockets. As process 1 of a container it is
//! tested in imgforge's own tests.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop there and say where")]
#![expect(clippy::needless_pass_by_value, reason = "`json!` is written where it is used")]

mod contract;
mod harness;
mod probes;
mod restarts;
mod stopping;
