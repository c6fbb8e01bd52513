//! Tests that use imgforge the way people do, on real input and with real tools.
//!
//! They need what `tests/setup/tools` installs and a Docker Engine (`tests/setup/engine`). Nothing
//! is skipped where something is missing: a check that did not run has not passed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop there and say where")]
#![expect(clippy::disallowed_methods, reason = "tests read the clock and the environment themselves")]

mod architecture;
mod archives;
mod attacks;
mod attesting;
mod beginning;
mod bucket;
mod building;
mod by_hand;
mod cache;
mod channels;
mod commands;
mod compatible;
mod contents;
mod current;
mod doctor;
mod documents;
mod engines;
mod faults;
mod fetching;
mod forged;
mod harness;
mod hygiene;
mod installing;
mod journey;
mod keys;
mod killed;
mod language;
mod languages;
mod line;
mod locking;
mod manual;
mod misbehaving;
mod network;
mod nginx;
mod node;
mod patching;
mod policing;
mod policy;
mod processes;
mod publishing;
mod pulling;
mod pushing;
mod recipes;
mod rotation;
mod runtime;
mod scanning;
mod schemas;
mod stating;
mod stores;
mod terminal;
mod transport;
mod watching;
mod web;
mod workbench;
