//! What things are: names, digests, recipes, plans, images, archives, releases, seals, channels.
//!
//! **Invariant:** nothing here touches a file, a socket, the environment, the clock, a thread or a
//! random number. Everything is bytes and values in, values or a reason out, so that the whole
//! chain of trust can be tested, fuzzed and reasoned about without a machine around it.

pub mod archive;
pub mod attestation;
pub mod blocks;
pub mod builder;
pub mod cached;
pub mod channel;
pub mod configuration;
pub mod context;
pub mod der;
pub mod digest;
pub mod dockerfile;
pub mod document;
pub mod entries;
pub mod health;
pub mod hygiene;
pub mod ignore;
pub mod image;
pub mod key;
pub mod layer;
pub mod listing;
pub mod lock;
pub mod name;
pub mod plan;
pub mod policy;
pub mod provenance;
pub mod recipe;
pub mod registry;
pub mod release;
pub mod report;
pub mod retention;
pub mod run;
pub mod runtime;
pub mod sbom;
pub mod scaffold;
pub mod scan;
pub mod schema;
pub mod seal;
pub mod seen;
pub mod size;
pub mod storage;
pub mod strict;
pub mod sums;
pub mod time;
pub mod trust;
pub mod words;
